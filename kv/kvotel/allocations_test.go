//go:build !race

package kvotel

import (
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// This test does not run with the race detector, which makes allocations of its own.
func TestAllocationsWithoutAnSDK(t *testing.T) {
	store := memkv.New()
	if _, err := store.Put(t.Context(), "key", []byte("value")); err != nil {
		t.Fatal(err)
	}
	gets := func(store *kv.Store) float64 {
		return testing.AllocsPerRun(200, func() {
			if _, err := store.Get(t.Context(), "key"); err != nil {
				t.Fatal(err)
			}
		})
	}
	plain, observed := gets(store), gets(store.With(Observe(nil)))
	if observed-plain > 4 {
		t.Errorf("rule: without an SDK a request costs at most 4 allocations more; it costs %v", observed-plain)
	}
	t.Logf("%v allocations more", observed-plain)
}
