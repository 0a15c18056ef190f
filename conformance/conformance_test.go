package conformance

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func newMem(context.Context) (*kv.Store, error) { return memkv.New(), nil }

func TestConformance(t *testing.T) {
	Run(t, Config{New: newMem, Faulty: unreliable(4, nil, nil)})
}

// Middleware that makes a driver work differently, but still correctly.
var (
	sharded   = inShards(shardOf, shardOf, shardOfPrefix)
	clockless = methods{
		write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
			if found, needsClock := judgedByClock(d, req.Write); needsClock {
				return kv.Outcome{Exists: true, Found: found.Record}, nil
			}
			return d.Write(ctx, req)
		},
		writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
			out := kv.AtomicOutcome{Found: make([]*kv.Found, len(req.Writes))}
			fails := false
			for i, w := range req.Writes {
				if found, needsClock := judgedByClock(d, w); needsClock {
					out.Found[i], fails = &found, true
				}
			}
			if fails {
				return out, nil
			}
			return d.WriteAtomic(ctx, req)
		},
	}.over
	findsNothing = atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
		for i := range out.Found {
			out.Found[i] = nil
		}
		return out, err
	})
	leavesExpired = inAtomicWrites(func(w *kv.Write) {
		if w.Kind == kv.KindDelete && w.Condition.Kind == kv.CondNone {
			w.Kind, w.Value, w.Expires = kv.KindPut, []byte{}, 1
		}
	})
	writesBack = func(d kv.Driver) kv.Driver {
		return inAtomicWrites(func(w *kv.Write) {
			if old, exists := find(d, w.Key); exists && w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondVersion {
				w.Kind, w.Expires = kv.KindTouch, old.Expires
			}
		})(d)
	}
	keyByKey   = each(4)
	inSequence = each(1)
	nonAtomic  = chain(infos(func(info *kv.Info) { info.MaxAtomicWrites = 0 }), methods{writeAtomic: func(_ context.Context, _ kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
		return kv.AtomicOutcome{}, kv.UnsupportedWrite(req.Writes[0])
	}}.over)
	fewAtomic = chain(infos(func(info *kv.Info) { info.MaxAtomicWrites = leastMaxAtomicWrites }), methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
		if len(req.Writes) > leastMaxAtomicWrites {
			return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("too many writes for the service")}
		}
		return d.WriteAtomic(ctx, req)
	}}.over)
)

// The function each returns middleware that carries out batches key by key. The argument parallel
// is the greatest number of keys at the same time.
func each(parallel int) middleware {
	return methods{
		getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
			return kv.GetEach(ctx, d, req, parallel)
		},
		writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
			return kv.WriteEach(ctx, d, req, parallel)
		},
	}.over
}

// holding returns middleware that makes values of at most n bytes legal.
func holding(n int) middleware { return infos(func(info *kv.Info) { info.MaxValueLen = n }) }

// judgedByClock imitates a driver that has no clock, and so cannot tell whether a record
// has expired. It returns true if the write's condition depends on an expiry, and there is a
// record under the key. The driver then reports a failed condition, and returns that record.
func judgedByClock(d kv.Driver, w kv.Write) (kv.Found, bool) {
	if w.Condition.Kind != kv.CondLive && (w.Condition.Kind != kv.CondAbsent || w.Kind == kv.KindTouch) {
		return kv.Found{}, false
	}
	rec, exists := find(d, w.Key)
	return kv.Found{Record: rec, Exists: exists}, exists
}

// TestSoundDrivers runs the suite against correct drivers that work differently from
// memkv.
func TestSoundDrivers(t *testing.T) {
	for name, wrap := range map[string]middleware{
		"16 shards":                        sharded,
		"16 shards, without ShardOfPrefix": inShards(shardOf, shardOf, nil),
		"16 shards without groups":         inShards(shardWithoutGroup, shardWithoutGroup, nil),
		"conditions without a clock":       clockless,
		"scans without expired records": scans(func(req kv.ScanRequest, rec *kv.Record) bool {
			return req.Now == 0 || !isExpired(*rec, req.Now)
		}),
		"batches key by key": keyByKey,
		"batches in random order": getsMany(func(_ []string, found []kv.Found) []kv.Found {
			slices.Reverse(found)
			return found
		}),
		"the lowest limits":               chain(fewAtomic, infos(func(info *kv.Info) { info.MaxKeyLen, info.MaxValueLen = leastMaxKeyLen, leastMaxValueLen })),
		"a version that is not the token": versioned(func(rec kv.Record) string { return rec.Token + "+" + rec.Token }),
		"checks of the context":           cancelling,
		"no atomic writes":                nonAtomic,
		"pages by MaxValueLen":            ranges(func(req *kv.ScanRequest) { req.Limit = max(1, min(req.Limit, 1<<20/req.MaxValueLen)) }),
		"no grace":                        chain(named("dynamodb-alien"), infos(func(info *kv.Info) { info.NoGrace = true })),
		"reserved keys":                   chain(named("firestore-alien"), infos(func(info *kv.Info) { info.ReservedKey = reservable.MatchString })),
		"no grace, and no records that have expired by the host's clock": chain(named("dynamodb-alien"), infos(func(info *kv.Info) { info.NoGrace = true }), methods{
			write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				out, err := d.Write(ctx, req)
				if now := time.Now().UnixMilli(); out.Done && req.Kind != kv.KindDelete && isExpired(req.Record, now) {
					_, _ = force(d, kv.KindDelete, kv.Record{Key: req.Key}, now)
				}
				return out, err
			},
		}.over),
		"atomic writes that do not report what they found": findsNothing,
		"deletions that leave an expired record":           leavesExpired,
		"checks that write back":                           writesBack,
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, Config{New: func(context.Context) (*kv.Store, error) { return memkv.New().With(kv.Wrap(kv.Level1, wrap)), nil }})
		})
	}
}

// The rule: the cases about larger values pass, whatever the limits of a correct driver are.
func TestLimitsOfLargerValues(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]middleware{
		"more values fit into MaxAtomicBytes than into an atomic write": holding(kv.MaxValueLen + 1),
		"few writes in an atomic write":                                 chain(fewAtomic, holding(64<<10)),
		"the keys decide how many values fit into MaxAtomicBytes":       holding(kv.MaxAtomicBytes/10 - 15),
	} {
		for result, err := range Check(t.Context(), Config{
			New:  func(context.Context) (*kv.Store, error) { return memkv.New().With(kv.Wrap(kv.Level1, wrap)), nil },
			Only: func(c Case) bool { return strings.HasPrefix(c.Name, "large/") },
		}) {
			if err == nil {
				err = result.Err()
			}
			if err != nil {
				t.Errorf("%s: %s: %v", name, result.Name, err)
			}
		}
	}
}

// The rule: the result of a case that needs AtomicWrite says that the store lacks it.
func TestLacksAtomicWrite(t *testing.T) {
	t.Parallel()
	needs := regexp.MustCompile(`^atomic/|/(write-)?atomic(/|$)`)
	for result, err := range Check(t.Context(), Config{
		New:  func(context.Context) (*kv.Store, error) { return memkv.New().With(kv.Wrap(kv.Level1, nonAtomic)), nil },
		Only: func(c Case) bool { return needs.MatchString(c.Name) },
	}) {
		if err != nil {
			t.Fatal(err)
		}
		if result.Lacks != lacksAtomic {
			t.Errorf("rule: no case is left out in silence; %s ends with Lacks %q and %v", result.Name, result.Lacks, result.Err())
		}
	}
}

// cancelling checks the context at the points where a network driver would.
var cancelling = methods{
	get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
		if err := ctx.Err(); err != nil {
			return kv.Found{}, err
		}
		return d.Get(ctx, req)
	},
	write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
		if err := ctx.Err(); err != nil && req.Kind == kv.KindPut {
			return kv.Outcome{}, &kv.Error{Err: err}
		}
		out, err := d.Write(ctx, req)
		if ctx.Err() != nil {
			return kv.Outcome{}, ctx.Err() // not a *kv.Error, because the write may have been applied
		}
		return out, err
	},
	writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
		if err := ctx.Err(); err != nil {
			return kv.AtomicOutcome{}, &kv.Error{Err: err}
		}
		return d.WriteAtomic(ctx, req)
	},
	scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
		return func(yield func(kv.Record, error) bool) {
			for rec, err := range d.Scan(ctx, req) {
				if err := ctx.Err(); err != nil {
					yield(kv.Record{}, err)
					return
				}
				if !yield(rec, err) {
					return
				}
			}
		}
	},
}.over

// sharedMem returns a Config.New whose stores all have the same data, and the number of these
// stores that are open.
func sharedMem() (newStore func(context.Context) (*kv.Store, error), opened *atomic.Int64) {
	var inner kv.Driver
	memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { inner = d; return d }))
	opened = new(atomic.Int64)
	return func(context.Context) (*kv.Store, error) {
		opened.Add(1)
		return kv.New(methods{close: func(kv.Driver) error { opened.Add(-1); return nil }}.over(inner)), nil
	}, opened
}

func TestShared(t *testing.T) {
	t.Parallel()
	newStore, opened := sharedMem()
	Run(t, Config{New: newStore, Shared: true})
	if n := opened.Load(); n != 0 {
		t.Errorf("rule: the suite closes the stores that it opens; %d are open", n)
	}
	store, _ := newStore(t.Context())
	for e := range store.With(kv.Clock(newClock().now)).Scan(t.Context(), "") {
		t.Errorf("rule: the suite leaves a shared store empty; it has %q", e.Key)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	left := make(map[string]string)
	for _, c := range Cases() {
		left[c.Name] = c.Rule
	}
	for result, err := range Check(t.Context(), Config{New: newMem}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := result.Err(); err != nil {
			t.Errorf("%s: %v", result.Name, err)
		}
		if left[result.Name] != result.Rule || result.Duration <= 0 {
			t.Errorf("rule: every case has one result, with its rule and duration; got %+v", result)
		}
		delete(left, result.Name)
	}
	if len(left) > 0 {
		t.Errorf("rule: every case has a result; missing are %v", left)
	}
}

func TestCheckRefusesOccupiedStore(t *testing.T) {
	t.Parallel()
	newStore, _ := sharedMem()
	store, _ := newStore(t.Context())
	if _, err := store.Put(t.Context(), "users:1", []byte("precious")); err != nil {
		t.Fatal(err)
	}
	n := 0
	for result, err := range Check(t.Context(), Config{New: newStore, Shared: true}) {
		n++
		if err == nil || !strings.Contains(err.Error(), `"users:1"`) {
			t.Errorf("rule: a shared store that is not empty is refused, and the error names a key; got %+v, %v", result, err)
		}
	}
	if n != 1 {
		t.Errorf("rule: a store that is not empty is refused before any case; got %d results", n)
	}
	if e, err := store.Get(t.Context(), "users:1"); err != nil || string(e.Value) != "precious" {
		t.Errorf("rule: the entries of a refused store stay; got %q, %v", e.Value, err)
	}
}

func TestCheckBreak(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	config := Config{New: func(context.Context) (*kv.Store, error) {
		open.Add(1)
		return memkv.New().With(kv.Wrap(kv.Level1, methods{close: func(d kv.Driver) error { open.Add(-1); return d.Close() }}.over)), nil
	}}
	for _, err := range Check(t.Context(), config) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n := open.Load(); n != 0 {
		t.Errorf("rule: after a loop that ended early no case runs and no store is open; %d are", n)
	}
}

func TestCheckCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	reason := errors.New("enough")
	var last error
	results := 0
	for _, err := range Check(ctx, Config{New: newMem}) {
		if last = err; err == nil {
			results++
			cancel(reason)
		}
	}
	if !errors.Is(last, reason) || results != 1 {
		t.Errorf("rule: a cancelled context ends the run, and its cause comes last; got %d results, then %v", results, last)
	}
}

func TestNewFails(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]Config{
		"error":   {New: func(context.Context) (*kv.Store, error) { return nil, errors.New("no table") }},
		"nothing": {New: func(context.Context) (*kv.Store, error) { return nil, nil }},
	} {
		for result, err := range check(t.Context(), config, suite[:5]) {
			if err != nil || result.Err() == nil || !strings.Contains(result.Err().Error(), "Config.New") {
				t.Errorf("%s: rule: a case that gets no store fails and says so; got %v, %v", name, result.Err(), err)
			}
		}
	}
	for result, err := range Check(t.Context(), Config{Shared: true, New: func(context.Context) (*kv.Store, error) { return nil, errors.New("no table") }}) {
		if err == nil || !strings.Contains(err.Error(), "no table") {
			t.Errorf("rule: a shared store that cannot be opened is an error; got %+v, %v", result, err)
		}
	}
}

func TestPanicIsFailure(t *testing.T) {
	t.Parallel()
	panicking := Config{New: func(context.Context) (*kv.Store, error) {
		return memkv.New().With(kv.Wrap(kv.Level1, before(kv.KindPut, func(*kv.WriteRequest) { panic("index out of range") }))), nil
	}}
	for result, err := range check(t.Context(), panicking, []testCase{rule("put", "Put works.", func(t *trial) { t.put("key", "value") })}) {
		if err != nil || result.Err() == nil || !strings.Contains(result.Err().Error(), "index out of range") {
			t.Errorf("rule: a driver that panics fails the case; got %v, %v", result.Err(), err)
		}
	}
}

// The rule: a Config.Faulty with a bug makes the case that uses it fail, and does not end the
// test binary. In the first two rows the failure is in the goroutine that runs plan.again before
// the client's retry: there, the case reads an entry that must exist.
func TestWrongFaulty(t *testing.T) {
	t.Parallel()
	const retried = "faults/put-if-not-exists/version-after-retry"
	panics := gets(func(kv.GetRequest, *kv.Found) { panic("index out of range") })
	var dropped atomic.Int64
	for _, c := range []struct {
		name     string
		in       string // the case
		attempts int
		client   middleware
		below    middleware
		wrong    func(Fault) Fault
		says     string
	}{
		{"loses requests instead of responses", retried, 4, nil, nil, func(f Fault) Fault { return map[Fault]Fault{Pass: Pass, Lose: Drop}[f] }, "Get(\"key\"): kv: get"},
		{"panics", retried, 4, nil, panics, func(f Fault) Fault { return f }, "index out of range"},
		{"loses half of the responses instead of the requests", "faults/put-many/every-request-lost", 1, keyByKey, nil, func(f Fault) Fault {
			if f == Drop && dropped.Add(1)%2 == 0 {
				return Lose
			}
			return f
		}, "keys have an entry, and 0 had one"},
	} {
		config := Config{New: newMem, Faulty: func(ctx context.Context, decide func(bool) Fault) (*kv.Store, error) {
			return unreliable(c.attempts, c.client, c.below)(ctx, func(write bool) Fault { return c.wrong(decide(write)) })
		}}
		i := slices.IndexFunc(faultSuite, func(of testCase) bool { return of.Name == c.in })
		for result, err := range check(t.Context(), config, faultSuite[i:i+1]) {
			if err != nil || result.Err() == nil || !strings.Contains(result.Err().Error(), c.says) || !strings.Contains(result.Err().Error(), result.Rule) {
				t.Errorf("%s: rule: a wrong Faulty fails only the case; %s ends with %v, %v", c.name, result.Name, result.Err(), err)
			}
		}
	}
}

func TestCases(t *testing.T) {
	t.Parallel()
	cases := slices.Concat(suite, faultSuite)
	if len(cases) < 120 {
		t.Errorf("rule: there are at least 120 cases; there are %d", len(cases))
	}
	name := regexp.MustCompile(`^[a-z]+(/[a-z0-9]+(-[a-z0-9]+)*)+$`)
	seen := make(map[string]bool)
	for _, c := range cases {
		if seen[c.Name] || !name.MatchString(c.Name) {
			t.Errorf("rule: names are unique, in lower case, with dashes and slashes; %q is not", c.Name)
		}
		seen[c.Name] = true
		group, _, _ := strings.Cut(c.Name, "/")
		// The cases of the group "faults" are in several files, one for each kind of call.
		if file := filepath.Base(c.file); file != group+".go" && !(group == "faults" && strings.HasPrefix(file, "faults_")) {
			t.Errorf("rule: a case is in the file of its group; %s is in %s", c.Name, file)
		}
		if !strings.HasSuffix(c.Rule, ".") || len(c.Rule) < 20 {
			t.Errorf("rule: a rule is a sentence; the rule of %s is %q", c.Name, c.Rule)
		}
	}
}
