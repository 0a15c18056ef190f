package torture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

const counterProgram = "counter"

// counterCallers is the number of goroutines of each member that increment the counter.
const counterCallers = 4

func init() { memberPrograms[counterProgram] = counterClient }

const counterKey = "counter"

// counterClient increments the counter, and reports how many increments were acknowledged.
func counterClient(ctx context.Context, store *kv.Store, t task, say func(said)) error {
	var counting sync.WaitGroup
	var acknowledged, refused atomic.Int64
	for caller := range counterCallers {
		counting.Go(func() {
			for n := range t.Calls {
				id := fmt.Sprintf("%d.%d.%d", t.Number, caller, n)
				_, err := store.Increment(faults.WithOp(ctx, id), counterKey, 1)
				switch {
				case err == nil:
					acknowledged.Add(1)
				case errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, kv.ErrIndeterminate):
					refused.Add(1) // every attempt was dropped, so the increment is not counted
				case errors.Is(err, kv.ErrIndeterminate):
					say(said{ID: id, What: "unknown", Why: err.Error()})
				default:
					say(said{ID: id, What: "no", Why: err.Error()})
				}
			}
		})
	}
	counting.Wait()
	// The store combines the increments of its callers into one write. If every attempt at this
	// write is dropped, the increments of all callers fail. A run may have one such failure, or
	// failures of 1% of its increments, if that is more.
	if n := refused.Load(); n > int64(max(counterCallers, counterCallers*t.Calls/100)) {
		say(said{What: "no", Why: fmt.Sprintf("the store was unavailable for %d of them", n)})
	}
	say(said{What: "counted", N: acknowledged.Load()})
	return nil
}

// With counterFaults, 15 % of the requests do not arrive, arrive late, or lose their
// responses. All others take some milliseconds, even where there is no network. Otherwise
// more than eight updates could come between an update and its retry, and the result of the
// retried update would be indeterminate.
var counterFaults = faults.Rates{faults.Drop: 0.05, faults.Lose: 0.05, faults.Late: 0.05, faults.Delay: 0.85}

// TestCounters checks that increments of an existing key by several processes are exact
// under faults. Each acknowledged increment is counted once. No increment is indeterminate. If
// every attempt of an increment is dropped, its error is ErrUnavailable, and it is not counted.
func TestCounters(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		for _, processes := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("%d processes", processes), func(t *testing.T) { testCounters(t, w, Seed(t), processes) })
		}
	})
}

func testCounters(t checking, w *world, seed uint64, processes int) {
	calls := 8
	if long() {
		calls = 250
	}
	if _, err := w.direct.Put(t.Context(), counterKey, []byte("0")); err != nil {
		t.Fatal(err)
	}
	rates := memberRates{Seed: seed, Rates: counterFaults}
	w.Use(rates.plan())
	var counting sync.WaitGroup
	var acknowledged atomic.Int64
	wrong := make([][]string, processes)
	for number := range processes {
		rates.Seed = seed + uint64(number)
		m := w.join(t, counterProgram, task{Number: number, Calls: calls, Faults: rates})
		counting.Go(func() {
			ended := false
			for line := range m.lines {
				if line.What == "counted" {
					acknowledged.Add(line.N)
					ended = true
					continue
				}
				wrong[number] = append(wrong[number], fmt.Sprintf("rule: increments of an existing key are exact; of process %d: %s: %s", number, line.What, line.Why))
			}
			if err := m.wait(); err != nil || !ended {
				wrong[number] = append(wrong[number], fmt.Sprintf("process %d ended with %v", number, err))
			}
		})
	}
	counting.Wait()
	for _, why := range slices.Concat(wrong...) {
		t.Errorf("%s", why)
	}
	w.Use(nil) // Use waits until all late requests have arrived
	got, err := w.direct.Get(t.Context(), counterKey)
	if want := fmt.Sprint(acknowledged.Load()); string(got.Value) != want || err != nil {
		t.Errorf("rule: a counter is the sum of what was acknowledged; it is %s, %v, and %s were", got.Value, err, want)
	}
}

// TestCountersFindBrokenDrivers checks that TestCounters finds bugs.
func TestCountersFindBrokenDrivers(t *testing.T) {
	seed := Seed(t)
	for _, bug := range groupBugs {
		if !strings.Contains(bug.name, "put of an update") {
			continue
		}
		t.Run(strings.ReplaceAll(bug.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for attempt := range uint64(20) {
				w := brokenWorld(t, bug.above, bug.below)
				if failures := failuresOf(t.Context(), func(c checking) { testCounters(c, w, seed+attempt, 2) }); failures != nil {
					t.Logf("found at attempt %d: %s", attempt, failures[0])
					return
				}
			}
			t.Errorf("rule: the counters find a driver that %s", bug.name)
		})
	}
}
