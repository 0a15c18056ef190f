package conformance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

func versionCases() []testCase {
	cases := []testCase{
		rule("versions/stable",
			"Reading changes no version: every read returns the version of the last write.",
			func(t *trial) {
				v := t.put("key", "value", kv.TTL(time.Hour))
				w := want{"value", v, t.clock.now().Add(time.Hour)}
				t.wantLive("key", w)
				t.wantLive("key", w)
			}),
		rule("versions/equal-value",
			"Every Put makes a new version, even if value and expiry are the same, and the version before is no longer valid.",
			func(t *trial) {
				expiry := kv.ExpiresAt(t.clock.now().Add(time.Hour))
				seen := make(map[kv.Version]bool)
				var last kv.Version
				for i := range 4 {
					v := t.put("key", "same", expiry)
					if seen[v] {
						t.Errorf("Put %d returned a version that an earlier one returned", i)
					}
					if i > 0 {
						_, err := t.Put(t.ctx, "key", []byte("same"), expiry, kv.IfVersion(last))
						t.wantError("Put with IfVersion of the version before", err, kv.ErrConditionFailed)
					}
					seen[v], last = true, v
				}
			}),
		rule("versions/equal-value-by-batch",
			"Every PutMany makes new versions, even if the values are the same, and the versions before are no longer valid.",
			func(t *trial) {
				t.fillKeys("key")
				v := t.get("key").Version
				t.fillKeys("key")
				if t.get("key").Version == v {
					t.Errorf("PutMany of an equal value did not change the version")
				}
				_, err := t.Put(t.ctx, "key", nil, kv.IfVersion(v))
				t.wantError("Put with IfVersion of the version before", err, kv.ErrConditionFailed)
			}),
		rule("versions/expiry-alone",
			"A Put that changes only the expiry makes a new version.",
			func(t *trial) {
				v := t.put("key", "same")
				for _, opt := range []kv.PutOption{kv.TTL(time.Hour), kv.TTL(2 * time.Hour), kv.ExpiresAt(time.Time{})} {
					next := t.put("key", "same", opt)
					if next == v {
						t.Errorf("the version did not change with the expiry")
					}
					t.wantError("Delete with IfVersion of the version before", t.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrConditionFailed)
					v = next
				}
			}),
		rule("versions/chain",
			"The version that a Put returns is valid for the next Put.",
			func(t *trial) {
				v := t.put("key", "0", kv.IfNotExists())
				for i := range 8 {
					v = t.put("key", fmt.Sprint(i+1), kv.IfVersion(v))
				}
				t.wantEntry("Get", t.get("key"), "key", want{value: "8", version: v})
				t.delete("key", kv.IfVersion(v))
				t.wantAbsent("key")
			}),
		rule("versions/one-per-key",
			"A version belongs to its key: entries with equal values that were written together have different versions.",
			func(t *trial) {
				t.fill(kv.Item{Key: "a", Value: []byte("same")}, kv.Item{Key: "b", Value: []byte("same")})
				a, b := t.get("a").Version, t.get("b").Version
				if a == b || a.String() == b.String() {
					t.Errorf("two keys have one version")
				}
				t.put("a", "next", kv.IfVersion(a))
				t.put("b", "next", kv.IfVersion(b))
			}),
		rule("versions/text",
			"A version's text is printable ASCII without spaces, and ParseVersion returns the same version.",
			func(t *trial) {
				for _, opts := range [][]kv.PutOption{nil, {kv.TTL(time.Hour)}} {
					v := t.put("key", "value", opts...)
					text := v.String()
					if text == "" {
						t.Errorf("the version's text is empty")
					}
					for i := range len(text) {
						if text[i] <= ' ' || text[i] > '~' {
							t.Errorf("the version's text %q has byte %#x", text, text[i])
						}
					}
					parsed, err := kv.ParseVersion(text)
					if err != nil || parsed != v {
						t.Errorf("ParseVersion(%q) = %v, %v; want the version it came from", text, parsed, err)
					}
					t.put("key", "next", kv.IfVersion(parsed))
				}
			}),
		rule("versions/damaged-text",
			"ParseVersion returns ErrInvalidVersion for the text of a version that was cut, extended or changed, and for the empty text.",
			func(t *trial) {
				text := t.put("key", "value").String()
				damaged := []string{"", " ", text + "A", text + " ", " " + text, text + "\n", text + text, strings.Repeat(text, 10_000), "version", "1", "é"}
				for i := range len(text) {
					damaged = append(damaged, text[:i])
					for bit := range 7 {
						flipped := []byte(text)
						flipped[i] ^= 1 << bit
						damaged = append(damaged, string(flipped))
					}
				}
				for _, text := range damaged {
					if v, err := kv.ParseVersion(text); !errors.Is(err, kv.ErrInvalidVersion) || !v.IsZero() {
						t.Errorf("ParseVersion(%s) = %v, %v; want ErrInvalidVersion", short(text), v, err)
					}
				}
			}),
	}
	for _, from := range []struct {
		name string
		read func(t *trial) kv.Version
	}{
		{"put", func(t *trial) kv.Version { return t.put("key", "value") }},
		{"put-many", func(t *trial) kv.Version { return t.fill(kv.Item{Key: "key"})["key"] }},
		{"get", func(t *trial) kv.Version { return t.get("key").Version }},
		{"get-many", func(t *trial) kv.Version { return t.getMany("key")["key"].Version }},
		{"scan", func(t *trial) kv.Version { return only(t, t.scan("")).Version }},
		{"scan-keys-only", func(t *trial) kv.Version { return only(t, t.scan("", kv.KeysOnly())).Version }},
		{"scan-page", func(t *trial) kv.Version { return only(t, t.page("", 5, "").Entries).Version }},
	} {
		cases = append(cases, rule("versions/usable-from/"+from.name,
			"A version is valid for IfVersion of Put and Delete, whatever operation returned it.",
			func(t *trial) {
				t.fillKeys("key")
				t.put("key", "next", kv.IfVersion(from.read(t)))
				t.wantValue("key", "next")
				t.delete("key", kv.IfVersion(from.read(t)))
				t.wantAbsent("key")
			}))
	}
	return cases
}
