package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// mostFailures is how many failures of a case are reported.
const mostFailures = 50

// testCase is a Case and the function that runs it. The function gets an empty store.
type testCase struct {
	Case
	run    func(t *trial)
	faulty bool   // whether the case needs Config.Faulty
	file   string // the source file of the case
}

// rule returns a case. The case belongs to the source file that calls rule.
func rule(name, rule string, run func(t *trial)) testCase {
	_, file, _, _ := runtime.Caller(1)
	return testCase{Case: Case{name, rule}, run: run, file: file}
}

// trial is one run of one case, like a *testing.T.
type trial struct {
	store // with the trial's clock and observer

	ctx     context.Context
	clock   *clock
	driver  *observer // between the store and its driver
	network network   // between the driver and its service, if the case needs Config.Faulty
	config  Config

	opened *kv.Store
	others []*kv.Store

	lacks string // the feature that the case needs and the store lacks, according to its Info

	file     string // the file of the case
	mu       sync.Mutex
	failures []string
}

// ending says whether the run of a case ended in time.
type ending int

const (
	inTime ending = iota
	late
	leftBehind // the case was abandoned: its goroutine still runs
)

// quietFor is how long a driver must do nothing before it counts as hanging.
const quietFor = 250 * time.Millisecond

// The method try runs the case within its time limit. While the driver hangs, try calls the
// function hangs every quarter of a second, unless hangs is nil.
//
// If the case does not end soon after its context, the method abandons it. Later calls of the
// case, except Close, then do not reach a driver. They do not change the result.
func (c testCase) try(ctx context.Context, config Config, hangs func()) (Result, ending) {
	begin, limit := time.Now(), config.caseTimeout()
	tooLong := fmt.Errorf("conformance: the case takes longer than %v", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, tooLong)
	defer cancel()
	t := newTrial(ctx, config, c.file)
	done := t.apart(func() {
		defer t.close()
		t.opened = t.open(c.faulty)
		if t.opened.Info().NoGrace {
			t.clock.advance(kv.ExpiryGrace) // so that the service does not remove the entries of the case
		}
		t.store = t.with()
		c.run(t)
	})

	var end ending
	var failures []string
	tooLate := func() {
		if end == inTime && context.Cause(ctx) == tooLong {
			end = late
			failures = append(failures, fmt.Sprintf("the case has not ended after %v; under way: %s", limit, t.driver.doing()))
		}
	}
	over, patience := ctx.Done(), (<-chan time.Time)(nil)
	quiet := time.NewTicker(quietFor)
	defer quiet.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
			tooLate()
		case <-over:
			over, patience = nil, time.After(config.patience())
			tooLate()
		case <-patience:
			end, waiting = leftBehind, false
			failures = append(failures, fmt.Sprintf("the case has still not ended %v after its context, and is abandoned; under way: %s", config.patience(), t.driver.doing()))
		case <-quiet.C:
			if hangs != nil && t.driver.quiet(quietFor) {
				hangs()
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	result := Result{Case: c.Case, Failures: append(failures, t.failures...), Duration: time.Since(begin)}
	if end != leftBehind {
		result.Lacks = t.lacks
	}
	return result, end
}

func newTrial(ctx context.Context, config Config, file string) *trial {
	t := &trial{ctx: ctx, config: config, clock: newClock(), file: file}
	t.driver = newObserver(ctx, t.Errorf, t.place)
	return t
}

// The method apart runs f in a new goroutine, so that Fatalf can end f. A panic in f fails the
// case. The channel that apart returns is closed when f has ended.
func (t *trial) apart(f func()) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		f()
	}()
	return ended
}

func (t *trial) open(faulty bool) *kv.Store {
	if t.ctx.Err() != nil {
		t.Fatalf("the case opens a store: %v", context.Cause(t.ctx))
	}
	name, open := "Config.New", t.config.New
	if faulty {
		name, open = "Config.Faulty", func(ctx context.Context) (*kv.Store, error) { return t.config.Faulty(ctx, t.network.decide) }
	}
	end := t.driver.during(name)
	opened, err := open(t.ctx)
	end()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if opened == nil {
		t.Fatalf("%s returned no store", name)
	}
	return opened
}

func (t *trial) close() {
	for _, opened := range append(t.others, t.opened) {
		if opened == nil {
			continue
		}
		end := t.driver.during("Close after the case")
		err := opened.Close()
		end()
		if err != nil {
			t.Errorf("Close after the case: %v", err)
		}
	}
}

// The method with returns a store over the trial's data, with the trial's clock and observer,
// and with opts.
func (t *trial) with(opts ...kv.StoreOption) store {
	return t.fronted(t.observed(t.opened).With(opts...))
}

// observed returns the store with the trial's clock and observer.
func (t *trial) observed(opened *kv.Store) *kv.Store {
	return opened.With(kv.Wrap(kv.Level1, t.driver.wrap), kv.Clock(t.clock.now))
}

// The method another opens one more store. It is empty, unless Config.Shared is set.
func (t *trial) another() store {
	opened := t.open(false)
	t.others = append(t.others, opened)
	return t.fronted(t.observed(opened))
}

func (t *trial) fronted(s store) store {
	if t.config.front == nil {
		return s
	}
	return t.config.front(s)
}

// maxKeyLen and maxValueLen are the limits that the cases use: the limits of the store, but at
// most kv.MaxKeyLen and kv.MaxValueLen.
func (t *trial) maxKeyLen() int   { return min(t.Info().MaxKeyLen, kv.MaxKeyLen) }
func (t *trial) maxValueLen() int { return min(t.Info().MaxValueLen, kv.MaxValueLen) }

// Errorf reports that the case failed. The case goes on.
func (t *trial) Errorf(format string, args ...any) {
	failure := fmt.Sprintf(format, args...)
	if place := t.place(); place != "" {
		failure = place + ": " + failure
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch n := len(t.failures); {
	case n < mostFailures:
		t.failures = append(t.failures, failure)
	case n == mostFailures:
		t.failures = append(t.failures, "further failures are left out")
	}
}

// Fatalf reports that the case failed, and ends the goroutine. Only code that apart runs
// may call it.
func (t *trial) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// place returns the line of the case that is running: the innermost call that is in the case's
// file. It returns "" if there is no such call.
func (t *trial) place() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if frame.File == t.file {
			return fmt.Sprintf("%s:%d", filepath.Base(frame.File), frame.Line)
		}
		if !more {
			return ""
		}
	}
}

// short quotes a key or a value for a message. A long one is cut.
func short(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%.40q… (%d bytes)", s, len(s))
	}
	return fmt.Sprintf("%q", s)
}

func instant(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339Nano)
}
