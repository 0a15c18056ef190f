package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

const (
	// updaters is how many goroutines increment one number at the same time.
	updaters = 50

	updateDelay = 5 * time.Millisecond
)

// The works with a delay have few rounds. With ten rounds, each of those with 50 goroutines would
// take more than a minute, because most attempts of the contenders "loop" fail and are repeated.
var updateWorks = []work{
	{name: "Increment-by-50/service=memory", turns: 10, ops: 20_000, open: memoryIncrements},
	{name: "Increment-by-50/service=local/delay=5ms", turns: 1, ops: 1000, rounds: 3, open: increments("local")},
	{name: "Increment-by-50/service=dynamodb/delay=5ms", turns: 1, ops: 1000, rounds: 3, open: increments("dynamodb")},
	{name: "Increment-by-50/service=firestore/delay=5ms", turns: 1, ops: 1000, rounds: 3, open: increments("firestore")},
	{name: "Increment-by-50/service=aztables/delay=5ms", turns: 1, ops: 1000, rounds: 3, open: increments("aztables")},
	{name: "Increment/service=dynamodb/delay=5ms", turns: 1, ops: 50, rounds: 3, open: incrementsOfOne("dynamodb")},
	{name: "Increment/service=firestore/delay=5ms", turns: 1, ops: 50, rounds: 3, open: incrementsOfOne("firestore")},
	{name: "Increment/service=aztables/delay=5ms", turns: 1, ops: 50, rounds: 3, open: incrementsOfOne("aztables")},
}

// metered counts the requests of Get, Write, WriteAtomic and Scan. It delays these calls, as a
// distant service does.
type metered struct {
	kv.Driver
	meter *kv.Meter
	delay time.Duration
}

func meter(store *kv.Store, meter *kv.Meter, delay time.Duration) *kv.Store {
	return store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return metered{d, meter, delay} }))
}

func requestsOf(meter *kv.Meter) []gauge {
	return []gauge{{unit: requestsUnit, read: func() (float64, error) { return float64(meter.Attempts()), nil }}}
}

func (d metered) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	time.Sleep(d.delay)
	req.Meter = d.meter
	return d.Driver.Get(ctx, req)
}

func (d metered) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	time.Sleep(d.delay)
	req.Meter = d.meter
	return d.Driver.Write(ctx, req)
}

func (d metered) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	time.Sleep(d.delay)
	req.Meter = d.meter
	return d.Driver.WriteAtomic(ctx, req)
}

func (d metered) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	time.Sleep(d.delay)
	req.Meter = d.meter
	return d.Driver.Scan(ctx, req)
}

// startStores starts a service whose requests take updateDelay. It returns a function that
// opens a store on the service. Each store has its own connections. For the kind "local" there
// is no service: the stores share a file, and metered delays their calls by updateDelay.
func startStores(b *bed, kind string, meterOf *kv.Meter) (open func() (*kv.Store, error), err error) {
	if kind == "local" {
		folder, err := b.folder()
		if err != nil {
			return nil, err
		}
		return func() (*kv.Store, error) {
			store, err := localkv.New(filepath.Join(folder, "skykv.db"), nil)
			if err != nil {
				return nil, err
			}
			b.onClose(store.Close)
			return meter(store, meterOf, updateDelay), nil
		}, nil
	}
	s, err := b.start(kind, updateDelay)
	if err != nil {
		return nil, err
	}
	return func() (store *kv.Store, err error) {
		switch kind {
		case "dynamodb":
			_, store, err = openDynamo(b, "http://"+s.addr)
		case "aztables":
			_, store, err = openAzure(b, "http://"+s.addr+"/devstoreaccount1")
		case "firestore":
			opts, failed := firestoreOptions(b, s.addr)
			if failed != nil {
				return nil, failed
			}
			_, store, _, err = openFirestore(b, opts)
		}
		if err != nil {
			return nil, err
		}
		return meter(store, meterOf, 0), nil
	}, nil
}

// twoStores opens two stores on a service, as two processes would.
func twoStores(b *bed, kind string) (stores [2]*kv.Store, gauges []gauge, err error) {
	meter := kv.NewMeter(nil)
	open, err := startStores(b, kind, meter)
	for i := range stores {
		if err == nil {
			stores[i], err = open()
		}
	}
	return stores, requestsOf(meter), err
}

func increment(store *kv.Store, key string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := store.Increment(ctx, key, 1)
		return err
	}
}

// incrementLoop increments as programs do without Increment. If the condition of its Put
// fails, it waits for a random time and repeats. The limit of that time is updateDelay at
// first, doubles after each failure, and is never more than longest. If longest is zero,
// incrementLoop does not wait.
func incrementLoop(store *kv.Store, key string, longest time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		for span := updateDelay; ; span = min(2*span, longest) {
			entry, err := store.Get(ctx, key)
			if err != nil {
				return err
			}
			n, err := strconv.ParseInt(string(entry.Value), 10, 64)
			if err != nil {
				return fmt.Errorf("the value is not a number: %w", err)
			}
			_, err = store.Put(ctx, key, strconv.AppendInt(nil, n+1, 10), kv.IfVersion(entry.Version))
			if !errors.Is(err, kv.ErrConditionFailed) {
				return err
			}
			if longest > 0 {
				time.Sleep(rand.N(span))
			}
		}
	}
}

// memoryIncrements has no delay and counts no requests, because memkv makes no requests.
func memoryIncrements(b *bed) ([]contender, error) {
	store := memkv.New()
	b.onClose(store.Close)
	const key = counterPrefix + "0"
	if err := increment(store, key)(b.ctx); err != nil {
		return nil, err
	}
	return []contender{
		{store: "loop", do: from(updaters, incrementLoop(store, key, 0))},
		{store: "skykv", do: from(updaters, increment(store, key))},
	}, nil
}

// increments compares the ways in which many goroutines can increment one number.
func increments(kind string) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		stores, gauges, err := twoStores(b, kind)
		if err != nil {
			return nil, err
		}
		const key, together = counterPrefix + "0", counterPrefix + "1"
		for _, key := range []string{key, together} {
			if err := increment(stores[0], key)(b.ctx); err != nil {
				return nil, err
			}
		}
		// The loops do only a part of the work. That is fair, because the share of their attempts
		// that fail does not depend on how much work they do.
		const part = 5
		loop := func(longest time.Duration) func(context.Context, int) error {
			do := from(updaters, incrementLoop(stores[0], key, longest))
			return func(ctx context.Context, n int) error { return do(ctx, n/part) }
		}
		both := func(ctx context.Context, n int) error {
			errs := make([]error, len(stores))
			var running sync.WaitGroup
			for i, store := range stores {
				running.Go(func() { errs[i] = from(updaters, increment(store, together))(ctx, n/len(stores)) })
			}
			running.Wait()
			return errors.Join(errs...)
		}
		return []contender{
			{store: "loop", part: part, gauges: gauges, do: loop(0)},
			{store: "loop-with-backoff", part: part, gauges: gauges, do: loop(time.Second)},
			{store: "skykv", gauges: gauges, do: from(updaters, increment(stores[0], key))},
			{store: "skykv-of-2-stores", gauges: gauges, do: both},
		}, nil
	}
}

// incrementsOfOne measures the increments of one goroutine: of a number that only its store
// changes, of numbers that its store has never read, and of a number that two stores increment
// in turns.
func incrementsOfOne(kind string) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		stores, gauges, err := twoStores(b, kind)
		if err != nil {
			return nil, err
		}
		const looped, known, shared = counterPrefix + "looped", counterPrefix + "known", counterPrefix + "shared"
		cold, turn := 0, 0
		return []contender{
			{store: "loop", gauges: gauges, do: each(incrementLoop(stores[0], looped, 0))},
			{store: "skykv", gauges: gauges, do: each(increment(stores[0], known))},
			{store: "skykv-cold-key", gauges: gauges, do: each(func(ctx context.Context) error {
				cold++
				return increment(stores[0], counterPrefix+"cold-"+strconv.Itoa(cold))(ctx)
			})},
			{store: "skykv-in-turns", gauges: gauges, do: each(func(ctx context.Context) error {
				turn++
				return increment(stores[turn%len(stores)], shared)(ctx)
			})},
		}, nil
	}
}
