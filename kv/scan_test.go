package kv_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// sharded spreads the records of a driver over shards. It counts the pages and records
// that scans read, and the scans under way.
type sharded struct {
	kv.Driver
	shards   int
	delay    time.Duration // of each page
	broken   func(shard int, rec kv.Record) error
	damaged  func(kv.Record) bool
	pages    atomic.Int64
	records  atomic.Int64
	scanning atomic.Int64
}

func (d *sharded) Info() kv.Info {
	return kv.Info{
		Name: "sharded", Shards: d.shards, MaxAtomicWrites: d.Driver.Info().MaxAtomicWrites, MaxValueLen: d.Driver.Info().MaxValueLen,
		Shard:         func(key string) int { return kv.Shard(key, d.shards) },
		ShardOfPrefix: func(prefix string) (int, bool) { return kv.ShardOfPrefix(prefix, d.shards) },
	}
}

func (d *sharded) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		d.scanning.Add(1)
		defer d.scanning.Add(-1)
		inPage := 0
		fetch := func() bool {
			d.pages.Add(1)
			select {
			case <-time.After(d.delay):
				return true
			case <-ctx.Done():
				yield(kv.Record{}, ctx.Err())
				return false
			}
		}
		if !fetch() {
			return
		}
		all := req
		all.Shard, all.Limit = 0, 10_000
		for rec, err := range d.Driver.Scan(ctx, all) {
			if err != nil {
				yield(rec, err)
				return
			}
			if kv.Shard(rec.Key, d.shards) != req.Shard {
				continue
			}
			if d.broken != nil {
				if err := d.broken(req.Shard, rec); err != nil {
					yield(kv.Record{}, err)
					return
				}
			}
			if d.damaged != nil && d.damaged(rec) {
				rec, err = kv.Record{Key: rec.Key}, &kv.Error{Kind: kv.ErrIncompatible}
			}
			if inPage == req.Limit {
				inPage = 0
				if !fetch() {
					return
				}
			}
			inPage++
			d.records.Add(1)
			if !yield(rec, err) {
				return
			}
		}
	}
}

func shardedStore(t *testing.T, d *sharded, entries int) *kv.Store {
	t.Helper()
	store := memkv.New().With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver {
		d.Driver = next
		return d
	}))
	items := make([]kv.Item, entries)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("k:%05d", i), Value: []byte("v")}
	}
	if _, err := store.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return store
}

func keysOf(t *testing.T, entries iter.Seq2[kv.Entry, error]) []string {
	t.Helper()
	var keys []string
	for e, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	return keys
}

func TestScanMergesShards(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 2, 3, 16, 100} {
		for _, entries := range []int{0, 1, 15, 1000, 9000} {
			t.Run(fmt.Sprintf("%d-shards-%d-entries", shards, entries), func(t *testing.T) {
				t.Parallel()
				d := &sharded{shards: shards}
				store := shardedStore(t, d, entries)
				keys := keysOf(t, store.Scan(t.Context(), "k:"))
				if len(keys) != entries || !slices.IsSorted(keys) || len(slices.Compact(keys)) != entries {
					t.Errorf("rule: a scan yields each entry once, in order, on any number of shards; %d keys for %d entries", len(keys), entries)
				}
				var paged []string
				for cursor, more := "", true; more; more = cursor != "" {
					page, err := store.ScanPage(t.Context(), "k:", 700, cursor)
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range page.Entries {
						paged = append(paged, e.Key)
					}
					cursor = page.Next
				}
				if !slices.Equal(paged, keys) {
					t.Errorf("rule: pages hold what a scan yields; %d keys in pages, %d in the scan", len(paged), len(keys))
				}
			})
		}
	}
}

// ScanPage cannot know in which shards the entries of a page are, so it must read more
// records than it returns. The numbers of records and of round trips are limited.
func TestPagesReadLittleMoreThanTheyReturn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit int
		reads float64
	}{{1000, 1.5}, {100, 2.5}, {25, 3.5}} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const roundTrip = time.Second
				entries := min(9000, 100*c.limit)
				d := &sharded{shards: 16, delay: roundTrip}
				store := shardedStore(t, d, entries)
				began := time.Now()
				pages := 0
				for cursor, more := "", true; more; more = cursor != "" {
					page, err := store.ScanPage(t.Context(), "k:", c.limit, cursor)
					if err != nil {
						t.Fatal(err)
					}
					pages++
					cursor = page.Next
				}
				if reads := float64(d.records.Load()) / float64(entries); reads > c.reads {
					t.Errorf("rule: a page of %d reads at most %.1f times as many records as it returns; it reads %.2f times as many", c.limit, c.reads, reads)
				}
				if rounds := float64(time.Since(began)/roundTrip) / float64(pages); rounds > 1.2 {
					t.Errorf("rule: a page takes at most 1.2 round trips on average; a page of %d takes %.2f", c.limit, rounds)
				}
			})
		})
	}
}

func TestFirstEntryAfterOneRoundTrip(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &sharded{shards: 16, delay: time.Second}
		store := shardedStore(t, d, 10)
		began := time.Now()
		if keys := keysOf(t, store.Scan(t.Context(), "k:")); len(keys) != 10 {
			t.Fatalf("scan returned %d keys, want 10", len(keys))
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("rule: a small prefix takes one round trip, not one for each shard; it took %s at 1s each", took)
		}
	})
}

// While a slow loop runs, the shards are read ahead, but only up to a limit. The limit is
// a number of records if the values are small, and a number of bytes if they are large.
func TestScanReadsAheadWithinBounds(t *testing.T) {
	t.Parallel()
	const (
		shards  = 4
		page    = 640
		perMiB  = 43 // number of values of MaxValueLen in a mebibyte, rounded up
		inShard = 2  // greatest number of pages of a shard in memory
	)
	for _, c := range []struct{ valueLen, entries, page int }{
		{0, 12_000, page},
		{kv.MaxValueLen, 1200, perMiB},
		{kv.MaxLargeValueLen, 60, 2},
	} {
		t.Run(fmt.Sprint(c.valueLen), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &sharded{shards: shards}
				store := shardedStore(t, d, 0).With(kv.MaxValue(kv.MaxLargeValueLen))
				items := make([]kv.Item, c.entries)
				for i := range items {
					items[i] = kv.Item{Key: fmt.Sprintf("k:%05d", i), Value: make([]byte, c.valueLen)}
				}
				if _, err := store.PutMany(t.Context(), items); err != nil {
					t.Fatal(err)
				}
				for _, err := range store.Scan(t.Context(), "k:") {
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // until the shards have read as far ahead as they may
					n := int(d.records.Load())
					if n <= shards*c.page {
						t.Errorf("rule: shards are read ahead; %d records were read, which is at most one page of each", n)
					}
					if most := shards * inShard * (c.page + 1); n > most {
						t.Errorf("rule: what is read ahead is bounded; %d records of %d bytes were read, want at most %d", n, c.valueLen, most)
					}
					break
				}
			})
		})
	}
}

func TestBrokenLoopStopsFetching(t *testing.T) {
	t.Parallel()
	d := &sharded{shards: 16}
	store := shardedStore(t, d, 9000)
	for _, err := range store.Scan(t.Context(), "k:", kv.Limit(100)) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n := d.scanning.Load(); n != 0 {
		t.Errorf("rule: a scan ends when its loop ends; %d shards are still read", n)
	}
	if n := d.records.Load(); n > 600 {
		t.Errorf("rule: a scan stops fetching when the loop breaks; a scan with limit 100 read %d records", n)
	}
}

func TestErrorsNameTheWrongBound(t *testing.T) {
	t.Parallel()
	const bad = "no key"
	store := memkv.New()
	for _, prefix := range []string{"", "user:"} {
		for name, bound := range map[string]kv.RangeOption{"From": kv.From(bad), "After": kv.After(bad), "Before": kv.Before(bad)} {
			for call, err := range map[string]error{
				"Scan": func() (last error) {
					for _, err := range store.Scan(t.Context(), prefix, bound) {
						last = err
					}
					return last
				}(),
				"ScanPage": func() error { _, err := store.ScanPage(t.Context(), prefix, 1, "", bound); return err }(),
				"Count":    func() error { _, err := store.Count(t.Context(), prefix, bound); return err }(),
			} {
				if e, ok := errors.AsType[*kv.Error](err); !ok || !errors.Is(err, kv.ErrInvalidKey) || e.Key != bad {
					t.Errorf("rule: an error names what was wrong; %s of %q with %s(%q) returns %v", call, prefix, name, bad, err)
				}
			}
		}
	}
}

func TestErrorsWithinScans(t *testing.T) {
	t.Parallel()
	const entries, at = 2000, "k:01234"
	t.Run("shard", func(t *testing.T) {
		t.Parallel()
		failing := atomic.Bool{}
		failing.Store(true)
		d := &sharded{shards: 16, broken: func(shard int, rec kv.Record) error {
			if rec.Key == at && failing.Load() {
				return &kv.Error{Kind: kv.ErrThrottled}
			}
			return nil
		}}
		store := shardedStore(t, d, entries)
		var keys []string
		var cursor string
		for {
			page, err := store.ScanPage(t.Context(), "k:", 300, cursor)
			for _, e := range page.Entries {
				keys = append(keys, e.Key)
			}
			cursor = page.Next
			if err != nil {
				if !errors.Is(err, kv.ErrThrottled) {
					t.Fatal(err)
				}
				if len(keys) > 0 && keys[len(keys)-1] >= at {
					t.Fatalf("rule: no entry comes before an entry that could not be read; %s came before the error at %s", keys[len(keys)-1], at)
				}
				if !failing.Swap(false) {
					t.Fatal("the shard failed twice")
				}
				continue
			}
			if cursor == "" {
				break
			}
		}
		if len(keys) != entries || !slices.IsSorted(keys) {
			t.Errorf("rule: on an error Next is the position reached, and the scan goes on from there; got %d of %d keys", len(keys), entries)
		}
		if failing.Load() {
			t.Error("the shard never failed: the test tests nothing")
		}
	})
	t.Run("record", func(t *testing.T) {
		t.Parallel()
		d := &sharded{shards: 16, damaged: func(rec kv.Record) bool { return rec.Key == at }}
		store := shardedStore(t, d, entries)
		var keys []string
		var damaged []string
		for e, err := range store.Scan(t.Context(), "k:") {
			if err != nil {
				if !errors.Is(err, kv.ErrIncompatible) {
					t.Fatal(err)
				}
				damaged = append(damaged, e.Key)
				continue
			}
			keys = append(keys, e.Key)
		}
		if !slices.Equal(damaged, []string{at}) || len(keys) != entries-1 {
			t.Errorf("rule: a scan names a record it cannot read and goes on after it; named %v, yielded %d of %d", damaged, len(keys), entries-1)
		}
		page, err := store.ScanPage(t.Context(), "k:", entries, "")
		if !errors.Is(err, kv.ErrIncompatible) || len(page.Entries) != 1234 {
			t.Fatalf("rule: a page ends at a record that cannot be read; it has %d entries and error %v", len(page.Entries), err)
		}
		rest, err := store.ScanPage(t.Context(), "k:", entries, page.Next)
		if err != nil || len(rest.Entries) != entries-1235 || rest.Entries[0].Key != "k:01235" {
			t.Errorf("rule: Next continues after a record that cannot be read; %d entries, error %v", len(rest.Entries), err)
		}
		n, err := store.DeletePrefix(t.Context(), "k:")
		batch, ok := errors.AsType[*kv.BatchError](err)
		if n != entries-1 || !ok || len(batch.Failed) != 1 || batch.Failed[at] == nil {
			t.Errorf("rule: DeletePrefix does not delete records that skykv did not write, and names them; deleted %d, error %v", n, err)
		}
	})
	t.Run("context", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := &sharded{shards: 16, delay: time.Minute}
			store := shardedStore(t, d, entries)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			for e, err := range store.Scan(ctx, "k:") {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("rule: a scan ends with its context; got %q, %v", e.Key, err)
				}
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("rule: a scan ends at its deadline; it took %s, and a page takes 1s", took)
			}
		})
	})
}
