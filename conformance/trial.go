package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

const (
	// caseTimeout bounds a case, so that a driver which never returns fails it. The
	// slowest takes seconds.
	caseTimeout = 5 * time.Minute

	// goingOn is how long a case may go on when its context has ended, to close
	// what it opened.
	goingOn = 10 * time.Second
)

// testCase is a Case with what it does. It begins with an empty store.
type testCase struct {
	Case
	run    func(t *trial)
	faulty bool   // it needs Config.Faulty
	file   string // where it is
}

// rule makes a case of the file that calls it.
func rule(name, rule string, run func(t *trial)) testCase {
	_, file, _, _ := runtime.Caller(1)
	return testCase{Case: Case{name, rule}, run: run, file: file}
}

// trial is one run of one case: what a *testing.T is to a test.
type trial struct {
	store // with the trial's clock

	ctx     context.Context
	clock   *clock
	driver  *observer // between store and driver
	network network   // between driver and service, of a case that needs Config.Faulty
	config  Config

	opened *kv.Store
	others []*kv.Store

	file     string // of the case
	mu       sync.Mutex
	failures []string
}

// try runs the case. The error says that a shared store could not be cleared. A
// case that does not end is left behind.
func (c testCase) try(ctx context.Context, config Config) (Result, error) {
	begin := time.Now()
	if config.Shared {
		// What a request that was cut short still does in the service would come
		// after the case's leavings are removed.
		ctx = context.WithoutCancel(ctx)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, caseTimeout, fmt.Errorf("conformance: the case takes longer than %v", caseTimeout))
	defer cancel()
	t := &trial{ctx: bounded, config: config, clock: newClock(), driver: new(observer), file: c.file}
	done := t.apart(func() {
		defer t.close()
		t.opened = t.open(c.faulty)
		t.store = t.with()
		c.run(t)
	})
	ended := true
	select {
	case <-done:
	case <-bounded.Done():
		select {
		case <-done:
		case <-time.After(goingOn):
			ended = false
			t.Errorf("a call of the store, or the constructor, does not return, though its context has ended: %v", context.Cause(bounded))
		}
	}
	var err error
	switch {
	case config.Shared && !ended:
		err = fmt.Errorf("conformance: the case %s does not end, and may still write to the shared store", c.Name)
	case config.Shared:
		ctx, cancel := context.WithTimeout(ctx, caseTimeout)
		defer cancel()
		err = wipe(ctx, config)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return Result{Case: c.Case, Failures: slices.Clone(t.failures), Duration: time.Since(begin)}, err
}

// apart runs f in a goroutine of its own, which Fatalf can end, and a panic fails
// the case. The channel is closed when f has ended.
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
	name, open := "Config.New", t.config.New
	if faulty {
		name, open = "Config.Faulty", func(ctx context.Context) (*kv.Store, error) { return t.config.Faulty(ctx, t.network.decide) }
	}
	opened, err := open(t.ctx)
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
		if err := opened.Close(); err != nil {
			t.Errorf("Close after the case: %v", err)
		}
	}
}

// with derives a store over the trial's data; options come on top of its clock.
func (t *trial) with(opts ...kv.StoreOption) store {
	opts = append([]kv.StoreOption{kv.Wrap(t.driver.wrap), kv.Clock(t.clock.now)}, opts...)
	return t.fronted(t.opened.With(opts...))
}

// another opens one more store: an empty one, unless the stores are shared.
func (t *trial) another() store {
	opened := t.open(false)
	t.others = append(t.others, opened)
	return t.fronted(opened.With(kv.Clock(t.clock.now)))
}

func (t *trial) fronted(s store) store {
	if t.config.front == nil {
		return s
	}
	return t.config.front(s)
}

// maxKeyLen and maxValueLen are the limits that the suite holds the store to.
func (t *trial) maxKeyLen() int   { return min(t.Info().MaxKeyLen, kv.MaxKeyLen) }
func (t *trial) maxValueLen() int { return min(t.Info().MaxValueLen, kv.MaxValueLen) }

// Errorf reports a failure of the case.
func (t *trial) Errorf(format string, args ...any) {
	failure := t.place() + fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, failure)
}

// Fatalf reports a failure and ends the case; only what runs apart may call it.
func (t *trial) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// place names the line of the case's own file that a failure comes from.
func (t *trial) place() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if frame.File == t.file {
			return fmt.Sprintf("%s:%d: ", filepath.Base(frame.File), frame.Line)
		}
		if !more {
			return ""
		}
	}
}

// short shows a key or value in a failure.
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
