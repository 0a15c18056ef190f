package localkv_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// Writes remove the rows that expired more than an hour ago, a few each.
func TestExpiredRemoved(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	now := time.Now()
	store = store.With(kv.Clock(func() time.Time { return now }))
	c := openSQL(t, path)
	rows := func() int {
		n, err := strconv.Atoi(ask(t, c, "SELECT count(*) FROM kv WHERE k LIKE 'old:%'"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
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

	now = now.Add(time.Hour + 999*time.Millisecond)
	for range 5 {
		if _, err := store.Put(t.Context(), "write", nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := rows(); got != old {
		t.Errorf("%d of %d rows are left a millisecond before the hour after their expiry; none may be removed yet", got, old)
	}
	now = now.Add(time.Minute) // the next look, at the latest
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
		if got := rows(); got < left-4 {
			t.Fatalf("one write removed %d rows; want a few", left-got)
		} else {
			left = got
		}
	}
	if got := rows(); got != 0 || writes < old/4 {
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
}

// Batches remove such rows as well, in a program that makes no other calls.
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
	if err := store.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, openSQL(t, path), "SELECT count(*), min(k) >= 'new:' FROM kv"); got != "30|1" {
		t.Errorf("rule: writes remove the rows that expired more than an hour ago, batches too; rows, and whether all are new: %s", got)
	}
}

// A file of entries that expire keeps its size, whether they are put one by one
// or in batches.
func TestExpiredFileSize(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]int{"Put": 1, "PutMany": 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, path := newStore(t)
			now := time.Now()
			store = store.With(kv.Clock(func() time.Time { return now }))
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
						// Batches do not tell the time; any other call does.
						if _, err = store.ScanPage(t.Context(), "none", 1, ""); err == nil {
							err = store.PutMany(t.Context(), items)
						}
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				now = now.Add(30 * time.Minute)
				if round == 4 {
					early = pages()
				}
			}
			if late := pages(); late > early+early/2 {
				t.Errorf("the file has %d pages after %d rounds, and had %d after 5", late, rounds, early)
			}
		})
	}
}
