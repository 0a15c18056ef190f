package conformance

import (
	"github.com/skykv/skykv/kv"
)

// predecessorFaults are drivers that do not keep a record's Predecessors, which updates
// need after lost responses.
func predecessorFaults() []fault {
	forget := func(rec *kv.Record) { rec.Predecessors = "" }
	// keeping returns middleware that changes writes without predecessors: the new record
	// keeps the predecessors of the old record.
	keeping := func(writes func(d kv.Driver, change func(w *kv.Write)) kv.Driver) middleware {
		return func(d kv.Driver) kv.Driver {
			return writes(d, func(w *kv.Write) {
				if old, _ := find(d, w.Key); w.Predecessors == "" {
					w.Predecessors = old.Predecessors
				}
			})
		}
	}
	return []fault{
		{
			name: "drops the predecessors of puts",
			wrap: puts(forget),
			must: []string{"driver/predecessors/*"},
			only: true,
		},
		{
			name: "drops the predecessors of touches",
			wrap: touches(func(w *kv.Write) { w.Predecessors = "" }),
			must: []string{"driver/predecessors/replaced", "driver/predecessors/write-atomic", "driver/touch/*", "driver/write-atomic/kinds"},
		},
		{
			name: "keeps 184 bytes of predecessors",
			wrap: puts(func(rec *kv.Record) { rec.Predecessors = rec.Predecessors[:min(len(rec.Predecessors), 184)] }),
			must: []string{"driver/predecessors/*"},
			only: true,
		},
		{
			name: "a put without predecessors keeps the old ones",
			wrap: keeping(func(d kv.Driver, change func(w *kv.Write)) kv.Driver {
				return before(kv.KindPut, func(req *kv.WriteRequest) { change(&req.Write) })(d)
			}),
			must: []string{"driver/predecessors/replaced"},
			only: true,
		},
		{
			name: "a put of a batch without predecessors keeps the old ones",
			wrap: keeping(func(d kv.Driver, change func(w *kv.Write)) kv.Driver { return inBatches(change)(d) }),
			must: []string{"driver/predecessors/replaced"},
			only: true,
		},
		{
			name: "a touch without predecessors keeps the old ones",
			wrap: keeping(func(d kv.Driver, change func(w *kv.Write)) kv.Driver {
				return before(kv.KindTouch, func(req *kv.WriteRequest) { change(&req.Write) })(d)
			}),
			must: []string{"driver/predecessors/replaced"},
			only: true,
		},
		{
			name: "an atomic write without predecessors keeps the old ones",
			wrap: keeping(func(d kv.Driver, change func(w *kv.Write)) kv.Driver { return inAtomicWrites(change)(d) }),
			must: []string{"driver/predecessors/write-atomic"},
			only: true,
		},
		{
			name: "GetMany returns no predecessors",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found {
				for i := range found {
					forget(&found[i].Record)
				}
				return found
			}),
			must: []string{"driver/predecessors/reads"},
			only: true,
		},
		{
			name: "Get without the value returns no predecessors",
			wrap: gets(func(req kv.GetRequest, found *kv.Found) {
				if !req.WithValue {
					forget(&found.Record)
				}
			}),
			must: []string{"driver/predecessors/reads"},
			only: true,
		},
		{
			name: "scans return no predecessors",
			wrap: scans(func(_ kv.ScanRequest, rec *kv.Record) bool { forget(rec); return true }),
			must: []string{"driver/predecessors/reads"},
			only: true,
		},
		{
			name: "does not return the predecessors with the record of a failed condition",
			wrap: after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) { forget(&out.Found) }),
			must: []string{"driver/predecessors/reads"},
			only: true,
		},
		{
			name: "a failed atomic write returns no predecessors",
			wrap: atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
				for _, found := range out.Found {
					forget(&found.Record)
				}
				return out, err
			}),
			must: []string{"driver/predecessors/write-atomic"},
			only: true,
		},
	}
}
