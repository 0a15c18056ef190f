package console

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// requestsKey is the key of a context for the *atomic.Int64 that counts the requests of one page.
type requestsKey struct{}

// counted counts the requests that the reads of a page send to the service. Pages may be made at
// the same time, so the number of each page is in the context of its reads.
type counted struct{ kv.Driver }

func count(ctx context.Context, meter *kv.Meter) {
	if requests, ok := ctx.Value(requestsKey{}).(*atomic.Int64); ok {
		requests.Add(int64(meter.Requests()))
	}
}

func (d counted) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	req.Meter = kv.NewMeter(req.Meter)
	defer count(ctx, req.Meter)
	return d.Driver.Get(ctx, req)
}

func (d counted) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		req.Meter = kv.NewMeter(req.Meter)
		defer count(ctx, req.Meter)
		d.Driver.Scan(ctx, req)(yield)
	}
}
