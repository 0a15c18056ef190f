package torture

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

// lostWrite is a write of one key that meets a fault.
type lostWrite struct {
	name string

	// What the key holds before: nothing, an entry, or an expired one.
	before string

	// run makes the call; current is the version that the key has before, stale one
	// that it had earlier.
	run func(ctx context.Context, s *kv.Store, key string, current, stale kv.Version) (kv.Version, error)

	holds    bool // without a fault the call succeeds
	delete   bool
	repeats  bool // the contract allows it to be applied again
	afterDel bool // and when the key was deleted meanwhile, even though it has a condition
}

const ours, theirs, theOld = "ours", "theirs", "the old one"

func put(opts func(current, stale kv.Version) []kv.PutOption) func(context.Context, *kv.Store, string, kv.Version, kv.Version) (kv.Version, error) {
	return func(ctx context.Context, s *kv.Store, key string, current, stale kv.Version) (kv.Version, error) {
		return s.Put(ctx, key, []byte(ours), opts(current, stale)...)
	}
}

func del(opts func(current, stale kv.Version) []kv.DeleteOption) func(context.Context, *kv.Store, string, kv.Version, kv.Version) (kv.Version, error) {
	return func(ctx context.Context, s *kv.Store, key string, current, stale kv.Version) (kv.Version, error) {
		return kv.Version{}, s.Delete(ctx, key, opts(current, stale)...)
	}
}

var (
	unconditionalPut = put(func(_, _ kv.Version) []kv.PutOption { return nil })
	putIfNotExists   = put(func(_, _ kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfNotExists()} })
	putIfCurrent     = put(func(current, _ kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfVersion(current)} })
	putIfStale       = put(func(_, stale kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfVersion(stale)} })
	unconditionalDel = del(func(_, _ kv.Version) []kv.DeleteOption { return nil })
	deleteIfCurrent  = del(func(current, _ kv.Version) []kv.DeleteOption { return []kv.DeleteOption{kv.IfVersion(current)} })
	deleteIfStale    = del(func(_, stale kv.Version) []kv.DeleteOption { return []kv.DeleteOption{kv.IfVersion(stale)} })
)

var lostWrites = []lostWrite{
	{name: "put/new", run: unconditionalPut, holds: true, repeats: true},
	{name: "put/replace", before: "live", run: unconditionalPut, holds: true, repeats: true},
	{name: "put-if-absent/new", run: putIfNotExists, holds: true, afterDel: true},
	{name: "put-if-absent/expired", before: "expired", run: putIfNotExists, holds: true, afterDel: true},
	{name: "put-if-absent/exists", before: "live", run: putIfNotExists},
	{name: "put-if-version/current", before: "live", run: putIfCurrent, holds: true},
	{name: "put-if-version/stale", before: "live", run: putIfStale},
	{name: "delete/exists", before: "live", run: unconditionalDel, holds: true, delete: true, repeats: true},
	{name: "delete/absent", run: unconditionalDel, holds: true, delete: true, repeats: true},
	{name: "delete-if-version/current", before: "live", run: deleteIfCurrent, holds: true, delete: true},
	{name: "delete-if-version/stale", before: "live", run: deleteIfStale, delete: true},
}

// allKinds begin with those that find the most, and that the providers' conformance
// tests do not play.
var allKinds = []faults.Kind{
	faults.Lose, faults.Truncate, faults.Late, faults.Fail, faults.Throttle, faults.Drop,
	faults.Hang, faults.Refuse, faults.Garbage, faults.Delay, faults.Pass,
}

// some gives the first n of a list, and all of it in a long run.
func some[E any](list []E, n int) []E {
	if long() {
		return list
	}
	return list[:n]
}

// patience is what a call of these tests gets when no attempt of it can succeed.
const patience = 250 * time.Millisecond

// ample is what a call gets that is to succeed, on a machine as busy as can be.
const ample = 2 * time.Minute

// tolerance is for machines with other things to do. TestDeadlines is exact.
const tolerance = 5 * time.Second

// TestLostResponses: whatever happens to the requests of a write, what is said about it
// is true, and exact where it can be known.
func TestLostResponses(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		for name, l := range lostCases(w) {
			t.Run(name, func(t *testing.T) { l.test(t) })
		}
	})
}

// lostCases yields all cases, each with a key of its own.
func lostCases(w *world) iter.Seq2[string, *lost] {
	return func(yield func(string, *lost) bool) {
		n := 0
		for _, write := range lostWrites {
			for _, kind := range some(allKinds, 4) {
				for _, extent := range []string{"once", "always"} {
					for _, meanwhile := range []string{"untouched", "overwritten", "deleted"} {
						lost := kind.Forwarded() && !kind.Delivered()
						switch {
						case extent == "always" && (meanwhile != "untouched" || kind.Delivered()):
							continue
						case meanwhile != "untouched" && (!lost || !write.holds || kind == faults.Late):
							continue
						case meanwhile != "untouched" && kind == faults.Garbage:
							continue // a success that makes no sense may be taken for one
						}
						n++
						l := newLost(write, w, kind, extent == "always", meanwhile, fmt.Sprintf("key-%d", n))
						if !yield(strings.Join([]string{write.name, string(kind), extent, meanwhile}, "/"), l) {
							return
						}
					}
				}
			}
		}
	}
}

func newLost(write lostWrite, w *world, kind faults.Kind, always bool, meanwhile, key string) *lost {
	return &lost{lostWrite: write, world: w, kind: kind, always: always, meanwhile: meanwhile, key: key}
}

type lost struct {
	lostWrite
	*world
	kind      faults.Kind
	always    bool
	meanwhile string
	key       string

	mu   sync.Mutex
	seen []string // what the key held when an answer was lost
}

// at is the clock of these tests.
var at = time.Now().Truncate(time.Millisecond)

func clockAt(at time.Time) kv.StoreOption { return kv.Clock(func() time.Time { return at }) }

func (l *lost) test(t checking) {
	ctx := t.Context()
	direct, store := l.direct.With(clockAt(at)), l.stores[0].With(clockAt(at))
	var stale, current kv.Version
	must := func(v kv.Version, err error) kv.Version {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	switch l.before {
	case "live":
		stale = must(direct.Put(ctx, l.key, []byte("even older")))
		current = must(direct.Put(ctx, l.key, []byte(theOld)))
	case "expired":
		current = must(l.direct.With(clockAt(at.Add(-time.Minute))).Put(ctx, l.key, []byte(theOld), kv.TTL(time.Second)))
	}
	kinds := []faults.Kind{l.kind}
	if l.always {
		kinds = slices.Repeat(kinds, 100)
	}
	l.Use(faults.Writes(kinds...))
	l.Between(func(faults.Attempt) {
		holds := l.holdsNow(direct)
		l.mu.Lock()
		l.seen = append(l.seen, holds)
		l.mu.Unlock()
		switch l.meanwhile {
		case "overwritten":
			if _, err := direct.Put(context.Background(), l.key, []byte(theirs)); err != nil {
				t.Error(err)
			}
		case "deleted":
			if err := direct.Delete(context.Background(), l.key); err != nil {
				t.Error(err)
			}
		}
	})
	call, cancel := ctx, func() {}
	if l.always || l.kind == faults.Hang {
		call, cancel = context.WithTimeout(ctx, patience)
	}
	begin := time.Now()
	version, err := l.run(call, store, l.key, current, stale)
	took := time.Since(begin)
	cancel()
	attempts := l.Take()
	l.Use(nil)
	after := l.holdsNow(direct)
	defer func() {
		if t.Failed() {
			for _, a := range attempts {
				t.Logf("request %s: %s", a.Method, a.Kind)
			}
			t.Logf("the call: %v, %v; before the lost answers reached nobody, the key held %q; then %q", !version.IsZero(), err, l.seen, after)
		}
	}()
	if l.always && took > patience+tolerance {
		t.Errorf("rule: a deadline is honoured; a call with %v took %v", patience, took)
	}
	if errors.Is(err, kv.ErrIndeterminate) && errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("rule: a condition failed, or it is not known: %v", err)
	}
	unchanged := map[string]string{"": "nothing", "live": theOld, "expired": "nothing"}[l.before]
	applied := slices.Contains(l.seen, ours) || after == ours
	if l.delete {
		applied = l.before == "live" && (after == "nothing" || slices.Contains(l.seen, "nothing"))
	}
	definite := err != nil && !errors.Is(err, kv.ErrIndeterminate)
	switch {
	case err == nil && !l.holds:
		t.Errorf("rule: a condition that does not hold is never a success")
	case err == nil && !l.delete && (after != ours || l.versionNow(direct) != version && !(l.repeats && l.kind == faults.Late)):
		t.Errorf("rule: a put that succeeded is there, with its version; the key holds %q", after)
	case err == nil && l.delete && after != "nothing":
		t.Errorf("rule: a delete that succeeded left nothing; the key holds %q", after)
	case definite && applied:
		t.Errorf("rule: an error that is not ErrIndeterminate means that nothing was written; it was, and the error is %v", err)
	case !l.holds && after != unchanged:
		t.Errorf("rule: a condition that does not hold keeps the write from happening; the key holds %q", after)
	case definite && l.holds && errors.Is(err, kv.ErrConditionFailed):
		t.Errorf("rule: a condition that held is not reported as failed: %v", err)
	}
	// On a busy machine the deadline may pass before there is a request.
	unsent := definite && errors.Is(err, context.DeadlineExceeded) && !slices.ContainsFunc(attempts, func(a faults.Attempt) bool { return a.Write })
	if want := l.exactly(); want != nil && !want(err) && !unsent {
		t.Errorf("rule: %s; got %v", l.rule(), err)
	}
	if l.meanwhile == "overwritten" && !l.repeats && after != theirs {
		t.Errorf("rule: a conditional write is not applied over somebody else's; the key holds %q", after)
	}
	if l.meanwhile == "deleted" && !l.repeats && !l.afterDel && after != "nothing" {
		t.Errorf("rule: IfVersion is applied at most once; the key holds %q again", after)
	}
}

// The answers that the fault and what happened meanwhile leave no doubt about.
func succeeds(err error) bool { return err == nil }
func isUnknown(err error) bool {
	return errors.Is(err, kv.ErrIndeterminate) && !errors.Is(err, kv.ErrConditionFailed)
}
func succeedsOrUnknown(err error) bool {
	return err == nil || isUnknown(err)
}
func fails(err error) bool          { return errors.Is(err, kv.ErrConditionFailed) }
func failsOrUnknown(err error) bool { return fails(err) || isUnknown(err) }

// throttled allows for a request that was under way when the deadline came.
func throttled(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	return errors.Is(err, kv.ErrThrottled) && !errors.Is(err, kv.ErrIndeterminate)
}
func unavailable(err error) bool {
	return errors.Is(err, kv.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// vague reports whether a single fault may end a call, which inserts or not. The SDKs of
// AWS and Azure do not ask again when an answer makes no sense, or take its status for all
// there is to know. AWS's does not either when an answer ends early, nor does Azure's when
// it is that to an insertion or a transaction.
func (w *world) vague(kind faults.Kind, inserts bool) bool {
	return kind == faults.Garbage || kind == faults.Truncate && (w.name == "dynamodb" || w.name == "aztables" && inserts)
}

func (l *lost) rule() string {
	extent := "one request of the call"
	if l.always {
		extent = "all requests of the call"
	}
	return fmt.Sprintf("with %s of %s and the key %s meanwhile, what happened is known to %s", l.kind, extent, l.meanwhile, l.lostWrite.name)
}

// exactly gives what the error must be, nil when only the truth of it counts.
func (l *lost) exactly() func(error) bool {
	conditionalDelete := l.delete && !l.repeats
	vague := l.vague(l.kind, strings.HasPrefix(l.lostWrite.name, "put-if-absent"))
	switch {
	case l.kind == faults.Hang:
		return func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
	case l.always:
		switch {
		case l.kind == faults.Throttle:
			return throttled
		case l.kind.Forwarded() && l.holds && l.kind != faults.Late:
			return succeedsOrUnknown
		case !l.kind.Forwarded():
			return unavailable
		}
		return nil
	case l.kind.Delivered(), l.kind == faults.Throttle:
		if l.holds {
			return succeeds
		}
		return fails
	case !l.holds && vague: // that the service refused is known, but not why
		return func(err error) bool { return err != nil }
	case !l.holds:
		return failsOrUnknown
	case vague, l.kind == faults.Late && conditionalDelete:
		return succeedsOrUnknown
	case !l.kind.Forwarded():
		return succeeds
	case l.repeats:
		return succeeds
	case l.meanwhile == "deleted" && l.afterDel:
		return succeeds
	case l.meanwhile != "untouched", conditionalDelete:
		return isUnknown
	}
	return succeeds
}

// holdsNow is the value under the key, "nothing" when there is none.
func (l *lost) holdsNow(direct *kv.Store) string {
	entry, err := direct.Get(context.Background(), l.key)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return "nothing"
	case err != nil:
		return err.Error()
	}
	return string(entry.Value)
}

func (l *lost) versionNow(direct *kv.Store) kv.Version {
	entry, _ := direct.Get(context.Background(), l.key)
	return entry.Version
}

// TestLostBatches: a batch says of every key what became of it.
func TestLostBatches(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		n := 0
		for _, kind := range some(allKinds, 4) {
			for _, always := range []bool{false, true} {
				if always && kind.Delivered() {
					continue
				}
				n++
				prefix := fmt.Sprintf("batch%d:", n)
				t.Run(fmt.Sprintf("%s/always=%v", kind, always), func(t *testing.T) { testLostBatch(t, w, kind, always, prefix) })
			}
		}
	})
}

func testLostBatch(t checking, w *world, kind faults.Kind, always bool, prefix string) {
	const size = 120
	keys := make([]string, size)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%03d", prefix, i)
	}
	values := func(value string) map[string]string {
		m := make(map[string]string)
		for _, key := range keys {
			m[key] = value
		}
		return m
	}
	content := func() map[string]string {
		t.Helper()
		entries, err := w.direct.GetMany(context.Background(), keys)
		if err != nil {
			t.Fatal(err)
		}
		m := values("nothing")
		for key, entry := range entries {
			m[key] = string(entry.Value)
		}
		return m
	}
	items := func(value string) []kv.Item {
		var items []kv.Item
		for _, key := range keys {
			items = append(items, kv.Item{Key: key, Value: []byte(value)})
		}
		return items
	}
	kinds := []faults.Kind{kind}
	if always {
		kinds = slices.Repeat(kinds, 1000)
	}
	ops := 0
	run := func(plan faults.Plan, batch func(context.Context) error) error {
		t.Helper()
		timeout := ample
		if always || kind == faults.Hang {
			timeout = patience
		}
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		// Requests that an earlier batch gave up may still be on their way.
		ops++
		op := prefix + fmt.Sprint(ops)
		w.Use(func(r faults.Request) faults.Kind {
			if r.Op != op {
				return faults.Drop
			}
			return plan(r)
		})
		begin := time.Now()
		err := batch(faults.WithOp(ctx, op))
		if took := time.Since(begin); took > timeout+tolerance {
			t.Errorf("rule: a deadline is honoured; a batch with %v took %v", timeout, took)
		}
		w.Take()
		w.Use(faults.Always(faults.Drop))
		return err
	}
	// judge compares what a batch said with what happened.
	judge := func(what string, err error, before, wanted map[string]string) {
		t.Helper()
		batch, partial := errors.AsType[*kv.BatchError](err)
		if err != nil && !partial && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rule: a batch that fails names the keys; %s: %v", what, err)
			return
		}
		after := content()
		for _, key := range keys {
			failure := err // the deadline passed before the batch had begun
			if partial {
				failure = batch.Failed[key]
			}
			switch {
			case failure == nil && after[key] != wanted[key]:
				t.Errorf("rule: no write of a batch is forgotten; %s said nothing of %s, which holds %q", what, key, after[key])
			case failure != nil && !errors.Is(failure, kv.ErrIndeterminate) && after[key] != before[key]:
				t.Errorf("rule: an error that is not ErrIndeterminate means that nothing was written; %s said %v of %s, which holds %q", what, failure, key, after[key])
			case failure != nil && after[key] != before[key] && after[key] != wanted[key]:
				t.Errorf("%s: %s holds %q", what, key, after[key])
			}
		}
		if err != nil && !always && !w.vague(kind, true) && kind != faults.Hang {
			t.Errorf("rule: one %s is retried; %s: %.300v", kind, what, err)
		}
		if partial && kind == faults.Throttle {
			for key, failure := range batch.Failed {
				if !throttled(failure) {
					t.Errorf("rule: a batch that is throttled says so, and nothing was written; %s of %s: %.300v", what, key, failure)
				}
			}
		}
	}
	store := w.stores[0]
	before := content()
	err := run(faults.Writes(kinds...), func(ctx context.Context) error { _, err := store.PutMany(ctx, items(ours)); return err })
	judge("PutMany", err, before, values(ours))

	if _, err := w.direct.PutMany(t.Context(), items(theOld)); err != nil {
		t.Fatal(err)
	}
	var entries map[string]kv.Entry
	err = run(faults.Reads(kinds...), func(ctx context.Context) (err error) { entries, err = store.GetMany(ctx, keys); return err })
	batch, partial := errors.AsType[*kv.BatchError](err)
	for _, key := range keys {
		entry, ok := entries[key]
		if ok && string(entry.Value) != theOld {
			t.Errorf("GetMany: %s holds %q", key, entry.Value)
		}
		if !ok && err == nil || !ok && partial && batch.Failed[key] == nil {
			t.Errorf("rule: no key of a batch is forgotten; GetMany has neither an entry nor an error of %s: %v", key, err)
		}
	}
	if err != nil && !always && !w.vague(kind, false) && kind != faults.Hang {
		t.Errorf("rule: one %s is retried; GetMany: %.300v", kind, err)
	}

	err = run(faults.Writes(kinds...), func(ctx context.Context) error { return store.DeleteMany(ctx, keys) })
	judge("DeleteMany", err, values(theOld), values("nothing"))

	if _, err := w.direct.PutMany(t.Context(), items(theOld)); err != nil {
		t.Fatal(err)
	}
	var removed int
	err = run(faults.Writes(kinds...), func(ctx context.Context) (err error) { removed, err = store.DeletePrefix(ctx, prefix); return err })
	if err != nil {
		if _, partial := errors.AsType[*kv.BatchError](err); partial {
			judge("DeletePrefix", err, values(theOld), values("nothing"))
		}
	} else if got := content(); removed != size || got[keys[0]] != "nothing" {
		t.Errorf("rule: DeletePrefix counts what it removed: %d of %d", removed, size)
	}
	if err := w.direct.DeleteMany(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
}

// TestLostScans: a scan whose requests fail is complete and in order, or ends with an
// error where it got to.
func TestLostScans(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		keys := fillForScan(t, w)
		for _, kind := range some(allKinds, 3) {
			for _, plan := range []struct {
				name string
				plan func() faults.Plan
			}{
				{"first", func() faults.Plan { return faults.Reads(kind) }},
				{"third", func() faults.Plan { return faults.Reads(faults.Pass, faults.Pass, kind) }},
				// No more of them in a call than one of its requests bears.
				{"some", func() faults.Plan {
					return faults.Reads(kind, faults.Pass, faults.Pass, faults.Pass, kind, faults.Pass, faults.Pass, faults.Pass, faults.Pass, kind)
				}},
				{"all", func() faults.Plan { return faults.Reads(slices.Repeat([]faults.Kind{kind}, 10_000)...) }},
			} {
				if plan.name == "all" && kind.Delivered() {
					continue
				}
				t.Run(string(kind)+"/"+plan.name, func(t *testing.T) {
					testLostScan(t, w, kind, plan.name == "all", keys, plan.plan)
				})
			}
		}
	})
}

func fillForScan(t checking, w *world) []string {
	const size = 700
	var items []kv.Item
	var keys []string
	for i := range size {
		keys = append(keys, fmt.Sprintf("scan:%04d", i))
		items = append(items, kv.Item{Key: keys[i], Value: valueOf(keys[i], i%6)})
	}
	if _, err := w.direct.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return keys
}

func testLostScan(t checking, w *world, kind faults.Kind, always bool, keys []string, plan func() faults.Plan) {
	timeout := ample
	if always || kind == faults.Hang {
		timeout = patience
	}
	check := func(how string, entries []kv.Entry, from int) int {
		t.Helper()
		for _, e := range entries {
			if from == len(keys) || e.Key != keys[from] {
				t.Fatalf("rule: every key is yielded exactly once, in order; %s gave %s in place %d", how, e.Key, from)
			}
			if writeOf(e.Value) != e.Key {
				t.Fatalf("%s: the value of %s is %s", how, e.Key, writeOf(e.Value))
			}
			from++
		}
		return from
	}
	finish := func(how string, err error, got int) {
		t.Helper()
		switch {
		case err == nil && got != len(keys):
			t.Errorf("rule: a scan that ends without an error is complete; %s gave %d of %d", how, got, len(keys))
		case err == nil && always && kind != faults.Truncate:
			t.Errorf("%s: all requests failed, but the scan has %d keys", how, got)
		case err != nil && !always && kind != faults.Hang && !w.vague(kind, false):
			t.Errorf("rule: one %s at a time is retried; %s: %v", kind, how, err)
		case err != nil && errors.Is(err, kv.ErrIndeterminate):
			t.Errorf("rule: only writes are indeterminate; %s: %v", how, err)
		case kind == faults.Throttle && always && !errors.Is(err, kv.ErrThrottled) && !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("rule: a scan that is throttled says so; %s: %v", how, err)
		}
	}

	w.Use(plan())
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	begin := time.Now()
	got := 0
	var failure error
	for entry, err := range w.stores[0].Scan(ctx, "scan:") {
		if failure = err; err != nil {
			break
		}
		got = check("Scan", []kv.Entry{entry}, got)
	}
	finish("Scan", failure, got)
	if took := time.Since(begin); took > timeout+tolerance {
		t.Errorf("rule: a deadline is honoured; a scan with %v took %v", timeout, took)
	}

	// Pages go on from where an error stopped them.
	got = 0
	cursor, failures := "", 0
	for {
		w.Use(nil)
		if failures < 3 {
			w.Use(plan())
		}
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		page, err := w.stores[1].ScanPage(ctx, "scan:", 90, cursor)
		cancel()
		got = check("ScanPage", page.Entries, got)
		if cursor = page.Next; err != nil {
			finish("ScanPage", err, got)
			failures++
			continue
		}
		if cursor == "" {
			break
		}
	}
	w.Take()
	w.Use(nil)
	if got != len(keys) {
		t.Errorf("rule: a scan goes on from the position where an error left it; %d of %d keys", got, len(keys))
	}
}

// TestRepeatedPut: what the documents say of a repeat, which a put B cannot stop from
// bringing A back, with another version; and that IfVersion can.
func TestRepeatedPut(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		store := w.stores[0]
		var first kv.Version
		w.Use(faults.Writes(faults.Lose))
		w.Between(func(faults.Attempt) {
			entry, err := w.direct.Get(ctx, "repeated")
			if err != nil {
				t.Error(err)
			}
			first = entry.Version
			if _, err := w.direct.Put(ctx, "repeated", []byte("B"), kv.IfVersion(first)); err != nil {
				t.Error(err)
			}
		})
		second, err := store.Put(ctx, "repeated", []byte("A"))
		if err != nil {
			t.Fatal(err)
		}
		w.Use(nil)
		if entry, err := w.direct.Get(ctx, "repeated"); err != nil || string(entry.Value) != "A" || entry.Version != second {
			t.Errorf("the repeat of an unconditional put is the last write; the key holds %q: %v", entry.Value, err)
		}
		if first == second {
			t.Error("rule: a repeat has another version than what it repeats")
		}
		base, err := store.Put(ctx, "guarded", []byte("base"))
		if err != nil {
			t.Fatal(err)
		}
		w.Use(faults.Writes(faults.Lose))
		w.Between(func(faults.Attempt) {
			if _, err := w.direct.Put(ctx, "guarded", []byte("B")); err != nil {
				t.Error(err)
			}
		})
		_, err = store.Put(ctx, "guarded", []byte("A"), kv.IfVersion(base))
		w.Use(nil)
		if !errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("rule: a compare-and-swap that landed and was replaced cannot be known; %v", err)
		}
		if entry, err := w.direct.Get(ctx, "guarded"); err != nil || string(entry.Value) != "B" {
			t.Errorf("rule: IfVersion is applied at most once; the key holds %q: %v", entry.Value, err)
		}
	})
}
