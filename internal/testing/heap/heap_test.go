package heap

import (
	"runtime"
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	const size, tolerance = 32 << 20, 1 << 20
	var kept []byte
	for what, work := range map[string]func(){
		"keeps": func() { kept = make([]byte, size) },
		"uses and frees": func() {
			kept = make([]byte, size)
			time.Sleep(100 * sampled) // the measurements are taken by the real clock
			kept = nil
			runtime.GC()
		},
	} {
		n := Growth(work)
		runtime.KeepAlive(kept)
		if n < size-tolerance || n > 2*size {
			t.Errorf("rule: the memory of the work is measured; for work that %s %d bytes it returns %d", what, size, n)
		}
		kept = nil
	}
	if n := Growth(func() {}); n > size/2 {
		t.Errorf("rule: earlier memory does not count; for no work it returns %d", n)
	}
}
