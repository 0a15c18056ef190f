package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/perf/benchfmt"
)

// work is an operation for which several stores are compared.
type work struct {
	// name is the name of a benchmark, such as Get/service=dynamodb/delay=5ms.
	name string

	// turns is the number of turns that a contender has in each round. ops is the number of
	// operations of a turn. The result of a contender in a round is the median of its turns.
	turns, ops int

	// heap says whether the greatest size of the heap during a turn is reported, too.
	heap bool

	// rounds, if not zero, is the greatest number of rounds.
	rounds int

	open func(*bed) ([]contender, error)
}

// contender is a store, and the function that does a work on it.
type contender struct {
	store string
	do    func(ctx context.Context, n int) error

	// If part is not zero, one operation of this store does only 1/part of the work that an
	// operation of the others does.
	part int

	gauges []gauge
}

// gauge is a figure to report besides time, memory and allocations.
type gauge struct {
	unit   string                  // usually a number per operation, such as requestsUnit
	read   func() (float64, error) // returns a running total, unless ofTurn is set
	ofTurn bool                    // read returns a figure of the last turn, to be reported as it is
}

// turn is the result of one turn. All figures are per operation, except heap and the
// gauges with ofTurn set.
type turn struct {
	ns, bytes, allocs, heap float64
	gauges                  []float64
}

// The units that Go's benchmarks do not have.
const (
	heapUnit     = "peak-heap-bytes"
	dialsUnit    = "dials/op"
	requestsUnit = "requests/op"
	wireUnit     = "wire-bytes/op"
)

// measure measures the work in rounds, and writes the result of each contender in each round.
func (w work) measure(ctx context.Context, rounds int, out *benchfmt.Writer) (err error) {
	b := &bed{ctx: ctx}
	defer func() { err = errors.Join(err, b.close()) }()
	contenders, err := w.open(b)
	if err != nil {
		return err
	}
	for _, c := range contenders {
		if !slices.Contains(stores, c.store) {
			return fmt.Errorf("the report has no column for the store %q", c.store)
		}
	}
	if !w.heap { // make connections and fill caches
		for _, c := range contenders {
			if err := c.do(ctx, w.ops); err != nil {
				return fmt.Errorf("%s: %w", c.store, err)
			}
		}
	}
	if w.rounds > 0 {
		rounds = min(rounds, w.rounds)
	}
	for range rounds {
		turns := make([][]turn, len(contenders))
		for range w.turns {
			for _, i := range rand.Perm(len(contenders)) {
				t, err := w.take(ctx, contenders[i])
				if err != nil {
					return fmt.Errorf("%s: %w", contenders[i].store, err)
				}
				turns[i] = append(turns[i], t)
			}
		}
		for i, c := range contenders {
			of := func(figure func(turn) float64) float64 {
				var all []float64
				for _, t := range turns[i] {
					all = append(all, figure(t))
				}
				return median(all)
			}
			ns := of(func(t turn) float64 { return t.ns })
			values := []benchfmt.Value{
				{Value: ns, Unit: "ns/op"},
				{Value: of(func(t turn) float64 { return t.bytes }), Unit: "B/op"},
				{Value: of(func(t turn) float64 { return t.allocs }), Unit: "allocs/op"},
			}
			for i, g := range c.gauges {
				values = append(values, benchfmt.Value{Value: of(func(t turn) float64 { return t.gauges[i] }), Unit: g.unit})
			}
			if w.heap {
				values = append(values, benchfmt.Value{Value: of(func(t turn) float64 { return t.heap }), Unit: heapUnit})
			}
			result := benchfmt.Result{Name: benchfmt.Name(w.name + "/store=" + c.store), Iters: w.turns * w.ops, Values: values}
			if err := out.Write(&result); err != nil {
				return err
			}
		}
	}
	return nil
}

// take measures one turn.
func (w work) take(ctx context.Context, c contender) (t turn, err error) {
	peak := func() uint64 { return 0 }
	if w.heap {
		runtime.GC()
		peak = watchHeap()
	}
	begun, err := readAll(c.gauges)
	if err != nil {
		return t, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err = c.do(ctx, w.ops)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	t.heap = float64(peak())
	if err != nil {
		return t, err
	}
	per := float64(max(c.part, 1)) / float64(w.ops)
	if t.gauges, err = readAll(c.gauges); err != nil {
		return t, err
	}
	for i, g := range c.gauges {
		if !g.ofTurn {
			t.gauges[i] = (t.gauges[i] - begun[i]) * per
		}
	}
	t.ns = float64(took) * per
	t.bytes = float64(after.TotalAlloc-before.TotalAlloc) * per
	t.allocs = float64(after.Mallocs-before.Mallocs) * per
	return t, nil
}

func readAll(gauges []gauge) ([]float64, error) {
	all := make([]float64, len(gauges))
	for i, g := range gauges {
		var err error
		if all[i], err = g.read(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// watchHeap reads the size of the heap, including garbage, every millisecond until peak is
// called. peak returns the greatest size.
func watchHeap() (peak func() uint64) {
	done := make(chan struct{})
	var most uint64
	var watching sync.WaitGroup
	watching.Go(func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for tick := time.Tick(time.Millisecond); ; {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-tick:
			case <-done:
				return
			}
		}
	})
	return func() uint64 {
		close(done)
		watching.Wait()
		return most
	}
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// The function each returns a function that does n operations, one after another.
func each(do func(context.Context) error) func(context.Context, int) error {
	return func(ctx context.Context, n int) error {
		for range n {
			if err := do(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// The function from returns a function that does n operations. The given number of goroutines
// share them.
func from(goroutines int, do func(context.Context) error) func(context.Context, int) error {
	return func(ctx context.Context, n int) error {
		var begun atomic.Int64
		var running sync.WaitGroup
		errs := make([]error, goroutines)
		for i := range errs {
			running.Go(func() {
				for errs[i] == nil && begun.Add(1) <= int64(n) {
					errs[i] = do(ctx)
				}
			})
		}
		running.Wait()
		return errors.Join(errs...)
	}
}

// bed has the context of one work, and closes everything that the work opened.
type bed struct {
	ctx     context.Context
	closers []func() error
}

// onClose adds a function that the method close calls. The function that was added last is
// called first.
func (b *bed) onClose(f func() error) { b.closers = append(b.closers, f) }

func (b *bed) close() error {
	var errs []error
	for _, f := range slices.Backward(b.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// folder makes a temporary folder for the files of a store.
func (b *bed) folder() (string, error) {
	folder, err := os.MkdirTemp("", "skykv-bench-")
	if err == nil {
		b.onClose(func() error { return os.RemoveAll(folder) })
	}
	return folder, err
}

// valueLen is the length of all values in bytes, except counters and the value under largeKey.
const valueLen = 1024

func checkLen(n int, err error) error {
	if err == nil && n != valueLen {
		err = fmt.Errorf("a value of %d bytes, not %d", n, valueLen)
	}
	return err
}
