package kv

import (
	"slices"
	"strings"
	"testing"
)

// The bound before a key parts all keys into those below it and the others.
func TestLastBefore(t *testing.T) {
	t.Parallel()
	keys := []string{""}
	for _, characters := range []string{KeyAlphabet, "-.:AZaz", "-.z"} {
		for _, begin := range slices.Clone(keys) {
			for _, c := range characters {
				keys = append(keys, begin+string(c))
			}
		}
	}
	keys = append(keys[1:], strings.Repeat("-", MaxKeyLen), strings.Repeat("z", MaxKeyLen))
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, key := range keys {
		bound := lastBefore(key)
		if bound >= key {
			t.Errorf("rule: the bound before a key is below it; that of %q is %q", key, bound)
		}
		for _, other := range keys {
			if (other < key) != (other <= bound) {
				t.Fatalf("rule: the bound before a key is not below any key that is; that of %q is %q, with %q", key, bound, other)
			}
		}
	}
}
