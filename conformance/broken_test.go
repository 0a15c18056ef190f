package conformance

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A fault is a way to break a store, and the cases that must notice.
type fault struct {
	name string
	wrap func(kv.Driver) kv.Driver // breaks the driver
	with func(store) store         // breaks the store

	// must names the cases that have to fail; "scan/*" stands for all of a group.
	must []string

	// only: no other case may fail.
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
		front: f.with,
	}
}

// never lists the cases that no fault can reach, with the reason.
var never = map[string]string{
	"versions/damaged-text": "kv.ParseVersion is a function: neither a driver nor what stands in front of a store is in its way. " +
		"It failed when kv took a text with a line break at its end for a version.",
}

// TestEveryFaultIsFound runs the suite against each broken store, and requires
// that the cases which are there to notice do, with their rule; and that there
// is a fault for every case.
func TestEveryFaultIsFound(t *testing.T) {
	var mu sync.Mutex
	failed := make(map[string]bool)
	t.Run("faults", func(t *testing.T) {
		for _, f := range slices.Concat(brokenDrivers(), brokenStores()) {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				for _, name := range f.find(t) {
					mu.Lock()
					failed[name] = true
					mu.Unlock()
				}
			})
		}
	})
	if t.Failed() || strings.Contains(t.Name(), "/") {
		return
	}
	for _, c := range suite {
		reason, listed := never[c.Name]
		switch {
		case !failed[c.Name] && !listed:
			t.Errorf("no fault makes the case %s fail", c.Name)
		case failed[c.Name] && listed:
			t.Errorf("the case %s is said never to fail (%s), and does", c.Name, reason)
		}
	}
}

// find gives the cases that failed.
func (f fault) find(t *testing.T) []string {
	cases := slices.DeleteFunc(slices.Clone(suite), func(c testCase) bool { return !strings.HasPrefix(c.Name, f.group) })
	failures := make(map[string]error)
	for result, err := range check(t.Context(), f.config(), cases) {
		if err != nil {
			t.Fatal(err)
		}
		if failure := result.Err(); failure != nil {
			failures[result.Name] = failure
			if !strings.Contains(failure.Error(), "\nrule: "+result.Rule) {
				t.Errorf("the failure of %s does not quote its rule:\n%v", result.Name, failure)
			}
		}
	}
	var must []string
	for _, name := range f.must {
		group, all := strings.CutSuffix(name, "*")
		found := false
		for _, c := range cases {
			if c.Name == name || all && strings.HasPrefix(c.Name, group) {
				found = true
				must = append(must, c.Name)
			}
		}
		if !found {
			t.Errorf("there is no case %s", name)
		}
	}
	var names []string
	for _, c := range cases {
		switch failure := failures[c.Name]; {
		case failure == nil && slices.Contains(must, c.Name):
			t.Errorf("%s does not notice", c.Name)
		case failure != nil && f.only && !slices.Contains(must, c.Name):
			t.Errorf("%s should not fail:\n%v", c.Name, failure)
		case failure != nil:
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		t.Error("nobody notices")
	}
	return names
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
