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

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func newMem(context.Context) (*kv.Store, error) { return memkv.New(), nil }

func TestConformance(t *testing.T) {
	Run(t, Config{New: newMem, Faulty: unreliable(4, nil, nil)})
}

// Sound drivers.
var (
	sharded = replacing(func(d *driver) {
		info := d.Driver.Info()
		info.Shards = 16
		d.info = func() kv.Info { return info }
		d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) { return rec, kv.Shard(rec.Key, 16) == r.Shard })
	})
	clockless = replacing(func(d *driver) {
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			if cond.Absent {
				if found, ok, err := d.Driver.Get(ctx, rec.Key, false); ok || err != nil {
					return kv.Outcome{Exists: ok, Found: found}, err
				}
				cond.Now = 0
			}
			return d.Driver.Put(ctx, rec, cond)
		}
	})
	keyByKey = replacing(func(d *driver) {
		d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) { return kv.GetEach(ctx, d, keys, 4) }
		d.writeMany = func(ctx context.Context, writes []kv.Write) error { return kv.WriteEach(ctx, d, writes, 4) }
	})
)

// TestSoundDrivers runs the suite against drivers that go about things otherwise
// than memkv does, and are right.
func TestSoundDrivers(t *testing.T) {
	for name, wrap := range map[string]func(kv.Driver) kv.Driver{
		"16 shards":                  sharded,
		"conditions without a clock": clockless,
		"scans without expired records": replacing(func(d *driver) {
			d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) {
				return rec, rec.Expires == 0 || r.Now == 0 || rec.Expires > r.Now
			})
		}),
		"batches key by key": keyByKey,
		"the lowest limits": replacing(func(d *driver) {
			info := d.Driver.Info()
			info.MaxKeyLen, info.MaxValueLen = leastMaxKeyLen, leastMaxValueLen
			d.info = func() kv.Info { return info }
		}),
		"a hash of value and token for a version": versioned(func(rec kv.Record) string { return rec.Token + "+" + rec.Token }),
		"nothing but cancellation":                replacing(cancelling),
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, Config{New: func(context.Context) (*kv.Store, error) { return memkv.New().With(kv.Wrap(wrap)), nil }})
		})
	}
}

// cancelling looks at the context wherever a network driver would.
func cancelling(d *driver) {
	inner := d.Driver
	d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
		if err := ctx.Err(); err != nil {
			return kv.Record{}, false, err
		}
		return inner.Get(ctx, key, withValue)
	}
	d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
		if err := ctx.Err(); err != nil {
			return kv.Outcome{}, &kv.Error{Err: err}
		}
		return inner.Put(ctx, rec, cond)
	}
	d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
		out, err := inner.Delete(ctx, key, cond)
		if ctx.Err() != nil {
			return kv.Outcome{}, ctx.Err() // no *kv.Error: its fate is unknown
		}
		return out, err
	}
	d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
		return func(yield func(kv.Record, error) bool) {
			for rec, err := range inner.Scan(ctx, r) {
				if err := ctx.Err(); err != nil {
					yield(kv.Record{}, err)
					return
				}
				if !yield(rec, err) {
					return
				}
			}
		}
	}
}

// sharedMem gives stores over one memory, and a way to look at it.
func sharedMem() (newStore func(context.Context) (*kv.Store, error), opened *atomic.Int64) {
	var inner kv.Driver
	memkv.New().With(kv.Wrap(func(d kv.Driver) kv.Driver { inner = d; return d }))
	opened = new(atomic.Int64)
	return func(context.Context) (*kv.Store, error) {
		opened.Add(1)
		return kv.New(replacing(func(d *driver) {
			d.close = func() error { opened.Add(-1); return nil }
		})(inner)), nil
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
		t.Errorf("rule: the suite leaves a shared store empty; it holds %q", e.Key)
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
			t.Errorf("rule: a shared store that is not empty is refused, naming a key; got %+v, %v", result, err)
		}
	}
	if n != 1 {
		t.Errorf("rule: a store that is not empty is refused before any case; got %d results", n)
	}
	if e, err := store.Get(t.Context(), "users:1"); err != nil || string(e.Value) != "precious" {
		t.Errorf("rule: what is in a refused store stays; got %q, %v", e.Value, err)
	}
}

func TestCheckBreak(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	config := Config{New: func(context.Context) (*kv.Store, error) {
		open.Add(1)
		return memkv.New().With(kv.Wrap(replacing(func(d *driver) {
			d.close = func() error { open.Add(-1); return d.Driver.Close() }
		}))), nil
	}}
	for _, err := range Check(t.Context(), config) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if n := open.Load(); n != 0 {
		t.Errorf("rule: a broken loop leaves no case running and no store open; %d are", n)
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
		return memkv.New().With(kv.Wrap(replacing(func(d *driver) {
			d.put = func(context.Context, kv.Record, kv.Condition) (kv.Outcome, error) { panic("index out of range") }
		}))), nil
	}}
	for result, err := range check(t.Context(), panicking, []testCase{rule("put", "Put works.", func(t *trial) { t.put("key", "value") })}) {
		if err != nil || result.Err() == nil || !strings.Contains(result.Err().Error(), "index out of range") {
			t.Errorf("rule: a driver that panics fails the case; got %v, %v", result.Err(), err)
		}
	}
}

// A Config.Faulty that is wrong lets what a case does before a repeat fail, in a
// goroutine that is not the case's own.
func TestWrongFaulty(t *testing.T) {
	t.Parallel()
	panics := replacing(func(d *driver) {
		d.get = func(context.Context, string, bool) (kv.Record, bool, error) { panic("index out of range") }
	})
	// Before the repeat this reads what must be there.
	retried := faultSuite[slices.IndexFunc(faultSuite, func(c testCase) bool { return c.Name == "faults/put-if-not-exists/version-after-retry" })]
	for _, c := range []struct {
		name  string
		below func(kv.Driver) kv.Driver
		wrong func(Fault) Fault
		says  string
	}{
		{"loses requests instead of responses", nil, func(f Fault) Fault { return map[Fault]Fault{Pass: Pass, Lose: Drop}[f] }, "Get(\"key\"): kv: get"},
		{"panics", panics, func(f Fault) Fault { return f }, "index out of range"},
	} {
		config := Config{New: newMem, Faulty: func(ctx context.Context, decide func(bool) Fault) (*kv.Store, error) {
			return unreliable(4, nil, c.below)(ctx, func(write bool) Fault { return c.wrong(decide(write)) })
		}}
		for result, err := range check(t.Context(), config, []testCase{retried}) {
			if err != nil || result.Err() == nil || !strings.Contains(result.Err().Error(), c.says) || !strings.Contains(result.Err().Error(), result.Rule) {
				t.Errorf("%s: rule: a Faulty that is wrong fails the case, and nothing else; %s gives %v, %v", c.name, result.Name, result.Err(), err)
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
		if file := filepath.Base(c.file); file != group+".go" {
			t.Errorf("rule: a case is in the file of its group; %s is in %s", c.Name, file)
		}
		if !strings.HasSuffix(c.Rule, ".") || len(c.Rule) < 20 {
			t.Errorf("rule: a rule is a sentence; that of %s is %q", c.Name, c.Rule)
		}
	}
}
