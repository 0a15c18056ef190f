package firestorekv

import (
	"context"
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// maxAtomicWrites is the limit of the other cloud providers. Firestore takes any number of
// writes in 10 MiB: https://cloud.google.com/firestore/quotas.
const maxAtomicWrites = 100

// WriteAtomic sends one Commit. If a condition fails, it then reads all records, because
// the service reports at most one failed condition. If a write is a touch of a live entry,
// WriteAtomic only reads the records: see touchesLive.
func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	if slices.ContainsFunc(req.Writes, touchesLive) {
		return d.readAll(ctx, req, false)
	}
	writes := make([]*pb.Write, len(req.Writes))
	for i, w := range req.Writes {
		var err error
		if writes[i], err = d.layout.write(w, req.Now); err != nil {
			return kv.AtomicOutcome{}, err
		}
	}
	a := d.watch(ctx, attempt.Many, req.Meter)
	defer a.end()
	results, err := d.commit(a, writes...)
	switch {
	case err == nil:
		out := kv.AtomicOutcome{Done: true, Versions: make([]string, len(writes))}
		for i, w := range req.Writes {
			if w.Kind == kv.KindPut || w.Kind == kv.KindTouch {
				out.Versions[i] = versionOf(writes[i], results[i])
			}
		}
		return out, nil
	case slices.ContainsFunc(writes, func(w *pb.Write) bool { return conditionFailed(w.GetCurrentDocument(), err) }):
		return d.readAll(ctx, req, a.mayHaveApplied())
	}
	return kv.AtomicOutcome{}, a.failWrite(err)
}

// readAll returns the outcome of writes that were not carried out, with the records under
// their keys.
func (d *driver) readAll(ctx context.Context, req kv.WriteManyRequest, mayHaveApplied bool) (kv.AtomicOutcome, error) {
	out := kv.AtomicOutcome{MayHaveApplied: mayHaveApplied, Found: make([]*kv.Found, len(req.Writes))}
	keys, place := make([]string, len(req.Writes)), make(map[string]int, len(req.Writes))
	for i, w := range req.Writes {
		keys[i], place[w.Key] = w.Key, i
	}
	for found, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: keys, Meter: req.Meter}) {
		if err != nil {
			e := kv.Error{Err: err}
			if own, ok := err.(*kv.Error); ok {
				e = *own
			}
			e.Key, e.MayHaveApplied = found.Key, mayHaveApplied
			return kv.AtomicOutcome{}, &e
		}
		out.Found[place[found.Key]] = &found
	}
	return out, nil
}
