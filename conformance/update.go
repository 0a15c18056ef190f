package conformance

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/skykv/skykv/kv"
)

// changing returns a function for an Update. The function always returns the argument change.
func changing(change kv.Change) func(kv.Entry, bool) (kv.Change, error) {
	return func(kv.Entry, bool) (kv.Change, error) { return change, nil }
}

func updateCases() []testCase {
	var cases []testCase
	for _, s := range states {
		cases = append(cases,
			rule("update/put/"+s.name,
				"Update passes the entry to its function, or says that there is none. It stores the value that the function returns, and keeps the expiry. Here the key "+s.words+".",
				func(t *trial) {
					t.fillKeys("ke", "key1")
					_, was := t.prepare(s)
					e, err := t.Update(t.ctx, "key", func(old kv.Entry, exists bool) (kv.Change, error) {
						if exists != s.live {
							t.Errorf("the function receives exists = %v; want %v", exists, s.live)
						}
						if exists {
							t.wantEntry("the function", old, "key", want{string(was.entry.Value), was.entry.Version, was.entry.ExpiresAt})
						}
						return kv.Change{Value: append(old.Value, "+new"...)}, nil
					})
					if err != nil {
						t.Fatalf("Update: %v", err)
					}
					value := string(was.entry.Value) + "+new"
					t.wantEntry("Update", e, "key", want{value, e.Version, was.entry.ExpiresAt})
					t.wantLive("key", want{value, e.Version, was.entry.ExpiresAt})
					t.put("key", "next", kv.IfVersion(e.Version))
				}),
			rule("update/leave/"+s.name,
				"If the function of an Update leaves the entry, the Update changes nothing and returns the entry. Here the key "+s.words+".",
				func(t *trial) {
					_, was := t.prepare(s)
					e, err := t.Update(t.ctx, "key", changing(kv.Change{Leave: true}))
					switch {
					case err != nil:
						t.Errorf("Update: %v", err)
					case s.live:
						t.wantEntry("Update", e, "key", want{string(was.entry.Value), was.entry.Version, was.entry.ExpiresAt})
					case e.Key != "key" || !e.Version.IsZero() || e.Value != nil:
						t.Errorf("Update returns %+v, although there is no entry", e)
					}
					t.wantUnchanged(was)
				}),
			rule("update/delete/"+s.name,
				"If the function of an Update deletes the entry, the Update removes it if there is one. Here the key "+s.words+".",
				func(t *trial) {
					t.fillKeys("ke", "key1")
					v, _ := t.prepare(s)
					if e, err := t.Update(t.ctx, "key", changing(kv.Change{Delete: true})); err != nil || !e.Version.IsZero() {
						t.Errorf("Update = %+v, %v; want no entry", e, err)
					}
					t.wantGone("key")
					t.wantContent("ke", "key1")
					_, err := t.Put(t.ctx, "key", nil, kv.IfVersion(v))
					if s.current {
						t.wantError("Put with the version of the deleted entry", err, kv.ErrConditionFailed)
					}
					t.put("key", "new", kv.IfNotExists())
				}),
			rule("update/get-and-delete/"+s.name,
				"GetAndDelete removes the entry and returns it, or returns ErrNotFound. Here the key "+s.words+".",
				func(t *trial) {
					_, was := t.prepare(s)
					e, err := t.GetAndDelete(t.ctx, "key")
					switch {
					case !s.live:
						t.wantError("GetAndDelete", err, kv.ErrNotFound)
					case err != nil:
						t.Errorf("GetAndDelete: %v", err)
					default:
						t.wantEntry("GetAndDelete", e, "key", want{string(was.entry.Value), was.entry.Version, was.entry.ExpiresAt})
					}
					t.wantGone("key")
				}),
			rule("update/increment/"+s.name,
				"Increment counts an absent key as 0. If the value is not a number, it returns ErrInvalidValue and changes nothing. Here the key "+s.words+".",
				func(t *trial) {
					_, was := t.prepare(s)
					n, err := t.Increment(t.ctx, "key", -7)
					if s.live {
						t.wantError("Increment", err, kv.ErrInvalidValue)
						t.wantUnchanged(was)
						return
					}
					if n != -7 || err != nil {
						t.Errorf("Increment = %d, %v; want -7", n, err)
					}
					t.wantValue("key", "-7")
				}))
	}
	return append(cases,
		rule("update/chain",
			"An update sees what the update before it stored, and what others wrote in between.",
			func(t *trial) {
				var last kv.Version
				want := ""
				for i := range 12 {
					switch i % 4 {
					case 1:
						want += "p"
						last = t.put("key", want)
					case 2:
						t.touch("key", kv.TTL(time.Hour))
					}
					want += strconv.Itoa(i % 10)
					e, err := t.Update(t.ctx, "key", func(old kv.Entry, exists bool) (kv.Change, error) {
						return kv.Change{Value: append(old.Value, strconv.Itoa(i%10)...)}, nil
					})
					if err != nil || string(e.Value) != want || e.Version == last {
						t.Fatalf("Update %d returns %s, %v; want %s and a new version", i, e.Value, err, want)
					}
					last = e.Version
				}
				t.wantValue("key", want)
			}),
		rule("update/expiry",
			"A change sets the expiry, keeps it, or removes it.",
			func(t *trial) {
				now := t.clock.now()
				for _, c := range []struct {
					name   string
					change kv.Change
					want   time.Time
				}{
					{"nothing for a new entry", kv.Change{}, time.Time{}},
					{"TTL", kv.Change{TTL: time.Hour}, now.Add(time.Hour)},
					{"nothing", kv.Change{}, now.Add(time.Hour)},
					{"ExpiresAt", kv.Change{ExpiresAt: now.Add(time.Minute)}, now.Add(time.Minute)},
					{"Persist", kv.Change{Persist: true}, time.Time{}},
				} {
					e, err := t.Update(t.ctx, "key", changing(c.change))
					if err != nil {
						t.Fatalf("Update with %s: %v", c.name, err)
					}
					t.wantEntry("Update with "+c.name, e, "key", want{"", e.Version, c.want})
					t.wantEntry("Get after "+c.name, t.get("key"), "key", want{"", e.Version, c.want})
				}
			}),
		rule("update/invalid",
			"A change with contradictory fields, or with a value or an expiry out of range, is refused with the sentinel for that and changes nothing.",
			func(t *trial) {
				t.put("key", "old", kv.TTL(time.Hour))
				was := t.situation()
				for name, c := range map[string]struct {
					change kv.Change
					want   error
				}{
					"Leave and Delete":     {kv.Change{Leave: true, Delete: true}, kv.ErrInvalidOption},
					"Delete and TTL":       {kv.Change{Delete: true, TTL: time.Hour}, kv.ErrInvalidOption},
					"TTL and ExpiresAt":    {kv.Change{TTL: time.Hour, ExpiresAt: t.clock.now().Add(time.Hour)}, kv.ErrInvalidOption},
					"TTL and Persist":      {kv.Change{TTL: time.Hour, Persist: true}, kv.ErrInvalidOption},
					"a TTL without a unit": {kv.Change{TTL: 30}, kv.ErrInvalidOption},
					"the past":             {kv.Change{ExpiresAt: t.clock.now()}, kv.ErrInvalidOption},
					"too large a value":    {kv.Change{Value: make([]byte, t.maxValueLen()+1)}, kv.ErrValueTooLarge},
				} {
					_, err := t.Update(t.ctx, "key", changing(c.change))
					t.wantError("Update with "+name, err, c.want)
				}
				t.wantRefused("Update without a function", kv.ErrInvalidOption, func() error { _, err := t.Update(t.ctx, "key", nil); return err })
				t.wantUnchanged(was)
			}),
		rule("update/function-fails",
			"If the function returns an error, Update returns that error as it is and changes nothing.",
			func(t *trial) {
				t.put("key", "old")
				was := t.situation()
				own := errors.New("not enough")
				if _, err := t.Update(t.ctx, "key", func(kv.Entry, bool) (kv.Change, error) { return kv.Change{}, own }); err != own {
					t.Errorf("Update: the error is %v; want the function's error", err)
				}
				t.wantUnchanged(was)
			}),
		rule("update/increments",
			"Increment adds, keeps the expiry unless an option sets it, and returns the sum.",
			func(t *trial) {
				now := t.clock.now()
				for _, c := range []struct {
					delta int64
					opts  []kv.IncrementOption
					sum   int64
					at    time.Time
				}{
					{5, []kv.IncrementOption{kv.TTLIfNew(time.Minute)}, 5, now.Add(time.Minute)},
					{-7, []kv.IncrementOption{kv.TTLIfNew(time.Hour)}, -2, now.Add(time.Minute)},
					{0, nil, -2, now.Add(time.Minute)},
					{math.MaxInt64, []kv.IncrementOption{kv.TTL(time.Hour)}, math.MaxInt64 - 2, now.Add(time.Hour)},
					{2, []kv.IncrementOption{kv.ExpiresAt(time.Time{})}, math.MaxInt64, time.Time{}},
					{-math.MaxInt64, []kv.IncrementOption{kv.ExpiresAt(now.Add(time.Second))}, 0, now.Add(time.Second)},
					{math.MinInt64, nil, math.MinInt64, now.Add(time.Second)},
				} {
					n, err := t.Increment(t.ctx, "key", c.delta, c.opts...)
					if n != c.sum || err != nil {
						t.Fatalf("Increment by %d = %d, %v; want %d", c.delta, n, err, c.sum)
					}
					t.wantEntry("Get", t.get("key"), "key", want{strconv.FormatInt(c.sum, 10), kv.Version{}, c.at})
				}
				was := t.situation()
				_, err := t.Increment(t.ctx, "key", -1)
				t.wantError("Increment below the least number", err, kv.ErrInvalidValue)
				t.wantUnchanged(was)
				t.clock.advance(time.Second)
				if n, err := t.Increment(t.ctx, "key", 1, kv.TTLIfNew(time.Minute)); n != 1 || err != nil {
					t.Errorf("Increment after the expiry = %d, %v; want 1", n, err)
				}
				for name, opts := range map[string][]kv.IncrementOption{
					"two expiries": {kv.TTL(time.Hour), kv.TTLIfNew(time.Hour)},
					"no unit":      {kv.TTLIfNew(30)},
					"the past":     {kv.ExpiresAt(t.clock.now())},
					"a nil option": {nil},
				} {
					t.wantRefused("Increment with "+name, kv.ErrInvalidOption, func() error { _, err := t.Increment(t.ctx, "key", 1, opts...); return err })
				}
			}),
		rule("update/counters",
			"Increments of one key by several callers of several stores are all counted, and each returns a different number.",
			func(t *trial) {
				const stores, callers, each = 2, 6, 5
				seen := make(chan int64, stores*callers*each)
				views := []store{t.store, t.with()}
				for _, err := range atOnce(stores*callers, func(i int) error {
					for range each {
						n, err := views[i%stores].Increment(t.ctx, "key", 1)
						if err != nil {
							return err
						}
						seen <- n
					}
					return nil
				}) {
					if err != nil {
						t.Fatalf("Increment: %v", err)
					}
				}
				close(seen)
				all := make(map[int64]bool)
				for n := range seen {
					all[n] = true
				}
				if len(all) != stores*callers*each {
					t.Errorf("there are %d different sums; want %d", len(all), stores*callers*each)
				}
				t.wantValue("key", strconv.Itoa(stores*callers*each))
			}),
		rule("update/one-taker",
			"Exactly one of 16 concurrent GetAndDeletes returns the entry.",
			func(t *trial) {
				t.put("key", "once")
				got := 0
				for _, err := range atOnce(16, func(int) error { _, err := t.GetAndDelete(t.ctx, "key"); return err }) {
					if err == nil {
						got++
					} else if !errors.Is(err, kv.ErrNotFound) {
						t.Errorf("GetAndDelete: %v; want ErrNotFound", err)
					}
				}
				if got != 1 {
					t.Errorf("%d callers got the entry; want one", got)
				}
				t.wantGone("key")
			}),
	)
}
