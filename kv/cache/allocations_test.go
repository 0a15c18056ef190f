//go:build !race

// The race detector makes allocations of its own, which these tests would count as well.

package cache

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A hit makes one allocation, even over a driver that does not end calls by itself.
func TestHitAllocations(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cached := open(t, putBetween(memkv.New(), new(between)), Options{})
	if err := put(ctx, cached.Store, "key", "value"); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(200, func() {
		if _, err := cached.Get(ctx, "key"); err != nil {
			t.Fatal(err)
		}
	})
	if n != 1 {
		t.Errorf("rule: a hit takes one allocation, the caller's copy; it takes %v", n)
	}
}

// The entries take at most about MaxBytes of memory, so the constant overhead is large enough.
func TestMemoryIsBounded(t *testing.T) {
	const maxBytes = 8 << 20
	for _, size := range []int{0, 100, 20_000} {
		cached := open(t, nothing(), Options{MaxBytes: maxBytes})
		before := heap()
		for i := range 2 * maxBytes / (size + 300) {
			if err := put(t.Context(), cached.Store, fmt.Sprintf("key:%012d", i), strings.Repeat("v", size)); err != nil {
				t.Fatal(err)
			}
		}
		cached.driver.entries.CleanUp()
		grown := heap() - before
		s := cached.Stats()
		t.Logf("values of %d bytes: %d entries of %d bytes take %d", size, s.Entries, s.Bytes, grown)
		if s.Bytes > maxBytes || grown > maxBytes*11/10 || s.Bytes < maxBytes/2 {
			t.Errorf("rule: the entries take at most MaxBytes, %d; with values of %d bytes they count %d, and the heap has grown by %d", maxBytes, size, s.Bytes, grown)
		}
		runtime.KeepAlive(cached)
	}
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// nothing() is a store that accepts every write but has no entries.
func nothing() *kv.Store { return kv.New(nowhere{}) }

type nowhere struct{ kv.Driver }

func (nowhere) Info() kv.Info { return kv.Info{Name: "nowhere", Shards: 1} }

func (nowhere) Write(_ context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{Done: true, Version: req.Token}, nil
}

func (nowhere) Close() error { return nil }
