package aztableskv

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// canned answers every request alike: reads with an entity, writes with an ETag.
func canned(b *testing.B, value []byte) *aztables.ServiceClient {
	b.Helper()
	rec := kv.Record{Key: benchKey, Value: value, Token: strings.Repeat("t", tokenLen)}
	body := bytes.Replace(encode("00", rec), []byte("{"), []byte(
		`{"odata.metadata":"https://account.table.core.windows.net/$metadata#kv/@Element","odata.etag":"W/\"datetime'2026-01-01T00%3A00%3A00.0000001Z'\"","Timestamp":"2026-01-01T00:00:00.0000001Z",`), 1)
	layout := []byte(`{"PartitionKey":"skykv","RowKey":"layout","format":1,"shards":16}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header()["Etag"] = []string{`W/"datetime'2026-01-01T00%3A00%3A00.0000001Z'"`}
		w.Header()["x-ms-request-id"] = []string{"4f5bcd21-0002-0011-7e3d-000000000000"}
		w.Header()["x-ms-version"] = []string{"2019-02-02"}
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer := body
		if strings.Contains(r.URL.Path, "'skykv'") {
			answer = layout
		}
		w.Header().Set("Content-Type", "application/json;odata=minimalmetadata;streaming=true;charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.Write(answer)
	}))
	b.Cleanup(server.Close)
	transport := newTransport()
	b.Cleanup(transport.CloseIdleConnections)
	return fakeClient(b, server.URL, &http.Client{Transport: transport})
}

const benchKey = "user:0123456789"

// BenchmarkGet compares a Get with the SDK's call and the cheapest decoding of
// its answer by encoding/json.
func BenchmarkGet(b *testing.B) {
	benchSizes(b, func(b *testing.B, client *aztables.ServiceClient, value []byte) {
		b.Run("skykv", func(b *testing.B) {
			store, err := New(b.Context(), client, "kv1", nil)
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				entry, err := store.Get(ctx, benchKey)
				if err != nil || len(entry.Value) != len(value) {
					b.Fatal(err)
				}
			}
		})
		b.Run("sdk", func(b *testing.B) {
			table := client.NewClient("kv1")
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				resp, err := table.GetEntity(ctx, "00", benchKey, nil)
				if err != nil {
					b.Fatal(err)
				}
				var e struct {
					V []byte `json:"v"`
					X string `json:"x"`
					T string `json:"t"`
				}
				if err := json.Unmarshal(resp.Value, &e); err != nil || len(e.V) != len(value) {
					b.Fatal(err)
				}
			}
		})
	})
}

// BenchmarkPut compares a Put with the SDK's call and the encoding of its entity
// by encoding/json.
func BenchmarkPut(b *testing.B) {
	benchSizes(b, func(b *testing.B, client *aztables.ServiceClient, value []byte) {
		b.Run("skykv", func(b *testing.B) {
			store, err := New(b.Context(), client, "kv1", nil)
			if err != nil {
				b.Fatal(err)
			}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := store.Put(ctx, benchKey, value); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("sdk", func(b *testing.B) {
			table := client.NewClient("kv1")
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				body, err := json.Marshal(struct {
					PartitionKey, RowKey string
					V                    []byte `json:"v"`
					VType                string `json:"v@odata.type"`
					X                    string `json:"x"`
					XType                string `json:"x@odata.type"`
					T                    string `json:"t"`
				}{"00", benchKey, value, typeBinary, "0", typeInt64, "tttttttttttttttttttttt"})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := table.UpsertEntity(ctx, body, &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace}); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func benchSizes(b *testing.B, run func(*testing.B, *aztables.ServiceClient, []byte)) {
	for _, size := range []int{100, 1024, 24 * 1024} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			value := bytes.Repeat([]byte{0xfb, 0x00, 0x7f}, size/3+1)[:size]
			run(b, canned(b, value), value)
		})
	}
}
