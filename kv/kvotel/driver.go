package kvotel

import (
	"context"
	"iter"

	"github.com/skykv/skykv/kv"
)

// observer reports operations.
type observer interface {
	// begin is called before an operation. It returns the context for the operation. The
	// *operation is nil if the operation need not be reported.
	begin(ctx context.Context, name string) (context.Context, *operation)

	// end is called after an operation, with what begin returned.
	end(ctx context.Context, op *operation)
}

// driver reports to an observer the operations that it passes on.
type driver struct {
	kv.Driver
	observer
}

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	ctx, op := d.begin(ctx, opGet)
	if op == nil {
		return d.Driver.Get(ctx, req)
	}
	defer d.end(ctx, op)
	op.key, req.Meter = req.Key, op.count(req.Meter)
	found, err := d.Driver.Get(ctx, req)
	op.read(found.Record, found.Exists, err)
	if op.outcome = outcomeAbsent; found.Exists {
		op.outcome = outcomeFound
	}
	return found, err
}

func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		req := req
		ctx, op := d.begin(ctx, batchName(opGet, len(req.Keys)))
		if op == nil {
			d.Driver.GetMany(ctx, req)(yield)
			return
		}
		defer d.end(ctx, op)
		op.keys, op.batch, req.Meter = req.Keys, len(req.Keys), op.count(req.Meter)
		op.outcome = outcomeStopped
		for found, err := range d.Driver.GetMany(ctx, req) {
			op.read(found.Record, found.Exists, err)
			if !yield(found, err) {
				return
			}
		}
		op.outcome = outcomeDone
	}
}

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		req := req
		ctx, op := d.begin(ctx, opScan)
		if op == nil {
			d.Driver.Scan(ctx, req)(yield)
			return
		}
		defer d.end(ctx, op)
		op.keys, req.Meter = []string{req.From, req.To}, op.count(req.Meter)
		op.outcome = outcomeStopped
		for rec, err := range d.Driver.Scan(ctx, req) {
			op.read(rec, true, err)
			if !yield(rec, err) {
				return
			}
		}
		op.outcome = outcomeDone
	}
}

func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	ctx, op := d.begin(ctx, nameOf(req.Kind))
	if op == nil {
		return d.Driver.Write(ctx, req)
	}
	defer d.end(ctx, op)
	op.key, op.write, op.sent, req.Meter = req.Key, true, len(req.Value), op.count(req.Meter)
	out, err := d.Driver.Write(ctx, req)
	op.wrote(out.Done, out.MayHaveApplied, err)
	return out, err
}

func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	ctx, op := d.begin(ctx, nameOfAll(req.Writes))
	if op == nil {
		return d.Driver.WriteMany(ctx, req)
	}
	defer d.end(ctx, op)
	op.asks(req.Writes)
	req.Meter = op.count(req.Meter)
	results := d.Driver.WriteMany(ctx, req)
	for _, r := range results {
		op.wrote(r.Done, r.MayHaveApplied, r.Err)
	}
	return results
}

func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	ctx, op := d.begin(ctx, opAtomicWrite)
	if op == nil {
		return d.Driver.WriteAtomic(ctx, req)
	}
	defer d.end(ctx, op)
	op.asks(req.Writes)
	req.Meter = op.count(req.Meter)
	out, err := d.Driver.WriteAtomic(ctx, req)
	op.wrote(out.Done, out.MayHaveApplied, err)
	return out, err
}
