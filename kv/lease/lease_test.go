package lease

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// world is the store of one program, with its Leases. The store's requests pass through the
// Injector, a simulated network, to the store data. Other programs use data too.
type world struct {
	data, store *kv.Store
	*faults.Injector
	leases *Leases
}

const ttl = 8 * time.Second

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{data: memkv.New(), Injector: new(faults.Injector)}
	w.store = w.data.With(kv.Wrap(kv.Level1, faults.Driver(w.Injector, 1)))
	w.leases = another(t, w.store)
	return w
}

// The function another returns the Leases of another process.
func another(t *testing.T, store *kv.Store) *Leases {
	t.Helper()
	s, err := New(store, &Options{TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) acquire(t *testing.T) *Lease {
	t.Helper()
	l, err := w.leases.Acquire(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{
		{TTL: -1}, {TTL: 999 * time.Millisecond}, {TTL: 25 * time.Hour}, {TTL: time.Second + 1}, {TTL: 30},
		{Poll: -1}, {Poll: time.Millisecond}, {Poll: DefaultTTL}, {TTL: 10 * time.Second, Poll: 5*time.Second + 1},
	} {
		if s, err := New(memkv.New(), &o); s != nil || !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "want") {
			t.Errorf("rule: options out of range are ErrInvalidOption, and the error says what is wanted; %+v: %v", o, err)
		}
	}
	for _, o := range []*Options{nil, {}, {TTL: MinTTL}, {TTL: MaxTTL}, {Poll: MinPoll}, {TTL: 2 * time.Second, Poll: time.Second}} {
		if _, err := New(memkv.New(), o); err != nil {
			t.Errorf("New with %+v: %v", o, err)
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := func(context.Context, *Lease) error { return nil }
	for name, c := range map[string]struct {
		call func(context.Context) error
		want error
	}{
		"a name that is no key": {func(ctx context.Context) error { _, err := w.leases.Acquire(ctx, "a/b"); return err }, kv.ErrInvalidKey},
		"an empty name":         {func(ctx context.Context) error { _, err := w.leases.TryAcquire(ctx, ""); return err }, kv.ErrInvalidKey},
		"a name that is too long": {func(ctx context.Context) error {
			_, err := w.leases.Campaign(ctx, strings.Repeat("a", kv.MaxKeyLen+1), nil)
			return err
		}, kv.ErrInvalidKey},
		"a long value": {func(ctx context.Context) error {
			_, err := w.leases.Campaign(ctx, "job", make([]byte, MaxValueLen+1))
			return err
		}, kv.ErrValueTooLarge},
		"a leader's name that is no key": {func(ctx context.Context) error {
			for _, err := range w.leases.Observe(ctx, "ä") {
				return err
			}
			return nil
		}, kv.ErrInvalidKey},
		"a forgotten unit":      {func(ctx context.Context) error { _, err := w.leases.Once(ctx, "job", 60, run); return err }, kv.ErrInvalidOption},
		"a job's name is empty": {func(ctx context.Context) error { _, err := w.leases.Once(ctx, "", time.Minute, run); return err }, kv.ErrInvalidKey},
	} {
		if err := c.call(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("rule: %s is an error that matches %v; got %v", name, c.want, err)
		}
	}
	if counts := w.Counts(); len(counts) > 0 {
		t.Errorf("rule: bad input is refused before I/O; there were requests: %v", counts)
	}
}

func TestRecordsOfOthers(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"", "7", "{", `{"token":1}`, `{"format":2,"token":1}`, `{"format":1}`, `{"format":1,"token":0}`, `{"format":1,"token":-1}`,
		`{"format":1,"token":1,"holder":"secret"}`, `{"format":1,"token":1,"holder":"secret","ttlMs":999}`,
		`{"format":1,"token":1,"holder":"secret","ttlMs":9223372036854775807}`, `{"format":1,"token":1,"doneMs":-1}`, `{"format":1,"token":99999999999999999999}`,
	} {
		w := newWorld(t)
		if _, err := w.data.Put(t.Context(), "job", []byte(value)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.leases.Acquire(t.Context(), "job"); !errors.Is(err, kv.ErrIncompatible) || strings.Contains(err.Error(), "secret") {
			t.Errorf("rule: a value that package lease did not write is ErrIncompatible, and not in the error; %s: %v", value, err)
		}
		if entry, err := w.data.Get(t.Context(), "job"); err != nil || string(entry.Value) != value {
			t.Errorf("rule: a value that package lease did not write stays as it is; %q became %q, %v", value, entry.Value, err)
		}
	}
}

func TestTokensGrow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for want := int64(1); want <= 6; want++ {
			l, err := another(t, w.store).Acquire(t.Context(), "job")
			if err != nil {
				t.Fatal(err)
			}
			if l.Token() != want || l.Name() != "job" {
				t.Errorf("rule: the tokens of a lease are 1, 2, 3, …; %s has %d, want %d", l.Name(), l.Token(), want)
			}
			if _, err := w.leases.TryAcquire(t.Context(), "job"); !errors.Is(err, ErrHeld) {
				t.Errorf("rule: TryAcquire of a lease that is held is ErrHeld; got %v", err)
			}
			entry, err := w.data.Get(t.Context(), "job")
			if err != nil || !entry.ExpiresAt.IsZero() {
				t.Errorf("rule: the record never has a TTL; %v, %v", entry.ExpiresAt, err)
			}
			if want%2 == 0 { // let the lease expire
				w.Use(faults.Always(faults.Drop))
				time.Sleep(2 * ttl)
				w.Use(nil)
				time.Sleep(ttl)
				continue
			}
			if err := l.Release(t.Context()); err != nil || l.Held() || l.Left() != 0 {
				t.Errorf("Release: %v, held %t", err, l.Held())
			}
			if err := l.Release(t.Context()); err != nil {
				t.Errorf("rule: a second Release does nothing; got %v", err)
			}
		}
	})
}

// After the holder is killed, a program that waits acquires the lease within a TTL and a
// Poll.
func TestTakenAfterAKill(t *testing.T) {
	t.Parallel()
	for i := range 20 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			l := w.acquire(t)
			waiting := another(t, w.data)
			killed := make(chan time.Time, 1)
			// A death just after a renewal makes the other program wait longest.
			time.AfterFunc(time.Duration(1+i%4)*ttl/renewals+time.Millisecond, func() { w.Use(faults.Always(faults.Drop)); killed <- time.Now() })
			taken, err := waiting.Acquire(t.Context(), "job")
			if err != nil {
				t.Fatal(err)
			}
			if passed := time.Since(<-killed); passed > ttl+waiting.poll {
				t.Errorf("rule: a program that waits takes the lease of a dead holder within a TTL and a Poll, %s; it took %s", ttl+waiting.poll, passed)
			}
			if l.Held() || taken.Token() != 2 {
				t.Errorf("rule: the former holder's Held is false; it is %t, and the token %d", l.Held(), taken.Token())
			}
			if err := taken.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTakenAfterRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.acquire(t)
		released := make(chan time.Time, 1)
		time.AfterFunc(time.Minute, func() { _ = l.Release(t.Context()); released <- time.Now() })
		taken, err := another(t, w.data).Acquire(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		if passed := time.Since(<-released); passed > w.leases.poll {
			t.Errorf("rule: a lease that was released is taken within a Poll, %s; it took %s", w.leases.poll, passed)
		}
		_ = taken.Release(t.Context())
	})
}

// A program that first reads the record after the holder died must see for a TTL that nobody
// renews the lease.
func TestTakenByALaterOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.acquire(t)
		w.Use(faults.Always(faults.Drop))
		time.Sleep(time.Hour)
		s := another(t, w.data)
		if _, err := s.TryAcquire(t.Context(), "job"); !errors.Is(err, ErrHeld) {
			t.Errorf("rule: TryAcquire does not take a lease that it has not seen before; got %v", err)
		}
		time.Sleep(ttl - time.Millisecond)
		if _, err := s.TryAcquire(t.Context(), "job"); !errors.Is(err, ErrHeld) {
			t.Errorf("rule: a lease is not taken before it was unchanged for its TTL; got %v", err)
		}
		time.Sleep(time.Millisecond)
		l, err := s.TryAcquire(t.Context(), "job")
		if err != nil {
			t.Fatalf("rule: TryAcquire takes a lease that the same Leases saw a TTL ago; got %v", err)
		}
		_ = l.Release(t.Context())
	})
}

func TestFailedRenewals(t *testing.T) {
	t.Parallel()
	for _, kind := range []faults.Kind{faults.Drop, faults.Refuse, faults.Throttle, faults.Hang, faults.Lose, faults.Fail, faults.Garbage, faults.Late} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			l := w.acquire(t)
			ctx := l.Context(t.Context())
			// If kind is Hang, two attempts take a sixth of the TTL each. The second one ends before
			// 80 percent of the TTL have passed, which leaves time for a third one.
			w.Use(faults.Always(kind))
			for range 79 {
				if !l.Held() {
					t.Fatalf("rule: a failed renewal (%s) is not a lost lease while time is left", kind)
				}
				time.Sleep(ttl / 100)
			}
			w.Use(nil)
			time.Sleep(10 * ttl)
			if !l.Held() || ctx.Err() != nil || l.Token() != 1 {
				t.Errorf("rule: a lease lives on after failed renewals (%s): held %t, %v", kind, l.Held(), context.Cause(ctx))
			}
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLost(t *testing.T) {
	t.Parallel()
	for _, kind := range []faults.Kind{faults.Drop, faults.Throttle, faults.Hang, faults.Lose} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			l := w.acquire(t)
			ctx := l.Context(t.Context())
			w.Use(faults.Always(kind))
			began := time.Now()
			<-ctx.Done()
			if passed := time.Since(began); passed > belief(ttl) {
				t.Errorf("rule: the context ends after the belief of the lease, %s; it took %s", belief(ttl), passed)
			}
			if cause := context.Cause(ctx); !errors.Is(cause, ErrLost) || l.Held() {
				t.Errorf("rule: the cause of the context is ErrLost, and Held false; got %v, %t", cause, l.Held())
			}
			w.Use(nil)
			time.Sleep(ttl)
			if l.Held() {
				t.Error("rule: once Held is false it stays false")
			}
			for range 2 {
				if err := l.Release(t.Context()); !errors.Is(err, ErrLost) {
					t.Errorf("rule: Release of a lease that was lost is ErrLost, each time; got %v", err)
				}
			}
			if _, err := w.leases.TryAcquire(t.Context(), "job"); err != nil {
				t.Errorf("rule: Release frees a lost lease that nobody has taken; got %v", err)
			}
			w.Use(faults.Always(faults.Drop))
			time.Sleep(ttl) // until the new lease ends too
		})
	}
}

func TestStolen(t *testing.T) {
	t.Parallel()
	for name, steal := range map[string]func(ctx context.Context, data *kv.Store) error{
		"another holder": func(ctx context.Context, data *kv.Store) error {
			_, err := data.Put(ctx, "job", record{Token: 2, Holder: "thief", TTL: 8000}.encode())
			return err
		},
		"a deleted record": func(ctx context.Context, data *kv.Store) error { return data.Delete(ctx, "job") },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			l := w.acquire(t)
			ctx := l.Context(t.Context())
			if err := steal(t.Context(), w.data); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, ErrLost) || time.Since(began) > ttl/renewals || l.Held() {
				t.Errorf("rule: the next renewal finds %s; after %s: %v", name, time.Since(began), cause)
			}
			if err := l.Release(t.Context()); !errors.Is(err, ErrLost) {
				t.Errorf("Release: %v; want ErrLost", err)
			}
		})
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.acquire(t)
		parent, cancel := context.WithCancel(t.Context())
		first, second := l.Context(parent), l.Context(t.Context())
		cancel()
		if first.Err() == nil || second.Err() != nil || !l.Held() {
			t.Errorf("rule: the end of a parent ends its child, and not the lease: %v, %v, %t", first.Err(), second.Err(), l.Held())
		}
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
		<-second.Done()
		if cause := context.Cause(second); cause != context.Canceled {
			t.Errorf("rule: after Release the cause is context.Canceled; got %v", cause)
		}
		if third := l.Context(t.Context()); true {
			<-third.Done() // the context has already ended; otherwise the test hangs
		}
	})
}

// The rule: a lease forgets the contexts whose parents have ended. A leader may hold its
// lease for months, and derive a context for each request.
func TestContextIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newWorld(t).acquire(t)
		defer l.Release(t.Context())
		type request [1 << 10]byte
		ended := func() weak.Pointer[request] {
			r := new(request)
			parent, cancel := context.WithCancel(context.WithValue(t.Context(), request{}, r))
			defer cancel()
			_ = l.Context(parent)
			return weak.Make(r)
		}()
		synctest.Wait() // the lease forgets the context in another goroutine
		runtime.GC()
		if ended.Value() != nil {
			t.Error("rule: a lease forgets a context whose parent has ended; it is still in memory")
		}
	})
}

func TestLostResponses(t *testing.T) {
	t.Parallel()
	for _, kind := range []faults.Kind{faults.Lose, faults.Truncate, faults.Fail, faults.Garbage, faults.Drop, faults.Refuse} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.Use(faults.Writes(kind))
			l := w.acquire(t)
			if l.Token() != 1 {
				t.Errorf("rule: a program that waits recognises its own lease after a lost response (%s); the token is %d", kind, l.Token())
			}
			w.Use(faults.Writes(kind))
			if err := l.Release(t.Context()); err != nil && kind != faults.Refuse {
				t.Errorf("rule: Release recognises its own write after a lost response (%s); got %v", kind, err)
			} else if err := l.Release(t.Context()); err != nil {
				t.Errorf("rule: a failed Release can be repeated; got %v", err)
			}
			l, err := w.leases.TryAcquire(t.Context(), "job")
			if err != nil || l.Token() != 2 {
				t.Fatalf("rule: after Release (%s) the lease is free; got %v", kind, err)
			}
			_ = l.Release(t.Context())
		})
	}
}

// slow delays the responses of writes.
type slow struct {
	kv.Driver
	by time.Duration
}

func (s slow) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	out, err := s.Driver.Write(ctx, req)
	time.Sleep(s.by)
	return out, err
}

func TestSlowResponses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		l, err := another(t, data.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return slow{d, 3 * time.Second} }))).Acquire(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		if left, want := l.Left(), belief(ttl)-3*time.Second; left != want {
			t.Errorf("rule: a lease is counted from before the request; %s are left, want %s", left, want)
		}
		_ = l.Release(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if l, err := another(t, data.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return slow{d, ttl} }))).Acquire(ctx, "job"); err == nil {
			t.Errorf("rule: Acquire does not return a lease that has ended: held %t", l.Held())
		}
	})
}

func TestAcquireEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.acquire(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if _, err := another(t, w.data).Acquire(ctx, "job"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrHeld) || time.Since(began) != time.Minute {
			t.Errorf("rule: Acquire ends with its context, and says that the lease is held; got %v after %s", err, time.Since(began))
		}
		_ = l.Release(t.Context())
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Use(faults.Always(faults.Refuse))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := w.leases.Acquire(ctx, "job"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: Acquire retries while the store is unavailable, and its error says so; got %v", err)
		}
		if _, err := w.leases.TryAcquire(t.Context(), "job"); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: TryAcquire returns the error of an unavailable store; got %v", err)
		}
		time.AfterFunc(time.Minute, func() { w.Use(nil) })
		l := w.acquire(t)
		_ = l.Release(t.Context())
		w.store.Close()
		if _, err := w.leases.Acquire(t.Context(), "job"); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("rule: Acquire ends with ErrClosed; got %v", err)
		}
	})
}

// If a store is closed, its leases are lost, and leave no goroutine running. If one were left,
// synctest.Test would not return.
func TestStoreCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.acquire(t)
		ctx := l.Context(t.Context())
		w.data.Close()
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), ErrLost) || !errors.Is(context.Cause(ctx), kv.ErrClosed) {
			t.Errorf("rule: the cause says why the lease could not be renewed; got %v", context.Cause(ctx))
		}
	})
}

func TestPrice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, err := New(w.store, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.Acquire(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		requests := func() int { synctest.Wait(); return w.Counts()[faults.Pass] }
		if n := requests(); n != 2 {
			t.Errorf("rule: acquiring a free lease takes 2 requests; it took %d", n)
		}
		before := requests()
		time.Sleep(time.Minute + time.Second)
		if n := requests() - before; n != 12 {
			t.Errorf("rule: a lease costs 12 requests a minute; it had %d", n)
		}
		waiter := memkvCounted(t, w)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := waiter.leases.Acquire(ctx, "job"); !errors.Is(err, ErrHeld) {
			t.Error(err)
		}
		if n := waiter.Counts()[faults.Pass]; n < 40 || n > 82 {
			t.Errorf("rule: a program that waits makes 40 to 80 requests a minute; it made %d", n)
		}
		before = requests()
		_ = l.Release(t.Context())
		if n := requests() - before; n != 1 {
			t.Errorf("rule: Release takes 1 request; it took %d", n)
		}
	})
}

// memkvCounted returns another process with the same data and its own count of requests.
func memkvCounted(t *testing.T, w *world) *world {
	t.Helper()
	other := &world{data: w.data, Injector: new(faults.Injector)}
	other.store = w.data.With(kv.Wrap(kv.Level1, faults.Driver(other.Injector, 1)))
	var err error
	if other.leases, err = New(other.store, nil); err != nil {
		t.Fatal(err)
	}
	return other
}

func TestManyAreWatched(t *testing.T) {
	t.Parallel()
	s := another(t, memkv.New())
	for i := range 3 * maxSeen {
		s.see(fmt.Sprint(i), kv.Version{}, new(sighting))
	}
	if len(s.seen) > maxSeen {
		t.Errorf("rule: a Leases watches at most %d records; it watches %d", maxSeen, len(s.seen))
	}
}

// A Leases may wait for more leases than it remembers. It takes all of them a TTL and a Poll after
// their holder died, and sees that they have no leader.
func TestManyAreTakenAfterAKill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		waiting := another(t, w.data)
		waiting.maxSeen = 16
		const each = 64 // calls of Acquire, and of Observe
		var acquired, leaderless atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for i := range 2 * each {
			name := fmt.Sprint(i)
			if _, err := w.data.Put(ctx, name, record{Token: 1, Holder: "dead", TTL: ttl.Milliseconds()}.encode()); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				calls.Go(func() {
					for leader, err := range waiting.Observe(ctx, name) {
						if err == nil && !leader.Exists {
							leaderless.Add(1)
						}
					}
				})
				continue
			}
			calls.Go(func() {
				l, err := waiting.Acquire(ctx, name)
				if err != nil {
					return // ctx has ended
				}
				acquired.Add(1)
				if err := l.Release(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(ttl + waiting.poll)
		synctest.Wait()
		if a, n := acquired.Load(), leaderless.Load(); a != each || n != each {
			t.Errorf("rule: a program that waits takes the lease of a dead holder within a TTL and a Poll; it took %d of %d, and saw %d of %d without a leader", a, each, n, each)
		}
		cancel()
		calls.Wait()
	})
}

func TestObserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		observer := memkvCounted(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		errs := 0
		ended := make(chan error, 1)
		go func() {
			var last error
			for leader, err := range observer.leases.Observe(ctx, "job") {
				if last = err; err != nil {
					errs++
					continue
				}
				seen = append(seen, fmt.Sprintf("%t %d %s", leader.Exists, leader.Token, leader.Value))
			}
			ended <- last
		}()
		time.Sleep(time.Minute)
		l, err := w.leases.Campaign(t.Context(), "job", []byte("ann"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		observer.Use(faults.Reads(faults.Drop, faults.Throttle, faults.Drop)) // errors do not change the leader
		time.Sleep(time.Minute)
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err = w.leases.Campaign(t.Context(), "job", []byte("bob")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.Use(faults.Always(faults.Drop)) // bob dies
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("rule: Observe ends with the error of its context; got %v", err)
		}
		want := []string{"false 0 ", "true 1 ann", "false 1 ", "true 2 bob", "false 2 "}
		if !slices.Equal(seen, want) || errs != 4 {
			t.Errorf("rule: Observe yields each change of the leader; got %q and %d errors, want %q and 4", seen, errs, want)
		}
	})
}

func TestOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var runs atomic.Int64
		const hours = 24
		ctx, cancel := context.WithTimeout(t.Context(), hours*time.Hour-time.Minute)
		defer cancel()
		done := make(chan struct{})
		const replicas = 5
		for i := range replicas {
			s := another(t, w.data)
			go func() {
				defer func() { done <- struct{}{} }()
				for n := 0; ctx.Err() == nil; n++ {
					_, err := s.Once(ctx, "report", time.Hour, func(ctx context.Context, l *Lease) error {
						if !l.Held() {
							t.Error("rule: the lease is held while the job runs")
						}
						runs.Add(1)
						time.Sleep(3 * ttl)
						return nil
					})
					if err != nil && ctx.Err() == nil {
						t.Error(err)
					}
					_ = sleep(ctx, time.Duration(7+i)*time.Minute)
				}
			}()
		}
		for range replicas {
			<-done
		}
		if n := runs.Load(); n != hours {
			t.Errorf("rule: one of many replicas runs the job once per interval; it ran %d times in %d intervals", n, hours)
		}
	})
}

// The rule: an interval may be of any length from a second on. A long one begins before 1970.
func TestOnceOfLongIntervals(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{time.Second, 10 * 365 * 24 * time.Hour, math.MaxInt64} {
		synctest.Test(t, func(t *testing.T) {
			s := another(t, memkv.New())
			for _, want := range []bool{true, false} {
				ran, err := s.Once(t.Context(), "migration", every, func(context.Context, *Lease) error { return nil })
				if ran != want || err != nil {
					t.Errorf("rule: a job is run once per interval of %s; got %t, %v, want %t", every, ran, err, want)
				}
			}
			l, err := s.Acquire(t.Context(), "migration")
			if err != nil {
				t.Fatalf("rule: the record of a job is a record of a lease; got %v", err)
			}
			_ = l.Release(t.Context())
		})
	}
}

// The job may release its lease. It is done in its interval if it returns nil and no other replica
// has acquired the lease meanwhile, whether or not the responses to its Release were lost.
func TestOnceReleasesItself(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan  faults.Plan // for the requests that release the lease
		steal bool        // another replica acquires the lease after the job has released it
	}{
		"released":                     {plan: faults.Writes(faults.Pass)},
		"released, response lost":      {plan: faults.Writes(faults.Lose)},
		"released, response late":      {plan: faults.Writes(faults.Late)},
		"not released":                 {plan: faults.Always(faults.Drop)},
		"released, acquired by others": {plan: faults.Writes(faults.Pass), steal: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				other := another(t, w.data)
				var job, stolen *Lease
				ran, err := w.leases.Once(t.Context(), "report", time.Hour, func(_ context.Context, l *Lease) error {
					job = l
					w.Use(c.plan)
					_ = l.Release(t.Context())
					w.Use(nil)
					if c.steal {
						var err error
						if stolen, err = other.TryAcquire(t.Context(), "report"); err != nil {
							t.Fatal(err)
						}
					}
					return nil
				})
				if !ran || errors.Is(err, ErrLost) != c.steal || err != nil && !c.steal {
					t.Errorf("rule: Once says whether the job counts as done; got %t, %v", ran, err)
				}
				if c.steal {
					_ = stolen.Release(t.Context())
					return
				}
				if err := job.Release(t.Context()); err != nil {
					t.Errorf("rule: a Release after Once does nothing; got %v", err)
				}
				if ran, err = other.Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { return nil }); ran || err != nil {
					t.Errorf("rule: a job that returned nil is done in its interval; got %t, %v", ran, err)
				}
			})
		})
	}
}

func TestOnceFails(t *testing.T) {
	t.Parallel()
	why := errors.New("no luck")
	for name, fail := range map[string]func(l *Lease, w *world) error{
		"returns an error": func(*Lease, *world) error { return why },
		"panics":           func(*Lease, *world) error { panic(why) },
		"dies": func(l *Lease, w *world) error {
			w.Use(faults.Always(faults.Drop))
			<-l.Context(context.Background()).Done()
			return why
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				func() {
					defer func() { _ = recover() }()
					ran, err := w.leases.Once(t.Context(), "report", time.Hour, func(_ context.Context, l *Lease) error { return fail(l, w) })
					if !ran || !errors.Is(err, why) {
						t.Errorf("rule: Once returns the error of the job; got %t, %v", ran, err)
					}
				}()
				// Each of the next two calls of Once is in another process, which has not seen the
				// lease before.
				ran, err := another(t, w.data).Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { return nil })
				if !ran || err != nil {
					t.Errorf("rule: a job whose process %s is run again in the same interval; got %t, %v", name, ran, err)
				}
				ran, err = another(t, w.data).Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { return why })
				if ran || err != nil {
					t.Errorf("rule: a job that is done is not run again in its interval; got %t, %v", ran, err)
				}
				w.Use(nil)
				time.Sleep(time.Hour)
				ran, err = w.leases.Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { return nil })
				if !ran || err != nil {
					t.Errorf("rule: a job is run in the next interval; got %t, %v", ran, err)
				}
			})
		})
	}
}

// The rule: if the lease is lost while the job runs, the error of Once matches ErrLost, whether or
// not Once can release the lease. The job is done if it returned nil and Once released the lease.
func TestOnceIsLost(t *testing.T) {
	t.Parallel()
	why := errors.New("no luck")
	for _, c := range []struct {
		name  string
		ends  bool // the outage ends before the job does
		fails bool // the job returns an error
	}{{"outage goes on", false, false}, {"outage goes on, job fails", false, true}, {"outage ends", true, false}, {"outage ends, job fails", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ran, err := w.leases.Once(t.Context(), "report", time.Hour, func(ctx context.Context, _ *Lease) error {
					w.Use(faults.Always(faults.Hang))
					<-ctx.Done()
					if c.ends {
						w.Use(nil)
					}
					if c.fails {
						return why
					}
					return nil
				})
				if !ran || !errors.Is(err, ErrLost) || errors.Is(err, why) != c.fails || strings.Contains(err.Error(), "\n") {
					t.Errorf("rule: the error of Once matches ErrLost and the job's error, in one line; got %t, %v", ran, err)
				}
				w.Use(nil)
				time.Sleep(2 * ttl)
				ran, err = another(t, w.data).Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { return nil })
				if done := c.ends && !c.fails; ran == done || err != nil {
					t.Errorf("rule: the job is done (%t) if the release says so; got %t, %v", done, ran, err)
				}
			})
		})
	}
}

// Once does not wait for the end of a job that another replica runs, but only until that replica
// has renewed the lease. A later holder that releases the lease does not erase from the record
// that the job of the interval is done.
func TestOnceWhileItRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		running, end := make(chan struct{}), make(chan struct{})
		go func() {
			_, err := w.leases.Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { close(running); <-end; return nil })
			if err != nil {
				t.Error(err)
			}
			close(end)
		}()
		<-running
		began := time.Now()
		ran, err := another(t, w.data).Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { return nil })
		if ran || err != nil || time.Since(began) > ttl/renewals+w.leases.poll {
			t.Errorf("rule: Once returns when the holder has renewed the lease; got %t, %v after %s", ran, err, time.Since(began))
		}
		end <- struct{}{}
		<-end
		l, err := w.leases.Acquire(t.Context(), "report")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		ran, err = w.leases.Once(t.Context(), "report", time.Hour, func(context.Context, *Lease) error { return nil })
		if ran || err != nil {
			t.Errorf("rule: later leases of the name keep the last interval whose job is done; got %t, %v", ran, err)
		}
	})
}
