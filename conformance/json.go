package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// document is the type of the values that the cases of kv.JSON store.
type document struct {
	Name  string
	Count int64
	Tags  []string
	Data  []byte
}

func (d document) equal(e document) bool { return fmt.Sprint(d) == fmt.Sprint(e) }

func jsonCases() []testCase {
	first := document{"Ærø <&> \u2028", -7, []string{"a", ""}, []byte{0, 255}}
	second := document{Name: "second", Count: 1 << 50}
	view := func(t *trial) *kv.Typed[document] { return kv.JSON[document](t.observed(t.opened)) }
	return []testCase{
		rule("json/round-trip",
			"The typed view stores values as JSON and returns them equal, with version and expiry.",
			func(t *trial) {
				docs := view(t)
				v, err := docs.Put(t.ctx, "key", first, kv.TTL(time.Hour))
				if err != nil {
					t.Fatalf("Put: %v", err)
				}
				e, err := docs.Get(t.ctx, "key")
				if err != nil {
					t.Fatalf("Get: %v", err)
				}
				if e.Key != "key" || !e.Value.equal(first) || e.Version != v || !e.ExpiresAt.Equal(t.clock.now().Add(time.Hour)) {
					t.Errorf("Get = %+v; want %+v with version and expiry", e, first)
				}
				_, err = docs.Get(t.ctx, "absent")
				t.wantError("Get of an absent key", err, kv.ErrNotFound)
			}),
		rule("json/conditions",
			"The typed view's methods take the same conditions with the same results.",
			func(t *trial) {
				docs := view(t)
				v, err := docs.Put(t.ctx, "key", first, kv.IfNotExists())
				if err != nil {
					t.Fatalf("Put with IfNotExists: %v", err)
				}
				_, err = docs.Put(t.ctx, "key", second, kv.IfNotExists())
				t.wantError("Put with IfNotExists of a live key", err, kv.ErrConditionFailed)
				if _, err = docs.Put(t.ctx, "key", second, kv.IfVersion(v)); err != nil {
					t.Fatalf("Put with IfVersion: %v", err)
				}
				_, err = docs.Put(t.ctx, "key", first, kv.IfVersion(v))
				t.wantError("Put with a stale version", err, kv.ErrConditionFailed)
				if e, err := docs.Get(t.ctx, "key"); err != nil || !e.Value.equal(second) {
					t.Errorf("Get = %+v, %v; want %+v", e.Value, err, second)
				}
			}),
		rule("json/scans-and-batches",
			"The typed view stores many entries and returns their versions. Its scans, pages and batches return decoded values.",
			func(t *trial) {
				docs := view(t)
				versions, err := docs.PutMany(t.ctx, []kv.ItemOf[document]{{Key: "a", Value: first}, {Key: "b", Value: second, TTL: time.Hour}})
				if err != nil {
					t.Fatalf("PutMany: %v", err)
				}
				t.wantVersions(versions, "a", "b")
				check := func(how, key string, d document) {
					if w := map[string]document{"a": first, "b": second}[key]; !d.equal(w) {
						t.Errorf("%s of %q = %+v; want %+v", how, key, d, w)
					}
				}
				var keys []string
				for e, err := range docs.Scan(t.ctx, "") {
					if err != nil {
						t.Fatalf("Scan: %v", err)
					}
					keys = append(keys, e.Key)
					check("Scan", e.Key, e.Value)
				}
				if strings.Join(keys, " ") != "a b" {
					t.Errorf("Scan yields %q; want a and b", keys)
				}
				page, err := docs.ScanPage(t.ctx, "", 1, "")
				if err != nil || len(page.Entries) != 1 || page.Next == "" {
					t.Fatalf("ScanPage = %d entries, Next %q, %v; want one of two", len(page.Entries), page.Next, err)
				}
				check("ScanPage", page.Entries[0].Key, page.Entries[0].Value)
				entries, err := docs.GetMany(t.ctx, []string{"a", "b", "c"})
				if err != nil || len(entries) != 2 {
					t.Fatalf("GetMany = %d entries, %v; want 2", len(entries), err)
				}
				for key, e := range entries {
					check("GetMany", key, e.Value)
				}
			}),
		rule("json/no-json",
			"If a value is not JSON of the view's type, the error is ErrInvalidValue, and no message quotes the value. A scan goes on after it.",
			func(t *trial) {
				docs := view(t)
				t.put("a", `{"Name":"good"}`)
				t.put("b", "secret-value")
				t.put("c", `{"Name":"good too"}`)
				_, err := docs.Get(t.ctx, "b")
				t.wantError("Get", err, kv.ErrInvalidValue)
				t.wantNoSecret("Get", err)
				_, err = docs.GetMany(t.ctx, []string{"a", "b", "c"})
				t.wantFailedJSON("GetMany", err)
				seen := ""
				for e, err := range docs.Scan(t.ctx, "") {
					if err != nil {
						t.wantFailedJSON("Scan", err)
						if e.Key != "b" {
							t.Errorf("Scan: the error %v comes with the key %q; want b", err, e.Key)
						}
						continue
					}
					seen += e.Key
				}
				if seen != "ac" {
					t.Errorf("Scan yields the entries of %q; want a and c", seen)
				}
			}),
		rule("json/not-encodable",
			"A value that cannot be encoded is refused with ErrInvalidValue before any I/O, and changes nothing.",
			func(t *trial) {
				t.put("key", "old")
				channels := kv.JSON[chan int](t.observed(t.opened))
				t.wantRefused("Put", kv.ErrInvalidValue, func() error {
					_, err := channels.Put(t.ctx, "key", make(chan int))
					return err
				})
				t.wantRefused("PutMany", kv.ErrInvalidValue, func() error {
					_, err := channels.PutMany(t.ctx, []kv.ItemOf[chan int]{{Key: "key"}, {Key: "other", Value: make(chan int)}})
					return err
				})
				t.wantContent("key")
				t.wantValue("key", "old")
			}),
	}
}

func (t *trial) wantFailedJSON(what string, err error) {
	t.wantError(what, err, kv.ErrInvalidValue)
	t.wantNoSecret(what, err)
}
