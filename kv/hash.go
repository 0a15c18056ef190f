package kv

// hash is FNV-1a of 64 bits over the parts, each with a zero byte after it: no
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
