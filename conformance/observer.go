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

func (d *observed) Get(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
	d.by.call()
	return d.Driver.Get(ctx, key, withValue)
}

func (d *observed) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	d.by.call()
	return d.Driver.Put(ctx, rec, cond)
}

func (d *observed) Delete(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	d.by.call()
	return d.Driver.Delete(ctx, key, cond)
}

func (d *observed) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		d.by.call()
		d.by.scans.Add(1)
		defer d.by.scans.Add(-1)
		d.Driver.Scan(ctx, r)(yield)
	}
}

func (d *observed) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	d.by.call()
	return d.Driver.GetMany(ctx, keys)
}

func (d *observed) WriteMany(ctx context.Context, writes []kv.Write) error {
	d.by.call()
	return d.Driver.WriteMany(ctx, writes)
}
