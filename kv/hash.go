package kv

// hash is FNV-1a of 64 bits over the parts, each with a zero byte behind it: no
// key holds one, so parts cannot run into each other. It is written out, and
// pinned by golden vectors, because stored data and versions handed to users
// depend on it: no library or toolchain may change it.
func hash(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range parts {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h *= 1099511628211
	}
	return h
}

// Shard returns the shard, from 0 to shards-1, that key belongs to. It will
// never change for a given key and number of shards: providers that spread keys
// over partitions store them by it. It panics when shards is not positive.
func Shard(key string, shards int) int {
	if shards < 1 {
		panic("kv: Shard wants at least one shard")
	}
	if shards == 1 {
		return 0
	}
	// The low bits of FNV depend on the low bits of the key's bytes alone;
	// mixing the high bits in spreads keys that differ in case or digits only.
	h := hash(key)
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % uint64(shards))
}
