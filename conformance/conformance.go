package conformance

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// Config says how the suite gets its stores.
type Config struct {
	// New opens a store for one case, which closes it at its end. The store must
	// be empty and share its data with no other: a table, collection or file of
	// its own, under a name that no other call uses. New is called concurrently,
	// sometimes more than once in a case; ctx ends with the case. What New
	// creates is its own to remove, in a T.Cleanup for example.
	New func(ctx context.Context) (*kv.Store, error)

	// Shared says that all stores that New opens have the same data, such as one
	// table in the cloud: it is opened anew for every case. It must be empty, and
	// nobody else may use it meanwhile. The cases then run one after the other,
	// and each removes all there is when it ends.
	Shared bool

	// Faulty, when set, adds the cases of [FaultCases]; without it there are none of
	// them, and nothing is said about faults. It opens a store as New does, empty
	// unless Shared, on a way to its service that breaks when it is told to: decide
	// says of every request that the store's client sends what is to become of it,
	// each time that the client repeats it too. Write tells it of a request that may
	// change something. It is called concurrently, as requests are, and lets the
	// requests by which the store is opened pass.
	//
	// An HTTP transport, a gRPC interceptor or a proxy can do this. The client should
	// repeat requests as it does in use, with pauses of milliseconds.
	Faulty func(ctx context.Context, decide func(write bool) Fault) (*kv.Store, error)

	// front breaks the store, in the suite's own tests.
	front func(store) store
}

// Case is one case of the suite.
type Case struct {
	Name string // such as "put/if-not-exists/expired"
	Rule string // what it checks, a sentence
}

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

// Result is what became of one case.
type Result struct {
	Case
	Failures []string      // each with the place in the suite's source; none when the case passed
	Duration time.Duration // with opening and closing the store
}

// Err returns nil when the case passed, and else an error that lists the
// failures and quotes the rule.
func (r Result) Err() error {
	if len(r.Failures) == 0 {
		return nil
	}
	return fmt.Errorf("%s\nrule: %s", strings.Join(r.Failures, "\n"), r.Rule)
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

// refuseOccupied protects the data of a shared store that is not there for the suite.
func refuseOccupied(ctx context.Context, config Config) (err error) {
	store, err := config.New(ctx)
	if err != nil {
		return fmt.Errorf("conformance: opening the shared store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	for entry, err := range store.Scan(ctx, "", kv.Limit(1), kv.KeysOnly()) {
		if entry.Key != "" {
			return fmt.Errorf("conformance: the shared store is not empty, it holds %q; the suite wants an empty one, and deletes all it finds there", entry.Key)
		}
		return fmt.Errorf("conformance: looking into the shared store: %w", err)
	}
	return nil
}

// wipe empties a shared store behind a case.
func wipe(ctx context.Context, config Config) (err error) {
	store, err := config.New(ctx)
	if err != nil {
		return fmt.Errorf("conformance: opening the shared store to clear it: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	// At the beginning of time nothing has expired: this sees what is left of
	// entries that expired in the case as well.
	all := store.With(kv.Clock(func() time.Time { return time.UnixMilli(1) }))
	var keys []string
	for entry, err := range all.Scan(ctx, "", kv.KeysOnly()) {
		if err != nil {
			return fmt.Errorf("conformance: clearing the shared store: %w", err)
		}
		keys = append(keys, entry.Key)
	}
	if err := all.DeleteMany(ctx, keys); err != nil {
		return fmt.Errorf("conformance: clearing the shared store: %w", err)
	}
	return nil
}

// suite is the table of the cases for every Config. Those whose writes a service may still apply
// after the case come last, since the cases of a shared store would meet them.
var suite = slices.Concat(
	infoCases(),
	keyCases(),
	valueCases(),
	getCases(),
	putCases(),
	deleteCases(),
	versionCases(),
	expiryCases(),
	scanCases(),
	pageCases(),
	cursorCases(),
	groupCases(),
	batchCases(),
	driverCases(),
	jsonCases(),
	errorCases(),
	closeCases(),
	concurrencyCases(),
	contextCases(),
)

// faultSuite is the table of the cases that need Config.Faulty.
var faultSuite = func() []testCase {
	cases := slices.Concat(faultyWriteCases(), versionAfterRetryCases(), faultyBatchCases(), faultyReadCases(), driverFaultCases())
	for i := range cases {
		cases[i].faulty = true
	}
	return cases
}()
