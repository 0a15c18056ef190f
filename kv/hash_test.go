package kv

import (
	"fmt"
	"testing"
)

// Shard decides where data is stored, and versions contain the hash. If Shard or hash
// changed, stores would lose entries or versions, so these vectors must never be edited.
func TestHashGoldenVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key   string
		hash  uint64
		shard int // of 16
	}{
		{"", 0xaf63bd4c8601b7df, 6},
		{"a", 0x89be207b544f1e4, 13},
		{"-", 0x7cffa07b497b448, 0},
		{"user:42", 0x7a04d423390f5ca6, 5},
		{"USER:42", 0xaf4b704215724fe6, 0},
		{"lock:job-7", 0x9aebe615606029ad, 13},
		{"__x__", 0xe15b0f6a632da1cd, 14},
	} {
		if got := hash(c.key); got != c.hash {
			t.Errorf("rule: the hash of a key never changes; hash(%q) = %#x, want %#x", c.key, got, c.hash)
		}
		if got := Shard(c.key, 16); got != c.shard {
			t.Errorf("rule: the shard of a key never changes; Shard(%q, 16) = %d, want %d", c.key, got, c.shard)
		}
	}
}

func TestShardSpreadsKeys(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(int) string{
		"numbers": func(i int) string { return fmt.Sprintf("user:%d", i) },
		"padded":  func(i int) string { return fmt.Sprintf("order-%08d", i) },
		// The letters A and a differ only in a bit that the low bits of FNV ignore.
		"case": func(i int) string { return fmt.Sprintf("%b", i) + string("Aa"[i%2]) },
	} {
		for _, shards := range []int{2, 3, 16} {
			counts := make([]int, shards)
			const keys = 16_000
			for i := range keys {
				counts[Shard(key(i), shards)]++
			}
			for shard, n := range counts {
				if mean := keys / shards; n < mean*9/10-20 || n > mean*11/10+20 {
					t.Errorf("rule: keys spread evenly; with %d %s keys, shard %d of %d has %d, want about %d", keys, name, shard, shards, n, mean)
				}
			}
		}
	}
}

func TestHashKeepsPartsApart(t *testing.T) {
	t.Parallel()
	if hash("ab", "c") == hash("a", "bc") {
		t.Error("rule: a checksum over two strings depends on where the first ends; hash(ab, c) equals hash(a, bc)")
	}
}
