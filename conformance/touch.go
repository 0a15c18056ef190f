package conformance

import (
	"time"

	"github.com/skykv/skykv/kv"
)

func touchCases() []testCase {
	var cases []testCase
	for _, s := range states {
		cases = append(cases,
			rule("touch/none/"+s.name,
				"Touch sets the expiry of an entry and does not change its value. If there is no entry, it returns ErrNotFound and changes nothing. Here the key "+s.words+".",
				func(t *trial) {
					t.fillKeys("ke", "key1")
					_, was := t.prepare(s)
					at := t.clock.now().Add(time.Hour)
					v, err := t.Touch(t.ctx, "key", kv.TTL(time.Hour))
					if !s.live {
						t.wantError("Touch", err, kv.ErrNotFound)
						t.wantUnchanged(was)
						t.wantContent("ke", "key1")
						return
					}
					if err != nil {
						t.Fatalf("Touch: %v", err)
					}
					t.wantLive("key", want{string(was.entry.Value), v, at})
					_, err = t.Put(t.ctx, "key", nil, kv.IfVersion(was.entry.Version))
					t.wantError("Put with the version before the Touch", err, kv.ErrConditionFailed)
					t.clock.set(at)
					t.wantGone("key")
				}),
			rule("touch/if-version/"+s.name,
				"Touch with IfVersion sets the expiry only if the entry is still in the state that the version names. Otherwise it returns ErrConditionFailed and changes nothing. Here the key "+s.words+".",
				func(t *trial) {
					v, was := t.prepare(s)
					at := t.clock.now().Add(time.Hour)
					touched, err := t.Touch(t.ctx, "key", kv.TTL(time.Hour), kv.IfVersion(v))
					if !s.current {
						t.wantError("Touch", err, kv.ErrConditionFailed)
						t.wantUnchanged(was)
						return
					}
					if err != nil {
						t.Fatalf("Touch: %v", err)
					}
					t.wantLive("key", want{string(was.entry.Value), touched, at})
				}))
	}
	for _, f := range foreignVersions {
		cases = append(cases, rule("touch/if-version/"+f.name,
			"Touch with IfVersion of "+f.words+" returns ErrInvalidVersion before any I/O and changes nothing.",
			func(t *trial) {
				t.put("key", "old")
				v := f.make(t)
				was := t.situation()
				t.wantRefused("Touch", kv.ErrInvalidVersion, func() error {
					_, err := t.Touch(t.ctx, "key", kv.TTL(time.Hour), kv.IfVersion(v))
					return err
				})
				t.wantUnchanged(was)
			}))
	}
	return append(cases,
		rule("touch/values",
			"Touch does not change the value, whatever its length.",
			func(t *trial) {
				for _, n := range []int{0, 1, 1000, t.maxValueLen()} {
					value := string(make([]byte, n))
					t.put("key", value)
					v := t.touch("key", kv.TTL(time.Hour))
					t.wantEntry("Get", t.get("key"), "key", want{value, v, t.clock.now().Add(time.Hour)})
				}
			}),
		rule("touch/never-expires",
			"Touch with ExpiresAt of the zero time removes the expiry.",
			func(t *trial) {
				t.put("key", "value", kv.TTL(time.Second))
				v := t.touch("key", kv.ExpiresAt(time.Time{}))
				t.clock.advance(time.Hour)
				t.wantLive("key", want{"value", v, time.Time{}})
			}),
		rule("touch/sliding",
			"An entry that is touched again and again stays live, and each touch replaces the version.",
			func(t *trial) {
				v := t.put("key", "value", kv.TTL(time.Second))
				for range 5 {
					t.clock.advance(900 * time.Millisecond)
					t.wantValue("key", "value")
					next := t.touch("key", kv.TTL(time.Second), kv.IfVersion(v))
					_, err := t.Put(t.ctx, "key", nil, kv.IfVersion(v))
					t.wantError("Put with the version before", err, kv.ErrConditionFailed)
					v = next
				}
				t.put("key", "new", kv.IfVersion(v))
				t.wantValue("key", "new")
			}),
		rule("touch/options",
			"Touch needs exactly one expiry and takes at most one IfVersion. Anything else returns ErrInvalidOption before any I/O and changes nothing.",
			func(t *trial) {
				v := t.put("key", "old")
				was := t.situation()
				for name, opts := range map[string][]kv.TouchOption{
					"no option":      nil,
					"no expiry":      {kv.IfVersion(v)},
					"two expiries":   {kv.TTL(time.Hour), kv.ExpiresAt(time.Time{})},
					"two conditions": {kv.TTL(time.Hour), kv.IfVersion(v), kv.IfVersion(v)},
					"a nil option":   {kv.TTL(time.Hour), nil},
					"no unit":        {kv.TTL(30)},
					"the past":       {kv.ExpiresAt(t.clock.now())},
				} {
					t.wantRefused("Touch with "+name, kv.ErrInvalidOption, func() error {
						_, err := t.Touch(t.ctx, "key", opts...)
						return err
					})
				}
				t.wantUnchanged(was)
			}),
		rule("touch/race",
			"Exactly one of 16 concurrent touches of one version succeeds.",
			func(t *trial) {
				v := t.put("key", "old")
				t.winner(atOnce(16, func(int) error {
					return persist(func() error { _, err := t.Touch(t.ctx, "key", kv.TTL(time.Hour), kv.IfVersion(v)); return err })
				}))
				t.wantValue("key", "old")
			}),
	)
}
