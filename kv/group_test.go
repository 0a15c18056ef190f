package kv

import (
	"fmt"
	"strings"
	"testing"
)

// Group and Shard decide where data is stored, so these vectors must never be edited.
func TestGroupGoldenVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, group string
		fixed      bool // all keys with this prefix have the group
		shard      int  // of 16
	}{
		{"user42", "user42", false, 13},
		{"user42::profile", "user42", true, 13},
		{"user42::", "user42", true, 13},
		{"user42::a::b", "user42", true, 13},
		{"user42:::", "user42", true, 13},
		{"user42:", "user42:", false, 3},
		{"user:42", "user:42", false, 5},
		{"user:42::x", "user:42", true, 5},
		{":", ":", false, 11},
		{"::", "::", false, 3},
		{"::a", "::a", false, 14},
		{"::a::b", "::a", true, 14},
		{":::", ":", true, 11},
		{"::::", ":", true, 11},
		{"2001:db8::1", "2001:db8", true, 0},
		{"a", "a", false, 13},
		{"a::", "a", true, 13},
	} {
		if got := Group(c.key); got != c.group {
			t.Errorf("rule: the group of a key is the part before the first :: that does not begin the key; Group(%q) = %q, want %q", c.key, got, c.group)
		}
		if got := Shard(c.key, 16); got != c.shard {
			t.Errorf("rule: the shard of a key never changes; Shard(%q, 16) = %d, want %d", c.key, got, c.shard)
		}
		shard, one := ShardOfPrefix(c.key, 16)
		if one != c.fixed || one && shard != c.shard {
			t.Errorf("rule: a prefix that ends a group has one shard, and no other prefix has; ShardOfPrefix(%q, 16) = %d, %t", c.key, shard, one)
		}
		if shard, one := ShardOfPrefix(c.key, 1); shard != 0 || !one {
			t.Errorf("rule: with one shard, every prefix is in it; ShardOfPrefix(%q, 1) = %d, %t", c.key, shard, one)
		}
	}
}

// If ShardOfPrefix returns a shard for a prefix, every key with the prefix is in that shard.
func FuzzGroup(f *testing.F) {
	f.Add("user42::", "profile")
	f.Add(":", ":a")
	f.Add("::", "::")
	f.Add("a:", ":b")
	f.Fuzz(func(t *testing.T, prefix, rest string) {
		key := prefix + rest
		if checkKey(key, MaxKeyLen) != nil {
			return
		}
		if shard, one := ShardOfPrefix(prefix, 256); one && shard != Shard(key, 256) {
			t.Fatalf("rule: all keys of a group are in its shard; %q is in %d, and scans of %q read %d", key, Shard(key, 256), prefix, shard)
		}
		if group := Group(key); !strings.HasPrefix(key, group) || group == "" || Group(group+groupEnd+"x") != group && !strings.HasSuffix(group, ":") {
			t.Fatalf("rule: a key begins with its group; the group of %q is %q", key, group)
		}
	})
}

func TestGroupsSpread(t *testing.T) {
	t.Parallel()
	seen := make(map[int]int)
	for i := range 1600 {
		seen[Shard(fmt.Sprintf("user%d::profile", i), 16)]++
	}
	for shard := range 16 {
		if n := seen[shard]; n < 60 || n > 140 {
			t.Errorf("rule: groups spread evenly; shard %d of 16 has %d of 1,600", shard, n)
		}
	}
}
