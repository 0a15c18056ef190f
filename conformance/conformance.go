package conformance

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
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

// cases are those that config has what they need for.
func (config Config) cases() []testCase {
	if config.Faulty == nil {
		return suite
	}
	return slices.Concat(suite, faultSuite)
}

// Run runs every case that config allows as a parallel subtest of t, named as the case.
func Run(t *testing.T, config Config) {
	t.Helper()
	if config.Shared {
		if err := refuseOccupied(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range config.cases() {
		occupied := false
		t.Run(c.Name, func(t *testing.T) {
			if !config.Shared {
				t.Parallel()
			}
			result, err := c.try(t.Context(), config)
			if failure := result.Err(); failure != nil {
				t.Error(failure)
			}
			if err != nil {
				t.Error(err)
				occupied = true // no further case could trust it
			}
		})
		if occupied {
			return
		}
	}
}

// Check runs every case that config allows without the testing package, for programs, and yields
// the results as the cases end: several at once and in no order, unless
// config.Shared. Breaking off the loop or cancelling ctx leaves out the cases
// not yet begun.
//
// An error comes last and says why the suite went no further: the shared store
// holds a key already or could not be cleared, or ctx was cancelled.
func Check(ctx context.Context, config Config) iter.Seq2[Result, error] {
	return check(ctx, config, config.cases())
}

func check(ctx context.Context, config Config, cases []testCase) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		parallel := runtime.GOMAXPROCS(0)
		if config.Shared {
			parallel = 1
			if err := refuseOccupied(ctx, config); err != nil {
				yield(Result{}, err)
				return
			}
		}
		// Cases under way are not cut short by a break of the loop: they clean up.
		type outcome struct {
			Result
			err error
		}
		queue, outcomes := make(chan testCase), make(chan outcome)
		stop := make(chan struct{})
		var workers sync.WaitGroup
		for range parallel {
			workers.Go(func() {
				for c := range queue {
					result, err := c.try(ctx, config)
					select {
					case outcomes <- outcome{result, err}:
					case <-stop:
					}
				}
			})
		}
		workers.Go(func() {
			defer close(queue)
			for _, c := range cases {
				if ctx.Err() != nil {
					return
				}
				select {
				case queue <- c:
				case <-stop:
					return
				case <-ctx.Done():
					return
				}
			}
		})
		go func() {
			workers.Wait()
			close(outcomes)
		}()
		defer workers.Wait()
		defer close(stop)
		for o := range outcomes {
			if ctx.Err() != nil {
				continue // the case may have failed for no other reason
			}
			if !yield(o.Result, nil) {
				return
			}
			if o.err != nil {
				yield(Result{}, o.err)
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(Result{}, err)
		}
	}
}
