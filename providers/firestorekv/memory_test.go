package firestorekv

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/internal/testing/heap"
	"github.com/skykv/skykv/kv"
)

// The values in the fake share their memory, so the test measures only the store's
// memory.
func TestMemoryOfScan(t *testing.T) {
	f := new(fake)
	store := newStore(t, f).With(kv.MaxValue(kv.MaxLargeValueLen))
	l := newLayout(testProject, defaultDatabase, testCollection, DefaultShards)
	const n = 1000
	rec := kv.Record{Value: make([]byte, kv.MaxLargeValueLen), Token: fmt.Sprintf("%022d", 0)}
	for i := range n {
		rec.Key = fmt.Sprintf("key:%04d", i)
		doc := l.encode(rec, testNow).Update
		doc.UpdateTime = timestamppb.Now()
		f.docs[doc.Name] = doc
	}
	heap.CheckScan(t, "with MaxValue", store, n)
}
