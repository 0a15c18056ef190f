package kv

// hash is 64-bit FNV-1a over the parts, each followed by a zero byte. No key
// contains a zero byte, so different lists of keys are different input. hash uses
// no library, and tests pin its results, because stored data and versions depend
// on them.
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
