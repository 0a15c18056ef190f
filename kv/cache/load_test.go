package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/memkv"
)

// process returns a Cache as another process would make it. Its leases are in leasesIn.
func process(t *testing.T, store, leasesIn *kv.Store) *Cache {
	t.Helper()
	namespace, err := leasesIn.Namespace("lease:")
	if err != nil {
		t.Fatal(err)
	}
	leases, err := lease.New(namespace, &lease.Options{TTL: lease.MinTTL})
	if err != nil {
		t.Fatal(err)
	}
	return open(t, store, Options{Leases: leases, Absent: true})
}

func TestOneProcessLoads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		leases bool
		most   int64 // greatest number of calls of load
	}{
		{"with leases", true, 1},
		{"without", false, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := memkv.New()
				var loads atomic.Int64
				var running sync.WaitGroup
				for range 3 {
					cached := process(t, store, store)
					if !c.leases {
						cached.leases = nil
					}
					for range 10 {
						running.Go(func() {
							entry, err := cached.GetOrLoad(t.Context(), "key", time.Minute, func(context.Context) ([]byte, error) {
								time.Sleep(5 * time.Second) // longer than the TTL of the lease
								return fmt.Append(nil, loads.Add(1)), nil
							})
							want, _ := store.Get(t.Context(), "key")
							if err != nil || entry.Version != want.Version || string(entry.Value) != string(want.Value) || !entry.ExpiresAt.Equal(want.ExpiresAt) || entry.ExpiresAt.IsZero() {
								t.Errorf("rule: all callers get the entry that is stored; got %+v, %v, want %+v", entry, err, want)
							}
						})
					}
				}
				running.Wait()
				if n := loads.Load(); n != c.most {
					t.Errorf("rule: one process computes a key with leases, and one caller of each process without; load was called %d times, want %d", n, c.most)
				}
			})
		})
	}
}

// If a process dies while it computes, another one takes over. The test does not end the first
// process, but cuts it off from its leases.
func TestDeadProcessIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, b := memkv.New(), new(between)
		dead, alive := process(t, store, putBetween(store, b)), process(t, store, store)
		release := make(chan struct{})
		go func() {
			_, _ = dead.GetOrLoad(t.Context(), "key", 0, func(context.Context) ([]byte, error) {
				b.write = func(context.Context, kv.WriteRequest) (kv.Outcome, error) {
					return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable}
				}
				<-release
				return nil, errors.New("dead")
			})
		}()
		synctest.Wait()
		begun := time.Now()
		entry, err := alive.GetOrLoad(t.Context(), "key", 0, func(context.Context) ([]byte, error) { return []byte("1"), nil })
		if took := time.Since(begun); err != nil || string(entry.Value) != "1" || took > lease.MinTTL+2*poll {
			t.Errorf("rule: another process takes over after the TTL of the lease; got %q, %v after %s", entry.Value, err, took)
		}
		close(release)
		synctest.Wait()
	})
}

func TestLoadFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		cached := process(t, store, store)
		failure := errors.New("no such user")
		var loads atomic.Int64
		var running sync.WaitGroup
		load := func(context.Context) ([]byte, error) {
			time.Sleep(time.Second)
			if loads.Add(1) == 1 {
				return nil, failure
			}
			return []byte("1"), nil
		}
		var failed atomic.Int64
		for range 3 {
			running.Go(func() {
				if _, err := cached.GetOrLoad(t.Context(), "key", 0, load); err == failure {
					failed.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		if loads.Load() != 2 || failed.Load() != 1 {
			t.Errorf("rule: an error of load is its caller's alone, and the next caller loads; %d calls, %d errors, want 2 and 1", loads.Load(), failed.Load())
		}
		if n := len(cached.turns.keys); n != 0 {
			t.Errorf("rule: nothing is left of calls that ended; %d keys are", n)
		}
	})
}

func TestLoadReplacesNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store := memkv.New()
	cached := process(t, store, store)
	entry, err := cached.GetOrLoad(ctx, "key", time.Minute, func(context.Context) ([]byte, error) {
		return []byte("computed"), put(ctx, store, "key", "put")
	})
	if stored, _ := value(ctx, store, "key"); err != nil || string(entry.Value) != "put" || stored != "put" {
		t.Errorf("rule: GetOrLoad never replaces an entry; it returns %q, %v, and in the store is %q", entry.Value, err, stored)
	}
}

// Two keys may share a lease. Here load calls GetOrLoad for a key whose lease the outer
// GetOrLoad already holds.
func TestLoadsWithinLoads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		store := memkv.New()
		cached := process(t, store, store)
		const outer = "outer"
		inner := ""
		for i := 0; inner == "" || leaseName(inner) != leaseName(outer); i++ {
			inner = fmt.Sprint("inner.", i)
		}
		entry, err := cached.GetOrLoad(ctx, outer, 0, func(ctx context.Context) ([]byte, error) {
			entry, err := cached.GetOrLoad(ctx, inner, 0, func(context.Context) ([]byte, error) { return []byte("inner"), nil })
			return append(entry.Value, " and outer"...), err
		})
		if err != nil || string(entry.Value) != "inner and outer" {
			t.Errorf("rule: load may load another key, also one of the same lease; got %q, %v", entry.Value, err)
		}
	})
}

func TestGetOrLoadEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		one, other := process(t, store, store), process(t, store, store)
		release := make(chan struct{})
		go func() {
			_, _ = one.GetOrLoad(t.Context(), "key", 0, func(context.Context) ([]byte, error) {
				<-release
				return nil, errors.New("over")
			})
		}()
		synctest.Wait()
		for name, cached := range map[string]*Cache{"this process": one, "another process": other} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			begun := time.Now()
			_, err := cached.GetOrLoad(ctx, "key", 0, nil)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
				t.Errorf("rule: GetOrLoad ends with its context, also while %s computes; got %v after %s", name, err, time.Since(begun))
			}
			cancel()
		}
		close(release)
		synctest.Wait()
	})
}

func TestGetOrLoadRefuses(t *testing.T) {
	t.Parallel()
	store, b := memkv.New(), new(between)
	cached := open(t, putBetween(store, b), Options{})
	for _, ttl := range []time.Duration{30, -time.Second} {
		if _, err := cached.GetOrLoad(t.Context(), "key", ttl, nil); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: a ttl of %s is ErrInvalidOption; got %v", ttl, err)
		}
	}
	if _, err := cached.GetOrLoad(t.Context(), "ä", 0, nil); !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("rule: a key that is not legal is ErrInvalidKey; got %v", err)
	}
	if n := b.gets.Load(); n != 0 {
		t.Errorf("rule: what is wrong is refused before any request; there were %d", n)
	}
}

// GetOrLoad costs as many requests as doc.go says.
func TestPriceOfGetOrLoad(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	requests := kv.NewMeter(nil)
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return counting{d, requests} }))
	cached := process(t, store, store)
	cached.driver.absent = false
	one := func(context.Context) ([]byte, error) { return []byte("1"), nil }
	if _, err := cached.GetOrLoad(ctx, "key", 0, one); err != nil {
		t.Fatal(err)
	}
	if n := requests.Requests(); n != 7 {
		t.Errorf("rule: a GetOrLoad that finds nothing costs 7 requests; it made %d", n)
	}
	if _, err := cached.GetOrLoad(ctx, "key", 0, nil); err != nil || requests.Requests() != 7 {
		t.Errorf("rule: a GetOrLoad that finds the entry in memory costs none; it made %d, %v", requests.Requests()-7, err)
	}
}

// counting counts Gets and Writes, which are for one key each.
type counting struct {
	kv.Driver
	requests *kv.Meter
}

func (d counting) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.requests.Add(1, 1)
	return d.Driver.Get(ctx, req)
}

func (d counting) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.requests.Add(1, 1)
	return d.Driver.Write(ctx, req)
}

// A call that waits for the load of another call ends when the store closes, as all calls do.
func TestCloseEndsWaitingForALoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(memkv.New(), &Options{MaxAge: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		proceed := make(chan struct{})
		var waiting error
		ended := false
		done.Go(func() {
			_, err := c.GetOrLoad(t.Context(), "a", 0, func(context.Context) ([]byte, error) { <-proceed; return nil, nil })
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("rule: a call that Close ended returns ErrClosed; the call that loads returns %v", err)
			}
		})
		synctest.Wait()
		done.Go(func() {
			_, waiting = c.GetOrLoad(t.Context(), "a", 0, func(context.Context) ([]byte, error) { return nil, nil })
			ended = true
		})
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !ended || !errors.Is(waiting, kv.ErrClosed) {
			t.Errorf("rule: Close ends every running call, with ErrClosed; a call that waits for a load has ended: %t, %v", ended, waiting)
		}
		close(proceed)
		done.Wait()
	})
}
