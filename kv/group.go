package kv

import "strings"

// groupEnd ends the group of a key.
const groupEnd = "::"

// Group returns the group of a key: the part before the first "::", or the whole key if the
// key has no "::". A "::" with which the key begins does not count. "user42::profile",
// "user42::mail" and "user42" itself are in the group "user42".
//
// Keys of one group are in one shard of every store, except in the tables of the Alien
// platform, where [Info].ShardOfPrefix is nil. A scan of a prefix that ends the group, such
// as "user42::", reads only that shard. The keys of a group share the request
// rate of one partition of the service. So use a group for keys that belong together, not
// for all keys of a kind.
func Group(key string) string {
	group, _ := groupOf(key)
	return group
}

// groupOf returns the group of a key, and whether every key that begins with key has
// that group.
func groupOf(key string) (group string, fixed bool) {
	if key == "" {
		return "", false
	}
	if at := strings.Index(key[1:], groupEnd); at >= 0 {
		return key[:1+at], true
	}
	return key, false
}

// Shard returns the shard of key, from 0 to shards-1. It depends only on the [Group] of
// key. The result for a key and a number of shards will never change, because it decides
// in which partition a provider stores the key. Shard panics if shards is not positive.
func Shard(key string, shards int) int {
	if shards < 1 {
		panic("kv: Shard: the number of shards must be at least 1")
	}
	if shards == 1 {
		return 0
	}
	// The low bits of FNV depend only on the low bits of the key's bytes. Mixing in
	// the high bits spreads keys that differ only in case or digits.
	h := hash(Group(key))
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % uint64(shards))
}

// ShardOfPrefix returns the shard of all keys that begin with prefix, and true, if there
// is only one shard or prefix contains a whole [Group] with its "::". Otherwise it returns
// false, because keys with the prefix may be in any shard.
func ShardOfPrefix(prefix string, shards int) (int, bool) {
	if _, fixed := groupOf(prefix); fixed || shards == 1 {
		return Shard(prefix, shards), true
	}
	return 0, false
}
