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

// Cases returns the cases for every Config, in the order in which [Check] starts them.
func Cases() []Case { return listed(suite) }

// FaultCases returns the cases that need [Config.Faulty]. They come last.
func FaultCases() []Case { return listed(faultSuite) }

func listed(suite []testCase) []Case {
	cases := make([]Case, len(suite))
	for i, c := range suite {
		cases[i] = c.Case
	}
	return cases
}

// Run runs every case that config selects as a parallel subtest of t with the name of the case.
// "go test -parallel" sets how many run at once; with config.Shared only one does.
func Run(t *testing.T, config Config) {
	t.Helper()
	if config.Shared {
		runShared(t, config)
		return
	}
	// The subtests only wait for the results. If a subtest ran its case itself, a driver that
	// hangs would keep other cases from running.
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
			t.Parallel() // returns when go test has chosen all subtests
			begin()
			r := <-result
			t.Logf("the case took %v", r.Duration.Round(time.Millisecond)) // the subtest's own time differs
			if r.Lacks != "" {
				t.Logf("the case checked only that the store refuses what it lacks: %s", r.Lacks)
			}
			if err := r.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Check runs every case that config selects without the testing package, for programs. It
// yields the results as the cases end: several cases run at once and end in any order, unless
// config.Shared is set. If the loop ends early or ctx is cancelled, Check starts no further
// case.
//
// An error comes last and says why the suite stopped: the shared store was not empty, could not
// be cleared or is too slow, or ctx was cancelled.
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
		// Running cases are not cut short when the loop ends early, because they clean up.
		defer running.Wait()
		defer close(stop)
		for result := range results {
			if ctx.Err() != nil {
				continue // the case may have failed only because ctx ended
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

// mostHanging is the number of cases that may hang in addition to the cases that run.
const mostHanging = 128

// places limits the number of cases that run at once. After one case has exceeded its limit,
// cases whose driver hangs lend their places to others. Otherwise a driver that hangs in many
// cases would take longer than the time limit of "go test".
type places struct {
	taken, lent chan struct{} // one element for each case
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
