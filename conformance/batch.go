package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// batchSizes has sizes around 25 and 100, which are the greatest numbers of keys in one request
// to some services, and smaller and larger sizes.
var batchSizes = []int{0, 1, 25, 26, 100, 101, 1000}

func batchCases() []testCase {
	var cases []testCase
	for _, n := range batchSizes {
		cases = append(cases, rule(fmt.Sprintf("batch/get-many/%d", n),
			"GetMany takes any number of keys and returns all their entries, complete. Its map is never nil.",
			func(t *trial) {
				keys := numbered("key:", n)
				t.fillKeys(keys...)
				t.fillKeys("other")
				entries := t.getMany(keys...)
				if len(entries) != n {
					t.Errorf("GetMany of %d keys returns %d entries", n, len(entries))
				}
				for _, key := range keys {
					if e, ok := entries[key]; !ok {
						t.Fatalf("GetMany of %d keys: %s is missing", n, short(key))
					} else {
						t.wantEntry("GetMany", e, key, want{value: key})
					}
				}
			}))
	}
	for _, n := range batchSizes {
		cases = append(cases, rule(fmt.Sprintf("batch/put-many/%d", n),
			"PutMany takes any number of items and stores each of them, even in place of existing entries.",
			func(t *trial) {
				keys := numbered("key:", n)
				if n > 0 {
					t.put(keys[n/2], "old", kv.TTL(time.Second))
				}
				items := make([]kv.Item, n)
				for i, key := range keys {
					items[i] = kv.Item{Key: key, Value: []byte("value of " + key)}
				}
				t.fill(items...)
				entries := t.scan("")
				t.wantKeys("Scan", entries, keys)
				for _, e := range entries {
					t.wantEntry("Scan", e, e.Key, want{value: "value of " + e.Key})
				}
			}))
	}
	for _, n := range batchSizes {
		cases = append(cases, rule(fmt.Sprintf("batch/delete-many/%d", n),
			"DeleteMany takes any number of keys and removes exactly these.",
			func(t *trial) {
				keys := numbered("key:", n)
				t.fillKeys(slices.Concat([]string{"a", "key:", "key:0000x", "z"}, keys)...)
				if err := t.DeleteMany(t.ctx, keys); err != nil {
					t.Errorf("DeleteMany: %v", err)
				}
				t.wantContent("a", "key:", "key:0000x", "z")
			}))
	}
	return append(cases,
		rule("batch/get-many/absent-and-expired",
			"GetMany leaves out the keys that are absent, deleted or expired, and returns the others.",
			func(t *trial) {
				live, expired := numbered("live:", 30), numbered("expired:", 30)
				t.fillWithExpired(live, expired)
				t.delete(live[7])
				entries := t.getMany(slices.Concat(expired, live, numbered("absent:", 70))...)
				live = slices.Delete(live, 7, 8)
				if len(entries) != len(live) {
					t.Errorf("GetMany returns %d entries; want %d", len(entries), len(live))
				}
				for _, key := range live {
					t.wantEntry("GetMany", entries[key], key, want{value: key})
				}
			}),
		rule("batch/get-many/nothing-there",
			"GetMany of absent keys returns an empty map that is not nil, and no error.",
			func(t *trial) {
				if entries := t.getMany("a", "b"); len(entries) != 0 {
					t.Errorf("GetMany returns %d entries; want none", len(entries))
				}
			}),
		rule("batch/get-many/duplicates",
			"GetMany takes duplicate keys, close together and far apart.",
			func(t *trial) {
				keys := numbered("key:", 60)
				t.fillKeys(keys...)
				entries := t.getMany(slices.Concat([]string{keys[0], keys[0], "absent", "absent"}, keys, keys)...)
				if len(entries) != len(keys) {
					t.Errorf("GetMany returns %d entries; want %d", len(entries), len(keys))
				}
				for _, key := range keys {
					t.wantEntry("GetMany", entries[key], key, want{value: key})
				}
			}),
		rule("batch/get-many/keys-of-all-kinds",
			"GetMany returns each entry under its own key, whatever the keys look like.",
			func(t *trial) {
				keys := append(t.family(), strings.Repeat("k", t.maxKeyLen()), strings.Repeat(".", t.maxKeyLen()))
				t.fillKeys(keys...)
				entries := t.getMany(keys...)
				for _, key := range keys {
					t.wantEntry("GetMany", entries[key], key, want{value: key})
				}
			}),
		rule("batch/get-many/caller-keeps-keys",
			"GetMany and DeleteMany leave the caller's slice of keys as it is.",
			func(t *trial) {
				t.fillKeys("a", "b", "c")
				keys := []string{"c", "a", "c", "b", "a"}
				t.getMany(keys...)
				if err := t.DeleteMany(t.ctx, keys); err != nil {
					t.Errorf("DeleteMany: %v", err)
				}
				if !slices.Equal(keys, []string{"c", "a", "c", "b", "a"}) {
					t.Errorf("the slice is %q now", keys)
				}
			}),
		rule("batch/put-many/duplicates",
			"Of several items with one key the last one wins, with its value and expiry, close together and far apart.",
			func(t *trial) {
				keys := numbered("key:", 120)
				items := []kv.Item{{Key: keys[0], Value: []byte("first"), TTL: time.Second}, {Key: keys[0], Value: []byte("second"), TTL: time.Second}}
				for _, key := range keys {
					items = append(items, kv.Item{Key: key, Value: []byte("third"), TTL: time.Second})
				}
				for _, key := range keys {
					items = append(items, kv.Item{Key: key, Value: []byte(key)})
				}
				items = append(items, kv.Item{Key: keys[60], Value: []byte("last"), TTL: time.Minute})
				t.fill(items...)
				at := t.clock.now().Add(time.Minute)
				entries := t.scan("")
				t.wantKeys("Scan", entries, keys)
				for _, e := range entries {
					if e.Key == keys[60] {
						t.wantEntry("Scan", e, e.Key, want{value: "last", expiresAt: at})
					} else {
						t.wantEntry("Scan", e, e.Key, want{value: e.Key})
					}
				}
			}),
		rule("batch/put-many/versions",
			"PutMany returns the version of each entry that it stored, which is the version that Get returns. If several items have one key, it is the version of the last one.",
			func(t *trial) {
				keys := numbered("key:", 120)
				t.fillWithExpired(keys[:20], keys[20:40])
				var items []kv.Item
				for _, key := range keys {
					items = append(items, kv.Item{Key: key, Value: []byte("first"), TTL: time.Second})
				}
				for i, key := range keys {
					items = append(items, kv.Item{Key: key, Value: []byte("last"), TTL: time.Duration(i%3) * time.Hour})
				}
				t.wantVersions(t.fill(items...), keys...)
			}),
		rule("batch/put-many/versions-in-a-chain",
			"The next PutMany takes the versions that PutMany returned as conditions, and its own versions replace them.",
			func(t *trial) {
				keys := numbered("key:", 30)
				var first map[string]kv.Version
				var versions map[string]kv.Version
				items := make([]kv.Item, len(keys))
				for round := range 3 {
					for i, key := range keys {
						items[i] = kv.Item{Key: key, Value: fmt.Append(nil, round), IfNotExists: round == 0, IfVersion: versions[key]}
					}
					versions = t.fill(items...)
					t.wantVersions(versions, keys...)
					if round == 0 {
						first = versions
					}
				}
				for i, key := range keys {
					items[i].IfVersion = first[key]
				}
				stored, err := t.PutMany(t.ctx, items)
				t.wantVersions(stored)
				for _, key := range keys {
					t.wantError("PutMany with a replaced version, of "+key, errorOf(err, key), kv.ErrConditionFailed)
					t.wantValue(key, "2")
				}
			}),
		rule("batch/put-many/no-versions",
			"A PutMany that stores nothing, because it has no items or is refused, returns an empty map that is not nil.",
			func(t *trial) {
				t.wantVersions(t.fill())
				for _, bad := range []kv.Item{{Key: "no key"}, {Key: "long", Value: make([]byte, t.maxValueLen()+1)}} {
					versions, err := t.PutMany(t.ctx, []kv.Item{{Key: "key"}, bad})
					if err == nil {
						t.Errorf("PutMany of an invalid item returns no error")
					}
					t.wantVersions(versions)
				}
			}),
		rule("batch/put-many/over-expired",
			"PutMany replaces expired entries like any other.",
			func(t *trial) {
				keys := numbered("key:", 30)
				t.fillWithExpired(nil, keys)
				t.wantContent()
				t.fillKeys(keys...)
				t.wantContent(keys...)
			}),
		rule("batch/put-many/values-of-all-sizes",
			"PutMany stores the value of each item, of any size.",
			func(t *trial) {
				items := make([]kv.Item, 30)
				for i := range items {
					items[i] = kv.Item{Key: fmt.Sprintf("key:%02d", i), Value: bytesOf(i * t.maxValueLen() / 29)}
				}
				t.fill(items...)
				entries := t.scan("")
				if len(entries) != len(items) {
					t.Fatalf("Scan yields %d entries; want %d", len(entries), len(items))
				}
				for i, e := range entries {
					if e.Key != items[i].Key || !bytes.Equal(e.Value, items[i].Value) {
						t.Errorf("entry %d is %s with %d bytes; want %s with its %d bytes", i, short(e.Key), len(e.Value), short(items[i].Key), len(items[i].Value))
					}
				}
			}),
		rule("batch/put-many/invalid",
			"PutMany refuses the whole batch before any I/O if any key or value is invalid. It writes nothing. The error names the key.",
			func(t *trial) {
				t.fillKeys("key:0000")
				for _, bad := range []struct {
					item   kv.Item
					target error
				}{
					{kv.Item{Key: ""}, kv.ErrInvalidKey},
					{kv.Item{Key: "bad/key"}, kv.ErrInvalidKey},
					{kv.Item{Key: strings.Repeat("k", t.maxKeyLen()+1)}, kv.ErrInvalidKey},
					{kv.Item{Key: "bad-value", Value: make([]byte, t.maxValueLen()+1)}, kv.ErrValueTooLarge},
				} {
					for _, at := range []int{0, 60, 119} {
						items := make([]kv.Item, 120)
						for i, key := range numbered("key:", len(items)) {
							items[i] = kv.Item{Key: key, Value: []byte("new")}
						}
						items[at] = bad.item
						var err error
						t.wantRefused("PutMany", bad.target, func() error {
							_, err = t.PutMany(t.ctx, items)
							return err
						})
						if e, ok := errors.AsType[*kv.Error](err); bad.item.Key != "" && (!ok || e.Key != bad.item.Key) {
							t.Errorf("PutMany: the error %v does not name the key %s", err, short(bad.item.Key))
						}
					}
				}
				t.wantContent("key:0000")
				t.wantValue("key:0000", "key:0000")
			}),
		rule("batch/get-many/invalid",
			"GetMany and DeleteMany refuse the whole batch before any I/O if any key is invalid. The error names it.",
			func(t *trial) {
				keys := numbered("key:", 120)
				t.fillKeys(keys...)
				for _, bad := range []string{"", "bad key", strings.Repeat("k", t.maxKeyLen()+1)} {
					for _, at := range []int{0, 60, 119} {
						batch := slices.Clone(keys)
						batch[at] = bad
						t.wantRefused("GetMany", kv.ErrInvalidKey, func() error {
							entries, err := t.GetMany(t.ctx, batch)
							if len(entries) > 0 {
								t.Errorf("GetMany returns %d entries", len(entries))
							}
							return err
						})
						var err error
						t.wantRefused("DeleteMany", kv.ErrInvalidKey, func() error {
							err = t.DeleteMany(t.ctx, batch)
							return err
						})
						if e, ok := errors.AsType[*kv.Error](err); bad != "" && (!ok || e.Key != bad) {
							t.Errorf("DeleteMany: the error %v does not name the key %s", err, short(bad))
						}
					}
				}
				t.wantContent(keys...)
			}),
		rule("batch/delete-many/absent-and-expired",
			"DeleteMany takes absent, expired and duplicate keys without an error.",
			func(t *trial) {
				live, expired := numbered("live:", 30), numbered("expired:", 30)
				t.fillWithExpired(append(live, "stays"), expired)
				if err := t.DeleteMany(t.ctx, slices.Concat(live[:20], expired, live, numbered("absent:", 30), live[5:6])); err != nil {
					t.Errorf("DeleteMany: %v", err)
				}
				t.wantContent("stays")
				t.clock.set(t.clock.now().Add(-time.Second))
				t.wantContent("stays")
			}),
		rule("batch/then-conditions",
			"Conditions see what a batch wrote and removed.",
			func(t *trial) {
				t.fillKeys("a", "b")
				_, err := t.Put(t.ctx, "a", nil, kv.IfNotExists())
				t.wantError("Put with IfNotExists, after PutMany", err, kv.ErrConditionFailed)
				v := t.get("b").Version
				if err := t.DeleteMany(t.ctx, []string{"a", "b"}); err != nil {
					t.Fatalf("DeleteMany: %v", err)
				}
				t.put("a", "new", kv.IfNotExists())
				t.wantError("Delete with IfVersion, after DeleteMany", t.Delete(t.ctx, "b", kv.IfVersion(v)), kv.ErrConditionFailed)
			}),
		rule("batch/puts-and-deletes",
			"A driver's WriteMany carries out puts and deletes together, because middleware may mix them.",
			func(t *trial) {
				keys := numbered("key:", 30)
				t.fillKeys(keys...)
				var items []kv.Item
				for _, key := range keys {
					items = append(items, kv.Item{Key: key, Value: []byte("new")})
				}
				if _, err := t.with(kv.Wrap(kv.Level1, deletingInstead(keys[0], keys[17]))).PutMany(t.ctx, items); err != nil {
					t.Fatalf("PutMany, with two items turned into deletes: %v", err)
				}
				left := slices.DeleteFunc(keys, func(key string) bool { return key == items[0].Key || key == items[17].Key })
				entries := t.scan("")
				t.wantKeys("Scan", entries, left)
				for _, e := range entries {
					t.wantEntry("Scan", e, e.Key, want{value: "new"})
				}
			}),
		rule("batch/partial-failure/get-many",
			"If some keys of a GetMany fail, it returns the others, and a *BatchError with exactly the failed keys.",
			func(t *trial) {
				keys := numbered("key:", 30)
				t.fillKeys(keys...)
				failing := t.with(kv.Wrap(kv.Level1, failingKey(keys[7])))
				entries, err := failing.GetMany(t.ctx, keys)
				t.wantFailed("GetMany", err, keys[7])
				if len(entries) != 29 {
					t.Errorf("GetMany returns %d entries; want the other 29", len(entries))
				}
			}),
		rule("batch/partial-failure/put-many",
			"If some items of a PutMany fail, it stores the others and returns their versions, and a *BatchError with exactly the failed keys.",
			func(t *trial) {
				keys := numbered("key:", 30)
				var items []kv.Item
				for _, key := range keys {
					items = append(items, kv.Item{Key: key})
				}
				failing := t.with(kv.Wrap(kv.Level1, failingKey(keys[7])))
				versions, err := failing.PutMany(t.ctx, items)
				t.wantFailed("PutMany", err, keys[7])
				keys = slices.Delete(keys, 7, 8)
				t.wantContent(keys...)
				t.wantVersions(versions, keys...)
			}),
		rule("batch/partial-failure/delete-many",
			"If some keys of a DeleteMany fail, it removes the others, and returns a *BatchError with exactly the failed keys.",
			func(t *trial) {
				keys := numbered("key:", 30)
				t.fillKeys(keys...)
				failing := t.with(kv.Wrap(kv.Level1, failingKey(keys[7])))
				t.wantFailed("DeleteMany", failing.DeleteMany(t.ctx, keys), keys[7])
				t.wantContent(keys[7])
			}),
		rule("batch/delete-prefix/removes",
			"DeletePrefix removes and counts every entry whose key starts with the prefix, including the prefix itself, and no other.",
			func(t *trial) {
				t.fillKeys(t.family()...)
				for _, prefix := range []string{"a:1", "a:", "z", ".", "nothing"} {
					var left []string
					removed := 0
					for _, e := range t.scan("", kv.KeysOnly()) {
						if strings.HasPrefix(e.Key, prefix) {
							removed++
						} else {
							left = append(left, e.Key)
						}
					}
					n, err := t.DeletePrefix(t.ctx, prefix)
					if err != nil || n != removed {
						t.Errorf("DeletePrefix(%q) = %d, %v; want %d", prefix, n, err, removed)
					}
					t.wantContent(left...)
				}
			}),
		rule("batch/delete-prefix/many",
			"DeletePrefix removes any number of entries.",
			func(t *trial) {
				t.fillKeys(append(numbered("key:", 700), "key", "keyz")...)
				n, err := t.DeletePrefix(t.ctx, "key:")
				if err != nil || n != 700 {
					t.Errorf("DeletePrefix = %d, %v; want 700", n, err)
				}
				t.wantContent("key", "keyz")
			}),
		rule("batch/delete-prefix/expired",
			"DeletePrefix removes expired entries too, and does not count them.",
			func(t *trial) {
				t.fillWithExpired([]string{"a:1", "b"}, []string{"a:2", "a:3"})
				n, err := t.DeletePrefix(t.ctx, "a:")
				if err != nil || n != 1 {
					t.Errorf("DeletePrefix = %d, %v; want 1", n, err)
				}
				t.wantContent("b")
				t.clock.set(t.clock.now().Add(-time.Second)) // a time at which nothing has expired
				t.wantContent("b")
			}),
		graceRule("batch/delete-prefix/expired-by-other-clocks",
			"DeletePrefix also removes entries that have expired by its clock and live by a slower clock: no store sees them again.",
			func(t *trial) {
				slow := time.Now().Truncate(time.Millisecond).Add(-30 * time.Minute)
				t.clock.set(slow)
				t.fill(kv.Item{Key: "a:1", TTL: time.Second}, kv.Item{Key: "a:2"}, kv.Item{Key: "b"})
				t.clock.advance(time.Second)
				n, err := t.DeletePrefix(t.ctx, "a:")
				if err != nil || n != 1 {
					t.Errorf("DeletePrefix = %d, %v; want 1", n, err)
				}
				t.clock.set(slow)
				t.wantContent("b")
			}),
		rule("batch/put-many/conditions",
			"PutMany stores an item with a condition if the condition holds, whatever happens to the others. Otherwise the *BatchError has ErrConditionFailed for the item, and the item has no version. An expired entry counts as absent.",
			func(t *trial) {
				t.put("taken", "old")
				t.put("expired", "old", kv.TTL(time.Second))
				current, old := t.put("current", "old"), t.put("changed", "old")
				t.put("changed", "newer")
				t.clock.advance(time.Second)
				versions, err := t.PutMany(t.ctx, []kv.Item{
					{Key: "taken", Value: []byte("new"), IfNotExists: true},
					{Key: "absent", Value: []byte("new"), IfNotExists: true},
					{Key: "expired", Value: []byte("new"), IfNotExists: true},
					{Key: "current", Value: []byte("new"), IfVersion: current},
					{Key: "changed", Value: []byte("new"), IfVersion: old},
					{Key: "plain", Value: []byte("new")},
				})
				if batch, ok := errors.AsType[*kv.BatchError](err); !ok || len(batch.Failed) != 2 {
					t.Fatalf("PutMany: the error is %v; want a *kv.BatchError about two keys", err)
				}
				for _, key := range []string{"changed", "taken"} {
					t.wantError("PutMany, of "+key, errorOf(err, key), kv.ErrConditionFailed)
				}
				for key, value := range map[string]string{"taken": "old", "absent": "new", "expired": "new", "current": "new", "changed": "newer", "plain": "new"} {
					t.wantValue(key, value)
				}
				t.wantVersions(versions, "absent", "expired", "current", "plain")
			}),
		rule("batch/delete-prefix/empty",
			"DeletePrefix of the empty prefix, which would delete everything, is refused with ErrInvalidKey before any I/O. In a namespace it is legal, and removes all entries of the namespace.",
			func(t *trial) {
				t.fillKeys("a", "n:b", "n:c")
				if t.Info().Namespace == "" {
					t.wantRefused("DeletePrefix", kv.ErrInvalidKey, func() error {
						n, err := t.DeletePrefix(t.ctx, "")
						if n != 0 {
							t.Errorf("DeletePrefix(\"\") = %d", n)
						}
						return err
					})
					t.wantContent("a", "n:b", "n:c")
				}
				whole := t.inNamespace("n:")
				if n, err := t.DeletePrefix(t.ctx, ""); n != 2 || err != nil {
					t.Errorf("DeletePrefix(\"\") of the namespace = %d, %v; want 2", n, err)
				}
				t.store = whole
				t.wantContent("a")
			}),
		rule("batch/delete-prefix/damaged-entry",
			"DeletePrefix keeps a record that cannot be read, names it in a *BatchError, and removes the others.",
			func(t *trial) {
				keys := numbered("key:", 9)
				t.fillKeys(keys...)
				n, err := t.with(kv.Wrap(kv.Level1, damaging(keys[4]))).DeletePrefix(t.ctx, "key:")
				t.wantFailed("DeletePrefix", err, keys[4])
				if n != 8 {
					t.Errorf("DeletePrefix = %d; want 8", n)
				}
				t.wantContent(keys[4])
			}),
	)
}

// wantVersions checks the versions that a PutMany returned: they must be for exactly these
// keys, and equal to the versions that GetMany returns.
func (t *trial) wantVersions(versions map[string]kv.Version, keys ...string) {
	if versions == nil {
		t.Errorf("PutMany: the map of versions is nil")
	}
	entries := t.getMany(keys...)
	for _, key := range keys {
		switch version, ok := versions[key]; {
		case !ok:
			t.Errorf("PutMany returns no version of %s, which it stored", short(key))
		case version != entries[key].Version:
			t.Errorf("PutMany returns a version of %s other than GetMany", short(key))
		}
	}
	if len(versions) > len(keys) {
		t.Errorf("PutMany returns %d versions; it stored %d items", len(versions), len(keys))
	}
}

// wantFailed checks that err is a *kv.BatchError for key alone, and matches ErrIncompatible or
// ErrThrottled.
func (t *trial) wantFailed(what string, err error, key string) {
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok {
		t.Fatalf("%s: the error is %v; want a *kv.BatchError", what, err)
	}
	if len(batch.Failed) != 1 || batch.Failed[key] == nil {
		t.Errorf("%s: the *kv.BatchError holds %d keys: %v; want only %s", what, len(batch.Failed), err, short(key))
	}
	if !errors.Is(err, kv.ErrIncompatible) && !errors.Is(err, kv.ErrThrottled) {
		t.Errorf("%s: the error %v does not match its cause", what, err)
	}
}
