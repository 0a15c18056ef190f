// Package heap measures how much memory a piece of work uses at most.
package heap

import (
	"runtime"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// sampled is the time between two measurements.
const sampled = 2 * time.Millisecond

// Growth calls the function work. It returns the greatest growth of the heap that it measured
// during the call and at its end, in bytes. The growth includes garbage that has not been
// collected. It can be a few KiB too small, because memory from before the call may be freed
// during the call. Nothing else may run during the call, so a test that calls Growth must not
// be parallel.
func Growth(work func()) int64 {
	runtime.GC()
	before, most := allocated(), int64(0)
	done, measured := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(measured)
		ticker := time.NewTicker(sampled)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				most = max(most, allocated()-before)
			case <-done:
				return
			}
		}
	}()
	work()
	atEnd := allocated() - before
	close(done)
	<-measured
	return max(most, atEnd)
}

// allocated is the size of the heap's objects, in bytes.
func allocated() int64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// mostOfScan is how much the heap may grow during a scan of any store.
const mostOfScan = 96 << 20

// CheckScan checks that a scan yields n entries with values of the greatest length, and uses
// at most 96 MiB. The 96 MiB include the memory of a fake service in this process.
func CheckScan(t *testing.T, what string, store *kv.Store, n int) {
	t.Helper()
	seen := 0
	grown := Growth(func() {
		for e, err := range store.Scan(t.Context(), "") {
			if err != nil || len(e.Value) != kv.MaxLargeValueLen {
				t.Errorf("%s: entry %q has %d bytes, %v; want %d", what, e.Key, len(e.Value), err, kv.MaxLargeValueLen)
				return
			}
			seen++
		}
	})
	t.Logf("%s: a scan uses %d MiB", what, grown>>20)
	if seen != n || grown > mostOfScan {
		t.Errorf("rule: a scan of %d values of 384 KiB uses at most %d MiB; %s it yields %d entries and uses %d MiB", n, mostOfScan>>20, what, seen, grown>>20)
	}
}
