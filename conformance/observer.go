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

// mostExtra is how many records more than there are keys a scan may yield: a driver that
// repeats some is the cases' to find.
const mostExtra = 1000

// observer stands between a trial's stores and their drivers. It counts the calls that
// get through, and lets a case act at the moment one does. It ends the scans that
// have no end, and when the trial is over it lets nothing through any more.
type observer struct {
	over   context.Context // done when the trial is
	report func(format string, args ...any)
	place  func() string // the line of the case that calls

	calls atomic.Int64
	scans atomic.Int64 // under way

	// before, when set, runs before each call is handed to the driver.
	before func()

	mu       sync.Mutex
	underWay []string
	heard    time.Time       // when a call, a record or an answer last came by
	keys     map[string]bool // ever written
}

func newObserver(over context.Context, report func(format string, args ...any), place func() string) *observer {
	return &observer{over: over, report: report, place: place, heard: time.Now(), keys: make(map[string]bool)}
}

func (o *observer) wrap(d kv.Driver) kv.Driver { return &observed{d, o} }

// call begins a call of the driver. The caller calls end after it.
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

// during notes that what is under way until end is called.
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

// doing names what is under way, in the order in which it began.
func (o *observer) doing() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.underWay) == 0 {
		return "nothing in the driver"
	}
	return strings.Join(o.underWay, ", ")
}

// quiet reports whether nothing has come by for as long as d.
func (o *observer) quiet(d time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.heard) >= d
}

// writing notes a key that may have a record from now on.
func (o *observer) writing(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys[key] = true
}

// mostRecords is how many records a scan may yield.
func (o *observer) mostRecords() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = time.Now()
	return len(o.keys) + mostExtra
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
			switch most := d.by.mostRecords(); {
			case d.by.over.Err() != nil:
				yield(kv.Record{}, &kv.Error{Err: context.Cause(d.by.over)})
				return
			case n > most:
				d.by.report("a scan of the driver does not end: it has yielded %d records, where at most %d keys have one", most, most-mostExtra)
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
