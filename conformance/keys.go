package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

func keyCases() []testCase {
	cases := []testCase{
		rule("keys/alphabet",
			"Each of the 66 legal characters is a key of its own.",
			func(t *trial) {
				keys := strings.Split(kv.KeyAlphabet, "")
				if len(keys) != 66 {
					t.Errorf("kv.KeyAlphabet has %d characters; want 66", len(keys))
				}
				keys = t.wantReservedRefused(keys...)
				t.fillKeys(keys...)
				entries := t.getMany(keys...)
				for _, key := range keys {
					t.wantEntry("GetMany", entries[key], key, want{value: key})
				}
				t.wantContent(keys...)
			}),
		rule("keys/case-sensitive",
			"Keys that differ only in case are different keys.",
			func(t *trial) { t.wantDistinct("Key", "key", "KEY", "kEy") }),
		rule("keys/no-normalisation",
			"Keys are bytes: they differ if they have dots, colons or dashes in different places.",
			func(t *trial) {
				t.wantDistinct("a", "a.", ".a", "a..", "a.a", "a..a", "a:a", ":a", "a:", "a-a", "-a", "a-", "a_a", "_a", "a_", "0", "00", "-0", "0.0")
			}),
		rule("keys/names-of-providers",
			"Names that a provider might use for its own records are keys like any other.",
			func(t *trial) {
				t.wantDistinct(t.wantReservedRefused("skykv", "_skykv", "__skykv__", ".skykv", "skykv:layout", "skykv-layout", "layout", "_layout", "__layout__", "meta", "_meta", "lock", "0", "00", "k", "kk")...)
			}),
		rule("keys/one-begins-another",
			"A key that is the beginning of another key is separate: removing it keeps the other.",
			func(t *trial) {
				t.fillKeys("a", "aa", "aaa")
				t.delete("aa")
				t.wantAbsent("aa")
				t.wantContent("a", "aaa")
			}),
		rule("keys/last-byte",
			"Two keys of the greatest length that differ only in their last byte are different keys.",
			func(t *trial) {
				long := strings.Repeat("k", t.maxKeyLen()-1)
				t.wantDistinct(long+"a", long+"b")
			}),
		rule("keys/entry-has-its-key",
			"Every operation that reads returns an entry with exactly the key under which it was stored.",
			func(t *trial) {
				v := t.put("Some:Key-1._", "value")
				t.wantLive("Some:Key-1._", want{value: "value", version: v})
			}),
	}

	special := []struct {
		name string
		key  func(longest int) string
	}{
		{"dot", func(int) string { return "." }},
		{"dot-dot", func(int) string { return ".." }},
		{"three-dots", func(int) string { return "..." }},
		{"double-underscores", func(int) string { return "__x__" }},
		{"only-underscores", func(int) string { return "____" }},
		{"reserved-id", func(int) string { return "__id7__" }},
		{"dash", func(int) string { return "-" }},
		{"colon", func(int) string { return ":" }},
		{"underscore", func(int) string { return "_" }},
		{"zero", func(int) string { return "0" }},
		{"file-name", func(int) string { return "C:..a.b" }},
		{"mixed-case", func(int) string { return "aAbBzZ" }},
		{"longest", func(n int) string { return strings.Repeat("k", n) }},
		{"longest-of-lowest-byte", func(n int) string { return strings.Repeat("-", n) }},
		{"longest-of-highest-byte", func(n int) string { return strings.Repeat("z", n) }},
		{"longest-of-dots", func(n int) string { return strings.Repeat(".", n) }},
	}
	for _, s := range special {
		cases = append(cases, rule("keys/special/"+s.name,
			"Every key of 1 to 512 bytes of the alphabet is legal in every operation, whatever the service's rules for names. Every operation refuses a ReservedKey with ErrInvalidKey before any I/O.",
			func(t *trial) {
				for _, key := range t.wantReservedRefused(s.key(t.maxKeyLen())) {
					t.wantUsable(key)
				}
			}))
	}

	invalid := []struct {
		name string
		rule string
		keys func(longest int) []string
	}{
		{"empty", "The empty key is refused.", func(int) []string { return []string{""} }},
		{"too-long", "A key one byte longer than the limit is refused.", func(n int) []string { return []string{strings.Repeat("k", n+1)} }},
		{"far-too-long", "A key much longer than the limit is refused.", func(n int) []string { return []string{strings.Repeat("k", 100*n)} }},
		{"slash", "Slashes are refused.", func(int) []string { return []string{"/", "a/b", "a\\b"} }},
		{"space", "White space is refused, even at the ends of a key.", func(int) []string { return []string{" ", " a", "a ", "a b", "a\n", "\ta"} }},
		{"zero-byte", "A zero byte is refused.", func(int) []string { return []string{"\x00", "a\x00", "a\x00b"} }},
		{"non-ascii", "Letters outside ASCII are refused.", func(int) []string { return []string{"é", "aé", "日本", "a\u0301"} }},
		{"invalid-utf8", "Bytes that are not valid text are refused.", func(int) []string { return []string{"\xff", "a\x80b"} }},
		{"every-other-byte", "Each of the 190 bytes outside the alphabet is refused.", func(int) []string {
			var keys []string
			for b := range 256 {
				if !strings.Contains(kv.KeyAlphabet, string([]byte{byte(b)})) {
					keys = append(keys, "a"+string([]byte{byte(b)})+"b")
				}
			}
			return keys
		}},
	}
	for _, i := range invalid {
		cases = append(cases, rule("keys/invalid/"+i.name,
			i.rule+" Every operation refuses such a key with ErrInvalidKey before any I/O and changes nothing.",
			func(t *trial) {
				for _, key := range i.keys(t.maxKeyLen()) {
					t.wantKeyRefused(key)
					t.wantPrefixRefused(key)
				}
				t.wantContent()
			}))
	}
	return cases
}

// wantDistinct checks that each of the keys has an entry of its own.
func (t *trial) wantDistinct(keys ...string) {
	for _, key := range keys {
		if _, err := t.Put(t.ctx, key, []byte(key), kv.IfNotExists()); err != nil {
			t.Errorf("Put(%s) with IfNotExists, on a new key: %v", short(key), err)
		}
	}
	for _, key := range keys {
		t.wantValue(key, key)
	}
	t.delete(keys[0])
	t.wantContent(slices.Sorted(slices.Values(keys[1:]))...)
}

// wantUsable checks that the operations of a store accept key, which is legal.
func (t *trial) wantUsable(key string) {
	v, err := t.Put(t.ctx, key, []byte("first"), kv.IfNotExists())
	if err != nil {
		t.Fatalf("Put(%s) with IfNotExists: %v", short(key), err)
	}
	t.wantLive(key, want{value: "first", version: v})
	_, err = t.Put(t.ctx, key, []byte("another"), kv.IfNotExists())
	t.wantError("Put with IfNotExists of a live key", err, kv.ErrConditionFailed)
	v = t.put(key, "second", kv.IfVersion(v))
	t.wantContent(key)
	if entries := t.scan(key, kv.After(key)); len(entries) > 0 {
		t.Errorf("Scan after %s yields %s", short(key), short(entries[0].Key))
	}
	t.delete(key, kv.IfVersion(v))
	t.wantAbsent(key)
	t.fill(kv.Item{Key: key, Value: []byte("third")})
	t.wantValue(key, "third")
	if n, err := t.DeletePrefix(t.ctx, key); n != 1 || err != nil {
		t.Errorf("DeletePrefix(%s) = %d, %v; want 1", short(key), n, err)
	}
	t.put(key, "fourth")
	if err := t.DeleteMany(t.ctx, []string{key}); err != nil {
		t.Errorf("DeleteMany of %s: %v", short(key), err)
	}
	t.wantGone(key)
}

// wantKeyRefused checks that every operation on a key, except AtomicWrite, refuses key, which is
// illegal.
func (t *trial) wantKeyRefused(key string) {
	ctx := t.ctx
	for _, call := range []struct {
		name string
		call func() error
	}{
		{"Get", func() error { _, err := t.Get(ctx, key); return err }},
		{"Exists", func() error { _, err := t.Exists(ctx, key); return err }},
		{"Put", func() error { _, err := t.Put(ctx, key, []byte("value")); return err }},
		{"Put with IfNotExists", func() error { _, err := t.Put(ctx, key, nil, kv.IfNotExists()); return err }},
		{"Delete", func() error { return t.Delete(ctx, key) }},
		{"GetMany", func() error { _, err := t.GetMany(ctx, []string{"good", key}); return err }},
		{"PutMany", func() error { _, err := t.PutMany(ctx, []kv.Item{{Key: "good"}, {Key: key}}); return err }},
		{"DeleteMany", func() error { return t.DeleteMany(ctx, []string{"good", key}) }},
		{"Touch", func() error { _, err := t.Touch(ctx, key, kv.TTL(time.Hour)); return err }},
		{"Update", func() error {
			_, err := t.Update(ctx, key, func(kv.Entry, bool) (kv.Change, error) { return kv.Change{}, nil })
			return err
		}},
		{"Increment", func() error { _, err := t.Increment(ctx, key, 1); return err }},
		{"GetAndDelete", func() error { _, err := t.GetAndDelete(ctx, key); return err }},
	} {
		t.wantRefused(fmt.Sprintf("%s of %s", call.name, short(key)), kv.ErrInvalidKey, call.call)
	}
}

// wantPrefixRefused checks that scans and DeletePrefix refuse key, which is illegal, as a prefix
// or a bound.
func (t *trial) wantPrefixRefused(key string) {
	ctx := t.ctx
	if key == "" {
		return // the empty key is legal: it is the prefix of everything, or the start of a scan
	}
	for _, call := range []struct {
		name string
		call func() error
	}{
		{"Scan", func() error { return t.scanError(key) }},
		{"DeletePrefix", func() error { _, err := t.DeletePrefix(ctx, key); return err }},
		{"Scan with After", func() error { return t.scanError("", kv.After(key)) }},
		{"Scan with From", func() error { return t.scanError("", kv.From(key)) }},
		{"Scan with Before", func() error { return t.scanError("", kv.Before(key)) }},
		{"ScanPage", func() error { _, err := t.ScanPage(ctx, key, 1, ""); return err }},
		{"ScanPage with After", func() error { _, err := t.ScanPage(ctx, "", 1, "", kv.After(key)); return err }},
	} {
		t.wantRefused(fmt.Sprintf("%s of %s", call.name, short(key)), kv.ErrInvalidKey, call.call)
	}
}
