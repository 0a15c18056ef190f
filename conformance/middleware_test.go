package conformance

import (
	"context"
	"iter"
	"slices"

	"github.com/skykv/skykv/kv"
)

// middleware is the type that kv.Wrap takes. In these tests middleware changes a driver,
// and usually breaks it. The functions of this file make most middleware. Middleware that has a
// state, or that calls the driver itself, is a function of its own that uses these functions.
type middleware = func(kv.Driver) kv.Driver

// methods is a driver of which some methods are replaced. The functions receive the wrapped
// driver.
type methods struct {
	kv.Driver
	info        func(d kv.Driver) kv.Info
	get         func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error)
	getMany     func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error]
	scan        func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error]
	write       func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error)
	writeMany   func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult
	writeAtomic func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error)
	close       func(d kv.Driver) error
}

// The method over returns the driver that wraps d. Methods that are not set are the methods of
// d.
func (m methods) over(d kv.Driver) kv.Driver {
	m.Driver = d
	return m
}

func (m methods) Info() kv.Info {
	if m.info == nil {
		return m.Driver.Info()
	}
	return m.info(m.Driver)
}

func (m methods) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if m.get == nil {
		return m.Driver.Get(ctx, req)
	}
	return m.get(ctx, m.Driver, req)
}

func (m methods) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	if m.getMany == nil {
		return m.Driver.GetMany(ctx, req)
	}
	return m.getMany(ctx, m.Driver, req)
}

func (m methods) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	if m.scan == nil {
		return m.Driver.Scan(ctx, req)
	}
	return m.scan(ctx, m.Driver, req)
}

func (m methods) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if m.write == nil {
		return m.Driver.Write(ctx, req)
	}
	return m.write(ctx, m.Driver, req)
}

func (m methods) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	if m.writeMany == nil {
		return m.Driver.WriteMany(ctx, req)
	}
	return m.writeMany(ctx, m.Driver, req)
}

func (m methods) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	if m.writeAtomic == nil {
		return m.Driver.WriteAtomic(ctx, req)
	}
	return m.writeAtomic(ctx, m.Driver, req)
}

func (m methods) Close() error {
	if m.close == nil {
		return m.Driver.Close()
	}
	return m.close(m.Driver)
}

// chain joins middleware. The first is the outermost.
func chain(parts ...middleware) middleware {
	return func(d kv.Driver) kv.Driver {
		for _, part := range slices.Backward(parts) {
			d = part(d)
		}
		return d
	}
}

// infos returns middleware that changes the Info of a driver.
func infos(change func(info *kv.Info)) middleware {
	return methods{info: func(d kv.Driver) kv.Info {
		info := d.Info()
		change(&info)
		return info
	}}.over
}

// puts returns middleware that changes every record that is put, by a single write, in a batch
// or in an atomic write.
func puts(change func(rec *kv.Record)) middleware {
	put := func(w *kv.Write) {
		if w.Kind == kv.KindPut {
			change(&w.Record)
		}
	}
	return chain(before(kv.KindPut, func(req *kv.WriteRequest) { change(&req.Record) }), inBatches(put), inAtomicWrites(put))
}

// onWrite returns middleware that replaces Write for one kind of write.
func onWrite(kind kv.WriteKind, do func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error)) middleware {
	return methods{write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
		if req.Kind != kind {
			return d.Write(ctx, req)
		}
		return do(ctx, d, req)
	}}.over
}

// The function before returns middleware that changes the requests of one kind of write.
func before(kind kv.WriteKind, change func(req *kv.WriteRequest)) middleware {
	return onWrite(kind, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
		change(&req)
		return d.Write(ctx, req)
	})
}

// The function after returns middleware that changes the outcomes of one kind of write.
func after(kind kv.WriteKind, change func(req kv.WriteRequest, out *kv.Outcome)) middleware {
	return onWrite(kind, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
		out, err := d.Write(ctx, req)
		change(req, &out)
		return out, err
	})
}

// batches returns middleware that passes the writes of each batch to carryOut, and carries out
// the writes that carryOut returns. If carryOut leaves out a key, the write of that key is
// reported as done.
func batches(carryOut func(writes []kv.Write) []kv.Write) middleware {
	return methods{writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
		asked := req.Writes
		req.Writes = carryOut(slices.Clone(asked))
		carriedOut := make(map[string]kv.WriteResult)
		for i, r := range d.WriteMany(ctx, req) {
			carriedOut[req.Writes[i].Key] = r
		}
		results := make([]kv.WriteResult, len(asked))
		for i, w := range asked {
			r, ok := carriedOut[w.Key]
			if !ok {
				r.Outcome = kv.Outcome{Done: true, Version: w.Token}
			}
			results[i] = r
		}
		return results
	}}.over
}

// inBatches returns middleware that changes each write of a batch.
func inBatches(change func(w *kv.Write)) middleware {
	return batches(func(writes []kv.Write) []kv.Write {
		for i := range writes {
			change(&writes[i])
		}
		return writes
	})
}

// The function results returns middleware that changes the results of a batch.
func results(change func(req kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult) middleware {
	return methods{writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
		return change(req, d.WriteMany(ctx, req))
	}}.over
}

// inAtomicWrites returns middleware that changes each write of an atomic write.
func inAtomicWrites(change func(w *kv.Write)) middleware {
	return methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
		req.Writes = slices.Clone(req.Writes)
		for i := range req.Writes {
			change(&req.Writes[i])
		}
		return d.WriteAtomic(ctx, req)
	}}.over
}

// atomicOutcomes returns middleware that changes the results of atomic writes.
func atomicOutcomes(change func(req kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error)) middleware {
	return methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
		out, err := d.WriteAtomic(ctx, req)
		return change(req, out, err)
	}}.over
}

// touches returns middleware that changes every touch, whether single, in a batch or in an
// atomic write.
func touches(change func(w *kv.Write)) middleware {
	touch := func(w *kv.Write) {
		if w.Kind == kv.KindTouch {
			change(w)
		}
	}
	return chain(before(kv.KindTouch, func(req *kv.WriteRequest) { change(&req.Write) }), inBatches(touch), inAtomicWrites(touch))
}

// refusingBatches returns middleware that refuses a batch if refuse returns an error.
func refusingBatches(refuse func(writes []kv.Write) error) middleware {
	return methods{writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
		if err := refuse(req.Writes); err != nil {
			return slices.Repeat([]kv.WriteResult{{Err: err}}, len(req.Writes))
		}
		return d.WriteMany(ctx, req)
	}}.over
}

// reads returns middleware that changes every record that the driver returns, including those
// that made a condition fail.
func reads(change func(rec *kv.Record)) middleware {
	found := func(out *kv.Outcome) {
		if out.Exists {
			change(&out.Found)
		}
	}
	return chain(
		gets(func(_ kv.GetRequest, f *kv.Found) {
			if f.Exists {
				change(&f.Record)
			}
		}),
		getsMany(func(_ []string, all []kv.Found) []kv.Found {
			for i := range all {
				if all[i].Exists {
					change(&all[i].Record)
				}
			}
			return all
		}),
		scans(func(_ kv.ScanRequest, rec *kv.Record) bool { change(rec); return true }),
		after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) { found(out) }),
		after(kv.KindDelete, func(_ kv.WriteRequest, out *kv.Outcome) { found(out) }),
		after(kv.KindTouch, func(_ kv.WriteRequest, out *kv.Outcome) { found(out) }),
		atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
			for _, f := range out.Found {
				if f != nil && f.Exists {
					change(&f.Record)
				}
			}
			return out, err
		}),
		results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
			for i := range results {
				found(&results[i].Outcome)
			}
			return results
		}),
	)
}

// gets returns middleware that changes the results of Get.
func gets(change func(req kv.GetRequest, found *kv.Found)) middleware {
	return methods{get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
		found, err := d.Get(ctx, req)
		if err == nil {
			change(req, &found)
		}
		return found, err
	}}.over
}

// getsMany returns middleware that collects the results of a GetMany, passes them to change,
// and yields what change returns.
func getsMany(change func(keys []string, found []kv.Found) []kv.Found) middleware {
	return methods{getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
		return func(yield func(kv.Found, error) bool) {
			var found []kv.Found
			for f, err := range d.GetMany(ctx, req) {
				if err != nil {
					yield(f, err)
					return
				}
				found = append(found, f)
			}
			for _, f := range change(req.Keys, found) {
				if !yield(f, nil) {
					return
				}
			}
		}
	}}.over
}

// nothing(keys) has the results of a GetMany when there is no record under any of the keys.
func nothing(keys []string) []kv.Found {
	found := make([]kv.Found, len(keys))
	for i, key := range keys {
		found[i].Key = key
	}
	return found
}

// ranges returns middleware that changes the requests of scans.
func ranges(change func(req *kv.ScanRequest)) middleware {
	return methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
		change(&req)
		return d.Scan(ctx, req)
	}}.over
}

// scans returns middleware that changes each record of a scan, and leaves out the records for
// which change returns false.
func scans(change func(req kv.ScanRequest, rec *kv.Record) bool) middleware {
	return methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
		return func(yield func(kv.Record, error) bool) {
			for rec, err := range d.Scan(ctx, req) {
				if (err != nil || change(req, &rec)) && !yield(rec, err) {
					return
				}
			}
		}
	}}.over
}

// wholeScans returns middleware that collects the records of a scan, passes them to change, and
// yields what change returns.
func wholeScans(change func(req kv.ScanRequest, recs []kv.Record) []kv.Record) middleware {
	return methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
		return func(yield func(kv.Record, error) bool) {
			var recs []kv.Record
			for rec, err := range d.Scan(ctx, req) {
				if err != nil {
					yield(rec, err)
					return
				}
				recs = append(recs, rec)
			}
			for _, rec := range change(req, recs) {
				if !yield(rec, nil) {
					return
				}
			}
		}
	}}.over
}

// failures returns middleware that changes the errors of all methods except Close.
func failures(change func(err error) error) middleware {
	return chain(
		readFailures(change),
		outcomes(func(out kv.Outcome, err error) (kv.Outcome, error) {
			if err != nil {
				err = change(err)
			}
			return out, err
		}),
		atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
			if err != nil {
				err = change(err)
			}
			return out, err
		}),
	)
}

// readFailures returns middleware that changes the errors of reads. If change returns nil, the
// error is dropped: the keys that it concerns have no record, and a scan ends.
func readFailures(change func(err error) error) middleware {
	return methods{
		get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
			found, err := d.Get(ctx, req)
			if err != nil {
				err = change(err)
			}
			return found, err
		},
		getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
			return func(yield func(kv.Found, error) bool) {
				left := slices.Clone(req.Keys)
				for found, err := range d.GetMany(ctx, req) {
					if err != nil {
						err = change(err)
					}
					if err == nil && found.Key == "" {
						break
					}
					left = slices.DeleteFunc(left, func(key string) bool { return key == found.Key })
					if !yield(found, err) || found.Key == "" {
						return
					}
				}
				for _, found := range nothing(left) {
					if !yield(found, nil) {
						return
					}
				}
			}
		},
		scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
			return func(yield func(kv.Record, error) bool) {
				for rec, err := range d.Scan(ctx, req) {
					if err != nil {
						if err = change(err); err == nil {
							return
						}
					}
					if !yield(rec, err) {
						return
					}
				}
			}
		},
	}.over
}

// outcomes returns middleware that changes the results of single writes and of the writes of
// batches.
func outcomes(change func(out kv.Outcome, err error) (kv.Outcome, error)) middleware {
	return methods{
		write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
			return change(d.Write(ctx, req))
		},
		writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
			results := d.WriteMany(ctx, req)
			for i, r := range results {
				results[i].Outcome, results[i].Err = change(r.Outcome, r.Err)
			}
			return results
		},
	}.over
}

// find returns the record under a key.
func find(d kv.Driver, key string) (rec kv.Record, exists bool) {
	found, _ := d.Get(context.Background(), kv.GetRequest{Key: key, WithValue: true})
	return found.Record, found.Exists
}

// force writes rec without a condition.
func force(d kv.Driver, kind kv.WriteKind, rec kv.Record, now int64) (kv.Outcome, error) {
	return d.Write(context.Background(), kv.WriteRequest{Write: kv.Write{Kind: kind, Record: rec}, Now: now})
}

// isExpired reports whether rec has expired at the time now, in milliseconds since the Unix
// epoch.
func isExpired(rec kv.Record, now int64) bool { return rec.Expires != 0 && rec.Expires <= now }
