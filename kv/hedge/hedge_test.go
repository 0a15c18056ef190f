package hedge

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// eager returns a policy by which every read is late after the time threshold, and gets a second
// request.
func eager(threshold time.Duration) *policy {
	return &policy{least: math.MaxInt, generation: 1000, perCall: 1, burst: math.MaxInt, crowd: math.MaxInt, threshold: threshold}
}

// pair counts the two requests of one call.
type pair struct {
	requests atomic.Int32
	second   chan struct{} // closed when the second request arrives
}

type pairKey struct{}

// paired puts a new pair into the context of each Get.
type paired struct{ kv.Driver }

func (d paired) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	return d.Driver.Get(context.WithValue(ctx, pairKey{}, &pair{second: make(chan struct{})}), req)
}

// awaiting delays the first request of a pair until the second one arrives.
type awaiting struct {
	kv.Driver
	seconds *atomic.Int64
}

func (d awaiting) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	p := ctx.Value(pairKey{}).(*pair)
	if p.requests.Add(1) == 2 {
		d.seconds.Add(1)
		close(p.second)
	}
	select {
	case <-p.second:
		return d.Driver.Get(ctx, req)
	case <-ctx.Done():
		return kv.Found{}, ctx.Err()
	}
}

// Each Get of the suite sends two requests. Either of them may be the faster one.
func TestConformance(t *testing.T) {
	for name, most := range map[string]int{"slower goes on": maxSlower, "slower is cancelled": 0} {
		t.Run(name, func(t *testing.T) {
			var seconds atomic.Int64
			conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
				return memkv.New().With(kv.Wrap(kv.Level1,
					func(d kv.Driver) kv.Driver { return paired{d} },
					func(d kv.Driver) kv.Driver { return newDriver(d, eager(1), most) },
					func(d kv.Driver) kv.Driver { return awaiting{d, &seconds} })), nil
			}})
			t.Cleanup(func() {
				if n := seconds.Load(); n < 100 {
					t.Errorf("only %d second requests were sent: the test tests little", n)
				}
			})
		})
	}
}

func TestConformanceOfReads(t *testing.T) {
	t.Parallel()
	conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) { return memkv.New().With(Reads(nil)), nil }})
}

// scripted answers the first and the second request of one call with prepared answers.
type scripted struct {
	kv.Driver
	requests atomic.Int32
	answers  [2]func(context.Context) (kv.Found, error)
}

func (d *scripted) Get(ctx context.Context, _ kv.GetRequest) (kv.Found, error) {
	return d.answers[d.requests.Add(1)-1](ctx)
}

func (d *scripted) Close() error { return nil }

// The function after returns a scripted answer that comes after the duration wait. If the
// context ends first, the answer is the context's error, which is also stored in *ended,
// unless ended is nil.
func after(wait time.Duration, token string, err error, ended *error) func(context.Context) (kv.Found, error) {
	return func(ctx context.Context) (kv.Found, error) {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			return kv.Found{Record: kv.Record{Token: token}, Exists: true}, err
		case <-ctx.Done():
			if ended != nil {
				*ended = ctx.Err()
			}
			return kv.Found{}, ctx.Err()
		}
	}
}

func TestFirstAnswerCounts(t *testing.T) {
	t.Parallel()
	one, two := errors.New("one"), errors.New("two")
	for name, c := range map[string]struct {
		first, second func(context.Context) (kv.Found, error)
		token         string
		err           error
		took          time.Duration
		requests      int32
	}{
		"in time":                    {after(9, "a", nil, nil), nil, "a", nil, 9, 1},
		"failed in time":             {after(9, "", one, nil), nil, "", one, 9, 1},
		"second is faster":           {after(100, "a", nil, nil), after(5, "b", nil, nil), "b", nil, 15, 2},
		"first is faster":            {after(12, "a", nil, nil), after(5, "b", nil, nil), "a", nil, 12, 2},
		"first fails":                {after(12, "", one, nil), after(5, "b", nil, nil), "b", nil, 15, 2},
		"second fails":               {after(100, "a", nil, nil), after(5, "", two, nil), "a", nil, 100, 2},
		"both fail, the first last":  {after(100, "", one, nil), after(5, "", two, nil), "", one, 100, 2},
		"both fail, the second last": {after(12, "", one, nil), after(5, "", two, nil), "", two, 15, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				below := &scripted{answers: [2]func(context.Context) (kv.Found, error){c.first, c.second}}
				d := newDriver(below, eager(10), maxSlower)
				begun := time.Now()
				found, err := d.Get(t.Context(), kv.GetRequest{Key: "k"})
				if took := time.Since(begun); found.Token != c.token || err != c.err || took != c.took {
					t.Errorf("rule: the first answer counts, and an error only when both fail; got %q, %v after %d, want %q, %v after %d",
						found.Token, err, took, c.token, c.err, c.took)
				}
				if n := below.requests.Load(); n != c.requests {
					t.Errorf("rule: there is a second request exactly when the first is late; there were %d requests", n)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestSlowerRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		most     int
		deadline time.Duration // the call's deadline
		slower   time.Duration // how long the slower request would take
		cancels  bool          // the caller cancels its context after the call
		closes   bool          // the store is closed after the call
		ends     time.Duration // time from the call's beginning to the end of the slower request
		err      error         // the error that ended the slower request
	}{
		"goes on to its end":          {most: maxSlower, slower: time.Second, ends: time.Second},
		"goes on for 5 seconds":       {most: maxSlower, slower: time.Hour, ends: slowerTime + 15, err: context.Canceled},
		"goes on to the deadline":     {most: maxSlower, deadline: time.Second, slower: time.Hour, ends: time.Second, err: context.DeadlineExceeded},
		"outlives the caller":         {most: maxSlower, slower: time.Second, cancels: true, ends: time.Second},
		"ends with the store":         {most: maxSlower, slower: time.Second, closes: true, ends: 15, err: context.Canceled},
		"is cancelled over HTTP/2":    {most: 0, slower: time.Second, ends: 15, err: context.Canceled},
		"is cancelled beyond a bound": {most: 0, slower: time.Second, cancels: true, ends: 15, err: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var ended error
				below := &scripted{answers: [2]func(context.Context) (kv.Found, error){after(c.slower, "a", nil, &ended), after(5, "b", nil, nil)}}
				d := newDriver(below, eager(10), c.most)
				ctx, cancel := context.WithCancel(t.Context())
				if c.deadline > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), c.deadline)
				}
				defer cancel()
				begun := time.Now()
				if found, err := d.Get(ctx, kv.GetRequest{Key: "k"}); found.Token != "b" || err != nil {
					t.Fatal(found, err)
				}
				if c.cancels {
					cancel()
				}
				if c.closes {
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
				}
				d.running.Wait()
				if took := time.Since(begun); took != c.ends || ended != c.err {
					t.Errorf("rule: the slower request %s; it ended after %s by %v, want %s by %v", name, took, ended, c.ends, c.err)
				}
				if d.slower != 0 || len(d.requests) != 0 {
					t.Errorf("rule: a request that ended leaves nothing; %d go on, %d are under way", d.slower, len(d.requests))
				}
			})
		})
	}
}

func TestFewSlowerRequestsGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := new(alternating)
		d := newDriver(below, eager(10), maxSlower)
		for range maxSlower + 3 {
			if _, err := d.Get(t.Context(), kv.GetRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := below.cancelled.Load(); n != 3 || d.slower != maxSlower {
			t.Errorf("rule: at most %d slower requests go on; %d do, and %d of 3 were cancelled", maxSlower, d.slower, n)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if n := below.cancelled.Load(); n != maxSlower+3 {
			t.Errorf("rule: Close ends the slower requests and waits for them; it ended %d", n-3)
		}
		if _, err := d.Get(t.Context(), kv.GetRequest{}); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("rule: a call after Close is ErrClosed; got %v", err)
		}
	})
}

// alternating answers every second request at once, and the others when they are cancelled.
type alternating struct {
	kv.Driver
	requests, cancelled atomic.Int64
}

func (d *alternating) Get(ctx context.Context, _ kv.GetRequest) (kv.Found, error) {
	if d.requests.Add(1)%2 == 0 {
		return kv.Found{}, nil
	}
	<-ctx.Done()
	d.cancelled.Add(1)
	return kv.Found{}, ctx.Err()
}

func (d *alternating) Close() error { return nil }

// undated is a context that does not report its deadline.
type undated struct{ context.Context }

func (undated) Deadline() (time.Time, bool) { return time.Time{}, false }

func TestCallerEndsBoth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		context func(context.Context) (context.Context, context.CancelFunc)
		want    error
	}{
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20, cancel)
			return ctx, cancel
		}, context.Canceled},
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 20) }, context.DeadlineExceeded},
		"deadline that is not told": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithTimeout(ctx, 20)
			return undated{ctx}, cancel
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var first, second error
				below := &scripted{answers: [2]func(context.Context) (kv.Found, error){after(time.Hour, "", nil, &first), after(time.Hour, "", nil, &second)}}
				d := newDriver(below, eager(10), maxSlower)
				ctx, cancel := c.context(t.Context())
				defer cancel()
				begun := time.Now()
				_, err := d.Get(ctx, kv.GetRequest{})
				d.running.Wait()
				if took := time.Since(begun); err != c.want || first == nil || second == nil || took != 20 {
					t.Errorf("rule: both requests end with the caller's context; the call ended by %v, they by %v and %v after %d, want %v after 20", err, first, second, took, c.want)
				}
			})
		})
	}
}

func TestPanicEndsTheCall(t *testing.T) {
	t.Parallel()
	d := newDriver(new(scripted), newPolicy(), maxSlower) // has no answer, so it panics
	func() {
		defer func() {
			if recover() == nil {
				t.Error("rule: a panic of the driver passes by; there was none")
			}
		}()
		_, _ = d.Get(t.Context(), kv.GetRequest{})
	}()
	if d.policy.underWay != 0 {
		t.Errorf("rule: a call that ended by a panic is not under way; %d calls are", d.policy.underWay)
	}
}

// If the store ends a call at Close, the call returns ErrClosed.
func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		below := &scripted{Driver: driverOf(memkv.New()), answers: [2]func(context.Context) (kv.Found, error){after(time.Hour, "", nil, nil), after(time.Hour, "", nil, nil)}}
		store := kv.New(below).With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return newDriver(d, eager(10), maxSlower) }))
		failed := make(chan error)
		go func() {
			_, err := store.Get(context.Background(), "k")
			failed <- err
		}()
		time.Sleep(20 * time.Nanosecond)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, kv.ErrClosed) {
			t.Errorf("rule: a call that Close ended returns ErrClosed; got %v", err)
		}
	})
}

// driverOf returns the driver of a store.
func driverOf(store *kv.Store) (driver kv.Driver) {
	store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { driver = d; return d }))
	return driver
}
