package dynamokv

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/skykv/skykv/internal/testing/heap"
	"github.com/skykv/skykv/kv"
)

// largePages responds to queries for the keys in pages of two entries, which is less than 1 MB
// even with the longest values. All entries have the same value.
func largePages(keys []string, value string) answer {
	inShard := make([][]string, DefaultShards)
	for _, key := range keys {
		shard := kv.Shard(key, DefaultShards)
		inShard[shard] = append(inShard[shard], key)
	}
	return func(w http.ResponseWriter, _ *http.Request, c call) {
		partition := c.body["ExpressionAttributeValues"].(map[string]any)[":p"].(map[string]any)["S"].(string)
		shard, _ := strconv.Atoi(partition)
		left := inShard[shard]
		if start, ok := c.body["ExclusiveStartKey"].(map[string]any); ok {
			after := start["sk"].(map[string]any)["S"].(string)
			for len(left) > 0 && left[0] <= after {
				left = left[1:]
			}
		}
		page := left[:min(len(left), 2)]
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = io.WriteString(w, `{"Items":[`)
		for i, key := range page {
			if i > 0 {
				_, _ = io.WriteString(w, ",")
			}
			_, _ = fmt.Fprintf(w, `{"pk":{"S":"%s"},"sk":{"S":%q},"t":{"S":%q},"v":{"B":"`, partition, key, token)
			_, _ = io.WriteString(w, value)
			_, _ = io.WriteString(w, `"}}`)
		}
		_, _ = io.WriteString(w, "]")
		if len(page) < len(left) {
			_, _ = fmt.Fprintf(w, `,"LastEvaluatedKey":{"pk":{"S":"%s"},"sk":{"S":%q}}`, partition, page[len(page)-1])
		}
		_, _ = io.WriteString(w, "}")
	}
}

func TestMemoryOfScan(t *testing.T) {
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprintf("key:%04d", i)
	}
	f := newFake(t, largePages(keys, base64.StdEncoding.EncodeToString(make([]byte, kv.MaxLargeValueLen))))
	heap.CheckScan(t, "with MaxValue", f.store(t).With(kv.MaxValue(kv.MaxLargeValueLen)), len(keys))
}
