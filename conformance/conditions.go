package conformance

import (
	"errors"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
)

// A state is what has become of a key before a write to it.
type state struct {
	name    string
	words   string
	live    bool // the key has an entry now
	current bool // and make's version is that entry's

	// make brings "key" into the state and returns a version that it had.
	make func(t *trial) kv.Version
}

var states = []state{
	{"absent", "never had an entry (the version is of another store)", false, false, func(t *trial) kv.Version {
		other := t.another()
		v, err := other.Put(t.ctx, "key", []byte("elsewhere"))
		if err == nil {
			err = other.Delete(t.ctx, "key") // the data may be shared
		}
		if err != nil {
			t.Fatalf("Put and Delete in another store: %v", err)
		}
		return v
	}},
	{"live", "has an entry", true, true, func(t *trial) kv.Version {
		return t.put("key", "old")
	}},
	{"live-with-expiry", "has an entry that will expire", true, true, func(t *trial) kv.Version {
		v := t.put("key", "old", kv.TTL(time.Minute))
		t.clock.advance(time.Minute - time.Millisecond)
		return v
	}},
	{"replaced", "has an entry that replaced an earlier one", true, false, func(t *trial) kv.Version {
		v := t.put("key", "older")
		t.put("key", "old")
		return v
	}},
	{"replaced-by-batch", "has an entry that PutMany put in place of an earlier one", true, false, func(t *trial) kv.Version {
		v := t.put("key", "older")
		t.fill(kv.Item{Key: "key", Value: []byte("old")})
		return v
	}},
	{"replaced-by-equal", "has an entry that replaced an earlier one of the same value", true, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		t.put("key", "old")
		return v
	}},
	{"expired", "had an entry that has expired", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old", kv.TTL(time.Second))
		t.clock.advance(time.Second)
		return v
	}},
	{"expired-for-long", "had an entry that expired a year ago", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old", kv.TTL(time.Second))
		t.clock.advance(365 * 24 * time.Hour)
		return v
	}},
	{"re-created-after-expiry", "had an entry that expired, and has a new one", true, false, func(t *trial) kv.Version {
		v := t.put("key", "older", kv.TTL(time.Second))
		t.clock.advance(time.Second)
		t.put("key", "old", kv.IfNotExists())
		return v
	}},
	{"deleted", "had an entry that was deleted", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		t.delete("key")
		return v
	}},
	{"deleted-by-batch", "had an entry that DeleteMany removed", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		if err := t.DeleteMany(t.ctx, []string{"key"}); err != nil {
			t.Fatalf("DeleteMany: %v", err)
		}
		return v
	}},
	{"re-created", "had an entry that was deleted, and has a new one of the same value", true, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		t.delete("key")
		t.put("key", "old", kv.IfNotExists())
		return v
	}},
}

// situation is what the reads of "key" say.
type situation struct {
	exists bool
	entry  kv.Entry
}

func (t *trial) situation() situation {
	e, err := t.Get(t.ctx, "key")
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("Get: %v", err)
	}
	return situation{err == nil, e}
}

// wantUnchanged checks that "key" is as it was.
func (t *trial) wantUnchanged(was situation) {
	is := t.situation()
	switch {
	case was.exists != is.exists:
		t.Errorf("the key has an entry: %v; it was %v before", is.exists, was.exists)
	case is.exists:
		t.wantEntry("Get", is.entry, "key", want{string(was.entry.Value), was.entry.Version, was.entry.ExpiresAt})
	}
}

// prepare makes the state, and checks that it is what it should be.
func (t *trial) prepare(s state) (kv.Version, situation) {
	v := s.make(t)
	was := t.situation()
	if was.exists != s.live {
		t.Fatalf("a key that %s has an entry: %v; want %v", s.words, was.exists, s.live)
	}
	if s.live && (was.entry.Version == v) != s.current {
		t.Errorf("for a key that %s, the first version names the entry: %v; want %v", s.words, was.entry.Version == v, s.current)
	}
	return v, was
}

func putCases() []testCase {
	var cases []testCase
	add := func(condition, holds, rule string, s state, ok bool, opts func(kv.Version) []kv.PutOption) {
		rule = fmt.Sprintf("Put %s succeeds %s. Here the key %s.", rule, holds, s.words)
		cases = append(cases, testCase{Case: Case{"put/" + condition + "/" + s.name, rule}, run: func(t *trial) {
			v, was := t.prepare(s)
			expires := t.clock.now().Add(time.Hour)
			got, err := t.Put(t.ctx, "key", []byte("new"), append(opts(v), kv.TTL(time.Hour))...)
			if !ok {
				t.wantError("Put", err, kv.ErrConditionFailed)
				if !got.IsZero() {
					t.Errorf("Put failed and returned a version")
				}
				t.wantUnchanged(was)
				return
			}
			if err != nil {
				t.Fatalf("Put: %v", err)
			}
			if got == was.entry.Version || got == v {
				t.Errorf("the version after the Put is one from before it")
			}
			t.wantEntry("Get", t.get("key"), "key", want{"new", got, expires})
		}})
	}
	for _, s := range states {
		add("none", "in every state of the key, and replaces value and expiry", "without a condition", s, true,
			func(kv.Version) []kv.PutOption { return nil })
	}
	for _, s := range states {
		add("if-not-exists", "only if the key is absent or expired, and otherwise returns ErrConditionFailed and changes nothing", "with IfNotExists", s, !s.live,
			func(kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfNotExists()} })
	}
	for _, s := range states {
		add("if-version", "only if the entry is still in the state that the version names, and otherwise returns ErrConditionFailed and changes nothing", "with IfVersion", s, s.current,
			func(v kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfVersion(v)} })
	}
	for _, f := range foreignVersions {
		cases = append(cases, rule("put/if-version/"+f.name,
			"Put with IfVersion of "+f.words+" returns ErrInvalidVersion before any I/O and changes nothing.",
			func(t *trial) {
				t.put("key", "old")
				v := f.make(t)
				was := t.situation()
				t.wantRefused("Put", kv.ErrInvalidVersion, func() error {
					_, err := t.Put(t.ctx, "key", []byte("new"), kv.IfVersion(v))
					return err
				})
				t.wantUnchanged(was)
			}))
	}
	return append(cases,
		rule("put/two-conditions",
			"Put takes one condition, once: two return ErrInvalidOption before any I/O and change nothing.",
			func(t *trial) {
				v := t.put("key", "old")
				was := t.situation()
				for i, opts := range [][]kv.PutOption{
					{kv.IfNotExists(), kv.IfVersion(v)},
					{kv.IfVersion(v), kv.IfNotExists()},
					{kv.IfVersion(v), kv.IfVersion(v)},
					{kv.IfNotExists(), kv.IfNotExists()},
					{nil},
				} {
					t.wantRefused(fmt.Sprintf("Put, combination %d", i), kv.ErrInvalidOption, func() error {
						_, err := t.Put(t.ctx, "key", []byte("new"), opts...)
						return err
					})
				}
				t.wantUnchanged(was)
			}),
		rule("put/other-keys-untouched",
			"Put touches no key but its own, whether its condition holds or not.",
			func(t *trial) {
				t.fillKeys("k", "ke", "key1", "keys", "l")
				t.put("key", "a")
				t.put("key", "b", kv.IfVersion(t.put("key", "c")))
				_, err := t.Put(t.ctx, "key", nil, kv.IfNotExists())
				t.wantError("Put with IfNotExists of a live key", err, kv.ErrConditionFailed)
				for _, e := range t.scan("") {
					if e.Key != "key" {
						t.wantEntry("Scan", e, e.Key, want{value: e.Key})
					}
				}
				t.wantContent("k", "ke", "key", "key1", "keys", "l")
			}),
		rule("put/if-not-exists/response-lost",
			"A put-if-absent whose response is lost and whose retry finds its own write is a success.",
			func(t *trial) { t.testResponseLost(kv.IfNotExists()) }),
		rule("put/if-not-exists/response-lost-of-takeover",
			"A put-if-absent that takes over an expired entry, whose response is lost and whose retry finds its own write, is a success.",
			func(t *trial) {
				t.put("key", "old", kv.TTL(time.Second))
				t.clock.advance(time.Second)
				t.testResponseLost(kv.IfNotExists())
			}),
		rule("put/if-version/response-lost",
			"A compare-and-swap whose response is lost and whose retry finds its own write is a success.",
			func(t *trial) { t.testResponseLost(kv.IfVersion(t.put("key", "old"))) }),
		rule("put/none/response-lost",
			"An unconditional Put whose response is lost is applied again by the retry, and is a success.",
			func(t *trial) { t.testResponseLost(nil) }),
		rule("put/if-not-exists/replaced-before-retry",
			"A put-if-absent whose response is lost and whose retry finds somebody else's write is ErrIndeterminate, not ErrConditionFailed.",
			func(t *trial) { t.testReplacedBeforeRetry(kv.IfNotExists()) }),
		rule("put/if-version/replaced-before-retry",
			"A compare-and-swap whose response is lost and whose retry finds somebody else's write is ErrIndeterminate, not ErrConditionFailed.",
			func(t *trial) { t.testReplacedBeforeRetry(kv.IfVersion(t.put("key", "old"))) }),
		rule("put/if-version/deleted-before-retry",
			"A compare-and-swap whose response is lost and whose retry finds no entry is ErrIndeterminate, not ErrConditionFailed.",
			func(t *trial) {
				v := t.put("key", "old")
				lost := t.with(kv.Wrap(kv.Level1, losingResponses(func() { t.delete("key") })))
				_, err := lost.Put(t.ctx, "key", []byte("new"), kv.IfVersion(v))
				t.wantError("Put", err, kv.ErrIndeterminate)
				t.wantAbsent("key")
			}),
	)
}

// testResponseLost puts under cond, which holds, and loses the first response.
func (t *trial) testResponseLost(cond kv.PutOption) {
	opts := []kv.PutOption{kv.TTL(time.Hour)}
	if cond != nil {
		opts = append(opts, cond)
	}
	lost := t.with(kv.Wrap(kv.Level1, losingResponses(nil)))
	v, err := lost.Put(t.ctx, "key", []byte("new"), opts...)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	t.wantEntry("Get", t.get("key"), "key", want{"new", v, t.clock.now().Add(time.Hour)})
	t.put("key", "newer", kv.IfVersion(v))
}

// testReplacedBeforeRetry puts under cond, which holds, loses the first response,
// and has somebody else replace the entry before the retry.
func (t *trial) testReplacedBeforeRetry(cond kv.PutOption) {
	lost := t.with(kv.Wrap(kv.Level1, losingResponses(func() { t.put("key", "somebody else's") })))
	_, err := lost.Put(t.ctx, "key", []byte("new"), cond)
	t.wantError("Put", err, kv.ErrIndeterminate)
	if errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("Put: the error %v matches ErrConditionFailed, though the put may have been applied", err)
	}
	t.wantValue("key", "somebody else's")
}

func deleteCases() []testCase {
	var cases []testCase
	for _, s := range states {
		cases = append(cases, rule("delete/none/"+s.name,
			"Delete without a condition removes the entry if there is one; deleting an absent key is no error. Here the key "+s.words+".",
			func(t *trial) {
				t.fillKeys("ke", "key1")
				t.prepare(s)
				if err := t.Delete(t.ctx, "key"); err != nil {
					t.Errorf("Delete: %v", err)
				}
				t.wantAbsent("key")
				t.wantContent("ke", "key1")
			}))
	}
	for _, s := range states {
		cases = append(cases, rule("delete/if-version/"+s.name,
			"Delete with IfVersion removes the entry only if it is still in the state that the version names, and otherwise returns ErrConditionFailed and changes nothing. Here the key "+s.words+".",
			func(t *trial) {
				v, was := t.prepare(s)
				err := t.Delete(t.ctx, "key", kv.IfVersion(v))
				if !s.current {
					t.wantError("Delete", err, kv.ErrConditionFailed)
					t.wantUnchanged(was)
					return
				}
				if err != nil {
					t.Errorf("Delete: %v", err)
				}
				t.wantAbsent("key")
			}))
	}
	for _, f := range foreignVersions {
		cases = append(cases, rule("delete/if-version/"+f.name,
			"Delete with IfVersion of "+f.words+" returns ErrInvalidVersion before any I/O and changes nothing.",
			func(t *trial) {
				t.put("key", "old")
				v := f.make(t)
				was := t.situation()
				t.wantRefused("Delete", kv.ErrInvalidVersion, func() error {
					return t.Delete(t.ctx, "key", kv.IfVersion(v))
				})
				t.wantUnchanged(was)
			}))
	}
	return append(cases,
		rule("delete/two-conditions",
			"Delete takes one condition: two return ErrInvalidOption before any I/O and change nothing.",
			func(t *trial) {
				v := t.put("key", "old")
				was := t.situation()
				t.wantRefused("Delete", kv.ErrInvalidOption, func() error {
					return t.Delete(t.ctx, "key", kv.IfVersion(v), kv.IfVersion(v))
				})
				t.wantRefused("Delete with a nil option", kv.ErrInvalidOption, func() error {
					return t.Delete(t.ctx, "key", nil)
				})
				t.wantUnchanged(was)
			}),
		rule("delete/twice",
			"The second of two unconditional deletes is no error, the second of two with the same version is ErrConditionFailed.",
			func(t *trial) {
				t.put("key", "value")
				t.delete("key")
				if err := t.Delete(t.ctx, "key"); err != nil {
					t.Errorf("the second Delete: %v", err)
				}
				v := t.put("key", "value")
				t.delete("key", kv.IfVersion(v))
				t.wantError("the second Delete with IfVersion", t.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrConditionFailed)
			}),
		rule("delete/if-version/response-lost",
			"A conditional delete whose response is lost and whose retry finds the condition failed is ErrIndeterminate: a delete leaves no trace of who made it.",
			func(t *trial) {
				v := t.put("key", "old")
				lost := t.with(kv.Wrap(kv.Level1, losingResponses(nil)))
				t.wantError("Delete", lost.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrIndeterminate)
				t.wantAbsent("key")
			}),
		rule("delete/none/response-lost",
			"An unconditional delete whose response is lost is applied again by the retry, and is a success.",
			func(t *trial) {
				t.put("key", "old")
				lost := t.with(kv.Wrap(kv.Level1, losingResponses(nil)))
				if err := lost.Delete(t.ctx, "key"); err != nil {
					t.Errorf("Delete: %v", err)
				}
				t.wantAbsent("key")
			}),
	)
}

// foreignVersions are versions that cannot be one of "key"'s.
var foreignVersions = []struct {
	name  string
	words string
	make  func(t *trial) kv.Version
}{
	{"zero", "the zero Version", func(t *trial) kv.Version { return kv.Version{} }},
	{"other-key", "another key's version", func(t *trial) kv.Version { return t.put("other", "old") }},
	{"other-provider", "another provider's version", func(t *trial) kv.Version {
		other := t.with(kv.Wrap(kv.Level1, named("another-provider")))
		v, err := other.Put(t.ctx, "key", []byte("old"))
		if err != nil {
			t.Fatalf("Put through a driver of another name: %v", err)
		}
		return v
	}},
}

func getCases() []testCase {
	var cases []testCase
	for _, s := range states {
		cases = append(cases, rule("get/"+s.name,
			"Get, Exists, GetMany and the scans agree on what there is, and strictly so after each write; an expired entry is absent. Here the key "+s.words+".",
			func(t *trial) {
				_, was := t.prepare(s)
				if !s.live {
					t.wantGone("key")
					return
				}
				t.wantLive("key", want{"old", was.entry.Version, was.entry.ExpiresAt})
			}))
	}
	return append(cases,
		rule("get/own-writes",
			"Reads are strongly consistent: every read sees the last acknowledged write.",
			func(t *trial) {
				for i := range 5 {
					value := fmt.Sprintf("value %d", i)
					v := t.put("key", value)
					t.wantEntry("Get", t.get("key"), "key", want{value: value, version: v})
					t.delete("key")
					t.wantAbsent("key")
				}
			}),
		rule("get/own-writes-exists",
			"Exists is strongly consistent: it sees the last acknowledged write.",
			func(t *trial) {
				for range 5 {
					t.put("key", "value")
					if ok, err := t.Exists(t.ctx, "key"); !ok || err != nil {
						t.Errorf("Exists after Put = %v, %v", ok, err)
					}
					t.delete("key")
					if ok, err := t.Exists(t.ctx, "key"); ok || err != nil {
						t.Errorf("Exists after Delete = %v, %v", ok, err)
					}
				}
			}),
		rule("get/own-writes-get-many",
			"GetMany is strongly consistent: it sees the last acknowledged writes.",
			func(t *trial) {
				for i := range 5 {
					value := fmt.Sprintf("value %d", i)
					t.fill(kv.Item{Key: "a", Value: []byte(value)}, kv.Item{Key: "b", Value: []byte(value)})
					t.delete("b")
					entries := t.getMany("a", "b")
					t.wantEntry("GetMany", entries["a"], "a", want{value: value})
					if _, ok := entries["b"]; ok {
						t.Errorf("GetMany returns an entry that was deleted")
					}
				}
			}),
		rule("get/own-writes-scan",
			"Scans are strongly consistent: they see the last acknowledged writes.",
			func(t *trial) {
				for i := range 5 {
					value := fmt.Sprintf("value %d", i)
					v := t.put("a", value)
					t.put("b", value)
					t.delete("b")
					entries := t.scan("")
					t.wantKeys("Scan", entries, []string{"a"})
					for _, e := range entries {
						t.wantEntry("Scan", e, "a", want{value: value, version: v})
					}
				}
			}),
	)
}

func versionCases() []testCase {
	cases := []testCase{
		rule("versions/stable",
			"Reading changes no version: whatever reads the entry returns that of the last write.",
			func(t *trial) {
				v := t.put("key", "value", kv.TTL(time.Hour))
				w := want{"value", v, t.clock.now().Add(time.Hour)}
				t.wantLive("key", w)
				t.wantLive("key", w)
			}),
		rule("versions/equal-value",
			"Every Put gives a new version, also of an equal value and expiry, and ends the version before.",
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
			"Every PutMany gives new versions, also of equal values, and ends the versions before.",
			func(t *trial) {
				t.fillKeys("key")
				v := t.get("key").Version
				t.fillKeys("key")
				if t.get("key").Version == v {
					t.Errorf("the version after PutMany of an equal value is that from before")
				}
				_, err := t.Put(t.ctx, "key", nil, kv.IfVersion(v))
				t.wantError("Put with IfVersion of the version before", err, kv.ErrConditionFailed)
			}),
		rule("versions/expiry-alone",
			"A Put that changes the expiry alone gives a new version.",
			func(t *trial) {
				v := t.put("key", "same")
				for _, opt := range []kv.PutOption{kv.TTL(time.Hour), kv.TTL(2 * time.Hour), kv.ExpiresAt(time.Time{})} {
					next := t.put("key", "same", opt)
					if next == v {
						t.Errorf("the version is that from before the expiry changed")
					}
					t.wantError("Delete with IfVersion of the version before", t.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrConditionFailed)
					v = next
				}
			}),
		rule("versions/chain",
			"The version that a Put returns serves the next one.",
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
			"A version belongs to its key: entries of equal value that were written together have different ones.",
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
			"A version's text is printable ASCII without spaces, and ParseVersion gives the same version back.",
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
			"Text of a version that was cut, extended or changed is ErrInvalidVersion, and so is the empty text.",
			func(t *trial) {
				text := t.put("key", "value").String()
				damaged := []string{"", " ", text + "A", text + " ", " " + text, text + "\n", text + text, "version", "1", "é"}
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
						t.Errorf("ParseVersion(%q) = %v, %v; want ErrInvalidVersion", text, v, err)
					}
				}
			}),
	}
	for _, from := range []struct {
		name string
		read func(t *trial) kv.Version
	}{
		{"put", func(t *trial) kv.Version { return t.put("key", "value") }},
		{"get", func(t *trial) kv.Version { return t.get("key").Version }},
		{"get-many", func(t *trial) kv.Version { return t.getMany("key")["key"].Version }},
		{"scan", func(t *trial) kv.Version { return only(t, t.scan("")).Version }},
		{"scan-keys-only", func(t *trial) kv.Version { return only(t, t.scan("", kv.KeysOnly())).Version }},
		{"scan-page", func(t *trial) kv.Version { return only(t, t.page("", 5, "").Entries).Version }},
	} {
		cases = append(cases, rule("versions/usable-from/"+from.name,
			"The version serves IfVersion whatever operation it came from, for Put and for Delete.",
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

func only(t *trial, entries []kv.Entry) kv.Entry {
	if len(entries) != 1 {
		t.Fatalf("%d entries; want 1", len(entries))
	}
	return entries[0]
}
