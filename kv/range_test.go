package kv

import (
	"slices"
	"strings"
	"testing"
)

// A key is at most lastBefore(k) if and only if it is less than k.
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
			t.Errorf("rule: lastBefore is less than the key; for %q it is %q", key, bound)
		}
		for _, other := range keys {
			if (other < key) != (other <= bound) {
				t.Fatalf("rule: lastBefore is not less than any lower key; for %q it is %q, with %q", key, bound, other)
			}
		}
	}
}
