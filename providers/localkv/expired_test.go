package localkv_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

// countRows counts the rows whose keys begin with a prefix, including expired rows.
func countRows(t *testing.T, c *sqlite.Conn, prefix string) int {
	t.Helper()
	n, err := strconv.Atoi(ask(t, c, "SELECT count(*) FROM kv WHERE k LIKE '"+prefix+"%'"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Writes remove rows that expired more than an hour ago, a few rows in each write.
func TestExpiredRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, path := newStore(t)
		c := openSQL(t, path)
		const old = 50
		for i := range old {
			if _, err := store.Put(t.Context(), fmt.Sprint("old:", i), nil, kv.TTL(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		for key, ttl := range map[string]time.Duration{"live": 3 * time.Hour, "young": 2 * time.Minute} {
			if _, err := store.Put(t.Context(), key, nil, kv.TTL(ttl)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Put(t.Context(), "forever", nil); err != nil {
			t.Fatal(err)
		}

		time.Sleep(time.Hour + 999*time.Millisecond)
		for range 5 {
			if _, err := store.Put(t.Context(), "write", nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := countRows(t, c, "old:"); got != old {
			t.Errorf("%d of %d rows are left a millisecond before the hour after their expiry; none may be removed yet", got, old)
		}
		time.Sleep(time.Minute) // until the next search for expired rows
		writes := 0
		for left := old; left > 0 && writes < old; writes++ {
			var err error
			if writes%2 == 0 {
				_, err = store.Put(t.Context(), "write", nil)
			} else {
				err = store.Delete(t.Context(), "nothing")
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := countRows(t, c, "old:"); got < left-4 {
				t.Fatalf("one write removed %d rows; want a few", left-got)
			} else {
				left = got
			}
		}
		if got := countRows(t, c, "old:"); got != 0 || writes < old/4 {
			t.Errorf("%d expired rows are left after %d writes", got, writes)
		}
		for key, want := range map[string]error{"live": nil, "forever": nil, "young": kv.ErrNotFound} {
			if _, err := store.Get(t.Context(), key); !errors.Is(err, want) {
				t.Errorf("Get(%q): %v; want %v", key, err, want)
			}
		}
		if got := ask(t, c, "SELECT count(*) FROM kv WHERE k IN ('live', 'young', 'forever')"); got != "3" {
			t.Errorf("%s of 3 rows are left that are not an hour past their expiry", got)
		}
	})
}

// A row is removed when its grace is over by all clocks: the host's clock and the clocks of
// the stores that write in the transaction. The clock of a read, or of a different
// transaction, does not count.
func TestExpiredByEveryClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	put := func(key string, opts ...kv.PutOption) func(t *testing.T, s *kv.Store) {
		return func(t *testing.T, s *kv.Store) {
			if _, err := s.Put(t.Context(), key, nil, opts...); err != nil {
				t.Fatal(err)
			}
		}
	}
	putMany := func(t *testing.T, s *kv.Store) {
		items := make([]kv.Item, 500)
		for i := range items {
			items[i] = kv.Item{Key: fmt.Sprint("many:", i)}
		}
		if _, err := s.PutMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
	}
	type step struct {
		ahead time.Duration // relative to the host's clock, which is right
		do    func(t *testing.T, s *kv.Store)
	}
	for _, test := range []struct {
		name  string
		after time.Duration // time since the expiry
		kept  bool
		steps []step
	}{
		{"before the expiry, a batch after a scan by a clock that is ahead", -time.Hour, true, []step{
			{day, func(t *testing.T, s *kv.Store) {
				for _, err := range s.Scan(t.Context(), "") {
					if err != nil {
						t.Fatal(err)
					}
				}
			}},
			{0, putMany},
		}},
		{"before the expiry, a batch after a put that failed by a clock that is ahead", -time.Hour, true, []step{
			{day, func(t *testing.T, s *kv.Store) {
				if _, err := s.Put(t.Context(), "forever", nil, kv.IfNotExists()); !errors.Is(err, kv.ErrConditionFailed) {
					t.Fatal(err)
				}
			}},
			{0, putMany},
		}},
		{"before the expiry, puts by a clock that is ahead", -time.Hour, true, []step{{day, put("a")}, {day, put("b")}, {0, put("c")}}},
		{"before the expiry, batches by a clock that is ahead", -time.Hour, true, []step{{day, putMany}, {0, putMany}, {day, putMany}}},
		{"within the grace, by a clock that is right", kv.ExpiryGrace - time.Millisecond, true, []step{{0, put("a")}, {0, putMany}}},
		{"after the grace, by a clock that is behind", kv.ExpiryGrace + time.Minute, true, []step{{-2 * time.Minute, put("a")}, {-2 * time.Minute, putMany}}},
		{"after the grace, a put", kv.ExpiryGrace, false, []step{{0, put("a")}}},
		{"after the grace, a put by a clock that is ahead", kv.ExpiryGrace, false, []step{{day, put("a")}}},
		{"after the grace, a batch", kv.ExpiryGrace, false, []step{{0, putMany}}},
		{"after the grace, once the clock that is behind has written", kv.ExpiryGrace + time.Minute, false, []step{
			{-2 * time.Minute, put("a")},
			{0, func(*testing.T, *kv.Store) { time.Sleep(time.Minute) }}, // until the next search for expired rows
			{0, put("b")},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, path := newStore(t)
				put("forever")(t, store)
				put("old", kv.TTL(2*time.Hour))(t, store)
				time.Sleep(2*time.Hour + test.after)
				for _, step := range test.steps {
					step.do(t, store.With(kv.Clock(func() time.Time { return time.Now().Add(step.ahead) })))
				}
				if left := countRows(t, openSQL(t, path), "old") == 1; left != test.kept {
					t.Errorf("rule: expired rows are removed when their grace is over by the clocks of the host and the writes; kept: %t, want %t", left, test.kept)
				}
				if _, err := store.Get(t.Context(), "old"); test.after < 0 && err != nil {
					t.Errorf("rule: an entry that lives by the right clock exists: %v", err)
				}
			})
		})
	}
}

// Batches remove expired rows too, even in a program that makes no other calls.
func TestExpiredRemovedByBatches(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	past := store.With(kv.Clock(func() time.Time { return time.Now().Add(-3 * time.Hour) }))
	for i := range 20 {
		if _, err := past.Put(t.Context(), fmt.Sprint("old:", i), nil, kv.TTL(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = reopen(t, path)
	items := make([]kv.Item, 30)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprint("new:", i), TTL: time.Minute}
	}
	if _, err := store.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, openSQL(t, path), "SELECT count(*), min(k) >= 'new:' FROM kv"); got != "30|1" {
		t.Errorf("rule: writes and batches remove the rows that expired more than an hour ago; rows, and whether all are new: %s", got)
	}
}

// A file whose entries expire does not keep growing, whether the entries are put one by one
// or in batches.
func TestExpiredFileSize(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]int{"Put": 1, "PutMany": 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, path := newStore(t)
				c := openSQL(t, path)
				pages := func() int {
					n, err := strconv.Atoi(ask(t, c, "PRAGMA page_count"))
					if err != nil {
						t.Fatal(err)
					}
					return n
				}
				var early int
				const rounds, perRound = 15, 100
				for round := range rounds {
					for i := 0; i < perRound; i += batch {
						var err error
						if batch == 1 {
							_, err = store.Put(t.Context(), fmt.Sprintf("session:%d:%d", round, i), make([]byte, 1000), kv.TTL(time.Minute))
						} else {
							items := make([]kv.Item, batch)
							for j := range items {
								items[j] = kv.Item{Key: fmt.Sprintf("session:%d:%d", round, i+j), Value: make([]byte, 1000), TTL: time.Minute}
							}
							_, err = store.PutMany(t.Context(), items)
						}
						if err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(30 * time.Minute)
					if round == 4 {
						early = pages()
					}
				}
				if late := pages(); late > early+early/2 {
					t.Errorf("the file has %d pages after %d rounds, and had %d after 5", late, rounds, early)
				}
			})
		})
	}
}
