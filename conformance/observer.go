package conformance

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// A scan may yield mostExtra more records than keys were written, and a GetMany mostExtra more
// than keys were requested. The number is large, so that a scan that repeats some records ends
// normally, and the case finds the repetition.
const mostExtra = 1000

// observer stands between the stores of a trial and their drivers. It counts the calls that
// reach a driver, except Close, and can run code of the case just before each. It ends endless
// scans and GetManys. After the trial it lets only Close reach a driver.
type observer struct {
	over   context.Context // ends with the trial
	report func(format string, args ...any)
	place  func() string // returns the line of the case that makes the call

	calls atomic.Int64
	scans atomic.Int64 // scans that are running

	// The function before, if set, is called at the start of each call of the driver.
	before func()

	mu       sync.Mutex
	underWay []string
	heard    time.Time       // when the driver was last called, last returned, or last yielded something
	keys     map[string]bool // all keys that were written
}

func newObserver(over context.Context, report func(format string, args ...any), place func() string) *observer {
	return &observer{over: over, report: report, place: place, heard: time.Now(), keys: make(map[string]bool)}
}

func (o *observer) wrap(d kv.Driver) kv.Driver { return &observed{d, o} }

// The method call notes that a call of the driver begins. If it returns no error, the caller must
// call the function end after the driver's call.
func (o *observer) call(method string) (end func(), err error) {
	if o.over.Err() != nil {
		return nil, &kv.Error{Err: context.Cause(o.over)}
	}
	o.calls.Add(1)
	if o.before != nil {
		o.before()
	}
	return o.during(method), nil
}

// The method during records that an activity begins. The argument what is its name. The caller
// must call end when the activity has ended.
func (o *observer) during(what string) (end func()) {
	if place := o.place(); place != "" {
		what += " at " + place
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = time.Now()
	o.underWay = append(o.underWay, what)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.heard = time.Now()
		i := slices.Index(o.underWay, what)
		o.underWay = slices.Delete(o.underWay, i, i+1)
	}
}

// The method doing returns the names of the driver calls that are running, in the order in
// which they began.
func (o *observer) doing() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.underWay) == 0 {
		return "nothing in the driver"
	}
	return strings.Join(o.underWay, ", ")
}

// The method quiet reports whether the driver has done nothing for the time d: no call of it
// began or ended, and none yielded anything.
func (o *observer) quiet(d time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.heard) >= d
}

// The method writing notes that key may have a record from now on.
func (o *observer) writing(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys[key] = true
}

// mostRecords returns how many records a scan may yield.
func (o *observer) mostRecords() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.keys) + mostExtra
}

// The method yielded notes that the driver has yielded something.
func (o *observer) yielded() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = time.Now()
}

var errEndless = errors.New("the scan does not end")

type observed struct {
	kv.Driver
	by *observer
}

func (d *observed) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	end, err := d.by.call("Get")
	if err != nil {
		return kv.Found{}, err
	}
	defer end()
	return d.Driver.Get(ctx, req)
}

func (d *observed) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		end, err := d.by.call("GetMany")
		if err != nil {
			yield(kv.Found{}, err)
			return
		}
		defer end()
		n := 0
		for found, err := range d.Driver.GetMany(ctx, req) {
			n++
			d.by.yielded()
			switch most := len(req.Keys) + mostExtra; {
			case d.by.over.Err() != nil:
				yield(kv.Found{}, &kv.Error{Err: context.Cause(d.by.over)})
				return
			case n > most:
				d.by.report("a GetMany of the driver does not end: it has yielded %d keys of %d", most, len(req.Keys))
				yield(kv.Found{}, &kv.Error{Kind: kv.ErrUnavailable, Err: errEndless})
				return
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

func (d *observed) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		end, err := d.by.call("Scan")
		if err != nil {
			yield(kv.Record{}, err)
			return
		}
		defer end()
		d.by.scans.Add(1)
		defer d.by.scans.Add(-1)
		n := 0
		for rec, err := range d.Driver.Scan(ctx, req) {
			n++
			d.by.yielded()
			switch most := d.by.mostRecords(); {
			case d.by.over.Err() != nil:
				yield(kv.Record{}, &kv.Error{Err: context.Cause(d.by.over)})
				return
			case n > most:
				d.by.report("a scan of the driver does not end: it has yielded %d records, and at most %d keys have one", most, most-mostExtra)
				yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable, Err: errEndless})
				return
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func (d *observed) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if req.Kind != kv.KindDelete {
		d.by.writing(req.Key)
	}
	end, err := d.by.call("Write")
	if err != nil {
		return kv.Outcome{}, err
	}
	defer end()
	return d.Driver.Write(ctx, req)
}

func (d *observed) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	for _, w := range req.Writes {
		if w.Kind != kv.KindDelete {
			d.by.writing(w.Key)
		}
	}
	end, err := d.by.call("WriteMany")
	if err != nil {
		results := make([]kv.WriteResult, len(req.Writes))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer end()
	return d.Driver.WriteMany(ctx, req)
}

func (d *observed) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	for _, w := range req.Writes {
		d.by.writing(w.Key)
	}
	end, err := d.by.call("WriteAtomic")
	if err != nil {
		return kv.AtomicOutcome{}, err
	}
	defer end()
	return d.Driver.WriteAtomic(ctx, req)
}

func (d *observed) Close() error {
	defer d.by.during("Close")()
	return d.Driver.Close()
}
