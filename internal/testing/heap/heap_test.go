package heap

import (
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	const size = 32 << 20
	var kept []byte
	if n := Growth(func() {
		kept = make([]byte, size)
		time.Sleep(20 * sampled)
	}); n < size || n > 2*size {
		t.Errorf("rule: what the work holds is measured; of %d bytes it says %d", len(kept), n)
	}
	if n := Growth(func() { time.Sleep(5 * sampled) }); n > size/2 {
		t.Errorf("rule: what was there before does not count; of nothing it says %d", n)
	}
}
