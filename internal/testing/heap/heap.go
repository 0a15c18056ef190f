// Package heap measures how much memory a piece of work holds on to.
package heap

import (
	"runtime"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// sampled is how often the heap is looked at.
const sampled = 2 * time.Millisecond

// Growth returns by how many bytes the heap was larger while work ran than before it, at
// most, with the garbage that had not been collected. Nothing else may run meanwhile: a test
// that calls it is not parallel.
func Growth(work func()) int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before, most := int64(stats.HeapAlloc), int64(0)
	done, measured := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(measured)
		ticker := time.NewTicker(sampled)
		defer ticker.Stop()
		for {
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			most = max(most, int64(stats.HeapAlloc)-before)
			select {
			case <-ticker.C:
			case <-done:
				return
			}
		}
	}()
	work()
	close(done)
	<-measured
	return most
}

// mostOfScan is what a scan of any store may hold.
const mostOfScan = 96 << 20

// CheckScan checks that a scan yields n entries, all of them with the largest values there
// are, and holds no more than 96 MiB, that of a fake service in this process included.
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
	t.Logf("%s: a scan holds %d MiB", what, grown>>20)
	if seen != n || grown > mostOfScan {
		t.Errorf("rule: a scan of %d values of 384 KiB holds at most %d MiB; %s it yields %d entries and holds %d MiB", n, mostOfScan>>20, what, seen, grown>>20)
	}
}
