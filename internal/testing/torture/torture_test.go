package torture

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/testing/faults"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	// These tests spend most of their time waiting for an emulator, a pause or a deadline.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	emulator.Main(reporting{m})
}

// reporting prints a table after the tests of a long run.
type reporting struct{ *testing.M }

func (r reporting) Run() int {
	code := r.M.Run()
	printTable()
	return code
}

// row is what tortureAll found for one provider.
type row struct {
	operations, faults, maybes, violations int
	slowest                                time.Duration // the slowest check of a round
}

var table struct {
	sync.Mutex
	rows map[string]row
}

func printTable() {
	if len(table.rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "name\toperations\tfaults\tindeterminate\tviolations\tslowest check\t")
	for _, name := range slices.Sorted(maps.Keys(table.rows)) {
		r := table.rows[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%v\t\n", name, r.operations, r.faults, r.maybes, r.violations, r.slowest.Round(time.Millisecond))
	}
	w.Flush()
}

// The function long reports whether this is a run of "make torture". SKYKV_TORTURE is then the
// least number of calls that TestTorture and TestGroups make on each provider. The other tests
// then run all of their cases, or run longer.
func long() bool { return os.Getenv("SKYKV_TORTURE") != "" }

// The function some returns the first n elements of a list, or in a long run all of them.
func some[E any](list []E, n int) []E {
	if long() {
		return list
	}
	return list[:n]
}

func tortureOperations(t *testing.T) int {
	if !long() {
		return 400
	}
	n, err := strconv.Atoi(os.Getenv("SKYKV_TORTURE"))
	if err != nil || n < 1 {
		t.Fatal("SKYKV_TORTURE must be a number of operations")
	}
	return n
}

// pictures returns the folder for pictures of histories that violate the model.
func pictures() string {
	if dir := os.Getenv("SKYKV_PICTURES"); dir != "" {
		return dir
	}
	return "testdata/failures"
}

// TestTorture checks that the calls of concurrent clients are linearizable for each key under
// faults, apart from the repeats that the contract allows and the model describes.
func TestTorture(t *testing.T) { tortureAll(t, "keys", Default) }

// tortureAll makes the calls of a workload on every provider, under faults, and checks their
// results.
func tortureAll(t *testing.T, what string, workloadOf func(seed uint64, in *faults.Injector) Workload) {
	seed, operations := Seed(t), tortureOperations(t)
	fmt.Printf("torture: %s, SKYKV_SEED=%d, %d operations for each provider\n", what, seed, operations)
	inAllWorlds(t, func(t *testing.T, w *world) {
		var r row
		workload := workloadOf(seed, w.Injector)
		for round := 0; r.operations < operations && r.violations < 3; round++ {
			w.Use(faults.Seeded(seed, Rates, 10))
			h := &History{}
			if w.round != nil {
				h = w.round(t, workload, round)
			} else {
				h = workload.Round(t.Context(), round, w.stores...)
			}
			begin := time.Now()
			err := h.Check(pictures(), fmt.Sprintf("%s-%s-%d-%d", w.name, what, seed, round))
			r.slowest = max(r.slowest, time.Since(begin))
			if err != nil {
				r.violations++
				t.Errorf("rule: calls of one key are linearizable, and an AtomicWrite is carried out on all of its keys or on none; round %d: %v", round, err)
			}
			r.operations += h.Count()
			r.maybes += h.Maybes()
		}
		r.faults = w.Faults() + w.faults
		t.Logf("%d operations, %d faults %v, %d indeterminate, slowest check %v", r.operations, r.faults, w.Counts(), r.maybes, r.slowest)
		if r.faults < r.operations/20 {
			t.Errorf("%d faults in %d operations: the requests do not pass the proxy", r.faults, r.operations)
		}
		if long() {
			table.Lock()
			defer table.Unlock()
			if table.rows == nil {
				table.rows = make(map[string]row)
			}
			table.rows[w.name+" "+what] = r
		}
	})
}
