package localkv

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/skykv/skykv/internal/testing/heap"
	"github.com/skykv/skykv/kv"
)

func TestMemoryOfScan(t *testing.T) {
	store, err := New(filepath.Join(t.TempDir(), "app.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	large, value := store.With(kv.MaxValue(kv.MaxLargeValueLen)), make([]byte, kv.MaxLargeValueLen)
	const n, batch = 1000, 50
	for i := 0; i < n; i += batch {
		items := make([]kv.Item, batch)
		for j := range items {
			items[j] = kv.Item{Key: fmt.Sprintf("key:%04d", i+j), Value: value}
		}
		if _, err := large.PutMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
	}
	heap.CheckScan(t, "with MaxValue", large, n)
	heap.CheckScan(t, "without MaxValue", store, n)
}
