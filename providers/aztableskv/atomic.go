package aztableskv

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// tombstoneTimeout is the time limit of the removal of tombstones. It is short, because the
// atomic write has already succeeded and its caller is waiting.
const tombstoneTimeout = 5 * time.Second

// WriteAtomic makes one transaction in one partition. Before the transaction, it reads the
// entries that are touched without a version. After the transaction, it removes the tombstones.
// If a condition fails in the transaction, WriteAtomic does not read the entries: its caller, the
// kv.Store, reads them.
func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	if d.layout.maxAtomicWrites() == 0 {
		return kv.AtomicOutcome{}, kv.UnsupportedWrite(req.Writes[0])
	}
	for i := range req.Writes {
		if d.layout.shard(req.Writes[i].Key) != d.layout.shard(req.Writes[0].Key) {
			return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrInvalidOption, Err: errors.New("the keys are in several shards; want keys of one group")}
		}
	}
	writes, dead, err := d.underVersions(ctx, req)
	switch {
	case err != nil:
		return kv.AtomicOutcome{}, err
	case dead != nil:
		return kv.AtomicOutcome{Found: dead}, nil
	}
	actions, err := d.layout.atomicActions(writes, req.Now)
	if err != nil {
		return kv.AtomicOutcome{}, err
	}
	if err := ctx.Err(); err != nil {
		return kv.AtomicOutcome{}, &kv.Error{Err: err}
	}
	callCtx, call := d.watchWrite(attempt.With(ctx, attempt.Many), req.Meter)
	call.transaction = true
	err = call.end(d.submit(callCtx, call, actions))
	switch {
	case err == nil:
		d.removeTombstones(ctx, req, call.answer.etags)
		return atomicDone(req.Writes, call.answer.etags), nil
	case refusedOne(codeOf(err), call.answer.index, writes):
		return kv.AtomicOutcome{MayHaveApplied: call.mayHaveApplied(err)}, nil
	}
	return kv.AtomicOutcome{}, call.failWrite(err)
}

// underVersions returns the writes of req. In every touch under kv.CondLive, it replaces the
// condition by the version of the entry, because the service can check only versions. If one
// of these entries is absent or has expired, underVersions returns no writes, and instead
// returns the entries that it read.
func (d *driver) underVersions(ctx context.Context, req kv.WriteManyRequest) (writes []kv.Write, dead []*kv.Found, err error) {
	at := make(map[string]int)
	for i, w := range req.Writes {
		if touchesLive(w) {
			at[w.Key] = i
		}
	}
	if len(at) == 0 {
		return req.Writes, nil, nil
	}
	writes = slices.Clone(req.Writes)
	all, found := true, make([]*kv.Found, len(writes))
	for f, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: slices.Collect(maps.Keys(at)), Meter: req.Meter}) {
		if err != nil {
			e := withMayHaveApplied(err, false) // only reads were sent
			e.Key = f.Key
			return nil, nil, e
		}
		i := at[f.Key]
		found[i] = &f
		writes[i].Condition = kv.Condition{Kind: kv.CondVersion, Version: f.Version}
		all = all && f.Exists && (f.Expires == 0 || f.Expires > req.Now)
	}
	if !all {
		return nil, found, nil
	}
	return writes, nil, nil
}

// refusedOne reports whether code says that the condition of the write at index failed. If
// the service did not say which write failed, index is negative, and refusedOne reports
// whether code may be about the condition of any write.
func refusedOne(code aztables.TableErrorCode, index int, writes []kv.Write) bool {
	if index >= 0 && index < len(writes) {
		writes = writes[index : index+1]
	}
	return slices.ContainsFunc(writes, func(w kv.Write) bool { return refused(code, w.Condition.Kind) })
}

// atomicDone returns the outcome of a transaction that was carried out.
func atomicDone(writes []kv.Write, etags []string) kv.AtomicOutcome {
	out := kv.AtomicOutcome{Done: true, Versions: make([]string, len(writes))}
	for i, w := range writes {
		if w.Kind == kv.KindPut || w.Kind == kv.KindTouch {
			out.Versions[i] = etags[i]
		}
	}
	return out
}

// removeTombstones deletes the tombstones that a transaction has stored. If that fails, they
// remain until a sweep deletes them. Until then, stores treat them as absent.
func (d *driver) removeTombstones(ctx context.Context, req kv.WriteManyRequest, etags []string) {
	var tombstones []kv.Write
	for i, w := range req.Writes {
		if d.layout.leavesTombstone(w) {
			tombstones = append(tombstones, kv.Write{
				Kind: kv.KindDelete, Record: kv.Record{Key: w.Key}, Condition: kv.Condition{Kind: kv.CondVersion, Version: etags[i]},
			})
		}
	}
	if tombstones == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tombstoneTimeout)
	defer cancel()
	d.WriteMany(ctx, kv.WriteManyRequest{Writes: tombstones, Meter: req.Meter})
}
