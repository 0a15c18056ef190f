package conformance

import (
	"errors"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
)

func putCases() []testCase {
	var cases []testCase
	add := func(condition, holds, words string, s state, ok bool, opts func(kv.Version) []kv.PutOption) {
		cases = append(cases, rule("put/"+condition+"/"+s.name, fmt.Sprintf("Put %s succeeds %s. Here the key %s.", words, holds, s.words), func(t *trial) {
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
				t.Errorf("the version after the Put is an earlier one")
			}
			t.wantEntry("Get", t.get("key"), "key", want{"new", got, expires})
		}))
	}
	for _, s := range states {
		add("none", "in every state of the key, and replaces value and expiry", "without a condition", s, true,
			func(kv.Version) []kv.PutOption { return nil })
	}
	for _, s := range states {
		add("if-not-exists", "only if the key is absent or expired. Otherwise it returns ErrConditionFailed and changes nothing", "with IfNotExists", s, !s.live,
			func(kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfNotExists()} })
	}
	for _, s := range states {
		add("if-version", "only if the entry is still in the state that the version names. Otherwise it returns ErrConditionFailed and changes nothing", "with IfVersion", s, s.current,
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
			"Put takes at most one condition. Two conditions return ErrInvalidOption before any I/O and change nothing.",
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
			"Put changes no key but its own, whether its condition holds or not.",
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
			"If the response to a put-if-absent is lost and the retry finds its own write, it succeeds.",
			func(t *trial) { t.testResponseLost(kv.IfNotExists()) }),
		rule("put/if-not-exists/response-lost-of-takeover",
			"If the response to a put-if-absent of an expired entry is lost and the retry finds its own write, it succeeds.",
			func(t *trial) {
				t.put("key", "old", kv.TTL(time.Second))
				t.clock.advance(time.Second)
				t.testResponseLost(kv.IfNotExists())
			}),
		rule("put/if-version/response-lost",
			"If the response to a compare-and-swap is lost and the retry finds its own write, it succeeds.",
			func(t *trial) { t.testResponseLost(kv.IfVersion(t.put("key", "old"))) }),
		rule("put/none/response-lost",
			"If the response to an unconditional Put is lost, the retry applies it again, and it succeeds.",
			func(t *trial) { t.testResponseLost(nil) }),
		rule("put/if-not-exists/replaced-before-retry",
			"If the response to a put-if-absent is lost and the retry finds somebody else's write, the error is ErrIndeterminate, not ErrConditionFailed.",
			func(t *trial) { t.testReplacedBeforeRetry(kv.IfNotExists()) }),
		rule("put/if-version/replaced-before-retry",
			"If the response to a compare-and-swap is lost and the retry finds somebody else's write, the error is ErrIndeterminate, not ErrConditionFailed.",
			func(t *trial) { t.testReplacedBeforeRetry(kv.IfVersion(t.put("key", "old"))) }),
		rule("put/if-version/deleted-before-retry",
			"If the response to a compare-and-swap is lost and the retry finds no entry, the error is ErrIndeterminate, not ErrConditionFailed.",
			func(t *trial) {
				v := t.put("key", "old")
				lost := t.with(kv.Wrap(kv.Level1, losingResponses(func() { t.delete("key") })))
				_, err := lost.Put(t.ctx, "key", []byte("new"), kv.IfVersion(v))
				t.wantError("Put", err, kv.ErrIndeterminate)
				t.wantAbsent("key")
			}),
	)
}

// testResponseLost makes a Put with cond, which holds, and loses the first response. cond may be
// nil.
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

// testReplacedBeforeRetry makes a Put with cond, which holds, and loses the first response.
// Before the retry somebody else replaces the entry.
func (t *trial) testReplacedBeforeRetry(cond kv.PutOption) {
	lost := t.with(kv.Wrap(kv.Level1, losingResponses(func() { t.put("key", "somebody else's") })))
	_, err := lost.Put(t.ctx, "key", []byte("new"), cond)
	t.wantError("Put", err, kv.ErrIndeterminate)
	if errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("Put: the error %v matches ErrConditionFailed, although the put may have been applied", err)
	}
	t.wantValue("key", "somebody else's")
}
