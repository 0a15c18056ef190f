package torture

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// around is a driver whose calls pass through the function do. The function do may call the
// wrapped driver, and returns the error of the call.
type around struct {
	kv.Driver
	do func(ctx context.Context, write bool, call func(context.Context) error) error
}

func (d around) Get(ctx context.Context, req kv.GetRequest) (found kv.Found, err error) {
	err = d.do(ctx, false, func(ctx context.Context) (err error) {
		found, err = d.Driver.Get(ctx, req)
		return err
	})
	return found, err
}

func (d around) Write(ctx context.Context, req kv.WriteRequest) (out kv.Outcome, err error) {
	err = d.do(ctx, true, func(ctx context.Context) (err error) {
		out, err = d.Driver.Write(ctx, req)
		return err
	})
	return out, err
}

func (d around) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (out kv.AtomicOutcome, err error) {
	err = d.do(ctx, true, func(ctx context.Context) (err error) {
		out, err = d.Driver.WriteAtomic(ctx, req)
		return err
	})
	return out, err
}

// GetMany ends at the first error, which is then the error of all keys that were not read before.
func (d around) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		stopped := false
		err := d.do(ctx, false, func(ctx context.Context) error {
			for found, err := range d.Driver.GetMany(ctx, req) {
				if err != nil {
					return err
				}
				if stopped = !yield(found, nil); stopped {
					break
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(kv.Found{}, err)
		}
	}
}

// WriteMany returns the first error, if there is one, as the error of every write.
func (d around) WriteMany(ctx context.Context, req kv.WriteManyRequest) (results []kv.WriteResult) {
	err := d.do(ctx, true, func(ctx context.Context) error {
		results = d.Driver.WriteMany(ctx, req)
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
		return nil
	})
	if err != nil {
		return slices.Repeat([]kv.WriteResult{{Err: err}}, len(req.Writes))
	}
	return results
}

func (d around) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		stopped := false
		err := d.do(ctx, false, func(ctx context.Context) error {
			for rec, err := range d.Driver.Scan(ctx, req) {
				if err != nil && rec.Key == "" {
					return err
				}
				if stopped = !yield(rec, err); stopped {
					break
				}
				req.From = rec.Key + "-"
			}
			return nil
		})
		if err != nil && !stopped {
			yield(kv.Record{}, err)
		}
	}
}

// wrapped returns middleware that wraps a driver in the type around.
func wrapped(do func(ctx context.Context, write bool, call func(context.Context) error) error) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return around{d, do} }
}

// mistaken returns middleware that changes the errors of a driver.
func mistaken(change func(e *kv.Error, write bool)) func(kv.Driver) kv.Driver {
	return wrapped(func(ctx context.Context, write bool, call func(context.Context) error) error {
		err := call(ctx)
		if e, ok := errors.AsType[*kv.Error](err); ok {
			changed := *e
			change(&changed, write)
			return &changed
		}
		return err
	})
}

// Bugs that drivers may have in outages.
var (
	hidesContext = mistaken(func(e *kv.Error, _ bool) {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			e.Kind, e.Err = kv.ErrUnavailable, errors.New("nobody answered")
		}
	})
	returnsLate = wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) error {
		err := call(ctx)
		if ctx.Err() != nil {
			time.Sleep(150 * time.Millisecond)
		}
		return err
	})
	cannotBeCancelled = wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) error {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
		defer cancel()
		return call(own)
	})
	readsAreIndeterminate = mistaken(func(e *kv.Error, write bool) { e.MayHaveApplied = true })
	nothingWasWritten     = mistaken(func(e *kv.Error, _ bool) { e.MayHaveApplied = false })
	throttlingIsAnOutage  = mistaken(func(e *kv.Error, _ bool) {
		if e.Kind == kv.ErrThrottled {
			e.Kind = kv.ErrUnavailable
		}
	})
	anOutageIsThrottling = mistaken(func(e *kv.Error, _ bool) {
		if e.Kind == kv.ErrUnavailable {
			e.Kind = kv.ErrThrottled
		}
	})
	triesTooOften = wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) (err error) {
		for range 5 {
			if err = call(ctx); err == nil {
				return nil
			}
		}
		return err
	})
	goesOnInTheBackground = wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) error {
		err := call(ctx)
		if ctx.Err() != nil {
			own, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			go func() {
				defer cancel()
				for range kv.GetEach(own, hanging{}, kv.GetManyRequest{Keys: []string{"key"}}, 1) {
				}
			}()
		}
		return err
	})
)

// staysAway returns middleware that, once a call has failed, fails forever.
func staysAway() func(kv.Driver) kv.Driver {
	var failed atomic.Bool
	return wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) error {
		if failed.Load() {
			return &kv.Error{Kind: kv.ErrUnavailable}
		}
		err := call(ctx)
		if err != nil {
			failed.Store(true)
		}
		return err
	})
}

// outageWorld returns a world of memkv with a service that can go away. The middleware outer adds
// a bug, unless it is nil.
func outageWorld(t testing.TB, outer func(kv.Driver) kv.Driver) *world {
	w := &world{name: "mem", Injector: new(faults.Injector), direct: memkv.New()}
	var away atomic.Bool
	w.down = func() { away.Store(true) }
	w.up = func() error { away.Store(false); return nil }
	chain := []func(kv.Driver) kv.Driver{wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) error {
		if away.Load() {
			time.Sleep(time.Millisecond) // a host takes about this long to refuse a connection
			return &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("connection refused")}
		}
		return call(ctx)
	})}
	if outer != nil {
		chain = append([]func(kv.Driver) kv.Driver{outer}, chain...)
	}
	w.stores = []*kv.Store{w.direct.With(kv.Wrap(kv.Level1, chain...))}
	return w.closing(t)
}

// everyCall returns a check that makes the given check for each call in calls.
func everyCall(check func(t checking, w *world, call call)) func(checking, *world) {
	return func(t checking, w *world) {
		for _, call := range calls {
			check(t, w, call)
		}
	}
}

// outageChecks are the tests of outages and throttling, as checks of one world. Each has
// the bugs that it must find.
var outageChecks = []struct {
	name  string
	check func(checking, *world)
	world func(testing.TB, func(kv.Driver) kv.Driver) *world
	bugs  map[string]func(kv.Driver) kv.Driver
}{
	{"TestDeadlines", everyCall(func(t checking, w *world, call call) {
		if !t.Failed() { // a bug that takes time need not show in every call
			checkDeadline(t, w, faults.Hang, call, context.DeadlineExceeded, 5)
			checkDeadline(t, w, faults.Hang, call, context.Canceled, 5)
		}
	}), networkWorld, map[string]func(kv.Driver) kv.Driver{
		"returns late": returnsLate, "cannot be cancelled": cannotBeCancelled, "hides that the context ended": hidesContext,
		"reports reads as indeterminate": readsAreIndeterminate,
	}},
	{"TestRetriesAreBounded", everyCall(func(t checking, w *world, call call) {
		if call.single() {
			checkBounded(t, w, faults.Throttle, call)
			checkBounded(t, w, faults.Fail, call)
		}
	}), networkWorld, map[string]func(kv.Driver) kv.Driver{
		"tries too often": triesTooOften, "calls throttling an outage": throttlingIsAnOutage, "calls an outage throttling": anOutageIsThrottling,
		"says that nothing was written": nothingWasWritten, "reports throttled calls as indeterminate": readsAreIndeterminate,
	}},
	{"TestBurstsPass", everyCall(func(t checking, w *world, call call) { checkBurst(t, w, faults.Throttle, call) }),
		networkWorld, map[string]func(kv.Driver) kv.Driver{"gives up too early": nil}},
	{"TestOutage", func(t checking, w *world) { checkOutage(t, w, 50*time.Millisecond, time.Second) }, outageWorld, map[string]func(kv.Driver) kv.Driver{
		"calls an outage throttling": anOutageIsThrottling, "reports unsent calls as indeterminate": readsAreIndeterminate,
		"stays away": staysAway(),
	}},
	{"TestNoGoroutineIsLeft", func(t checking, w *world) {
		endEarly(t, w)
		checkNothingLeft(t, 200*time.Millisecond)
	}, networkWorld, map[string]func(kv.Driver) kv.Driver{"continues in the background": goesOnInTheBackground}},
}

// networkWorld returns a world with an unreliable network. The middleware outer adds a bug. If it
// is nil, the bug is that the client makes only one attempt.
func networkWorld(t testing.TB, outer func(kv.Driver) kv.Driver) *world {
	if outer != nil {
		return brokenWorld(t, outer, nil)
	}
	w := brokenWorld(t, nil, nil)
	w.stores = []*kv.Store{w.direct.With(kv.Wrap(kv.Level1, faults.Driver(w.Injector, 1)))}
	return w
}

// TestOutageChecksFindBrokenDrivers checks that each check of outageChecks finds its bugs, and
// finds nothing in a driver without a bug. The test is not parallel, because it looks at all
// goroutines.
func TestOutageChecksFindBrokenDrivers(t *testing.T) {
	right := wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) error { return call(ctx) })
	for _, c := range outageChecks {
		t.Run(c.name, func(t *testing.T) {
			if failures := failuresOf(t.Context(), func(ch checking) { c.check(ch, c.world(t, right)) }); failures != nil {
				t.Fatalf("without a bug: %s", failures[0])
			}
			for name, bug := range c.bugs {
				var failures []string
				for range 3 { // on a busy machine a deadline may pass before the bug shows
					if failures == nil {
						failures = failuresOf(t.Context(), func(ch checking) { c.check(ch, c.world(t, bug)) })
					}
				}
				if failures == nil {
					t.Errorf("rule: %s finds a driver that %s", c.name, name)
					continue
				}
				t.Logf("%s: %.200s", name, failures[0])
			}
		})
	}
}

// TestHangingDriverFindsBrokenDrivers checks that TestHangingDriver finds its bugs.
func TestHangingDriverFindsBrokenDrivers(t *testing.T) {
	detailed := wrapped(func(ctx context.Context, write bool, call func(context.Context) error) error {
		call(ctx)
		return &kv.Error{Err: ctx.Err(), MayHaveApplied: write}
	})(hanging{})
	for name, driver := range map[string]kv.Driver{
		"is a nanosecond late":          hanging{late: 1},
		"hides that the context ended":  hidesContext(detailed),
		"says that nothing was written": nothingWasWritten(detailed),
	} {
		for _, call := range calls {
			if !call.write && strings.HasPrefix(name, "says") || strings.Contains(call.name, "Scan") || call.name == "DeletePrefix" {
				continue // here the store itself reports that the context has ended
			}
			t.Run(strings.ReplaceAll(name+"/"+call.name, " ", "_"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					failures := failuresOf(t.Context(), func(c checking) { checkHanging(c, kv.New(driver), call) })
					if failures == nil {
						t.Errorf("rule: TestHangingDriver finds a driver that %s", name)
					}
				})
			})
		}
	}
}
