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
		t.Errorf("rule: the memory of the work is measured; for %d bytes it returns %d", len(kept), n)
	}
	if n := Growth(func() { time.Sleep(5 * sampled) }); n > size/2 {
		t.Errorf("rule: earlier memory does not count; for no work it returns %d", n)
	}
}
