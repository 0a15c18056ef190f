package torture

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
)

// shortSeed is the seed of the short runs of "go test". Their random choices of calls and faults
// are the same each time, so two runs of the same code differ mainly in the timing of their calls.
// "make torture" uses a new seed each time.
const shortSeed = 1

// seed returns the seed of the whole test binary.
var seed = sync.OnceValues(func() (uint64, error) {
	switch text := os.Getenv("SKYKV_SEED"); {
	case text != "":
		return strconv.ParseUint(text, 10, 64)
	case os.Getenv("SKYKV_TORTURE") == "":
		return shortSeed, nil
	}
	return rand.Uint64() >> 32, nil
})

// Seed returns the seed of the run. SKYKV_SEED in the environment sets it, so that a run
// can be repeated with the same calls and faults. Otherwise a long run has a new seed, and
// a short run always the same. A test that fails prints the seed.
func Seed(t testing.TB) uint64 {
	t.Helper()
	s, err := seed()
	if err != nil {
		t.Fatalf("SKYKV_SEED must be a decimal number: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to run it again: SKYKV_SEED=%d", s)
		}
	})
	return s
}
