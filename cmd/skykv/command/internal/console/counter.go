package console

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// counter counts the requests that the reads of a store send to the service.
type counter struct{ requests atomic.Int64 }

func (c *counter) read() int { return int(c.requests.Load()) }

func (c *counter) wrap(d kv.Driver) kv.Driver { return counted{d, c} }

type counted struct {
	kv.Driver
	counter *counter
}

func (d counted) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	req.Meter = kv.NewMeter(req.Meter)
	defer func() { d.counter.requests.Add(int64(req.Meter.Requests())) }()
	return d.Driver.Get(ctx, req)
}

func (d counted) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		req.Meter = kv.NewMeter(req.Meter)
		defer func() { d.counter.requests.Add(int64(req.Meter.Requests())) }()
		d.Driver.Scan(ctx, req)(yield)
	}
}
