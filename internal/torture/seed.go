package torture

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
)

// seed is the one of the whole test binary.
var seed = sync.OnceValues(func() (uint64, error) {
	if text := os.Getenv("SKYKV_SEED"); text != "" {
		return strconv.ParseUint(text, 10, 64)
	}
	return rand.Uint64() >> 32, nil
})

// Seed gives the seed of the run: SKYKV_SEED from the environment, to run the same
// calls and faults again, or else a new one. A failing test shows it.
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
