package torture

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
)

// shortSeed is the seed of the short runs of go test: always the same calls and
// faults, so that only a change of the code changes the result. "make torture" tries
// new ones.
const shortSeed = 1

// seed is the seed of the whole test binary.
var seed = sync.OnceValues(func() (uint64, error) {
	switch text := os.Getenv("SKYKV_SEED"); {
	case text != "":
		return strconv.ParseUint(text, 10, 64)
	case os.Getenv("SKYKV_TORTURE") == "":
		return shortSeed, nil
	}
	return rand.Uint64() >> 32, nil
})

// Seed returns the seed of the run: SKYKV_SEED from the environment, to run the same
// calls and faults again, or else a new one for a long run and always the same for a
// short run. A failing test shows it.
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
