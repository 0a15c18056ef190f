package conformance

import (
	"cmp"
	"context"
	"iter"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A fault is a way to break a store, and the cases that must notice.
type fault struct {
	name string
	wrap func(kv.Driver) kv.Driver // breaks the driver
	with func(store) store         // breaks the store

	// client breaks the client of an unreliable network, which makes attempts, four
	// unless set. Such a fault is for the cases that need Config.Faulty.
	client   func(kv.Driver) kv.Driver
	attempts int

	// must names the cases that have to fail; "scan/*" stands for all of a group, and
	// a star elsewhere for anything between two slashes.
	must []string

	// only: no other case may fail. Unless it is set, no other case is run.
	only bool

	// group, if set, restricts the run to the cases of a group: those faults wait
	// for other calls to come by, which takes too long where none come.
	group string
}

func (f fault) config() Config {
	return Config{
		New: func(context.Context) (*kv.Store, error) {
			if f.wrap == nil {
				return memkv.New(), nil
			}
			return memkv.New().With(kv.Wrap(f.wrap)), nil
		},
		Faulty: unreliable(cmp.Or(f.attempts, 4), f.client, f.wrap),
		front:  f.with,
	}
}

// suite is what the fault is for.
func (f fault) suite() []testCase {
	if slices.ContainsFunc(f.must, func(must string) bool { return strings.HasPrefix(must, "faults/") }) {
		return faultSuite
	}
	return suite
}

// unreached lists the cases that no fault is named for, with the reason.
var unreached = map[string]string{
	"versions/damaged-text": "kv.ParseVersion is a function: neither a driver nor what stands in front of a store is in its way. " +
		"The case failed when kv took a version's text with a line break at its end.",
}

// TestEveryFaultIsFound runs the suite against each broken store, and requires
// that the cases which are there to notice do, with their rule.
func TestEveryFaultIsFound(t *testing.T) {
	for _, f := range slices.Concat(brokenDrivers(), brokenStores(), brokenClients()) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.find(t)
		})
	}
}

// TestEveryCaseCanFail requires that some fault names each case.
func TestEveryCaseCanFail(t *testing.T) {
	named := make(map[string]bool)
	for _, f := range slices.Concat(brokenDrivers(), brokenStores(), brokenClients()) {
		for _, c := range f.suite() {
			if f.names(c.Name) {
				named[c.Name] = true
			}
		}
	}
	for _, c := range slices.Concat(suite, faultSuite) {
		if _, listed := unreached[c.Name]; named[c.Name] == listed {
			t.Errorf("rule: every case is either one that a fault is named for, or listed with a reason; %s is both or neither", c.Name)
		}
	}
}

// names reports whether the case must notice the fault.
func (f fault) names(name string) bool {
	return strings.HasPrefix(name, f.group) && slices.ContainsFunc(f.must, func(must string) bool {
		group, all := strings.CutSuffix(must, "*")
		if strings.Contains(group, "*") || strings.HasPrefix(must, "faults/") {
			matches, err := path.Match(must, name)
			return matches && err == nil
		}
		return name == must || all && strings.HasPrefix(name, group)
	})
}

// find runs the suite and looks who notices.
func (f fault) find(t *testing.T) {
	// What other cases make of the fault matters only where they must not fail.
	cases := slices.DeleteFunc(slices.Clone(f.suite()), func(c testCase) bool {
		return !strings.HasPrefix(c.Name, f.group) || !f.only && !f.names(c.Name)
	})
	for _, must := range f.must {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return fault{must: []string{must}}.names(c.Name) }) {
			t.Errorf("there is no case %s", must)
		}
	}
	for result, err := range check(t.Context(), f.config(), cases) {
		if err != nil {
			t.Fatal(err)
		}
		failure := result.Err()
		switch {
		case failure == nil && f.names(result.Name) && !f.noticed(t, result.Name):
			t.Errorf("%s does not notice", result.Name)
		case failure != nil && f.only && !f.names(result.Name):
			t.Errorf("%s should not fail:\n%v", result.Name, failure)
		case failure != nil && !strings.Contains(failure.Error(), "\nrule: "+result.Rule):
			t.Errorf("the failure of %s does not quote its rule:\n%v", result.Name, failure)
		}
	}
	if len(f.must) == 0 {
		t.Error("the fault names no case")
	}
}

// noticed gives a case that has a deadline more chances: on a busy machine it may pass
// before the fault shows.
func (f fault) noticed(t *testing.T, name string) bool {
	for _, c := range faultSuite {
		for range 3 {
			if c.Name != name {
				break
			}
			if result, _ := c.try(t.Context(), f.config(), nil); result.Err() != nil {
				return true
			}
		}
	}
	return false
}

// driver is a kv.Driver of which methods can be replaced one by one.
type driver struct {
	kv.Driver
	info      func() kv.Info
	get       func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error)
	put       func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error)
	delete    func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error)
	scan      func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error]
	getMany   func(ctx context.Context, keys []string) ([]kv.Record, error)
	writeMany func(ctx context.Context, writes []kv.Write) error
	close     func() error
}

// replacing makes a wrapper of replace, which replaces methods of d, whose
// originals are d.Driver's.
func replacing(replace func(d *driver)) func(kv.Driver) kv.Driver {
	return func(inner kv.Driver) kv.Driver {
		d := &driver{
			Driver: inner, info: inner.Info, get: inner.Get, put: inner.Put, delete: inner.Delete,
			scan: inner.Scan, getMany: inner.GetMany, writeMany: inner.WriteMany, close: inner.Close,
		}
		replace(d)
		return d
	}
}

func (d *driver) Info() kv.Info { return d.info() }

func (d *driver) Get(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
	return d.get(ctx, key, withValue)
}

func (d *driver) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	return d.put(ctx, rec, cond)
}

func (d *driver) Delete(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	return d.delete(ctx, key, cond)
}

func (d *driver) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return d.scan(ctx, r)
}

func (d *driver) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	return d.getMany(ctx, keys)
}

func (d *driver) WriteMany(ctx context.Context, writes []kv.Write) error {
	return d.writeMany(ctx, writes)
}

func (d *driver) Close() error { return d.close() }

// writing changes every record that is written, by Put and WriteMany.
func writing(change func(rec kv.Record) kv.Record) func(kv.Driver) kv.Driver {
	return replacing(func(d *driver) {
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			return d.Driver.Put(ctx, change(rec), cond)
		}
		d.writeMany = func(ctx context.Context, writes []kv.Write) error {
			changed := slices.Clone(writes)
			for i, w := range changed {
				if !w.Delete {
					changed[i].Record = change(w.Record)
				}
			}
			return d.Driver.WriteMany(ctx, changed)
		}
	})
}

// reading changes every record that is read, by Get, GetMany, Scan and in the
// outcome of a condition that failed.
func reading(change func(rec kv.Record) kv.Record) func(kv.Driver) kv.Driver {
	return replacing(func(d *driver) {
		d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
			rec, ok, err := d.Driver.Get(ctx, key, withValue)
			return change(rec), ok, err
		}
		d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
			recs, err := d.Driver.GetMany(ctx, keys)
			for i, rec := range recs {
				recs[i] = change(rec)
			}
			return recs, err
		}
		d.scan = scanning(d, func(rec kv.Record, _ kv.Range) (kv.Record, bool) { return change(rec), true })
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			out, err := d.Driver.Put(ctx, rec, cond)
			if out.Exists {
				out.Found = change(out.Found)
			}
			return out, err
		}
	})
}

// scanning changes the records of a scan, or leaves them out.
func scanning(d *driver, change func(rec kv.Record, r kv.Range) (kv.Record, bool)) func(context.Context, kv.Range) iter.Seq2[kv.Record, error] {
	return func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
		return func(yield func(kv.Record, error) bool) {
			for rec, err := range d.Driver.Scan(ctx, r) {
				if err == nil {
					var ok bool
					if rec, ok = change(rec, r); !ok {
						continue
					}
				}
				if !yield(rec, err) {
					return
				}
			}
		}
	}
}

// rescanning changes the records of a scan as a whole.
func rescanning(d *driver, change func(recs []kv.Record, r kv.Range) []kv.Record) func(context.Context, kv.Range) iter.Seq2[kv.Record, error] {
	return func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
		return func(yield func(kv.Record, error) bool) {
			var recs []kv.Record
			for rec, err := range d.Driver.Scan(ctx, r) {
				if err != nil {
					yield(rec, err)
					return
				}
				recs = append(recs, rec)
			}
			for _, rec := range change(recs, r) {
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
}
