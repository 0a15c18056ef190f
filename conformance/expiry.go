package conformance

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/skykv/skykv/kv"
)

const year = 365 * 24 * time.Hour

func expiryCases() []testCase {
	var cases []testCase
	for _, ttl := range []struct {
		name string
		d    time.Duration
	}{
		{"1ms", time.Millisecond},
		{"999ms", 999 * time.Millisecond},
		{"1s", time.Second},
		{"1s-and-1ms", 1001 * time.Millisecond},
		{"1m", time.Minute},
		{"10y", 10 * year},
		{"longest", time.Duration(math.MaxInt64).Truncate(time.Millisecond)},
	} {
		cases = append(cases, rule("expiry/ttl/"+ttl.name,
			"An entry is live until the millisecond before now + ttl. From that instant it is absent to every operation.",
			func(t *trial) {
				at := t.clock.now().Add(ttl.d)
				v := t.put("key", "value", kv.TTL(ttl.d))
				t.testExpiry(at, want{"value", v, at})
			}))
	}
	cases = append(cases,
		rule("expiry/put-many",
			"TTL and ExpiresAt of an item of a batch mean the same as for Put, for that item alone.",
			func(t *trial) {
				now := t.clock.now()
				t.fill(
					kv.Item{Key: "never", Value: []byte("1")},
					kv.Item{Key: "ttl", Value: []byte("2"), TTL: 999 * time.Millisecond},
					kv.Item{Key: "at", Value: []byte("3"), ExpiresAt: now.Add(time.Second)},
				)
				t.wantLive("never", want{value: "1"})
				t.wantLive("ttl", want{value: "2", expiresAt: now.Add(999 * time.Millisecond)})
				t.wantLive("at", want{value: "3", expiresAt: now.Add(time.Second)})
				t.clock.set(now.Add(999 * time.Millisecond))
				t.wantContent("at", "never")
				t.wantGone("ttl")
				t.clock.set(now.Add(time.Second))
				t.wantContent("never")
				t.wantGone("at")
			}),
		rule("expiry/absolute",
			"ExpiresAt sets the instant itself, in any time zone.",
			func(t *trial) {
				at := t.clock.now().Add(90 * time.Second)
				v := t.put("key", "value", kv.ExpiresAt(at.In(time.FixedZone("somewhere", -7*60*60))))
				t.testExpiry(at, want{"value", v, at})
			}),
		rule("expiry/rounded-up/ttl",
			"The instant of expiry is now + ttl rounded up to the millisecond.",
			func(t *trial) {
				now := t.clock.now()
				t.clock.advance(300 * time.Microsecond)
				for _, r := range []struct {
					ttl  time.Duration
					want time.Duration
				}{
					{time.Millisecond, 2 * time.Millisecond},
					{1700 * time.Microsecond, 2 * time.Millisecond},
					{1700*time.Microsecond + 1, 3 * time.Millisecond},
					{time.Second, 1001 * time.Millisecond},
				} {
					v := t.put("key", "value", kv.TTL(r.ttl))
					t.wantEntry("Get", t.get("key"), "key", want{"value", v, now.Add(r.want)})
				}
			}),
		rule("expiry/rounded-up/absolute",
			"An instant between two milliseconds is rounded up.",
			func(t *trial) {
				at := t.clock.now().Add(time.Second)
				for _, sub := range []time.Duration{1, 500 * time.Microsecond, time.Millisecond - 1} {
					v := t.put("key", "value", kv.ExpiresAt(at.Add(sub)))
					t.wantEntry("Get", t.get("key"), "key", want{"value", v, at.Add(time.Millisecond)})
				}
			}),
		rule("expiry/judged-below-the-millisecond",
			"An entry is live before its instant of expiry, and absent in the millisecond of that instant.",
			func(t *trial) {
				at := t.clock.now().Add(time.Second)
				t.put("key", "value", kv.ExpiresAt(at))
				t.clock.set(at.Add(-1))
				t.wantValue("key", "value")
				t.clock.set(at.Add(time.Millisecond - 1))
				t.wantAbsent("key")
			}),
		rule("expiry/every-millisecond",
			"The expiry is exact to the millisecond, whatever the service's resolution.",
			func(t *trial) {
				base := t.clock.now().Truncate(time.Second).Add(time.Hour)
				var items []kv.Item
				var keys []string
				for _, ms := range []int{0, 1, 9, 10, 99, 100, 123, 499, 500, 501, 990, 998, 999} {
					keys = append(keys, fmt.Sprintf("key:%03d", ms))
					items = append(items, kv.Item{Key: keys[len(keys)-1], ExpiresAt: base.Add(time.Duration(ms) * time.Millisecond)})
				}
				t.fill(items...)
				read := t.getMany(keys...)
				for _, item := range items {
					t.wantMeta("GetMany", read[item.Key], item.Key, want{expiresAt: item.ExpiresAt})
				}
			}),
		rule("expiry/none",
			"Without TTL and ExpiresAt an entry does not expire, nor with ExpiresAt of the zero time. Its ExpiresAt is the zero time.",
			func(t *trial) {
				t.put("plain", "value")
				t.put("zero", "value", kv.ExpiresAt(time.Time{}))
				t.fill(kv.Item{Key: "batch", Value: []byte("value")})
				for range 2 {
					for _, key := range []string{"plain", "zero", "batch"} {
						t.wantLive(key, want{value: "value"})
					}
					t.clock.advance(100 * year)
				}
			}),
		rule("expiry/latest",
			"kv.MaxExpiry is the last legal instant, and reads return it exactly.",
			func(t *trial) {
				v := t.put("key", "value", kv.ExpiresAt(kv.MaxExpiry))
				t.testExpiry(kv.MaxExpiry, want{"value", v, kv.MaxExpiry})
			}),
		rule("expiry/utc",
			"ExpiresAt is in UTC and in whole milliseconds, from every operation that reads.",
			func(t *trial) {
				t.put("key", "value", kv.ExpiresAt(t.clock.now().Add(time.Hour+1).In(time.FixedZone("somewhere", 5*60*60))))
				for how, e := range map[string]kv.Entry{
					"Get":             t.get("key"),
					"GetMany":         t.getMany("key")["key"],
					"Scan":            only(t, t.scan("")),
					"Scan, keys only": only(t, t.scan("", kv.KeysOnly())),
					"ScanPage":        only(t, t.page("", 1, "").Entries),
				} {
					if e.ExpiresAt.Location() != time.UTC || e.ExpiresAt.Nanosecond()%int(time.Millisecond) != 0 {
						t.Errorf("%s: ExpiresAt is %v; want UTC and whole milliseconds", how, e.ExpiresAt)
					}
				}
			}),
		rule("expiry/removed",
			"Put without TTL and ExpiresAt removes the expiry that the entry had.",
			func(t *trial) {
				t.put("key", "old", kv.TTL(time.Second))
				v := t.put("key", "new")
				t.wantEntry("Get", t.get("key"), "key", want{value: "new", version: v})
				t.clock.advance(time.Hour)
				t.wantLive("key", want{value: "new", version: v})
			}),
		rule("expiry/removed-by-put-many",
			"An item of PutMany without TTL and ExpiresAt removes the expiry that the entry had.",
			func(t *trial) {
				t.put("key", "old", kv.TTL(time.Second))
				t.fillKeys("key")
				t.clock.advance(time.Hour)
				t.wantLive("key", want{value: "key"})
			}),
		rule("expiry/removed-by-compare-and-swap",
			"A compare-and-swap without TTL and ExpiresAt removes the expiry that the entry had.",
			func(t *trial) {
				v := t.put("key", "new", kv.IfVersion(t.put("key", "old", kv.TTL(time.Second))))
				t.clock.advance(time.Hour)
				t.wantLive("key", want{value: "new", version: v})
			}),
		rule("expiry/kept",
			"ExpiresAt(entry.ExpiresAt) keeps the expiry exactly, and keeps an entry without expiry without one.",
			func(t *trial) {
				at := t.clock.now().Add(1234567 * time.Millisecond)
				t.put("key", "0", kv.ExpiresAt(at))
				for i := range 3 {
					e := t.get("key")
					v := t.put("key", fmt.Sprint(i+1), kv.IfVersion(e.Version), kv.ExpiresAt(e.ExpiresAt))
					t.wantEntry("Get", t.get("key"), "key", want{fmt.Sprint(i + 1), v, at})
					t.clock.advance(time.Second)
				}
				t.put("forever", "0")
				v := t.put("forever", "1", kv.ExpiresAt(t.get("forever").ExpiresAt))
				t.wantEntry("Get", t.get("forever"), "forever", want{value: "1", version: v})
			}),
		rule("expiry/replaced",
			"Put replaces the expiry with an earlier one or a later one.",
			func(t *trial) {
				now := t.clock.now()
				t.put("earlier", "old", kv.TTL(time.Hour))
				t.put("later", "old", kv.TTL(time.Second))
				t.put("earlier", "new", kv.TTL(time.Minute))
				t.put("later", "new", kv.TTL(time.Hour))
				t.clock.advance(time.Minute)
				t.wantAbsent("earlier")
				t.wantLive("later", want{value: "new", expiresAt: now.Add(time.Hour)})
			}),
		rule("expiry/of-re-created",
			"An entry that replaced an expired entry has its own expiry or none, never the old one.",
			func(t *trial) {
				t.put("a", "old", kv.TTL(time.Second))
				t.put("b", "old", kv.TTL(time.Second))
				t.put("c", "old", kv.TTL(time.Second))
				t.clock.advance(time.Second)
				t.put("a", "new", kv.IfNotExists())
				t.put("b", "new")
				t.put("c", "new", kv.IfNotExists(), kv.TTL(2*time.Hour))
				t.clock.advance(time.Hour)
				t.wantLive("a", want{value: "new"})
				t.wantLive("b", want{value: "new"})
				t.wantLive("c", want{value: "new", expiresAt: t.clock.now().Add(time.Hour)})
			}),
		rule("expiry/unchanged-by-failed-condition",
			"A Put whose condition fails does not change the expiry.",
			func(t *trial) {
				v := t.put("key", "old", kv.TTL(time.Minute))
				v2 := t.put("key", "old", kv.TTL(time.Minute))
				at := t.clock.now().Add(time.Minute)
				_, err := t.Put(t.ctx, "key", []byte("new"), kv.IfNotExists(), kv.TTL(time.Hour))
				t.wantError("Put with IfNotExists", err, kv.ErrConditionFailed)
				_, err = t.Put(t.ctx, "key", []byte("new"), kv.IfVersion(v), kv.TTL(time.Second))
				t.wantError("Put with IfVersion", err, kv.ErrConditionFailed)
				t.testExpiry(at, want{"old", v2, at})
			}),
		graceRule("expiry/later-for-a-slow-clock",
			"Services and drivers remove an expired entry at the earliest an hour after its expiry, so that clock skew removes no live entry: a store with a slow clock still has it, whatever other stores read.",
			func(t *trial) {
				slow := t.clock.now()
				v := t.put("key", "value", kv.TTL(time.Second))
				at := t.clock.now().Add(time.Second)
				t.clock.advance(59 * time.Minute)
				t.wantGone("key")
				t.put("another", "value")
				t.wantError("Delete", t.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrConditionFailed)
				t.clock.set(slow)
				t.wantLive("key", want{"value", v, at})
			}),
		graceRule("expiry/slow-clock",
			"An entry is live until its expiry by the store's clock, including for conditions, even if that clock is almost an hour slower than the clocks of driver and service.",
			func(t *trial) {
				t.clock.set(time.Now().Truncate(time.Millisecond).Add(-58 * time.Minute))
				at := t.clock.now().Add(time.Minute)
				v := t.put("key", "value", kv.TTL(time.Minute))
				t.fill(kv.Item{Key: "batch", Value: []byte("value"), TTL: time.Minute})
				t.wantLive("key", want{"value", v, at})
				t.wantLive("batch", want{value: "value", expiresAt: at})
				for _, key := range []string{"key", "batch"} {
					_, err := t.Put(t.ctx, key, []byte("new"), kv.IfNotExists())
					t.wantError("Put with IfNotExists of "+key, err, kv.ErrConditionFailed)
				}
			}),
		rule("expiry/read-once",
			"A call reads the clock once, at its start, and judges expiries by that reading.",
			func(t *trial) {
				t.put("expired", "old", kv.TTL(time.Second))
				v := t.put("key", "old")
				t.clock.advance(time.Second)
				at, readings := t.clock.now(), 0
				counting := t.with(kv.Clock(func() time.Time {
					readings++
					return at
				}))
				for _, call := range []struct {
					name string
					call func() error
				}{
					{"Get", func() error { _, err := counting.Get(t.ctx, "key"); return err }},
					{"Exists", func() error { _, err := counting.Exists(t.ctx, "key"); return err }},
					{"GetMany", func() error { _, err := counting.GetMany(t.ctx, []string{"a", "expired", "key"}); return err }},
					{"Put with IfVersion", func() error {
						_, err := counting.Put(t.ctx, "key", nil, kv.TTL(time.Second), kv.IfVersion(v))
						return err
					}},
					{"Put with IfNotExists", func() error {
						_, err := counting.Put(t.ctx, "expired", nil, kv.TTL(time.Second), kv.IfNotExists())
						return err
					}},
					{"PutMany", func() error {
						_, err := counting.PutMany(t.ctx, []kv.Item{{Key: "a", TTL: time.Second}, {Key: "b", TTL: time.Second}, {Key: "c", ExpiresAt: at.Add(time.Second)}})
						return err
					}},
				} {
					readings = 0
					if err := call.call(); err != nil {
						t.Errorf("%s: %v", call.name, err)
					}
					if readings != 1 {
						t.Errorf("%s: the clock was read %d times; want once", call.name, readings)
					}
				}
			}),
		rule("expiry/expired-version",
			"Put and Delete with the version of an entry that has expired return ErrConditionFailed, by every clock that has reached the expiry.",
			func(t *trial) {
				v := t.put("key", "old", kv.TTL(time.Second))
				t.clock.advance(time.Second)
				_, err := t.Put(t.ctx, "key", []byte("new"), kv.IfVersion(v))
				t.wantError("Put", err, kv.ErrConditionFailed)
				_, err = t.Put(t.ctx, "key", []byte("new"), kv.IfVersion(v), kv.ExpiresAt(t.clock.now()))
				t.wantError("Put with the expiry that has passed", err, kv.ErrConditionFailed)
				t.wantError("Delete", t.Delete(t.ctx, "key", kv.IfVersion(v)), kv.ErrConditionFailed)
				t.wantAbsent("key")
			}),
	)

	for _, i := range []struct {
		name string
		opts func(now time.Time) []kv.PutOption
	}{
		{"zero-ttl", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.TTL(0)} }},
		{"ttl-without-unit", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.TTL(30)} }},
		{"ttl-below-a-millisecond", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.TTL(time.Millisecond - 1)} }},
		{"negative-ttl", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.TTL(-1)} }},
		{"most-negative-ttl", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.TTL(math.MinInt64)} }},
		{"now", func(now time.Time) []kv.PutOption { return []kv.PutOption{kv.ExpiresAt(now)} }},
		{"past", func(now time.Time) []kv.PutOption { return []kv.PutOption{kv.ExpiresAt(now.Add(-time.Millisecond))} }},
		{"epoch", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.ExpiresAt(time.Unix(0, 0))} }},
		{"before-the-epoch", func(time.Time) []kv.PutOption {
			return []kv.PutOption{kv.ExpiresAt(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC))}
		}},
		{"so-early-that-it-overflows", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.ExpiresAt(time.Unix(-1<<54, 0))} }},
		{"too-late", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.ExpiresAt(kv.MaxExpiry.Add(1))} }},
		{"overflowing", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.ExpiresAt(time.Unix(1<<60, 0))} }},
		{"ttl-and-expire-at", func(now time.Time) []kv.PutOption {
			return []kv.PutOption{kv.TTL(time.Second), kv.ExpiresAt(now.Add(time.Second))}
		}},
		{"expire-at-zero-and-ttl", func(time.Time) []kv.PutOption {
			return []kv.PutOption{kv.ExpiresAt(time.Time{}), kv.TTL(time.Second)}
		}},
		{"two-ttls", func(time.Time) []kv.PutOption { return []kv.PutOption{kv.TTL(time.Second), kv.TTL(time.Second)} }},
	} {
		cases = append(cases, rule("expiry/invalid/"+i.name,
			"A TTL is at least a millisecond. An instant is later than now and at most kv.MaxExpiry. A call has at most one of them. Anything else returns ErrInvalidOption before any I/O, and changes nothing.",
			func(t *trial) {
				t.put("key", "old", kv.TTL(time.Hour))
				was := t.situation()
				for _, cond := range [][]kv.PutOption{nil, {kv.IfNotExists()}, {kv.IfVersion(was.entry.Version)}} {
					t.wantRefused("Put", kv.ErrInvalidOption, func() error {
						_, err := t.Put(t.ctx, "key", []byte("new"), append(i.opts(t.clock.now()), cond...)...)
						return err
					})
				}
				t.wantUnchanged(was)
			}))
	}
	for _, i := range []struct {
		name string
		item func(now time.Time) kv.Item
	}{
		{"ttl-without-unit", func(time.Time) kv.Item { return kv.Item{TTL: 30} }},
		{"negative-ttl", func(time.Time) kv.Item { return kv.Item{TTL: -1} }},
		{"now", func(now time.Time) kv.Item { return kv.Item{ExpiresAt: now} }},
		{"past", func(now time.Time) kv.Item { return kv.Item{ExpiresAt: now.Add(-time.Hour)} }},
		{"so-early-that-it-overflows", func(time.Time) kv.Item { return kv.Item{ExpiresAt: time.Unix(-1<<54, 0)} }},
		{"too-late", func(time.Time) kv.Item { return kv.Item{ExpiresAt: kv.MaxExpiry.Add(1)} }},
		{"ttl-and-expires-at", func(now time.Time) kv.Item { return kv.Item{TTL: time.Second, ExpiresAt: now.Add(time.Second)} }},
	} {
		cases = append(cases, rule("expiry/invalid-item/"+i.name,
			"PutMany with one invalid expiry returns ErrInvalidOption before any I/O, and changes nothing.",
			func(t *trial) {
				t.put("key", "old")
				item := i.item(t.clock.now())
				item.Key = "bad"
				t.wantRefused("PutMany", kv.ErrInvalidOption, func() error {
					_, err := t.PutMany(t.ctx, []kv.Item{{Key: "key", Value: []byte("new")}, item, {Key: "last"}})
					return err
				})
				t.wantContent("key")
				t.wantValue("key", "old")
			}))
	}
	fastClock := func(name string, want error, call func(t *trial, fast store, current, stale kv.Version) error) {
		cases = append(cases, rule("expiry/fast-clock/"+name,
			"A driver removes an entry only if it has been expired for an hour by the clock of its host or service, whatever the clock of a call says. A store whose clock is a day ahead does not remove live entries of other stores.",
			func(t *trial) {
				t.testFastClock(func(fast store, current, stale kv.Version) {
					if err := call(t, fast, current, stale); !errors.Is(err, want) {
						t.Errorf("the call of the store with the fast clock: %v; want %v", err, want)
					}
				})
			}))
	}
	for _, op := range operations {
		if op.tellsTime {
			fastClock(op.name, nil, func(t *trial, fast store, current, _ kv.Version) error { return op.call(t.ctx, fast, current) })
		}
	}
	fastClock("failed-put-if-not-exists", kv.ErrConditionFailed, func(t *trial, fast store, _, _ kv.Version) error {
		_, err := fast.Put(t.ctx, "key", []byte("new"), kv.IfNotExists())
		return err
	})
	fastClock("failed-put-if-version", kv.ErrConditionFailed, func(t *trial, fast store, _, stale kv.Version) error {
		_, err := fast.Put(t.ctx, "key", []byte("new"), kv.IfVersion(stale))
		return err
	})
	fastClock("failed-delete-if-version", kv.ErrConditionFailed, func(t *trial, fast store, _, stale kv.Version) error {
		return fast.Delete(t.ctx, "key", kv.IfVersion(stale))
	})
	return cases
}

// testExpiry checks that the entry of "key" is as w describes until the instant at, and
// absent from then on.
func (t *trial) testExpiry(at time.Time, w want) {
	t.wantLive("key", w)
	t.clock.set(at.Add(-time.Millisecond))
	t.wantLive("key", w)
	t.clock.set(at)
	t.wantGone("key")
	t.wantError("Delete with IfVersion, on expiry", t.Delete(t.ctx, "key", kv.IfVersion(w.version)), kv.ErrConditionFailed)
	if at == kv.MaxExpiry {
		return // there is no later legal expiry
	}
	v, err := t.Put(t.ctx, "key", []byte("next"), kv.IfNotExists(), kv.TTL(time.Hour))
	if err != nil {
		t.Fatalf("Put with IfNotExists, on expiry: %v", err)
	}
	t.wantEntry("Get", t.get("key"), "key", want{"next", v, at.Add(time.Hour)})
}

// testFastClock makes a call with a store whose clock is a day ahead. Then it checks that
// the entries that are live by the trial's clock are not lost, although they have expired
// by the fast clock.
func (t *trial) testFastClock(call func(fast store, current, stale kv.Version)) {
	live := numbered("live:", 20)
	items := make([]kv.Item, len(live))
	for i, key := range live {
		items[i] = kv.Item{Key: key, Value: []byte(key), TTL: 2 * time.Hour}
	}
	t.fill(items...)
	at := t.clock.now().Add(2 * time.Hour)
	stale := t.put("key", "older")
	current := t.put("key", "old")
	ahead := t.clock.now().Add(24 * time.Hour)
	call(t.with(kv.Clock(func() time.Time { return ahead })), current, stale)

	// A driver may remove expired records during any write. So make some writes by the trial's
	// clock before the scan.
	t.fillKeys("passing")
	if err := t.DeleteMany(t.ctx, []string{"passing"}); err != nil {
		t.Errorf("DeleteMany: %v", err)
	}
	t.put("passing", "value")
	t.delete("passing")
	entries := t.scan("live:")
	t.wantKeys("Scan", entries, live)
	for _, e := range entries {
		t.wantEntry("Scan", e, e.Key, want{value: e.Key, expiresAt: at})
	}
	if n := len(t.getMany(live...)); n != len(live) {
		t.Errorf("GetMany returns %d entries; want %d", n, len(live))
	}
	_, err := t.Put(t.ctx, live[0], []byte("new"), kv.IfNotExists())
	t.wantError("Put with IfNotExists of a live key", err, kv.ErrConditionFailed)
}
