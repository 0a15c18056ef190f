package gocron_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-co-op/gocron/v2"

	gocronkv "github.com/skykv/skykv/adapters/gocron"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/memkv"
)

var (
	_ gocron.Locker  = (*gocronkv.Locker)(nil)
	_ gocron.Elector = (*gocronkv.Elector)(nil)
)

func leasesOf(t *testing.T, store *kv.Store) *lease.Leases {
	t.Helper()
	leases, err := lease.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return leases
}

// start starts a scheduler that runs job every minute until the scheduler is shut down.
func start(t *testing.T, job func(), options ...gocron.SchedulerOption) gocron.Scheduler {
	t.Helper()
	scheduler, err := gocron.NewScheduler(options...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scheduler.NewJob(gocron.DurationJob(time.Minute), gocron.NewTask(job), gocron.WithName("report of ann@example.com")); err != nil {
		t.Fatal(err)
	}
	scheduler.Start()
	return scheduler
}

func TestLockerSchedulers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		var runs, running atomic.Int64
		var schedulers []gocron.Scheduler
		for range 3 {
			schedulers = append(schedulers, start(t, func() {
				if running.Add(1) > 1 {
					t.Error("rule: a job runs on one scheduler at a time")
				}
				runs.Add(1)
				time.Sleep(time.Millisecond) // much less than the 500 ms between the schedulers
				running.Add(-1)
			}, gocron.WithDistributedLocker(gocronkv.NewLocker(leasesOf(t, store), 2*time.Second))))
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(10 * time.Minute)
		if n := runs.Load(); n != 10 {
			t.Errorf("rule: a job runs once when it is due, though the schedulers differ by a second; it ran %d times in 10 minutes", n)
		}
		for _, s := range schedulers {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute) // locks are released in the background
	})
}

func TestLocker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := new(faults.Injector)
		store := memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1)))
		one, two := gocronkv.NewLocker(leasesOf(t, store), time.Second), gocronkv.NewLocker(leasesOf(t, store), 0)
		lock, err := one.Lock(t.Context(), "main.report")
		if err != nil {
			t.Fatal(err)
		}
		if lock, err := two.Lock(t.Context(), "main.report"); lock != nil || !errors.Is(err, lease.ErrHeld) {
			t.Errorf("rule: a lock that another scheduler has is ErrHeld; got %v, %v", lock, err)
		}
		if other, err := two.Lock(t.Context(), "main.other"); err != nil {
			t.Errorf("rule: each job has its own lock; got %v", err)
		} else if err := other.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := lock.Unlock(ended); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		if _, err := two.Lock(t.Context(), "main.report"); !errors.Is(err, lease.ErrHeld) {
			t.Errorf("rule: a lock is held for the splay at least; got %v", err)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		lock, err = two.Lock(t.Context(), "main.report")
		if err != nil {
			t.Fatalf("rule: a lock is free after the splay, though its scheduler has shut down; got %v", err)
		}
		if err := lock.Unlock(ended); err != nil {
			t.Errorf("rule: a lock is released though its scheduler has shut down; got %v", err)
		}
		if lock, err = one.Lock(t.Context(), "main.report"); err != nil {
			t.Errorf("rule: a lock without splay is free after Unlock; got %v", err)
		}

		// Both schedulers are cut off from the store, so the first one loses its lock.
		in.Use(faults.Always(faults.Drop))
		if lock, err := two.Lock(t.Context(), "main.report"); lock != nil || !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: a job does not run while the store is unavailable; got %v, %v", lock, err)
		}
		time.Sleep(lease.DefaultTTL)
		if err := lock.Unlock(t.Context()); err == nil {
			t.Error("rule: Unlock of a lock that was lost is an error")
		}
		in.Use(nil)
		if _, err := two.Lock(t.Context(), "main.report"); !errors.Is(err, lease.ErrHeld) {
			t.Errorf("rule: a first look does not show that a scheduler died; got %v", err)
		}
		time.Sleep(lease.DefaultTTL)
		lock, err = two.Lock(t.Context(), "main.report")
		if err != nil {
			t.Fatalf("rule: a look a TTL later shows that a scheduler died; got %v", err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestElectorSchedulers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		var runs atomic.Int64
		var ranOn [3]atomic.Int64
		var schedulers []gocron.Scheduler
		var running sync.WaitGroup
		stops := make([]context.CancelFunc, 3)
		for i := range 3 {
			elector := gocronkv.NewElector(leasesOf(t, store), "schedulers/a")
			ctx, cancel := context.WithCancel(t.Context())
			stops[i] = cancel
			running.Go(func() {
				if err := elector.Run(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("Run ends with %v; want the error of its context", err)
				}
			})
			schedulers = append(schedulers, start(t, func() { runs.Add(1); ranOn[i].Add(1) }, gocron.WithDistributedElector(elector)))
			synctest.Wait()
		}
		time.Sleep(10*time.Minute + time.Second)
		if n := runs.Load(); n != 10 || ranOn[0].Load() != 10 {
			t.Errorf("rule: jobs run on the leader; %d ran in 10 minutes, %d of them on the leader", n, ranOn[0].Load())
		}
		stops[0]()
		time.Sleep(10 * time.Minute)
		if n := runs.Load(); n != 20 || ranOn[0].Load() != 10 {
			t.Errorf("rule: when the leader resigns another one leads; %d jobs ran in 20 minutes, %d of them on the one that resigned", n, ranOn[0].Load())
		}
		for i := range 3 {
			stops[i]()
			if err := schedulers[i].Shutdown(); err != nil {
				t.Error(err)
			}
		}
		running.Wait()
	})
}

func TestElector(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := new(faults.Injector)
		data := memkv.New()
		one := gocronkv.NewElector(leasesOf(t, data.With(kv.Wrap(kv.Level1, faults.Driver(in, 1)))), "a")
		two := gocronkv.NewElector(leasesOf(t, data), "a")
		expect := func(when string, leads1, leads2 bool) {
			t.Helper()
			for name, c := range map[string]struct {
				elector *gocronkv.Elector
				leads   bool
			}{"one": {one, leads1}, "two": {two, leads2}} {
				if err := c.elector.IsLeader(t.Context()); (err == nil) != c.leads || err != nil && !errors.Is(err, gocronkv.ErrNotLeader) {
					t.Errorf("%s: elector %s leads: %t, %v; want %t", when, name, err == nil, err, c.leads)
				}
			}
		}
		expect("rule: nobody leads before Run", false, false)
		var running sync.WaitGroup
		run := func(e *gocronkv.Elector) (stop context.CancelFunc) {
			ctx, stop := context.WithCancel(t.Context())
			running.Go(func() { _ = e.Run(ctx) })
			synctest.Wait()
			return stop
		}
		stopOne, stopTwo := run(one), run(two)
		time.Sleep(time.Hour)
		expect("rule: the first one leads, and goes on", true, false)
		in.Use(faults.Always(faults.Drop))
		time.Sleep(2 * lease.DefaultTTL)
		expect("rule: a leader that is cut off leads no more, and another one does", false, true)
		in.Use(nil)
		time.Sleep(time.Hour)
		expect("rule: a former leader waits for its turn", false, true)
		stopTwo()
		time.Sleep(lease.DefaultTTL)
		expect("rule: a former leader leads again", true, false)
		stopOne()
		running.Wait()
		expect("rule: nobody leads after Run", false, false)
		closed := memkv.New()
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
		if err := gocronkv.NewElector(leasesOf(t, closed), "a").Run(t.Context()); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("rule: Run returns an error that does not pass; got %v", err)
		}
	})
}
