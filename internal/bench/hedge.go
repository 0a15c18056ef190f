package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/hedge"
	"github.com/skykv/skykv/providers/memkv"
)

// The service usually responds after usualDelay. One in slowEvery responses, at random, comes
// after slowDelay.
const (
	usualDelay = 2 * time.Millisecond
	slowDelay  = 100 * time.Millisecond
	slowEvery  = 100
)

// openGap is the average time from the start of one call to the start of the next.
const openGap = 2 * time.Millisecond

// The units of two percentiles of the times of a turn's calls: the median and the 99.9th.
const (
	p50Unit  = "p50-sec"
	p999Unit = "p99.9-sec"
)

// hedgeWorks begin their calls at random times. A turn has 5,000 calls and takes ten seconds,
// so that some calls are slower than the 99.9th percentile. The tests of package hedge measure
// in simulated time.
var hedgeWorks = []work{
	{name: "Get-hedged/service=simulated/delay=2ms", turns: 1, ops: 5_000, rounds: 3, open: hedgeSimulated},
	{name: "Get-hedged/service=dynamodb-tls/delay=2ms", turns: 1, ops: 5_000, rounds: 3, open: hedgeTLS},
}

// simulated delays the Gets of a driver by usualDelay, and one in slowEvery by slowDelay.
type simulated struct{ kv.Driver }

func (d simulated) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	req.Meter.Add(1, 1)
	if rand.N(slowEvery) == 0 {
		time.Sleep(slowDelay)
	} else {
		time.Sleep(usualDelay)
	}
	return d.Driver.Get(ctx, req)
}

func hedgeSimulated(b *bed) ([]contender, error) {
	store := memkv.New()
	b.onClose(store.Close)
	if err := skykvPut(store)(b.ctx, 1); err != nil {
		return nil, err
	}
	return hedgeContenders(store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return simulated{d} }))), nil
}

func hedgeTLS(b *bed) ([]contender, error) {
	s, store, err := openDynamoTLS(b, usualDelay, "-slow", slowDelay.String(), "-slow-every", strconv.Itoa(slowEvery))
	if err != nil {
		return nil, err
	}
	dials, err := s.gauge(acceptedPath, dialsUnit)
	if err != nil {
		return nil, err
	}
	return hedgeContenders(store, dials), nil
}

// hedgeContenders returns two contenders: the store itself, and the store with hedged reads.
func hedgeContenders(store *kv.Store, gauges ...gauge) []contender {
	var contenders []contender
	for _, c := range []struct {
		name string
		opts []kv.StoreOption
	}{{"skykv", nil}, {"skykv-hedged", []kv.StoreOption{hedge.Reads(nil)}}} {
		requests := new(kv.Meter)
		calls := &openLoop{get: skykvGetOne(meter(store, requests, 0).With(c.opts...))}
		own := append(requestsOf(requests), calls.gauge(p50Unit, 0.5), calls.gauge(p999Unit, 0.999))
		contenders = append(contenders, contender{store: c.name, do: calls.do, gauges: append(own, gauges...)})
	}
	return contenders
}

// openLoop begins calls at random times, even if earlier calls have not ended, as the users
// of a program do.
type openLoop struct {
	get   func(context.Context) error
	times []time.Duration // how long each call of the last turn took, in ascending order
}

func (l *openLoop) do(ctx context.Context, n int) error {
	times, errs := make([]time.Duration, n), make([]error, n)
	var running sync.WaitGroup
	next := time.Now()
	for i := range n {
		next = next.Add(time.Duration(rand.ExpFloat64() * float64(openGap)))
		time.Sleep(time.Until(next))
		running.Go(func() {
			begun := time.Now()
			errs[i] = l.get(ctx)
			times[i] = time.Since(begun)
		})
	}
	running.Wait()
	slices.Sort(times)
	l.times = times
	return errors.Join(errs...)
}

// gauge returns a gauge that reads one quantile of the times of the last turn.
func (l *openLoop) gauge(unit string, share float64) gauge {
	return gauge{unit: unit, ofTurn: true, read: func() (float64, error) {
		if len(l.times) == 0 {
			return 0, nil
		}
		return l.times[int(share*float64(len(l.times)))].Seconds(), nil
	}}
}
