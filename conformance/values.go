package conformance

import (
	"fmt"
	"strings"

	"github.com/skykv/skykv/kv"
)

func valueCases() []testCase {
	var cases []testCase
	for _, v := range []struct {
		name  string
		value func(longest int) []byte
	}{
		{"nil", func(int) []byte { return nil }},
		{"empty", func(int) []byte { return []byte{} }},
		{"one-zero-byte", func(int) []byte { return []byte{0} }},
		{"zero-bytes", func(int) []byte { return make([]byte, 256) }},
		{"every-byte", func(int) []byte {
			value := make([]byte, 256)
			for i := range value {
				value[i] = byte(i)
			}
			return value
		}},
		{"invalid-utf8", func(int) []byte { return []byte("a\xff\xfe\x80z") }},
		{"white-space", func(int) []byte { return []byte(" \r\n\tvalue\r\n ") }},
		{"looks-like-base64", func(int) []byte { return []byte("aGVsbG8=") }},
		{"looks-like-json", func(int) []byte { return []byte(`{"S":"x","N":1}`) }},
		{"looks-compressed", func(int) []byte { return []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff") }},
		{"1000-bytes", func(int) []byte { return bytesOf(1000) }},
		{"one-below-longest", func(n int) []byte { return bytesOf(n - 1) }},
		{"longest", bytesOf},
	} {
		cases = append(cases, rule("values/"+v.name,
			"A value is 0 to 24,576 bytes of any kind, and reads return it as it was stored. A nil value is stored as the empty value, and a read never returns nil.",
			func(t *trial) {
				value := v.value(t.maxValueLen())
				if _, err := t.Put(t.ctx, "put", value); err != nil {
					t.Fatalf("Put of %d bytes: %v", len(value), err)
				}
				t.fill(kv.Item{Key: "put-many", Value: value})
				for _, key := range []string{"put", "put-many"} {
					t.wantLive(key, want{value: string(value)})
				}
			}))
	}
	return append(cases,
		rule("values/too-long",
			"A value one byte longer than the limit is refused with ErrValueTooLarge before any I/O, and changes nothing.",
			func(t *trial) {
				long := make([]byte, t.maxValueLen()+1)
				v := t.put("key", "kept")
				t.wantRefused("Put", kv.ErrValueTooLarge, func() error {
					_, err := t.Put(t.ctx, "key", long)
					return err
				})
				t.wantRefused("Put with IfNotExists", kv.ErrValueTooLarge, func() error {
					_, err := t.Put(t.ctx, "new", long, kv.IfNotExists())
					return err
				})
				t.wantRefused("Put with IfVersion", kv.ErrValueTooLarge, func() error {
					_, err := t.Put(t.ctx, "key", long, kv.IfVersion(v))
					return err
				})
				t.wantRefused("PutMany", kv.ErrValueTooLarge, func() error {
					_, err := t.PutMany(t.ctx, []kv.Item{{Key: "key", Value: []byte("changed")}, {Key: "new", Value: long}})
					return err
				})
				t.wantContent("key")
				t.wantValue("key", "kept")
			}),
		rule("values/replaced-by-shorter",
			"Put replaces the whole value: nothing of a longer one remains.",
			func(t *trial) {
				for _, value := range []string{strings.Repeat("long", 100), "short", "", "longer again"} {
					v := t.put("key", value)
					t.wantEntry("Get", t.get("key"), "key", want{value: value, version: v})
				}
			}),
		rule("values/slice-not-kept/put",
			"Put does not keep the caller's slice: changing it afterwards changes nothing in the store.",
			func(t *trial) {
				value := []byte("value")
				if _, err := t.Put(t.ctx, "key", value); err != nil {
					t.Fatalf("Put: %v", err)
				}
				overwrite(value)
				t.wantValue("key", "value")
			}),
		rule("values/slice-not-kept/put-many",
			"PutMany does not keep the caller's slices: changing them afterwards changes nothing in the store.",
			func(t *trial) {
				items := []kv.Item{{Key: "a", Value: []byte("one")}, {Key: "b", Value: []byte("two")}}
				t.fill(items...)
				overwrite(items[0].Value)
				items[1].Value = nil
				items[0].Key = "c"
				t.wantValue("a", "one")
				t.wantValue("b", "two")
			}),
		rule("values/slice-unchanged",
			"Put and PutMany do not change the caller's slices, nor the memory between a slice's length and its capacity.",
			func(t *trial) {
				backing := []byte("value and what is after it")
				if _, err := t.Put(t.ctx, "a", backing[:5]); err != nil {
					t.Fatalf("Put: %v", err)
				}
				t.fill(kv.Item{Key: "b", Value: backing[:5]})
				if string(backing) != "value and what is after it" {
					t.Errorf("the slice is now %q", backing)
				}
			}),
		rule("values/slice-owned/get",
			"The value that Get returns belongs to the caller: changing it changes nothing in the store or in other results.",
			func(t *trial) {
				t.put("key", "value")
				first, second := t.get("key"), t.get("key")
				overwrite(first.Value)
				if string(second.Value) != "value" {
					t.Errorf("changing the value of one Get changed the value of another Get to %q", second.Value)
				}
				t.wantValue("key", "value")
			}),
		rule("values/slice-owned/get-many",
			"The values that GetMany returns belong to the caller: changing or extending a value changes nothing in the store or in other values.",
			func(t *trial) {
				t.fillKeys("a", "b", "c")
				entries := t.getMany("a", "b", "c")
				t.wantOwned(entries["a"], entries["b"], entries["c"])
			}),
		rule("values/slice-owned/scan",
			"The values that a scan yields belong to the caller: changing or extending a value changes nothing in the store or in other values.",
			func(t *trial) {
				t.fillKeys("a", "b", "c")
				t.wantOwned(t.scan("")...)
				t.wantOwned(t.page("", 3, "").Entries...)
			}),
		rule("values/many-of-the-longest",
			"Many values of the greatest length can be written, read and scanned at once, more than fit into one request of a service.",
			func(t *trial) {
				const n = 60
				value := bytesOf(t.maxValueLen())
				items := make([]kv.Item, n)
				keys := make([]string, n)
				for i := range items {
					keys[i] = fmt.Sprintf("key:%02d", i)
					items[i] = kv.Item{Key: keys[i], Value: value}
				}
				t.fill(items...)
				read := t.getMany(keys...)
				for _, key := range keys {
					t.wantEntry("GetMany", read[key], key, want{value: string(value)})
				}
				entries := t.scan("")
				t.wantKeys("Scan", entries, keys)
				for _, e := range entries {
					t.wantEntry("Scan", e, e.Key, want{value: string(value)})
				}
			}),
	)
}

// wantOwned checks that each entry owns the memory of its value. The value of each entry
// must be its key.
func (t *trial) wantOwned(entries ...kv.Entry) {
	for _, e := range entries {
		_ = append(e.Value, '!')
	}
	for i, e := range entries {
		if string(e.Value) != e.Key {
			t.Errorf("extending one value changed the value of %s to %s", short(e.Key), short(string(e.Value)))
		}
		overwrite(e.Value)
		for _, other := range entries[i+1:] {
			if string(other.Value) != other.Key {
				t.Errorf("changing the value of %s changed the value of %s to %s", short(e.Key), short(other.Key), short(string(other.Value)))
			}
		}
		t.wantValue(e.Key, e.Key)
	}
}

func overwrite(b []byte) {
	for i := range b {
		b[i] = '!'
	}
}
