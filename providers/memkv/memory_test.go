package memkv

import (
	"fmt"
	"testing"

	"github.com/skykv/skykv/internal/testing/heap"
	"github.com/skykv/skykv/kv"
)

// All records share one slice as their value. So the store itself takes little memory, and the
// test measures the memory that the scan takes.
func TestMemoryOfScan(t *testing.T) {
	d := &driver{records: make(map[string]kv.Record)}
	const n = 1000
	value := make([]byte, kv.MaxLargeValueLen)
	for i := range n {
		key := fmt.Sprintf("key:%04d", i)
		d.records[key] = kv.Record{Key: key, Value: value, Token: key, Version: key}
	}
	heap.CheckScan(t, "in memory", kv.New(d), n)
}
