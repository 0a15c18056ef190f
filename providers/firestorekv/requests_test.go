package firestorekv

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/googleapis/gax-go/v2/callctx"
	"google.golang.org/grpc/metadata"

	"github.com/skykv/skykv/kv"
)

// TestRequests counts what operations cost.
func TestRequests(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	ctx := t.Context()
	var version kv.Version
	put := func(key string, opts ...kv.PutOption) func() error {
		return func() (err error) {
			version, err = s.Put(ctx, key, []byte("value"), opts...)
			return err
		}
	}
	var items []kv.Item
	var keys []string
	for i := range 450 {
		key := fmt.Sprintf("many:%03d", i)
		items = append(items, kv.Item{Key: key, Value: []byte("value")})
		keys = append(keys, key)
	}
	tests := []struct {
		name string
		do   func() error
		want string
	}{
		{"put", put("a"), "1 Commit"},
		{"put if version", func() error { return put("a", kv.IfVersion(version))() }, "1 Commit"},
		{"put if not exists", put("b", kv.IfNotExists()), "1 Commit"},
		{"put with an expiry", put("c", kv.TTL(time.Hour)), "1 Commit"},
		{"put if not exists of a key that does", func() error {
			if err := put("b", kv.IfNotExists())(); !errors.Is(err, kv.ErrConditionFailed) {
				return fmt.Errorf("got %v, want ErrConditionFailed", err)
			}
			return nil
		}, "1 BatchGetDocuments, 1 Commit"},
		{"get", func() error { _, err := s.Get(ctx, "a"); return err }, "1 BatchGetDocuments"},
		{"exists", func() error { _, err := s.Exists(ctx, "a"); return err }, "1 BatchGetDocuments"},
		{"delete", func() error { return s.Delete(ctx, "a") }, "1 Commit"},
		{"delete of an absent key", func() error { return s.Delete(ctx, "a") }, "1 Commit"},
		{"delete if version", func() error {
			if err := put("a")(); err != nil {
				return err
			}
			f.reset()
			return s.Delete(ctx, "a", kv.IfVersion(version))
		}, "1 Commit"},
		{"put many", func() error { return s.PutMany(ctx, items) }, "3 BatchWrite"},
		{"get many", func() error { _, err := s.GetMany(ctx, keys); return err }, "5 BatchGetDocuments"},
		{"scan page", func() error { _, err := s.ScanPage(ctx, "many:", 100, ""); return err }, "1 RunQuery"},
		{"last scan page", func() error { _, err := s.ScanPage(ctx, "b", 100, ""); return err }, "1 RunQuery"},
		{"delete prefix", func() error { _, err := s.DeletePrefix(ctx, "many:"); return err }, "3 BatchWrite, 1 RunQuery"},
	}
	for _, test := range tests { // one after the other: they build on each other
		f.reset()
		if err := test.do(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := f.count(); got != test.want {
			t.Errorf("rule: one request per operation and page; %s made %s, want %s", test.name, got, test.want)
		}
	}
}

// TestValuesStayBehind checks that nobody reads values who does not want them.
func TestValuesStayBehind(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	ctx := t.Context()
	if _, err := s.Put(ctx, "a", []byte("value")); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Exists(ctx, "a"); err != nil || !ok {
		t.Fatalf("exists: %v, %v", ok, err)
	}
	if _, err := s.Put(ctx, "a", nil, kv.IfNotExists()); !errors.Is(err, kv.ErrConditionFailed) {
		t.Fatalf("put: %v, want ErrConditionFailed", err)
	}
	for _, req := range received[*pb.BatchGetDocumentsRequest](f) {
		if got := req.GetMask().GetFieldPaths(); !slices.Equal(got, []string{"x", "t"}) {
			t.Errorf("rule: Exists and the look at what made a condition fail transfer no value; the mask is %q", got)
		}
	}
	for entry, err := range s.Scan(ctx, "", kv.KeysOnly()) {
		if err != nil || entry.Key != "a" || entry.Value != nil {
			t.Errorf("scan: %v, %v", entry, err)
		}
	}
	for _, req := range received[*pb.RunQueryRequest](f) {
		var got []string
		for _, field := range req.GetStructuredQuery().GetSelect().GetFields() {
			got = append(got, field.GetFieldPath())
		}
		if !slices.Equal(got, []string{"x", "t"}) {
			t.Errorf("rule: scans of keys transfer no value; the projection is %q", got)
		}
	}
}

// TestHeaders checks that requests can be routed to named databases, and that what
// the caller's context carries is sent along.
func TestHeaders(t *testing.T) {
	t.Parallel()
	f := &fake{}
	d := driverAt(t, f.start(t))
	named := newDriver(d.client, "my-project", "c", Options{Database: "orders", Timeout: time.Minute})
	s := kv.New(named)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-mine", "1")
	if _, err := s.Put(ctx, "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutMany(ctx, []kv.Item{{Key: "b"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeletePrefix(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(callctx.SetHeaders(ctx, "x-other", "2"), "a"); !errors.Is(err, kv.ErrNotFound) {
		t.Fatal(err)
	}
	if len(f.calls) < 6 {
		t.Fatalf("%d calls, want at least 6", len(f.calls))
	}
	if got := f.calls[len(f.calls)-1].header.Get("x-other"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("rule: headers that the caller's context has for the client are kept; x-other is %q", got)
	}
	for _, call := range f.calls {
		if got := call.header.Get("google-cloud-resource-prefix"); !slices.Equal(got, []string{"projects/my-project/databases/orders"}) {
			t.Errorf("rule: every request names its database; the header of %s is %q", call.method, got)
		}
		params, err := url.QueryUnescape(strings.Join(call.header.Get("x-goog-request-params"), "&"))
		if err != nil || !strings.Contains(params, "projects/my-project/databases/orders") {
			t.Errorf("the routing parameters of %s are %q", call.method, params)
		}
		if call.method == "BatchGetDocuments" && !strings.Contains(params, "project_id=my-project&database_id=orders") {
			t.Errorf("the routing parameters of %s are %q, want those of the high-level client", call.method, params)
		}
		if got := call.header.Get("x-mine"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("rule: metadata of the caller's context is kept; x-mine of %s is %q", call.method, got)
		}
	}
}

// TestGroups checks that large batches keep to the limits of a request, and that
// nothing of them is lost.
func TestGroups(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	ctx := t.Context()
	value := bytes.Repeat([]byte("v"), kv.MaxValueLen)
	var items []kv.Item
	var keys []string
	for i := range 501 {
		keys = append(keys, fmt.Sprintf("%s:%03d", strings.Repeat("k", kv.MaxKeyLen-4), i))
		items = append(items, kv.Item{Key: keys[i], Value: value})
	}
	if err := s.PutMany(ctx, items); err != nil {
		t.Fatal(err)
	}
	for _, req := range received[*pb.BatchWriteRequest](f) {
		size := 0
		for _, w := range req.GetWrites() {
			size += len(w.GetUpdate().GetName()) + len(w.GetUpdate().GetFields()["v"].GetBytesValue())
		}
		if len(req.GetWrites()) > 500 || size > 10<<20 {
			t.Errorf("rule: a BatchWrite has at most 500 writes and 10 MiB; one has %d and %d bytes", len(req.GetWrites()), size)
		}
	}
	got, err := s.GetMany(ctx, keys)
	if err != nil || len(got) != len(keys) {
		t.Fatalf("get many: %d entries, %v; want %d", len(got), err, len(keys))
	}
	for key, entry := range got {
		if !bytes.Equal(entry.Value, value) {
			t.Fatalf("value of %q is damaged", key)
		}
	}
}
