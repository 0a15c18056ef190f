package aztableskv

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/skykv/skykv/internal/testing/heap"
	"github.com/skykv/skykv/kv"
)

// All entities of the fake share the same bytes, so that the fake takes little memory.
func TestMemoryOfScan(t *testing.T) {
	f := newFake(t, "kv1")
	store, _ := hostile(t, f, &Options{Retry: quick})
	l := newLayout(DefaultShards)
	var shared map[string]json.RawMessage
	if err := json.Unmarshal(l.encode(kv.Record{Key: "key", Value: make([]byte, kv.MaxLargeValueLen), Token: fmt.Sprintf("%022d", 0)}, 0), &shared); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range n {
		key := fmt.Sprintf("key:%04d", i)
		f.write(fakeKey{l.partition(key), key}, maps.Clone(shared))
	}
	heap.CheckScan(t, "with MaxValue", store.With(kv.MaxValue(kv.MaxLargeValueLen)), n)
}
