package kv

import "strings"

// groupEnd ends the group of a key.
const groupEnd = "::"

// Group returns the group of a key: what stands before the first "::" that does
// not begin the key, else the whole key. "user42::profile" and "user42::mail" are of
// the group "user42", and so is the key "user42" itself.
//
// Keys of one group are in one shard of every store. A scan of a prefix that ends
// the group, such as "user42::", reads that shard alone. The shard of a group has the
// rate of one partition of the service, so a group is for keys that belong together,
// and not for all keys of a kind.
func Group(key string) string {
	group, _ := groupOf(key)
	return group
}

// groupOf returns the group of a key, and whether it is that of every key that
// begins with it.
func groupOf(key string) (group string, fixed bool) {
	if key == "" {
		return "", false
	}
	if at := strings.Index(key[1:], groupEnd); at >= 0 {
		return key[:1+at], true
	}
	return key, false
}

// Shard returns the shard, from 0 to shards-1, that key belongs to: that of its
// [Group]. It will never change for a given key and number of shards: providers that
// spread keys over partitions store them by it. It panics when shards is not
// positive.
func Shard(key string, shards int) int {
	if shards < 1 {
		panic("kv: Shard wants at least one shard")
	}
	if shards == 1 {
		return 0
	}
	// The low bits of FNV depend on the low bits of the key's bytes alone;
	// mixing the high bits in spreads keys that differ in case or digits only.
	h := hash(Group(key))
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % uint64(shards))
}

// ShardOfPrefix returns the shard of every key that begins with prefix, and true, if
// there is one shard or the prefix ends a [Group]. Otherwise keys with the prefix may
// be in any shard, and it returns false.
func ShardOfPrefix(prefix string, shards int) (int, bool) {
	if _, fixed := groupOf(prefix); fixed || shards == 1 {
		return Shard(prefix, shards), true
	}
	return 0, false
}
