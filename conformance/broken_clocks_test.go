package conformance

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// clockFaults are drivers that remove or hide what has been expired for an hour by the clock of
// some call alone.
func clockFaults() []fault {
	const (
		grace   = 60 * 60 * 1000
		puts    = "expiry/fast-clock/put*"
		deletes = "expiry/fast-clock/delete*"
		scans   = "expiry/fast-clock/scan*"
		failed  = "expiry/fast-clock/failed-*"
	)
	remove := func(d *driver, now int64) {
		for rec := range d.Driver.Scan(context.Background(), kv.Range{From: "-", To: "~", Limit: 1000}) {
			if rec.Expires != 0 && rec.Expires+grace <= now {
				_, _ = d.Driver.Delete(context.Background(), rec.Key, kv.Condition{Version: rec.Version})
			}
		}
	}
	// removing makes a driver that removes after the calls for which it should, at the time
	// of their clock.
	removing := func(should func(done bool) bool) func(kv.Driver) kv.Driver {
		return replacing(func(d *driver) {
			after := func(out kv.Outcome, cond kv.Condition) {
				if should(out.Done) {
					remove(d, cond.Now)
				}
			}
			d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
				out, err := d.Driver.Put(ctx, rec, cond)
				after(out, cond)
				return out, err
			}
			d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
				out, err := d.Driver.Delete(ctx, key, cond)
				after(out, cond)
				return out, err
			}
		})
	}
	return []fault{
		{
			name: "writes remove by the clock of the call",
			wrap: removing(func(done bool) bool { return done }),
			must: []string{puts, deletes},
		},
		{
			name: "conditions that fail remove by the clock of the call",
			wrap: removing(func(done bool) bool { return !done }),
			must: []string{failed},
		},
		{
			name: "batches remove by a clock learned from scans",
			wrap: replacing(func(d *driver) {
				var learned atomic.Int64
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					learned.Store(r.Now)
					return d.Driver.Scan(ctx, r)
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					remove(d, learned.Load())
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{scans},
		},
		{
			name: "batches remove by a clock learned from writes",
			wrap: replacing(func(d *driver) {
				var learned atomic.Int64
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					learned.Store(cond.Now)
					return d.Driver.Put(ctx, rec, cond)
				}
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					learned.Store(cond.Now)
					return d.Driver.Delete(ctx, key, cond)
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					remove(d, learned.Load())
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{puts, deletes, failed},
		},
		{
			name: "scans leave out what has expired by the fastest clock",
			wrap: replacing(func(d *driver) {
				var fastest atomic.Int64
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					fastest.Store(max(fastest.Load(), r.Now))
					return scanning(d, func(rec kv.Record, _ kv.Range) (kv.Record, bool) {
						return rec, rec.Expires == 0 || rec.Expires > fastest.Load()
					})(ctx, r)
				}
			}),
			must: []string{scans},
		},
	}
}
