package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/examples/internal/stores"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func TestMain(m *testing.M) { emulator.Main(m) }

func upper(_ context.Context, text string) (string, error) { return strings.ToUpper(text), nil }

func allResults(t *testing.T, q *queue) map[string]string {
	t.Helper()
	all := make(map[string]string)
	if err := q.results(t.Context(), func(id, result string) { all[id] = result }); err != nil {
		t.Fatal(err)
	}
	return all
}

// The function left returns the keys of all entries that are not results. When all jobs are done, it
// returns none.
func left(t *testing.T, store *kv.Store) (keys []string) {
	t.Helper()
	for entry, err := range store.Scan(t.Context(), "", kv.KeysOnly()) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(entry.Key, results) {
			keys = append(keys, entry.Key)
		}
	}
	return keys
}

func TestManyWorkersDoEveryJobOnce(t *testing.T) {
	t.Parallel()
	stores.OnEach(t, func(t *testing.T, store *kv.Store) {
		const n = 20
		q := newQueue(store)
		q.lease = time.Hour // no worker dies here, even if the machine is slow
		texts := make(map[string]string)
		for i := range n {
			text := fmt.Sprintf("job %d", i)
			id, err := q.add(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			texts[id] = text
		}
		var begun atomic.Int64
		var workers sync.WaitGroup
		for i := range 6 {
			workers.Go(func() {
				for {
					did, err := q.work(t.Context(), fmt.Sprint("worker ", i), func(ctx context.Context, text string) (string, error) {
						begun.Add(1)
						return upper(ctx, text)
					})
					if err != nil {
						t.Error(err)
						return
					}
					if !did {
						return
					}
				}
			})
		}
		workers.Wait()
		for id, result := range allResults(t, q) {
			if result != strings.ToUpper(texts[id]) {
				t.Errorf("job %s, %q, has the result %q", id, texts[id], result)
			}
			delete(texts, id)
		}
		if len(texts) > 0 || begun.Load() != n {
			t.Errorf("%d jobs have no result, and %d of %d were begun", len(texts), begun.Load(), n)
		}
		if keys := left(t, store); len(keys) > 0 {
			t.Errorf("these keys are left: %q", keys)
		}
	})
}

// The rule: if a worker pauses for longer than its lease, as on a suspended machine, another one
// does the job. The first one changes nothing when it continues.
func TestLostLease(t *testing.T) {
	t.Parallel()
	stores.OnEach(t, func(t *testing.T, store *kv.Store) {
		var ahead atomic.Int64
		store = store.With(kv.Clock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }))
		q := newQueue(store)
		q.lease = time.Hour
		id, err := q.add(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		did, err := q.work(t.Context(), "slow", func(ctx context.Context, text string) (string, error) {
			if did, err := q.work(ctx, "other", upper); did || err != nil {
				t.Errorf("another worker took a job under a lease: %t, %v", did, err)
			}
			ahead.Store(int64(q.lease + time.Second))
			if did, err := q.work(ctx, "other", upper); !did || err != nil {
				t.Errorf("nobody took a job whose lease had expired: %t, %v", did, err)
			}
			return "too late", nil
		})
		if !did || err != nil {
			t.Errorf("the slow worker ended with %t, %v", did, err)
		}
		if all := allResults(t, q); len(all) != 1 || all[id] != "JOB" {
			t.Errorf("the results are %q; want that of the second worker", all)
		}
		if keys := left(t, store); len(keys) > 0 {
			t.Errorf("these keys are left: %q", keys)
		}
	})
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	stores.OnEach(t, func(t *testing.T, store *kv.Store) {
		q := newQueue(store)
		q.lease, q.renewal = time.Hour, 100*time.Millisecond
		id, err := q.add(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		// When the lease is taken away, the work must be cancelled.
		_, err = q.work(t.Context(), "worker", func(ctx context.Context, _ string) (string, error) {
			// A renewal may fail because of this put, and end ctx, before the put returns.
			if _, err := store.Put(context.WithoutCancel(ctx), leases+id, []byte("a thief"), kv.TTL(time.Minute)); err != nil {
				return "", err
			}
			<-ctx.Done()
			return "", context.Cause(ctx)
		})
		if !errors.Is(err, kv.ErrConditionFailed) || !strings.Contains(err.Error(), "cannot be renewed") {
			t.Errorf("the work ended with %v; want the loss of its lease", err)
		}
		if entry, err := store.Get(t.Context(), leases+id); err != nil || string(entry.Value) != "a thief" {
			t.Errorf("the lease of another worker is %q, %v; it must stay", entry.Value, err)
		}
		if all := allResults(t, q); len(all) > 0 {
			t.Errorf("there are results: %q", all)
		}
	})
}

// hangs is a driver whose puts under a version hang until their context ends, or for an hour.
type hangs struct{ kv.Driver }

func (d hangs) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if req.Kind == kv.KindPut && req.Condition.Kind == kv.CondVersion {
		select {
		case <-ctx.Done():
		case <-time.After(time.Hour):
		}
		return kv.Outcome{}, context.DeadlineExceeded
	}
	return d.Driver.Write(ctx, req)
}

// The rule: the context of a job ends no later than its lease, even if the renewal hangs.
func TestRenewalHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return hangs{d} })))
		if _, err := q.add(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err := q.work(t.Context(), "worker", func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", context.Cause(ctx)
		})
		if took := time.Since(begun); took > q.lease || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rule: the context of a job ends no later than its lease of %s; the work ended after %s with %v", q.lease, took, err)
		}
	})
}

// The rule: a job that panics keeps no lease, even if the program recovers.
func TestPanickingJobIsFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(memkv.New())
		if _, err := q.add(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = q.work(t.Context(), "first", func(context.Context, string) (string, error) { panic("in the job") })
		}()
		time.Sleep(q.lease)
		if did, err := q.work(t.Context(), "second", upper); !did || err != nil {
			t.Errorf("rule: a job that panics keeps no lease; after %s another worker did it: %t, %v", q.lease, did, err)
		}
	})
}

func TestFailedJobIsFree(t *testing.T) {
	t.Parallel()
	stores.OnEach(t, func(t *testing.T, store *kv.Store) {
		q := newQueue(store)
		q.lease = time.Hour
		if _, err := q.add(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		why := errors.New("no luck")
		if _, err := q.work(t.Context(), "first", func(context.Context, string) (string, error) { return "", why }); !errors.Is(err, why) {
			t.Errorf("the job's error is %v", err)
		}
		if did, err := q.work(t.Context(), "second", upper); !did || err != nil {
			t.Errorf("the job is not free again: %t, %v", did, err)
		}
		if keys := left(t, store); len(keys) > 0 {
			t.Errorf("these keys are left: %q", keys)
		}
	})
}
