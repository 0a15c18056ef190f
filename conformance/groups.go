package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skykv/skykv/kv"
)

// groups returns the names of 24 groups, some of which begin alike, and several keys of
// each. These are enough keys for each of 16 shards to have some.
func groups() []string {
	var keys []string
	for i := range 24 {
		group := fmt.Sprintf("g%d", i)
		keys = append(keys, group, group+":", group+":a", group+"::", group+"::a", group+"::b:c", group+"::b::c", group+":::")
	}
	return keys
}

// colons returns all keys of one to five characters, each of them ":" or "u".
func colons() []string {
	keys, longest := []string{}, []string{""}
	for range 5 {
		var longer []string
		for _, key := range longest {
			longer = append(longer, key+":", key+"u")
		}
		keys, longest = append(keys, longer...), longer
	}
	return keys
}

// addresses are keys such as IPv6 addresses, in which "::" is not meant to end a group's
// name.
var addresses = []string{
	"::", "::1", "::ffff:10.0.0.1", "2001:db8::", "2001:db8::1", "2001:db8::2", "2001:db8::2:1", "2001:db8:0:1::1", "2001:db8:1::1", "2001:db8:85a3::8a2e:370:7334",
	"fe80::1", "fe80::2", "fe80::1:2", "a:::b", "a::::b", "std::vector", "std::vector::size_type", "std:", "std",
}

// startingWith returns the keys that start with prefix, in order.
func startingWith(prefix string, keys []string) []string {
	keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !strings.HasPrefix(key, prefix) })
	slices.Sort(keys)
	return keys
}

// wantStored checks that each key has an entry whose value is the key.
func (t *trial) wantStored(keys []string) {
	entries := t.getMany(keys...)
	for _, key := range keys {
		t.wantEntry("GetMany", entries[key], key, want{value: key})
	}
}

// wantFound checks that for each prefix, scans and pages yield exactly those keys that
// start with it.
func (t *trial) wantFound(keys []string, prefixes ...string) {
	for _, prefix := range prefixes {
		want := startingWith(prefix, keys)
		t.wantKeys(fmt.Sprintf("Scan of %q", prefix), t.scan(prefix, kv.KeysOnly()), want)
		t.wantPaged(want, prefix, len(want)/2+1)
	}
}

// wantPaged reads the entries with a prefix in pages of size entries, and checks that they have
// exactly these keys.
func (t *trial) wantPaged(keys []string, prefix string, size int) {
	var entries []kv.Entry
	for cursor := ""; ; {
		page := t.page(prefix, size, cursor, kv.KeysOnly())
		entries = append(entries, page.Entries...)
		if cursor = page.Next; cursor == "" || len(entries) > len(keys) {
			break
		}
	}
	t.wantKeys(fmt.Sprintf("pages of %q", prefix), entries, keys)
}

// wantDeleted calls DeletePrefix with each prefix in turn. After each call it checks that the
// store has exactly the keys that begin with none of the prefixes so far.
func (t *trial) wantDeleted(keys []string, prefixes ...string) {
	for _, prefix := range prefixes {
		want := startingWith(prefix, keys)
		if n, err := t.DeletePrefix(t.ctx, prefix); err != nil || n != len(want) {
			t.Errorf("DeletePrefix(%q) = %d, %v; want %d", prefix, n, err, len(want))
		}
		keys = slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return strings.HasPrefix(key, prefix) })
		t.wantContent(startingWith("", keys)...)
	}
}

// wantInTheirShards checks that each record is in the shard that Info names. The store must
// have these keys and no others.
func (t *trial) wantInTheirShards(keys []string) {
	d := t.underlying()
	info := d.Info()
	seen := make(map[string]int)
	for shard := range info.Shards {
		for rec, err := range d.Scan(t.ctx, kv.ScanRequest{Shard: shard, From: "-", To: "~", Limit: 1000, MaxValueLen: t.maxValueLen()}) {
			if err != nil {
				t.Fatalf("the driver's Scan of shard %d: %v", shard, err)
			}
			seen[rec.Key]++
			if info.Shard != nil && info.Shard(rec.Key) != shard {
				t.Errorf("the record of %q is in shard %d; Info.Shard returns %d", rec.Key, shard, info.Shard(rec.Key))
				return
			}
			for n := range len(rec.Key) + 1 {
				if info.ShardOfPrefix == nil {
					break
				}
				if only, one := info.ShardOfPrefix(rec.Key[:n]); one && only != shard {
					t.Errorf("the record of %q is in shard %d; Info.ShardOfPrefix(%q) returns shard %d as the only one with such keys", rec.Key, shard, rec.Key[:n], only)
					return
				}
			}
		}
	}
	for _, key := range keys {
		if seen[key] != 1 {
			t.Errorf("%d shards have a record of %q; want one shard", seen[key], key)
		}
	}
	if len(seen) != len(keys) {
		t.Errorf("the shards have records of %d keys; want %d", len(seen), len(keys))
	}
}

func groupCases() []testCase {
	cases := []testCase{
		rule("groups/scan",
			"A scan finds every key with its prefix, whether the prefix ends a group of keys or stops within it.",
			func(t *trial) {
				keys := groups()
				t.fillKeys(keys...)
				t.wantFound(keys, "g", "g1", "g1:", "g17", "g17:", "g17::", "g17::b", "g17::b:", "g17::b::", "g17:::", "g99::")
				for i := range 24 {
					t.wantFound(keys, fmt.Sprintf("g%d::", i))
				}
			}),
		rule("groups/pages",
			"The pages of a group have each of its keys once, with pages of any size.",
			func(t *trial) {
				keys := append(groups(), numbered("g7::k", 30)...)
				t.fillKeys(keys...)
				for _, size := range []int{1, 7, 100} {
					t.wantPaged(startingWith("g7::", keys), "g7::", size)
				}
				t.wantPaged(startingWith("g7", keys), "g7", 7)
			}),
		rule("groups/delete-prefix",
			"DeletePrefix removes all keys of a group, and no other.",
			func(t *trial) {
				keys := groups()
				t.fillKeys(keys...)
				t.wantDeleted(keys, "g7::", "g8::b::", "g9:", "g1", "g")
			}),
		rule("groups/addresses",
			"Scans find keys with two colons by accident, such as IPv6 addresses, like all other keys.",
			func(t *trial) {
				t.fillKeys(addresses...)
				t.wantStored(addresses)
				t.wantFound(addresses, "", ":", "::", "::1", "::f", "2001:", "2001:db8:", "2001:db8::", "2001:db8::2", "2001:db8:0:1::", "fe80:", "fe80::", "fe80::1", "a:", "a::", "a:::", "std", "std:", "std::", "std::vector::")
				t.wantDeleted(addresses, "2001:db8::2", "2001:db8::", "2001:", "::", "a:::", "std:")
			}),
		rule("groups/colons",
			"A scan of a prefix finds all keys that start with it, wherever they have colons.",
			func(t *trial) {
				keys := colons()
				t.fillKeys(keys...)
				t.wantFound(keys, append([]string{"", "u::u", ":u::", "::u:", ":::::", "u::::", ":u::u", "u:::::"}, keys[:14]...)...)
			}),
		rule("groups/shard-of-key",
			"The record of a key is only in the shard that Info.Shard returns for the key, and that ShardOfPrefix returns for its prefixes.",
			func(t *trial) {
				keys := slices.Compact(startingWith("", slices.Concat(groups(), addresses, colons())))
				t.fillKeys(keys...)
				t.wantInTheirShards(keys)
			}),
	}
	for _, ns := range []struct{ name, prefix string }{
		{"word", "tenant"},
		{"colon", "tenant:"},
		{"group", "tenant::"},
		{"within-a-group", "user::tenant"},
		{"within-a-group-colon", "user::tenant:"},
	} {
		cases = append(cases, rule("groups/in-namespace/"+ns.name,
			fmt.Sprintf("In a namespace such as %q, scans, pages and DeletePrefix find the same keys as in a store of its own, and Info returns their shards.", ns.prefix),
			func(t *trial) {
				outside := []string{"tenan", "tenant", "tenanu::a", "user::tenans", "user::tenanu", "z"}
				t.fillKeys(outside...)
				whole := t.inNamespace(ns.prefix)
				keys := slices.Concat(numbered("g", 20), numbered("h:", 20), groups())
				t.fillKeys(keys...)
				t.wantStored(keys)
				t.wantFound(keys, "", "g", "g000", "h:", "g7", "g7:", "g7::", "g17::", "g17::b", "g17::b::")
				t.wantInTheirShards(keys)
				t.wantDeleted(keys, "g7::", "h:", "g1", "g")
				t.store = whole
				t.wantContent(outside...)
			}))
	}
	return append(cases, rule("groups/in-namespace/colons-meet",
		"In a namespace whose prefix ends in a colon, and whose keys begin with one, scans, pages and DeletePrefix find the same keys as in a store of its own, and Info returns their shards.",
		func(t *trial) {
			outside := []string{"tenant", "tenant-:", "tenant:", "z"}
			t.fillKeys(outside...)
			whole := t.inNamespace("tenant:")
			keys := slices.Concat(colons()[:30], numbered(":", 20), numbered("::", 20), numbered("n", 20))
			for i := range 20 {
				keys = append(keys, fmt.Sprintf(":k%d::a", i), fmt.Sprintf("k%d::a", i))
			}
			t.fillKeys(keys...)
			t.wantStored(keys)
			t.wantFound(keys, "", ":", "::", ":::", ":u", "::u", "u", "u:", "u::", ":0", ":001", "::0", "n", "n00", ":k", ":k7", ":k7::", "k7::")
			t.wantInTheirShards(keys)
			t.wantDeleted(keys, ":k7::", "k7::", "::", ":", "k", "n", "u")
			t.store = whole
			t.wantContent(outside...)
		}))
}

// inNamespace replaces the trial's store by a namespace of it, and returns the whole store.
func (t *trial) inNamespace(prefix string) (whole store) {
	view, err := t.opened.Namespace(prefix)
	if err != nil {
		t.Fatalf("Namespace(%q): %v", prefix, err)
	}
	whole = t.store
	t.opened = view // closing it also closes the whole store
	t.store = t.with()
	return whole
}
