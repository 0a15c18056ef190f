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

// Cases returns the cases that run with every Config, in the order in which [Check] starts
// them.
func Cases() []Case { return listed(suite) }

// FaultCases returns the cases that need [Config.Faulty]. They run after those of [Cases].
func FaultCases() []Case { return listed(faultSuite) }

func listed(suite []testCase) []Case {
	cases := make([]Case, len(suite))
	for i, c := range suite {
		cases[i] = c.Case
	}
	return cases
}

// Run runs the cases that config selects, each as a parallel subtest of t with the name of the
// case. "go test -parallel" sets how many run at once. With config.Shared they run one by one.
func Run(t *testing.T, config Config) {
	t.Helper()
	if config.Shared {
		runShared(t, config)
		return
	}
	// The subtests only wait for the results. If each ran its case itself, a driver that
	// hangs would block other cases from starting.
	ctx := t.Context()
	config.parallel = flag.Lookup("test.parallel").Value.(flag.Getter).Get().(int)
	var chosen []testCase // those that go test -run selects
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
			t.Logf("the case took %v", r.Duration.Round(time.Millisecond)) // go test reports a different time, with the wait for other cases
			if r.Lacks != "" {
				t.Logf("the case checked only that the store refuses what it lacks: %s", r.Lacks)
			}
			if err := r.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Check runs the cases that config selects, for programs that do not use the testing package.
// It yields each result when the case has ended. Several cases run at once and end in any
// order, unless config.Shared is set. If the loop ends early or ctx is cancelled, Check starts
// no more cases.
//
// If the suite has to stop, Check yields an error at the end that says why: the shared store
// could not be opened, was not empty, could not be cleared or is too slow, or ctx was cancelled.
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
		// When the loop ends early, wait for the cases that are running, because they clean
		// up.
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

// mostHanging is how many cases whose drivers hang may run without counting as running cases.
const mostHanging = 128

// places limits how many cases run at once. After a first case has exceeded its time limit, cases
// whose drivers hang no longer count, so that other cases can start. If a driver hangs in many
// cases, the suite would otherwise take longer than the time limit of "go test".
type places struct {
	taken, lent chan struct{} // taken has an element for each case that counts, lent for each that no longer counts
	late        atomic.Bool   // a case has exceeded its time limit
}

func newPlaces(n int) *places {
	return &places{taken: make(chan struct{}, n), lent: make(chan struct{}, mostHanging)}
}

// The method try runs a case that has taken a place, and frees the place.
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
