package conformance

import (
	"cmp"
	"context"
	"flag"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Cases lists the cases for every Config, in the order in which [Check] begins them.
func Cases() []Case { return listed(suite) }

// FaultCases lists the cases that need [Config.Faulty]. They come last.
func FaultCases() []Case { return listed(faultSuite) }

func listed(suite []testCase) []Case {
	cases := make([]Case, len(suite))
	for i, c := range suite {
		cases[i] = c.Case
	}
	return cases
}

// Run runs every case that config allows as a parallel subtest of t, named as the case. As many
// run at once as "go test -parallel" says; with config.Shared one does.
func Run(t *testing.T, config Config) {
	t.Helper()
	if config.Shared {
		runShared(t, config)
		return
	}
	// The subtests only wait for the results: a subtest that ran its case itself would
	// keep others from running as long as its driver hangs.
	ctx := t.Context()
	config.parallel = flag.Lookup("test.parallel").Value.(flag.Getter).Get().(int)
	var chosen []testCase // by go test -run
	results := make(map[string]chan Result)
	begin := sync.OnceFunc(func() {
		go func() {
			for result := range check(ctx, config, chosen) {
				results[result.Name] <- result
			}
		}()
	})
	for _, c := range config.cases() {
		t.Run(c.Name, func(t *testing.T) {
			chosen = append(chosen, c)
			result := make(chan Result, 1)
			results[c.Name] = result
			t.Parallel() // returns when all have been chosen
			begin()
			r := <-result
			t.Logf("the case took %v", r.Duration.Round(time.Millisecond)) // the subtest took less, or more
			if r.Lacks != "" {
				t.Logf("the case checked what the store lacks: %s", r.Lacks)
			}
			if err := r.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Check runs every case that config allows without the testing package, for programs, and yields
// the results as the cases end: several at once and in no order, unless
// config.Shared. Breaking off the loop or cancelling ctx leaves out the cases
// not yet begun.
//
// An error comes last and says why the suite went no further: the shared store
// holds a key already, could not be cleared or is too slow, or ctx was cancelled.
func Check(ctx context.Context, config Config) iter.Seq2[Result, error] {
	return check(ctx, config, config.cases())
}

func check(ctx context.Context, config Config, cases []testCase) iter.Seq2[Result, error] {
	if config.Shared {
		return checkShared(ctx, config, cases)
	}
	return func(yield func(Result, error) bool) {
		places := newPlaces(cmp.Or(config.parallel, runtime.GOMAXPROCS(0)))
		results, stop := make(chan Result), make(chan struct{})
		var running sync.WaitGroup
		running.Go(func() {
			for _, c := range cases {
				if ctx.Err() != nil {
					return
				}
				select {
				case places.taken <- struct{}{}:
				case <-stop:
					return
				case <-ctx.Done():
					return
				}
				running.Go(func() {
					result := places.try(ctx, config, c)
					select {
					case results <- result:
					case <-stop:
					}
				})
			}
		})
		go func() {
			running.Wait()
			close(results)
		}()
		// Cases under way are not cut short by a break of the loop: they clean up.
		defer running.Wait()
		defer close(stop)
		for result := range results {
			if ctx.Err() != nil {
				continue // the case may have failed for no other reason
			}
			if !yield(result, nil) {
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(Result{}, err)
		}
	}
}

// mostHanging is how many cases may hang beside those that run.
const mostHanging = 128

// places bounds how many cases run at once. Once a case has outlived its limit, those in
// which the driver hangs lend their places to others: if each held its place up to its
// limit, a driver that hangs in many cases would take longer than "go test" waits.
type places struct {
	taken, lent chan struct{} // by whom
	late        atomic.Bool
}

func newPlaces(n int) *places {
	return &places{taken: make(chan struct{}, n), lent: make(chan struct{}, mostHanging)}
}

// try runs a case that has taken a place.
func (p *places) try(ctx context.Context, config Config, c testCase) Result {
	place := p.taken
	defer func() { <-place }()
	result, end := c.try(ctx, config, func() {
		if place == p.lent || !p.late.Load() {
			return
		}
		select {
		case p.lent <- struct{}{}:
			place = p.lent
			<-p.taken
		default:
		}
	})
	if end != inTime {
		p.late.Store(true)
	}
	return result
}
