//go:build !race

package cache

import (
	"context"
	"testing"

	"github.com/skykv/skykv/providers/memkv"
)

// A driver that does not end calls by itself costs a hit nothing. Under the race detector
// there is nothing to count.
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
