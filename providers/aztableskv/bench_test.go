package aztableskv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/testing/canned"
	"github.com/skykv/skykv/kv"
)

// cannedClient returns a client of a server that answers every read with an entity, and
// every write with an ETag.
func cannedClient(b testing.TB, value []byte) *aztables.ServiceClient {
	b.Helper()
	rec := kv.Record{Key: benchKey, Value: value, Token: token}
	body := bytes.Replace(newLayout(DefaultShards).encode(rec, 0), []byte("{"), []byte(
		`{"odata.metadata":"https://account.table.core.windows.net/$metadata#kv/@Element","odata.etag":"W/\"datetime'2026-01-01T00%3A00%3A00.0000001Z'\"","Timestamp":"2026-01-01T00:00:00.0000001Z",`), 1)
	layout := []byte(`{"value":[{"odata.etag":"W/\"1\"","PartitionKey":"skykv","RowKey":"layout","format":2,"shards":16}]}`)
	const headers = "Etag: W/\"datetime'2026-01-01T00%3A00%3A00.0000001Z'\"\r\nX-Ms-Request-Id: 4f5bcd21-0002-0011-7e3d-000000000000\r\nX-Ms-Version: 2019-02-02\r\n"
	found := func(body []byte) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%sContent-Type: application/json;odata=minimalmetadata;streaming=true;charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", headers, len(body), body)
	}
	entityFound, layoutFound, written := found(body), found(layout), []byte("HTTP/1.1 204 No Content\r\n"+headers+"\r\n")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	server := canned.Server{Answer: func(r *canned.Request, answer []byte) []byte {
		switch {
		case string(r.Method) != http.MethodGet:
			return append(answer, written...)
		case bytes.Contains(r.Path, []byte("skykv")):
			return append(answer, layoutFound...)
		}
		return append(answer, entityFound...)
	}}
	go server.Serve(listener)
	transport := newTransport()
	b.Cleanup(transport.CloseIdleConnections)
	return fakeClient(b, "http://"+listener.Addr().String(), &http.Client{Transport: transport})
}

const benchKey = "user:0123456789"

// call is an operation that can be made through a store, or through the SDK's client alone.
type call struct {
	name  string
	store func(ctx context.Context, s *kv.Store, value []byte) error
	sdk   func(ctx context.Context, table *aztables.Client, value []byte) error
}

// get is a Get. The function sdk also decodes the entity into a struct, with encoding/json.
var get = call{
	"Get",
	func(ctx context.Context, s *kv.Store, value []byte) error {
		entry, err := s.Get(ctx, benchKey)
		return checkLen(len(entry.Value), value, err)
	},
	func(ctx context.Context, table *aztables.Client, value []byte) error {
		resp, err := table.GetEntity(ctx, "00", benchKey, nil)
		if err != nil {
			return err
		}
		var e struct {
			V []byte `json:"v"`
			X string `json:"x"`
			T string `json:"t"`
			P string `json:"p"`
		}
		err = json.Unmarshal(resp.Value, &e)
		return checkLen(len(e.V), value, err)
	},
}

// put is a Put. The function sdk also makes the entity, with encoding/json.
var put = call{
	"Put",
	func(ctx context.Context, s *kv.Store, value []byte) error {
		_, err := s.Put(ctx, benchKey, value)
		return err
	},
	func(ctx context.Context, table *aztables.Client, value []byte) error {
		body, err := json.Marshal(struct {
			PartitionKey, RowKey string
			V                    []byte `json:"v"`
			VType                string `json:"v@odata.type"`
			X                    string `json:"x"`
			XType                string `json:"x@odata.type"`
			T                    string `json:"t"`
			P                    string `json:"p"`
		}{"00", benchKey, value, typeBinary, "0", typeInt64, "tttttttttttttttttttttt", ""})
		if err != nil {
			return err
		}
		_, err = table.UpsertEntity(ctx, body, &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace})
		return err
	},
}

func checkLen(n int, value []byte, err error) error {
	if err == nil && n != len(value) {
		err = errors.New("the value has another length")
	}
	return err
}

// both returns the call through a store and the call through the SDK alone. They share one
// client.
func (c call) both(ctx context.Context, t testing.TB, size int) (store, sdk func() error) {
	t.Helper()
	value := bytes.Repeat([]byte{0xfb, 0x00, 0x7f}, size/3+1)[:size]
	client := cannedClient(t, value)
	s, err := New(context.Background(), client, "kv1", claiming(nil))
	if err != nil {
		t.Fatal(err)
	}
	table := client.NewClient("kv1")
	return func() error { return c.store(ctx, s, value) }, func() error { return c.sdk(ctx, table, value) }
}

func BenchmarkGet(b *testing.B) { bench(b, get) }
func BenchmarkPut(b *testing.B) { bench(b, put) }

func bench(b *testing.B, c call) {
	for _, size := range []int{100, 1024, kv.MaxValueLen} {
		store, sdk := c.both(b.Context(), b, size)
		for name, do := range map[string]func() error{"skykv": store, "sdk": sdk} {
			b.Run(fmt.Sprintf("%d/%s", size, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// The rule: a call makes at most 1.05 times as many allocations as the same call through the
// SDK, whether the caller's context can end or not.
func TestAllocations(t *testing.T) { // not parallel: it counts all allocations
	contexts := map[string]context.Context{"can end": t.Context(), "cannot end": context.Background()}
	for _, c := range []call{get, put} {
		for name, ctx := range contexts {
			store, sdk := c.both(ctx, t, 1024)
			count := func(do func() error) float64 {
				return testing.AllocsPerRun(200, func() {
					if err := do(); err != nil {
						t.Fatal(err)
					}
				})
			}
			ours, theirs := count(store), count(sdk)
			t.Logf("%s under a context that %s makes %.0f allocations, the SDK %.0f", c.name, name, ours, theirs)
			if ours > 1.05*theirs {
				t.Errorf("rule: at most 1.05 times as many as the SDK; %s makes %.3f times as many", c.name, ours/theirs)
			}
		}
	}
}
