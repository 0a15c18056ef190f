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

// work is an operation by which several stores are compared.
type work struct {
	// name is that of a benchmark, such as Get/service=dynamodb/delay=5ms.
	name string

	// In a round, whose time is the median, each contender has that many turns of
	// that many operations.
	turns, ops int

	// heap says that a turn's greatest heap is reported.
	heap bool

	// rounds is how often it is measured, if not as often as all others.
	rounds int

	open func(*bed) ([]contender, error)
}

// contender is a store that does a work.
type contender struct {
	store string
	do    func(ctx context.Context, n int) error

	// One operation of this store does 1/part of the others' work. Zero stands for
	// 1.
	part int

	gauges []gauge
}

// gauge is something else to count.
type gauge struct {
	unit   string                  // for each operation
	read   func() (float64, error) // so far
	ofTurn bool                    // read returns what is of the last turn, and for no operation
}

// turn is what one turn of a contender took, for each operation except the heap.
type turn struct {
	ns, bytes, allocs, heap float64
	gauges                  []float64
}

// The units besides those of Go's own benchmarks.
const (
	heapUnit     = "peak-heap-bytes"
	dialsUnit    = "dials/op"
	requestsUnit = "requests/op"
	wireUnit     = "wire-bytes/op"
)

// measure does the work in rounds.
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
	if !w.heap { // to make connections and fill caches
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

// take takes one turn.
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

// watchHeap looks at the size of the heap, including garbage, every millisecond
// until peak is called, which returns the largest.
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

// each does one operation after another.
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

// from does the operations from that many goroutines at once.
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

// bed holds what the stores of one work need.
type bed struct {
	ctx     context.Context
	closers []func() error
}

// onClose makes f run when the work is done, before functions that were added
// earlier.
func (b *bed) onClose(f func() error) { b.closers = append(b.closers, f) }

func (b *bed) close() error {
	var errs []error
	for _, f := range slices.Backward(b.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// folder makes a folder for the files of a store.
func (b *bed) folder() (string, error) {
	folder, err := os.MkdirTemp("", "skykv-bench-")
	if err == nil {
		b.onClose(func() error { return os.RemoveAll(folder) })
	}
	return folder, err
}

// valueLen is the length of all values.
const valueLen = 1024

func checkLen(n int, err error) error {
	if err == nil && n != valueLen {
		err = fmt.Errorf("a value of %d bytes, not %d", n, valueLen)
	}
	return err
}
