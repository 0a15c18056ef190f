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

// around is a driver whose calls all pass through one function, which runs the call of
// the inner driver and returns its error.
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

// GetMany ends at the first error, which is the error for all keys not yet read.
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

// WriteMany has the first error as the error of all writes.
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

// wrapped makes a middleware of around.
func wrapped(do func(ctx context.Context, write bool, call func(context.Context) error) error) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return around{d, do} }
}

// mistaken changes the errors of a driver.
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

// The bugs of drivers in outages.
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

// staysAway fails for ever once a call has failed.
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

// outageWorld is memkv with a bug, on a service that can go away.
func outageWorld(t testing.TB, above func(kv.Driver) kv.Driver) *world {
	w := &world{name: "mem", Injector: new(faults.Injector), direct: memkv.New()}
	var away atomic.Bool
	w.down = func() { away.Store(true) }
	w.up = func() error { away.Store(false); return nil }
	chain := []func(kv.Driver) kv.Driver{wrapped(func(ctx context.Context, _ bool, call func(context.Context) error) error {
		if away.Load() {
			time.Sleep(time.Millisecond) // a host needs about this to refuse a connection
			return &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("connection refused")}
		}
		return call(ctx)
	})}
	if above != nil {
		chain = append([]func(kv.Driver) kv.Driver{above}, chain...)
	}
	w.stores = []*kv.Store{w.direct.With(kv.Wrap(kv.Level1, chain...))}
	return w.closing(t)
}

// everyCall turns a check of single calls into a check of all calls.
func everyCall(check func(t checking, w *world, call call)) func(checking, *world) {
	return func(t checking, w *world) {
		for _, call := range calls {
			check(t, w, call)
		}
	}
}

// outageChecks are the tests of outages and throttling, as checks of one world, with
// the bugs that each must find.
var outageChecks = []struct {
	name  string
	check func(checking, *world)
	world func(testing.TB, func(kv.Driver) kv.Driver) *world
	bugs  map[string]func(kv.Driver) kv.Driver
}{
	{"TestDeadlines", everyCall(func(t checking, w *world, call call) {
		if !t.Failed() { // a bug that needs time needs it only once
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

// networkWorld is a world with an unreliable network and a bug above it; nil stands for
// a client that tries once.
func networkWorld(t testing.TB, above func(kv.Driver) kv.Driver) *world {
	if above != nil {
		return brokenWorld(t, above, nil)
	}
	w := brokenWorld(t, nil, nil)
	w.stores = []*kv.Store{w.direct.With(kv.Wrap(kv.Level1, faults.Driver(w.Injector, 1)))}
	return w
}

// TestOutageChecksFindBrokenDrivers: each of the tests in outage_test.go finds the bugs
// that it is there for, and reports nothing for a driver without one. It runs alone,
// since it looks at goroutines.
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

// TestHangingDriverFindsBrokenDrivers: the same for TestHangingDriver.
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
				continue // the store itself reports the end of a scan's context
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
