package kv_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// failing makes single-key and batch operations on some keys fail.
type failing struct {
	kv.Driver
	fail  map[string]error
	whole error // if not nil, the error of every batch, for all its keys
}

func (d *failing) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if err := d.fail[req.Key]; err != nil {
		return kv.Found{}, err
	}
	return d.Driver.Get(ctx, req)
}

func (d *failing) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	if d.whole != nil {
		return func(yield func(kv.Found, error) bool) { yield(kv.Found{}, d.whole) }
	}
	return kv.GetEach(ctx, d, req, 4)
}

func (d *failing) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if err := d.fail[req.Key]; err != nil {
		return kv.Outcome{}, err
	}
	return d.Driver.Write(ctx, req)
}

func (d *failing) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	if d.whole == nil {
		return kv.WriteEach(ctx, d, req, 4)
	}
	results := make([]kv.WriteResult, len(req.Writes))
	for i := range results {
		results[i].Err = d.whole
	}
	return results
}

func TestBatchesReportEachKey(t *testing.T) {
	t.Parallel()
	d := &failing{fail: map[string]error{}}
	store := memkv.New().With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver {
		d.Driver = next
		return d
	}))
	var items []kv.Item
	var keys []string
	for i := range 20 {
		key := fmt.Sprintf("k%02d", i)
		items, keys = append(items, kv.Item{Key: key, Value: []byte(key)}), append(keys, key)
	}
	if _, err := store.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	d.fail["k03"] = &kv.Error{Kind: kv.ErrThrottled}
	d.fail["k17"] = context.DeadlineExceeded

	check := func(op string, err error, indeterminate bool) {
		t.Helper()
		batch, ok := errors.AsType[*kv.BatchError](err)
		if !ok || !slices.Equal(slices.Sorted(maps.Keys(batch.Failed)), []string{"k03", "k17"}) {
			t.Fatalf("rule: a partial failure names the keys that failed; %s returned %v", op, err)
		}
		if !errors.Is(err, kv.ErrThrottled) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rule: errors.Is finds what any key's error matches; %s returned %v", op, err)
		}
		for key, want := range map[string]bool{"k03": false, "k17": indeterminate} {
			e, ok := errors.AsType[*kv.Error](batch.Failed[key])
			if !ok || e.Key != key || e.Op != op || e.Provider != "mem" {
				t.Errorf("rule: each error names operation, key and provider; %s returned %v", op, batch.Failed[key])
			}
			if errors.Is(batch.Failed[key], kv.ErrIndeterminate) != want {
				t.Errorf("rule: a write is indeterminate unless the driver says that nothing was written; %s of %s returned %v", op, key, batch.Failed[key])
			}
		}
	}
	entries, err := store.GetMany(t.Context(), keys)
	check("get many", err, false)
	if len(entries) != 18 {
		t.Errorf("rule: a failed batch read holds what could be read; got %d of 18", len(entries))
	}
	_, err = store.PutMany(t.Context(), items)
	check("put many", err, true)
	check("delete many", store.DeleteMany(t.Context(), keys), true)
	clear(d.fail)
	left, err := store.GetMany(t.Context(), keys)
	if err != nil || len(left) != 2 {
		t.Errorf("rule: the other keys of a failed batch are written; %d are left, error %v", len(left), err)
	}

	d.whole = errReset
	_, err = store.GetMany(t.Context(), keys)
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Failed) != 20 || !errors.Is(err, errReset) {
		t.Errorf("rule: an error that names no key counts for all keys; got %v", err)
	}
	_, err = store.PutMany(t.Context(), items)
	batch, ok = errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Failed) != 20 || !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: after a driver's plain error the write may have been applied; got %v", err)
	}
}

func TestDeletePrefixCountsWhatItRemoved(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fail  map[string]error
		whole error
		want  int // the result for 1,000 live keys and 10 expired keys, in groups of 500
	}{
		{"nothing fails", nil, nil, 1000},
		{"a live key fails", map[string]error{"k:0250": &kv.Error{Kind: kv.ErrThrottled}}, nil, 499 - 5},
		{"an expired key fails", map[string]error{"k:0300x": &kv.Error{Kind: kv.ErrThrottled}}, nil, 500 - 5},
		{"a key of the second group fails", map[string]error{"k:0700": &kv.Error{Kind: kv.ErrThrottled}}, nil, 1000 - 10 - 1},
		{"everything fails", nil, errReset, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clock := time.Now()
			d := &failing{fail: c.fail, whole: c.whole}
			base := memkv.New().With(kv.Clock(func() time.Time { return clock }))
			store := base.With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }))
			var items []kv.Item
			for i := range 1000 {
				items = append(items, kv.Item{Key: fmt.Sprintf("k:%04d", i)})
				if i%100 == 0 {
					items = append(items, kv.Item{Key: fmt.Sprintf("k:%04dx", i), TTL: time.Second})
				}
			}
			if _, err := base.PutMany(t.Context(), items); err != nil {
				t.Fatal(err)
			}
			clock = clock.Add(time.Minute)
			removed, err := store.DeletePrefix(t.Context(), "k:")
			left := 0
			for _, err := range base.Scan(t.Context(), "k:", kv.KeysOnly()) {
				if err != nil {
					t.Fatal(err)
				}
				left++
			}
			if removed != 1000-left || removed != c.want || (err == nil) != (c.fail == nil && c.whole == nil) {
				t.Errorf("rule: DeletePrefix counts the live entries that it removed; it returns %d, %v, with %d of 1,000 left", removed, err, left)
			}
		})
	}
}

// afterScan calls a function when a scan has ended.
type afterScan struct {
	kv.Driver
	ended func()
}

func (d *afterScan) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		defer d.ended()
		d.Driver.Scan(ctx, req)(yield)
	}
}

func TestDeletePrefixNamesItsPrefix(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{"its context ends": context.Canceled, "the store is closed": kv.ErrClosed} {
		d := new(afterScan)
		store := memkv.New().With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }))
		put(t, store, "user:1", "1")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if d.ended = cancel; want == kv.ErrClosed {
			d.ended = func() { _ = store.Close() }
		}
		n, err := store.DeletePrefix(ctx, "user:")
		if e, ok := errors.AsType[*kv.Error](err); n != 0 || !errors.Is(err, want) || !ok || e.Key != "user:" {
			t.Errorf("rule: an error of DeletePrefix names the prefix; when %s between its scan and its deletions it returns %d, %v", name, n, err)
		}
	}
}

func TestGetManyMarksExpiredAsRead(t *testing.T) {
	t.Parallel()
	clock := time.Now()
	d := &failing{fail: map[string]error{"b": &kv.Error{Kind: kv.ErrUnavailable}}}
	store := memkv.New().With(kv.Clock(func() time.Time { return clock }), kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver {
		d.Driver = next
		return d
	}))
	if _, err := store.Put(t.Context(), "a", nil, kv.TTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Minute)
	entries, err := store.GetMany(t.Context(), []string{"a", "b"})
	batch, ok := errors.AsType[*kv.BatchError](err)
	if len(entries) != 0 || !ok || len(batch.Failed) != 1 {
		t.Errorf("rule: an expired entry is absent, not failed; got %v, %v", entries, err)
	}
}
