package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// numbered returns n keys: prefix0000, prefix0001 and so on.
func numbered(prefix string, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%04d", prefix, i)
	}
	return keys
}

// family has keys, in order, that a scan of a prefix may easily confuse.
var family = slices.Sorted(slices.Values([]string{
	"-", "-a", ".", "..", "...", "0", "1:a", ":", "::", "A", "AB", "A:b", "Z", "Zz", "_", "__x__", "__y",
	"a", "a-", "a--", "a.", "a.b", "a0", "a:", "a:-", "a:1", "a:1:x", "a:10", "a:2", "a:A", "a:_", "a:z", "a:zz", "aA", "aZ", "a_", "aa", "aa:1",
	"b", "b:1", "y", "yz", "z", "z-", "zz", "zzz",
}))

// family returns those keys of the family that the store can hold.
func (t *trial) family() []string { return legal(t.Info(), family) }

// familyOf returns the keys of the family that start with prefix and are greater than the
// argument after.
func (t *trial) familyOf(prefix, after string) []string {
	return slices.DeleteFunc(t.family(), func(key string) bool {
		return !strings.HasPrefix(key, prefix) || key <= after
	})
}

// bytesOf returns n bytes that are not valid text and do not compress well.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}
