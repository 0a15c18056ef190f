package kvotel

import (
	"context"
	"iter"

	"github.com/skykv/skykv/kv"
)

// observer is told of operations.
type observer interface {
	// begin is called before an operation, with what it asks for. It returns the context for
	// it, and whether end wants to know what became of it.
	begin(ctx context.Context, op *operation) (_ context.Context, counts bool)

	// end is called after it, with the context that begin returned.
	end(ctx context.Context, op *operation)
}

// driver tells an observer of the operations that it passes on.
type driver struct {
	kv.Driver
	observer
}

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (found kv.Found, err error) {
	op := &operation{name: opGet, key: req.Key}
	ctx, counts := d.begin(ctx, op)
	defer d.end(ctx, op)
	if counts {
		req.Meter = op.count(req.Meter)
	}
	found, err = d.Driver.Get(ctx, req)
	if op.err = err; err == nil {
		op.read(found.Record, found.Exists)
	}
	if op.outcome = outcomeAbsent; found.Exists {
		op.outcome = outcomeFound
	}
	return found, err
}

func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		req := req
		op := &operation{name: opGet, keys: req.Keys, outcome: outcomeStopped}
		if op.batch = len(req.Keys); op.batch > 1 {
			op.name = batchNames[opGet]
		}
		ctx, counts := d.begin(ctx, op)
		defer d.end(ctx, op)
		if counts {
			req.Meter = op.count(req.Meter)
		}
		for found, err := range d.Driver.GetMany(ctx, req) {
			if err != nil {
				op.err = err
			} else {
				op.read(found.Record, found.Exists)
			}
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
		op := &operation{name: opScan, from: req.From, to: req.To, outcome: outcomeStopped}
		ctx, counts := d.begin(ctx, op)
		defer d.end(ctx, op)
		if counts {
			req.Meter = op.count(req.Meter)
		}
		for rec, err := range d.Driver.Scan(ctx, req) {
			if err != nil {
				op.err = err
			} else {
				op.read(rec, true)
			}
			if !yield(rec, err) {
				return
			}
		}
		op.outcome = outcomeDone
	}
}

func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (out kv.Outcome, err error) {
	op := &operation{name: nameOf(req.Kind), key: req.Key, write: true, sent: len(req.Value)}
	ctx, counts := d.begin(ctx, op)
	defer d.end(ctx, op)
	if counts {
		req.Meter = op.count(req.Meter)
	}
	out, err = d.Driver.Write(ctx, req)
	op.wrote(out.Done, out.MayHaveApplied, err)
	return out, err
}

func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) (results []kv.WriteResult) {
	op := &operation{write: true, writes: req.Writes, batch: len(req.Writes)}
	for i, w := range req.Writes {
		op.sent += len(w.Value)
		if name := nameOf(w.Kind); i == 0 {
			op.name = name
		} else if op.name != name {
			op.name = opBatch
		}
	}
	if name, ok := batchNames[op.name]; ok && op.batch > 1 {
		op.name = name
	}
	ctx, counts := d.begin(ctx, op)
	defer d.end(ctx, op)
	if counts {
		req.Meter = op.count(req.Meter)
	}
	results = d.Driver.WriteMany(ctx, req)
	for _, r := range results {
		op.wrote(r.Done, r.MayHaveApplied, r.Err)
	}
	return results
}

func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (out kv.AtomicOutcome, err error) {
	op := &operation{name: opAtomicWrite, write: true, writes: req.Writes, batch: len(req.Writes)}
	for _, w := range req.Writes {
		op.sent += len(w.Value)
	}
	ctx, counts := d.begin(ctx, op)
	defer d.end(ctx, op)
	if counts {
		req.Meter = op.count(req.Meter)
	}
	out, err = d.Driver.WriteAtomic(ctx, req)
	op.wrote(out.Done, out.MayHaveApplied, err)
	return out, err
}
