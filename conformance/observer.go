package conformance

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// observer stands between a trial's store and its driver. It counts the calls
// that get through, and lets a case act at the moment one does.
type observer struct {
	calls atomic.Int64
	scans atomic.Int64 // under way

	// before, when set, runs before each call is handed to the driver.
	before func()
}

func (o *observer) wrap(d kv.Driver) kv.Driver { return &observed{d, o} }

func (o *observer) call() {
	o.calls.Add(1)
	if o.before != nil {
		o.before()
	}
}

type observed struct {
	kv.Driver
	by *observer
}

func (d *observed) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.by.call()
	return d.Driver.Get(ctx, req)
}

func (d *observed) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		d.by.call()
		d.Driver.GetMany(ctx, req)(yield)
	}
}

func (d *observed) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		d.by.call()
		d.by.scans.Add(1)
		defer d.by.scans.Add(-1)
		d.Driver.Scan(ctx, req)(yield)
	}
}

func (d *observed) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.by.call()
	return d.Driver.Write(ctx, req)
}

func (d *observed) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	d.by.call()
	return d.Driver.WriteMany(ctx, req)
}

func (d *observed) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	d.by.call()
	return d.Driver.WriteAtomic(ctx, req)
}
