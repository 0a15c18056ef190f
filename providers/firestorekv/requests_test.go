package firestorekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/googleapis/gax-go/v2/callctx"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/kv"
)

// TestRequests counts the requests of operations.
func TestRequests(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s, other := newStore(t, f), newStore(t, f)
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
		{"increment", func() error { _, err := s.Increment(ctx, "n", 1); return err }, "1 BatchGetDocuments, 1 Commit"},
		{"increment after its own", func() error { _, err := s.Increment(ctx, "n", 1); return err }, "1 Commit"},
		{"increment after another store's", func() error {
			if _, err := other.Increment(ctx, "n", 1); err != nil {
				return err
			}
			f.reset()
			_, err := s.Increment(ctx, "n", 1)
			return err
		}, "1 BatchGetDocuments, 2 Commit"},
		{"put many", func() error { _, err := s.PutMany(ctx, items); return err }, "3 BatchWrite"},
		{"get many", func() error { _, err := s.GetMany(ctx, keys); return err }, "5 BatchGetDocuments"},
		{"scan page", func() error { _, err := s.ScanPage(ctx, "many:", 100, ""); return err }, "1 RunQuery"},
		{"last scan page", func() error { _, err := s.ScanPage(ctx, "b", 100, ""); return err }, "1 RunQuery"},
		{"delete prefix", func() error { _, err := s.DeletePrefix(ctx, "many:"); return err }, "3 BatchWrite, 1 RunQuery"},
	}
	for _, test := range tests { // in this order, because the tests depend on earlier ones
		f.reset()
		if err := test.do(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := f.count(); got != test.want {
			t.Errorf("rule: one request per operation and page; %s made %s, want %s", test.name, got, test.want)
		}
	}
}

// TestValuesStayBehind: reads transfer only the values that the caller wants.
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
		if got := req.GetMask().GetFieldPaths(); !slices.Equal(got, []string{"x", "t", "p"}) {
			t.Errorf("rule: Exists and the read after a failed condition transfer no value; the mask is %q", got)
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
		if !slices.Equal(got, []string{"x", "t", "p"}) {
			t.Errorf("rule: scans of keys transfer no value; the projection is %q", got)
		}
	}
}

// TestHeaders: requests have the headers of a named database, and the headers in the caller's
// context.
func TestHeaders(t *testing.T) {
	t.Parallel()
	f := &fake{}
	named, err := newDriver("open", connect(t, f.start(t)), "my-project", "c", &Options{Database: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	s := kv.New(named)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-mine", "1")
	if _, err := s.Put(ctx, "a", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutMany(ctx, []kv.Item{{Key: "b"}}); err != nil {
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

// TestGroups: no request of a large batch exceeds the limits of a request, and the batch is
// complete.
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
	if _, err := s.PutMany(ctx, items); err != nil {
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

// TestMeter: a meter counts every request and every attempt, even those that ended with an
// error.
func TestMeter(t *testing.T) {
	t.Parallel()
	f := new(fake)
	d := driverAt(t, f.start(t))
	keys := manyKeys(150)
	absent := puts(keys...)
	for i := range absent.Writes {
		absent.Writes[i].Condition.Kind = kv.CondAbsent
	}
	ops := []struct {
		name     string
		requests int // number of requests of a call that succeeds
		do       func(m *kv.Meter) error
	}{
		{"WriteMany", 1, func(m *kv.Meter) error {
			req := puts(keys...)
			req.Meter = m
			return d.WriteMany(t.Context(), req)[0].Err
		}},
		{"WriteMany, and a look at what made conditions fail", 1 + 2, func(m *kv.Meter) error {
			absent.Meter = m
			return d.WriteMany(t.Context(), absent)[0].Err
		}},
		{"Get", 1, func(m *kv.Meter) error {
			_, err := d.Get(t.Context(), kv.GetRequest{Key: keys[0], Meter: m})
			return err
		}},
		{"GetMany", 2, func(m *kv.Meter) error {
			_, _, failed := getMany(t.Context(), d, kv.GetManyRequest{Keys: keys, Meter: m})
			return failed[keys[0]]
		}},
		{"Scan", 2, func(m *kv.Meter) (err error) {
			for _, err = range d.Scan(t.Context(), kv.ScanRequest{From: "-", To: "~", Limit: 100, Meter: m}) {
			}
			return err
		}},
		{"Write", 1, func(m *kv.Meter) error {
			req := puts(keys[0]).One(0)
			req.Meter = m
			_, err := d.Write(t.Context(), req)
			return err
		}},
		{"Write, and a look at what made the condition fail", 1 + 1, func(m *kv.Meter) error {
			req := absent.One(0)
			req.Meter = m
			_, err := d.Write(t.Context(), req)
			return err
		}},
	}
	for _, op := range ops {
		for _, faults := range []struct {
			name   string
			refuse func(context.Context, string, int) error
		}{
			{"none", nil},
			{"the first attempt", func(_ context.Context, _ string, n int) error {
				if n == 0 {
					return status.Error(codes.Unavailable, "once")
				}
				return nil
			}},
			{"all", func(context.Context, string, int) error { return status.Error(codes.Unavailable, "always") }},
		} {
			f.reset()
			f.refuse = faults.refuse
			m := kv.NewMeter(nil)
			err := op.do(m)
			if (err != nil) != (faults.name == "all") {
				t.Fatalf("%s, faults %s: %v", op.name, faults.name, err)
			}
			if m.Attempts() != len(f.calls) {
				t.Errorf("rule: the number of attempts is the number that the service received; %s, faults %s: %d, received %s", op.name, faults.name, m.Attempts(), f.count())
			}
			if err == nil && m.Requests() != op.requests {
				t.Errorf("rule: requests count once, however often they were tried; %s, faults %s: %d, want %d", op.name, faults.name, m.Requests(), op.requests)
			}
			if err != nil && (m.Requests() == 0 || m.Attempts() != m.Requests()*maxAttempts) {
				t.Errorf("rule: requests that fail count as well; %s: %d requests in %d attempts", op.name, m.Requests(), m.Attempts())
			}
		}
	}
}

// TestRequestsOfShards: a scan makes one request for every shard, and a scan within a group
// only one.
func TestRequestsOfShards(t *testing.T) {
	t.Parallel()
	f := new(fake)
	d := driverOver(t, connect(t, f.start(t)), &Options{Shards: 16})
	s := kv.New(d)
	var items []kv.Item
	for i := range 500 {
		items = append(items, kv.Item{Key: fmt.Sprintf("user%d::%d", i%10, i)}, kv.Item{Key: fmt.Sprintf("%d", i)})
	}
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	shards := make(map[string]bool)
	for _, id := range f.ids() {
		shards[id[:2]] = true
		if key := id[2:]; id[:2] != fmt.Sprintf("%02x", kv.Shard(key, 16)) {
			t.Errorf("rule: a key is in the shard of its group; %q is in %q", key, id[:2])
		}
	}
	if len(shards) != 16 {
		t.Errorf("rule: keys are spread over all shards; these 510 groups are in %d of 16", len(shards))
	}
	for prefix, want := range map[string]struct{ entries, requests int }{
		"user7::":  {50, 1},
		"user7::1": {len(keysUnder(items, "user7::1")), 1},
		"user7":    {50, 16},
		"":         {1000, 16},
	} {
		f.reset()
		keys, errs := keysOf(t.Context(), s, prefix)
		if errs != nil || !slices.Equal(keys, keysUnder(items, prefix)) || len(keys) != want.entries {
			t.Errorf("a scan of %q yields %d keys, %v; want %d in order", prefix, len(keys), errs, want.entries)
		}
		if n := len(received[*pb.RunQueryRequest](f)); n != want.requests {
			t.Errorf("rule: a scan that is within a group asks one shard, another one all; of %q it makes %d requests, want %d", prefix, n, want.requests)
		}
	}
}

func keysUnder(items []kv.Item, prefix string) (keys []string) {
	for _, item := range items {
		if strings.HasPrefix(item.Key, prefix) {
			keys = append(keys, item.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

// The rule: with one shard, a ScanPage of up to 639 live entries reads one document more. A page that
// needs a second query reads up to 1000 more. The package comment says so.
func TestDocumentsOfPages(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	items := make([]kv.Item, 1800)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("k%04d", i), TTL: time.Hour}
	}
	items[0].TTL = time.Minute
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	later := s.With(kv.Clock(func() time.Time { return time.Now().Add(2 * time.Minute) }))
	for _, c := range []struct {
		store *kv.Store
		limit int
		reads []int32 // the limits of the queries
	}{{s, 100, []int32{101}}, {s, 639, []int32{640}}, {s, 640, []int32{640, 1000}}, {s, 1000, []int32{640, 1000}}, {later, 100, []int32{101, 202}}} {
		f.reset()
		page, err := c.store.ScanPage(t.Context(), "k", c.limit, "")
		if err != nil || len(page.Entries) != c.limit {
			t.Fatalf("a page of %d has %d entries, %v", c.limit, len(page.Entries), err)
		}
		var reads []int32
		for _, req := range received[*pb.RunQueryRequest](f) {
			reads = append(reads, req.GetStructuredQuery().GetLimit().GetValue())
		}
		if !slices.Equal(reads, c.reads) {
			t.Errorf("rule: a page of up to 639 live entries is one query for one document more, and a second query asks for up to 1000; a page of %d asks for %d, want %d", c.limit, reads, c.reads)
		}
	}
}
