package conformance

import (
	"context"
	"iter"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// clockFaults are drivers with faults in their expiry. Most of these drivers remove or hide
// records too early: records that have expired by the clock of some call, but not by the clock
// of the host. The others wrongly have no grace, or return an error for an expired record.
func clockFaults() []fault {
	const (
		puts    = "expiry/fast-clock/put*"
		deletes = "expiry/fast-clock/delete*"
		touches = "expiry/fast-clock/touch*"
		failed  = "expiry/fast-clock/failed-*"
	)
	updates := []string{"expiry/fast-clock/update", "expiry/fast-clock/increment", "expiry/fast-clock/get-and-delete"}
	allWrites := append([]string{puts, deletes, touches, "expiry/fast-clock/atomic-write"}, updates...)
	remove := func(d kv.Driver, now int64) {
		for rec := range d.Scan(context.Background(), kv.ScanRequest{From: "-", To: "~", Limit: 1000}) {
			if isExpired(rec, now-kv.ExpiryGrace.Milliseconds()) {
				_, _ = force(d, kv.KindDelete, kv.Record{Key: rec.Key}, now)
			}
		}
	}
	// removing returns middleware that calls remove after a write, with the Now of the
	// write, if should returns true. The argument of should says whether the write was
	// done.
	removing := func(should func(done bool) bool) middleware {
		after := func(d kv.Driver, done bool, now int64) {
			if should(done) {
				remove(d, now)
			}
		}
		return methods{
			write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				out, err := d.Write(ctx, req)
				after(d, out.Done, req.Now)
				return out, err
			},
			writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
				results := d.WriteMany(ctx, req)
				after(d, true, req.Now)
				return results
			},
			writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
				out, err := d.WriteAtomic(ctx, req)
				after(d, out.Done, req.Now)
				return out, err
			},
		}.over
	}
	graceless := chain(named("dynamodb-alien"), infos(func(info *kv.Info) { info.NoGrace = true }))
	return []fault{
		{
			name: "a driver outside this module has NoGrace",
			wrap: infos(func(info *kv.Info) { info.NoGrace = true }),
			must: []string{"info/lacks"},
			only: true,
		},
		{
			name: "without grace an expired record is an error",
			wrap: chain(graceless, methods{get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
				found, err := d.Get(ctx, req)
				if err == nil && isExpired(found.Record, time.Now().UnixMilli()) {
					err = &kv.Error{Kind: kv.ErrUnavailable}
				}
				return found, err
			}}.over),
			must: []string{"expiry/slow-clock", "expiry/later-for-a-slow-clock", "batch/delete-prefix/expired-by-other-clocks"},
		},
		{
			name: "writes remove by the clock of the call",
			wrap: removing(func(done bool) bool { return done }),
			must: allWrites,
		},
		{
			name: "conditions that fail remove by the clock of the call",
			wrap: removing(func(done bool) bool { return !done }),
			must: []string{failed},
		},
		{
			name: "batches remove by a clock learned from scans",
			wrap: func(d kv.Driver) kv.Driver {
				var learned atomic.Int64
				return methods{
					scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
						learned.Store(req.Now)
						return d.Scan(ctx, req)
					},
					writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
						remove(d, learned.Load())
						return d.WriteMany(ctx, req)
					},
				}.over(d)
			},
			must: []string{"expiry/fast-clock/scan*"},
		},
		{
			name: "batches remove by a clock learned from writes",
			wrap: func(d kv.Driver) kv.Driver {
				var learned atomic.Int64
				return methods{
					write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
						learned.Store(req.Now)
						return d.Write(ctx, req)
					},
					writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
						remove(d, learned.Swap(req.Now))
						return d.WriteMany(ctx, req)
					},
					writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
						learned.Store(req.Now)
						return d.WriteAtomic(ctx, req)
					},
				}.over(d)
			},
			must: append([]string{failed}, allWrites...),
		},
		{
			name: "scans leave out records that have expired by the fastest clock",
			wrap: func(d kv.Driver) kv.Driver {
				var fastest atomic.Int64
				return scans(func(req kv.ScanRequest, rec *kv.Record) bool {
					fastest.Store(max(fastest.Load(), req.Now))
					return !isExpired(*rec, fastest.Load())
				})(d)
			},
			must: []string{"expiry/fast-clock/scan*"},
		},
	}
}
