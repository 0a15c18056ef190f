package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
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
	faulty bool // it needs Config.Faulty
}

func rule(name, rule string, run func(t *trial)) testCase {
	return testCase{Case: Case{name, rule}, run: run}
}

// store is what the cases call: a *kv.Store, or one that the suite's own tests
// broke on purpose.
type store interface {
	Info() kv.Info
	Get(ctx context.Context, key string) (kv.Entry, error)
	Put(ctx context.Context, key string, value []byte, opts ...kv.PutOption) (kv.Version, error)
	Delete(ctx context.Context, key string, opts ...kv.DeleteOption) error
	Exists(ctx context.Context, key string) (bool, error)
	Scan(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error]
	ScanPage(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error)
	GetMany(ctx context.Context, keys []string) (map[string]kv.Entry, error)
	PutMany(ctx context.Context, items []kv.Item) error
	DeleteMany(ctx context.Context, keys []string) error
	DeletePrefix(ctx context.Context, prefix string) (int, error)
	Close() error
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
	t := &trial{ctx: bounded, config: config, clock: newClock(), driver: new(observer)}
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
	opts = append([]kv.StoreOption{kv.Wrap(kv.Level1, t.driver.wrap), kv.Clock(t.clock.now)}, opts...)
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

// Errorf reports a failure of the case.
func (t *trial) Errorf(format string, args ...any) {
	failure := place() + fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, failure)
}

// Fatalf reports a failure and ends the case; only what runs apart may call it.
func (t *trial) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// place names the line of the case that a failure comes from.
func place() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		file := filepath.Base(frame.File)
		if strings.Contains(frame.Function, "/conformance.") && file != "trial.go" && file != "observer.go" && file != "network.go" && file != "faults.go" {
			return fmt.Sprintf("%s:%d: ", file, frame.Line)
		}
		if !more {
			return ""
		}
	}
}

// clock is what a trial's stores go by. It moves only when told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

// newClock starts a clock within a second of the real time: services delete
// expired entries by their own clocks. Its milliseconds are always the same, and
// none from which a TTL of the cases leads to a whole second: at that instant no
// case would notice a driver that keeps whole seconds.
func newClock() *clock {
	return &clock{at: time.Now().Truncate(time.Second).Add(123 * time.Millisecond)}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func (c *clock) advance(d time.Duration) { c.set(c.now().Add(d)) }

// put stores value and gives its version.
func (t *trial) put(key, value string, opts ...kv.PutOption) kv.Version {
	v, err := t.Put(t.ctx, key, []byte(value), opts...)
	if err != nil {
		t.Fatalf("Put(%s): %v", short(key), err)
	}
	return v
}

// fill stores items, many at once.
func (t *trial) fill(items ...kv.Item) {
	if err := t.PutMany(t.ctx, items); err != nil {
		t.Fatalf("PutMany of %d items: %v", len(items), err)
	}
}

// fillKeys stores entries under keys, each with its key as its value.
func (t *trial) fillKeys(keys ...string) {
	items := make([]kv.Item, len(keys))
	for i, key := range keys {
		items[i] = kv.Item{Key: key, Value: []byte(key)}
	}
	t.fill(items...)
}

// get reads an entry that must be there.
func (t *trial) get(key string) kv.Entry {
	e, err := t.Get(t.ctx, key)
	if err != nil {
		t.Fatalf("Get(%s): %v", short(key), err)
	}
	return e
}

func (t *trial) delete(key string, opts ...kv.DeleteOption) {
	if err := t.Delete(t.ctx, key, opts...); err != nil {
		t.Fatalf("Delete(%s): %v", short(key), err)
	}
}

// scan reads all entries of a scan.
func (t *trial) scan(prefix string, opts ...kv.ScanOption) []kv.Entry {
	var entries []kv.Entry
	for e, err := range t.Scan(t.ctx, prefix, opts...) {
		if err != nil {
			t.Fatalf("Scan(%s) after %d entries: %v", short(prefix), len(entries), err)
		}
		entries = append(entries, e)
	}
	return entries
}

// page reads one page of a scan.
func (t *trial) page(prefix string, limit int, cursor string, opts ...kv.PageOption) kv.Page {
	page, err := t.ScanPage(t.ctx, prefix, limit, cursor, opts...)
	if err != nil {
		t.Fatalf("ScanPage(%s, %d) after %d entries: %v", short(prefix), limit, len(page.Entries), err)
	}
	return page
}

// getMany reads a batch.
func (t *trial) getMany(keys ...string) map[string]kv.Entry {
	entries, err := t.GetMany(t.ctx, keys)
	if err != nil {
		t.Fatalf("GetMany of %d keys: %v", len(keys), err)
	}
	if entries == nil {
		t.Fatalf("GetMany of %d keys: the map is nil", len(keys))
	}
	return entries
}

// want is what an entry should be. A zero Version is not compared.
type want struct {
	value     string
	version   kv.Version
	expiresAt time.Time
}

// wantEntry checks one entry, read by the operation named how.
func (t *trial) wantEntry(how string, e kv.Entry, key string, w want) {
	if e.Key != key {
		t.Errorf("%s: the entry's key is %s; want %s", how, short(e.Key), short(key))
	}
	if e.Value == nil {
		t.Errorf("%s of %s: the value is nil; want %s", how, short(key), short(w.value))
	} else if string(e.Value) != w.value {
		t.Errorf("%s of %s: the value is %s; want %s", how, short(key), short(string(e.Value)), short(w.value))
	}
	t.wantMeta(how, e, key, w)
}

// wantMeta checks the version and the expiry of an entry.
func (t *trial) wantMeta(how string, e kv.Entry, key string, w want) {
	if e.Version.IsZero() {
		t.Errorf("%s of %s: the version is empty", how, short(key))
	} else if !w.version.IsZero() && e.Version != w.version {
		t.Errorf("%s of %s: the version is not that of the last write", how, short(key))
	}
	if w.expiresAt.IsZero() != e.ExpiresAt.IsZero() || !e.ExpiresAt.Equal(w.expiresAt) {
		t.Errorf("%s of %s: it expires at %s; want %s", how, short(key), instant(e.ExpiresAt), instant(w.expiresAt))
	}
}

// wantLive checks an entry through every operation that reads.
func (t *trial) wantLive(key string, w want) {
	if e, err := t.Get(t.ctx, key); err != nil {
		t.Errorf("Get(%s): %v", short(key), err)
	} else {
		t.wantEntry("Get", e, key, w)
	}
	if ok, err := t.Exists(t.ctx, key); err != nil || !ok {
		t.Errorf("Exists(%s) = %v, %v; want true", short(key), ok, err)
	}
	if e, ok := t.getMany(key)[key]; !ok {
		t.Errorf("GetMany of %s: the entry is missing", short(key))
	} else {
		t.wantEntry("GetMany", e, key, w)
	}
	if entries := t.scan(key, kv.Limit(1)); len(entries) == 0 {
		t.Errorf("Scan of %s: the entry is missing", short(key))
	} else {
		t.wantEntry("Scan", entries[0], key, w)
	}
	if page := t.page(key, 1, "", kv.KeysOnly()); len(page.Entries) == 0 || page.Entries[0].Key != key {
		t.Errorf("ScanPage of %s: the entry is missing", short(key))
	} else {
		t.wantMeta("ScanPage", page.Entries[0], key, w)
	}
}

// wantGone checks through every operation that reads that key has no entry.
func (t *trial) wantGone(key string) {
	if _, err := t.Get(t.ctx, key); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get(%s): %v; want ErrNotFound", short(key), err)
	}
	if ok, err := t.Exists(t.ctx, key); err != nil || ok {
		t.Errorf("Exists(%s) = %v, %v; want false", short(key), ok, err)
	}
	if _, ok := t.getMany(key)[key]; ok {
		t.Errorf("GetMany of %s: there is an entry", short(key))
	}
	if entries := t.scan(key, kv.Limit(1)); len(entries) > 0 && entries[0].Key == key {
		t.Errorf("Scan of %s: there is an entry", short(key))
	}
	if page := t.page(key, 1, "", kv.KeysOnly()); len(page.Entries) > 0 && page.Entries[0].Key == key {
		t.Errorf("ScanPage of %s: there is an entry", short(key))
	}
}

// wantValue checks by a Get alone.
func (t *trial) wantValue(key, value string) {
	e, err := t.Get(t.ctx, key)
	switch {
	case err != nil:
		t.Errorf("Get(%s): %v", short(key), err)
	case string(e.Value) != value:
		t.Errorf("Get(%s): the value is %s; want %s", short(key), short(string(e.Value)), short(value))
	}
}

// wantAbsent checks by a Get alone.
func (t *trial) wantAbsent(key string) {
	if _, err := t.Get(t.ctx, key); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get(%s): %v; want ErrNotFound", short(key), err)
	}
}

// wantError checks an error; what names the call that gave it. A definite
// answer must not be called indeterminate.
func (t *trial) wantError(what string, err, target error) {
	switch {
	case !errors.Is(err, target):
		t.Errorf("%s: the error is %v; want one that matches %q", what, err, target)
	case target != kv.ErrIndeterminate && errors.Is(err, kv.ErrIndeterminate):
		t.Errorf("%s: the error %v matches ErrIndeterminate as well", what, err)
	}
}

// wantRefused checks that call returns an error that matches target and does not
// reach the driver.
func (t *trial) wantRefused(what string, target error, call func() error) {
	before := t.driver.calls.Load()
	err := call()
	t.wantError(what, err, target)
	if t.driver.calls.Load() != before {
		t.Errorf("%s: the call reached the driver, though it could be refused before any I/O", what)
	}
}

// wantKeys compares the keys of entries.
func (t *trial) wantKeys(how string, entries []kv.Entry, keys []string) {
	for i, e := range entries {
		if i == len(keys) {
			t.Errorf("%s: %d entries; want %d: %s is too much", how, len(entries), len(keys), short(e.Key))
			return
		}
		if e.Key != keys[i] {
			t.Errorf("%s: entry %d of %d is %s; want %s", how, i, len(entries), short(e.Key), short(keys[i]))
			return
		}
	}
	if len(entries) < len(keys) {
		t.Errorf("%s: %d entries; want %d: %s is missing", how, len(entries), len(keys), short(keys[len(entries)]))
	}
}

// wantContent checks by a scan which keys are in the store.
func (t *trial) wantContent(keys ...string) {
	t.wantKeys("Scan of everything", t.scan("", kv.KeysOnly()), keys)
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

// bytesOf gives n bytes that repeat nothing short and are no text.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}
