package parallel

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, limit, steps int }{{0, 4, 0}, {1, 4, 1}, {4, 4, 1}, {9, 4, 3}, {5, 1, 5}} {
		synctest.Test(t, func(t *testing.T) {
			calls := make([]atomic.Int32, c.n)
			var running, most atomic.Int32
			begin := time.Now()
			Do(c.n, c.limit, func(i int) {
				calls[i].Add(1)
				now := running.Add(1)
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				time.Sleep(time.Second)
				running.Add(-1)
			})
			for i := range calls {
				if n := calls[i].Load(); n != 1 {
					t.Errorf("rule: every element has one call; %d of %d has %d", i, c.n, n)
				}
			}
			if n := most.Load(); n != int32(min(c.n, c.limit)) {
				t.Errorf("rule: %d calls run at once, or fewer if there are fewer; with %d elements there were %d", c.limit, c.n, n)
			}
			if steps := int(time.Since(begin) / time.Second); steps != c.steps {
				t.Errorf("rule: a call begins when one ends; %d calls, %d at once, took %d seconds, want %d", c.n, c.limit, steps, c.steps)
			}
		})
	}
}
