package conformance

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// counting returns middleware that replaces Info.Count.
func counting(count func(ctx context.Context, d kv.Driver, req kv.ScanRequest) (int, error)) middleware {
	return methods{info: func(d kv.Driver) kv.Info {
		info := d.Info()
		info.Count = func(ctx context.Context, req kv.ScanRequest) (int, error) { return count(ctx, d, req) }
		return info
	}}.over
}

// countLive counts the records that have not expired.
func countLive(ctx context.Context, d kv.Driver, req kv.ScanRequest) (n int, err error) {
	for rec, err := range d.Scan(ctx, req) {
		if err != nil {
			return 0, err
		}
		if !isExpired(rec, req.Now) {
			n++
		}
	}
	return n, nil
}

// countFaults are bugs of Info.Count and of Store.Count.
func countFaults() []fault {
	// asking returns middleware that counts correctly, but first changes the request.
	asking := func(change func(req *kv.ScanRequest)) middleware {
		return counting(func(ctx context.Context, d kv.Driver, req kv.ScanRequest) (int, error) {
			change(&req)
			return countLive(ctx, d, req)
		})
	}
	number := func(change func(ctx context.Context, f *front, prefix string, opts []kv.RangeOption) (int, error)) func(store) store {
		return fronting(func(f *front) {
			f.count = func(ctx context.Context, prefix string, opts ...kv.RangeOption) (int, error) {
				return change(ctx, f, prefix, opts)
			}
		})
	}
	return []fault{
		{
			name: "counts expired records",
			wrap: asking(func(req *kv.ScanRequest) { req.Now = 0 }),
			must: []string{"count/expired", "count/follows-writes"},
			only: true,
		},
		{
			name: "counts by its own clock",
			wrap: asking(func(req *kv.ScanRequest) { req.Now = time.Now().UnixMilli() }),
			must: []string{"count/expired", "count/follows-writes"},
			only: true,
		},
		{
			name: "counts a record that expires at this instant",
			wrap: asking(func(req *kv.ScanRequest) { req.Now-- }),
			must: []string{"count/expired", "count/follows-writes"},
			only: true,
		},
		{
			name: "counts no record that expires",
			wrap: asking(func(req *kv.ScanRequest) { req.Now = math.MaxInt64 }),
			must: []string{"count/expired", "count/follows-writes"},
			only: true,
		},
		{
			name: "counts all records of the store",
			wrap: asking(func(req *kv.ScanRequest) { req.From, req.To = "-", "~" }),
			must: []string{"count/prefix", "count/many", "count/range", "count/groups", "count/namespace"},
		},
		{
			name: "counts all shards for every shard",
			wrap: chain(infos(func(info *kv.Info) { info.Shards, info.ShardOfPrefix = shards, nil }), counting(countLive)),
			must: []string{"count/prefix", "count/groups"},
		},
		{
			name: "counts only in the first shard",
			wrap: chain(asking(func(req *kv.ScanRequest) { req.Shard = 0 }), sharded),
			must: []string{"count/groups", "count/many"},
		},
		{
			name: "counts a thousand records",
			wrap: counting(func(ctx context.Context, d kv.Driver, req kv.ScanRequest) (int, error) {
				n, err := countLive(ctx, d, req)
				return min(n, 1000), err
			}),
			must: []string{"count/many"},
			only: true,
		},
		{
			name: "remembers a count",
			wrap: func(d kv.Driver) kv.Driver {
				var known sync.Map
				return counting(func(ctx context.Context, d kv.Driver, req kv.ScanRequest) (int, error) {
					n, err := countLive(ctx, d, req)
					first, _ := known.LoadOrStore([2]string{req.From, req.To}, n)
					return first.(int), err
				})(d)
			},
			must: []string{"count/follows-writes", "count/expired"},
		},
		{
			name: "a count ignores its bounds",
			with: number(func(ctx context.Context, f *front, prefix string, _ []kv.RangeOption) (int, error) {
				return f.store.Count(ctx, prefix)
			}),
			must: []string{"count/range", "count/namespace", "count/invalid"},
			only: true,
		},
		{
			name: "a count ignores records that it cannot read",
			with: number(func(ctx context.Context, f *front, prefix string, opts []kv.RangeOption) (int, error) {
				n, err := f.store.Count(ctx, prefix, opts...)
				if _, foreign := errors.AsType[*kv.BatchError](err); foreign {
					err = nil
				}
				return n, err
			}),
			must: []string{"count/damaged-entry"},
			only: true,
		},
		{
			name: "a count that fails returns a number",
			with: number(func(ctx context.Context, f *front, prefix string, opts []kv.RangeOption) (int, error) {
				n, err := f.store.Count(ctx, prefix, opts...)
				if n == 0 && errors.Is(err, kv.ErrUnavailable) {
					n = 40
				}
				return n, err
			}),
			must: []string{"count/broken-off"},
			only: true,
		},
		{
			name: "a count whose context ends has no error",
			wrap: cancelling,
			with: number(func(ctx context.Context, f *front, prefix string, opts []kv.RangeOption) (int, error) {
				n, err := f.store.Count(ctx, prefix, opts...)
				if errors.Is(err, context.Canceled) {
					err = nil
				}
				return n, err
			}),
			must: []string{"context/cancelled/count", "context/cancelled-on-the-way/reads"},
			only: true,
		},
	}
}
