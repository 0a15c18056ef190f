package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/testing/reference"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

func TestConformanceInLayoutAlien(t *testing.T) { conform(t, "alien", 1) }

func testAlienLayout() *layout {
	return newAlienLayout(testProject, defaultDatabase, testCollection)
}

func textOf(s string) *pb.Value { return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}} }

func timeOf(at *timestamppb.Timestamp) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: at}}
}

// The documents below were read and stored by programs of the Alien platform, so they must
// not change.
func TestDocumentsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	l, created := testAlienLayout(), timestamp(testNow)
	for _, test := range []struct {
		rec  kv.Record
		want map[string]*pb.Value
	}{
		{kv.Record{Key: "user:42", Value: []byte("v"), Token: testToken}, map[string]*pb.Value{
			"value": textOf("dg=="), "created_at": created, "skykv_t": textOf(testToken),
		}},
		{kv.Record{Key: "-", Value: []byte{}, Token: testToken, Expires: 1_700_000_000_001}, map[string]*pb.Value{
			"value": textOf(""), "created_at": created, "skykv_t": textOf(testToken), "expires_at": timeOf(&timestamppb.Timestamp{Seconds: 1_700_000_000, Nanos: 1_000_000}),
		}},
		{kv.Record{Key: "skykv-layout", Value: []byte{0xfb, 0xff}, Token: testToken, Predecessors: "AAAA BBBB"}, map[string]*pb.Value{
			"value": textOf("+/8="), "created_at": created, "skykv_t": textOf(testToken), "skykv_p": textOf("AAAA BBBB"),
		}},
	} {
		doc := l.encode(test.rec, testNow).Update
		if want := (&pb.Document{Name: testDatabase + "/documents/c/" + test.rec.Key, Fields: test.want}); !proto.Equal(doc, want) {
			t.Errorf("the document of %q is %v; want %v", test.rec.Key, doc, want)
		}
		if back, err := l.scanned(doc, true); err != nil || fmt.Sprint(back) != fmt.Sprint(test.rec) {
			t.Errorf("decode of the document of %q: %+v, %v; want %+v", test.rec.Key, back, err, test.rec)
		}
		for _, kind := range []kv.WriteKind{kv.KindTouch, kv.KindCheck} {
			write, err := l.write(kv.Write{Kind: kind, Record: test.rec, Condition: kv.Condition{Kind: kv.CondVersion, Version: "1"}}, testNow)
			if err != nil {
				t.Fatal(err)
			}
			for _, field := range []string{"value", "created_at"} {
				if _, there := write.GetUpdate().GetFields()[field]; there || slices.Contains(write.GetUpdateMask().GetFieldPaths(), field) {
					t.Errorf("rule: %s leaves %s as it is; the write is %v", kind, field, write)
				}
			}
		}
	}
}

// The rule: the expiry of another program's document is rounded up to the millisecond. skykv's
// own fields count only if they have the type and the length that skykv writes.
func TestDecodeOfLayoutAlien(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change map[string]*pb.Value // to a document that skykv wrote; nil removes a field
		want   kv.Record
	}{
		"as it was written":            {nil, kv.Record{Expires: testNow, Token: testToken, Predecessors: "AAAA"}},
		"no expiry":                    {map[string]*pb.Value{"expires_at": nil}, kv.Record{Token: testToken, Predecessors: "AAAA"}},
		"a microsecond more":           {map[string]*pb.Value{"expires_at": timeOf(&timestamppb.Timestamp{Seconds: testNow / 1000, Nanos: 1000})}, kv.Record{Expires: testNow + 1, Token: testToken, Predecessors: "AAAA"}},
		"a microsecond less":           {map[string]*pb.Value{"expires_at": timeOf(&timestamppb.Timestamp{Seconds: testNow/1000 - 1, Nanos: 999_999_000})}, kv.Record{Expires: testNow, Token: testToken, Predecessors: "AAAA"}},
		"an expiry before the epoch":   {map[string]*pb.Value{"expires_at": timeOf(&timestamppb.Timestamp{Seconds: -5})}, kv.Record{Expires: 1, Token: testToken, Predecessors: "AAAA"}},
		"the last expiry there is":     {map[string]*pb.Value{"expires_at": timeOf(&timestamppb.Timestamp{Seconds: 253402300799, Nanos: 999_999_999})}, kv.Record{Expires: kv.MaxExpiry.UnixMilli(), Token: testToken, Predecessors: "AAAA"}},
		"no token":                     {map[string]*pb.Value{"skykv_t": nil}, kv.Record{Expires: testNow}},
		"a short token":                {map[string]*pb.Value{"skykv_t": textOf("t")}, kv.Record{Expires: testNow}},
		"a token of another type":      {map[string]*pb.Value{"skykv_t": timestamp(1)}, kv.Record{Expires: testNow}},
		"no predecessors":              {map[string]*pb.Value{"skykv_p": nil}, kv.Record{Expires: testNow, Token: testToken}},
		"predecessors of another type": {map[string]*pb.Value{"skykv_p": timestamp(1)}, kv.Record{Expires: testNow, Token: testToken}},
		"endless predecessors":         {map[string]*pb.Value{"skykv_p": textOf(strings.Repeat("p", kv.MaxPredecessorsLen+1))}, kv.Record{Expires: testNow, Token: testToken}},
	} {
		doc := testAlienLayout().encode(kv.Record{Key: "key", Value: []byte("v"), Token: testToken, Expires: testNow, Predecessors: "AAAA"}, testNow).Update
		for field, value := range test.change {
			if doc.Fields[field] = value; value == nil {
				delete(doc.Fields, field)
			}
		}
		test.want.Key, test.want.Value = "key", []byte("v")
		if rec, err := testAlienLayout().decode("key", doc, true); err != nil || fmt.Sprint(rec) != fmt.Sprint(test.want) {
			t.Errorf("a document with %s is %+v, %v; want %+v", name, rec, err, test.want)
		}
	}
}

func TestDecodeRefusesDocumentsOfNoLayout(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]map[string]*pb.Value{
		"no value":                      {"value": nil},
		"bytes as value":                {"value": {ValueType: &pb.Value_BytesValue{BytesValue: []byte("secret")}}},
		"a value that is not base64":    {"value": textOf("secret!")},
		"a value without its padding":   {"value": textOf("dg")},
		"no created_at":                 {"created_at": nil},
		"text as created_at":            {"created_at": textOf("2026-08-01T00:00:00Z")},
		"text as expires_at":            {"expires_at": textOf("2026-08-01T00:00:00Z")},
		"a null as expires_at":          {"expires_at": {ValueType: &pb.Value_NullValue{}}},
		"an expires_at without a value": {"expires_at": {}},
		"an expires_at after all time":  {"expires_at": timeOf(&timestamppb.Timestamp{Seconds: 1 << 62})},
	} {
		doc := testAlienLayout().encode(kv.Record{Key: "key", Value: []byte("v"), Token: testToken}, testNow).Update
		for field, value := range change {
			if doc.Fields[field] = value; value == nil {
				delete(doc.Fields, field)
			}
		}
		rec, err := testAlienLayout().decode("key", doc, true)
		if !errors.Is(err, kv.ErrIncompatible) || fmt.Sprint(rec) != fmt.Sprint(kv.Record{Key: "key"}) || strings.Contains(err.Error(), "secret") {
			t.Errorf("rule: a document with %s is ErrIncompatible, without its value; got %+v, %v", name, rec, err)
		}
		if isAlien(doc) {
			t.Errorf("rule: a document with %s shows no layout", name)
		}
	}
	if isAlien(testLayout(1).encode(kv.Record{Key: "a", Value: []byte("v"), Token: testToken}, testNow).Update) || isAlien(testLayout(1).record()) {
		t.Error("rule: a document of skykv's own layout is none of the other")
	}
}

// The rule: a scan may begin and end at a reserved key, but its request contains no reserved ID.
func TestBoundsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	l := testAlienLayout()
	for _, key := range []string{".", "..", "__x__", "____", "_____", "__", "___", "...", "a", "_x_", "__x", "x__"} {
		reserved := slices.Contains([]string{".", "..", "__x__", "____", "_____"}, key)
		if l.reservedKey()(key) != reserved {
			t.Errorf("the key %q is reserved: %v; want %v", key, !reserved, reserved)
		}
		q := l.query(kv.ScanRequest{From: key, To: key})
		from, to := q.GetStartAt().GetValues()[0].GetReferenceValue(), q.GetEndAt().GetValues()[0].GetReferenceValue()
		id := strings.TrimPrefix(from, l.root())
		if from != to || isReserved(id) || kv.ValidateKey(id) == nil != !reserved {
			t.Errorf("rule: bounds are valid IDs, and no key is between them and the bounds that they replace; a scan of %q is from %q to %q", key, from, to)
		}
	}
	if testLayout(1).reservedKey() != nil {
		t.Error("rule: skykv's own layout can store every key")
	}
}

func TestOptionsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	client := connect(t, new(fake).start(t))
	d, err := newDriver("open", client, "p", "c", &Options{Layout: provider.LayoutAlien, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	info := d.Info()
	if info.Name != "firestore-alien" || info.Shards != 1 || info.NoGrace || info.ReservedKey == nil || info.MaxAtomicWrites != maxAtomicWrites || info.MaxValueLen != kv.MaxValueLen {
		t.Errorf("Info is %+v", info)
	}
	for want, opts := range map[string]*Options{
		"want 1, or zero, in layout alien": {Layout: provider.LayoutAlien, Shards: 2},
		"want skykv or alien":              {Layout: "other"},
	} {
		if _, err := newDriver("open", client, "p", "c", opts); !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), want) {
			t.Errorf("options %+v: %v; want ErrInvalidOption with %q", opts, err, want)
		}
	}
	store := kv.New(d).With(kv.MaxValue(kv.MaxValueLen + 1))
	if _, err := store.Get(t.Context(), "a"); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: larger values are refused in layout alien; got %v", err)
	}
}

// shared returns skykv's store of a new, empty collection, and another program's store of the
// same collection. Each has its own client.
func shared(t *testing.T, now func() time.Time) (*kv.Store, *reference.Firestore) {
	t.Helper()
	storeURL := emulatorURL(emulator.Firestore(t), "alien", 1)
	store, err := Open(t.Context(), storeURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store, theirs(t, storeURL, now)
}

func theirs(t *testing.T, storeURL string, now func() time.Time) *reference.Firestore {
	t.Helper()
	c, err := Connect(t.Context(), storeURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &reference.Firestore{Client: c.Client, Database: "projects/" + c.Project + "/databases/(default)", Collection: c.Collection, Now: now}
}

// The rule: skykv and the other program read each other's writes, and every write changes the
// version that both see.
func TestBothSidesSeeEachOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, other := shared(t, time.Now)
	for _, key := range []string{"a", "-", "skykv-layout", "00a", "a:1::b", "...", "__x", "_", "z", strings.Repeat("k", kv.MaxKeyLen)} {
		v, err := store.Put(ctx, key, []byte("ours\x00"))
		if err != nil {
			t.Fatal(err)
		}
		value, _, found, err := other.Get(ctx, key)
		if err != nil || !found || string(value) != "ours\x00" {
			t.Errorf("their get of our %.20q: %q, %v, %v", key, value, found, err)
		}
		if err := other.Put(ctx, key, []byte("theirs"), time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Put(ctx, key, nil, kv.IfVersion(v)); !errors.Is(err, kv.ErrConditionFailed) {
			t.Errorf("rule: their put makes a version old; our compare-and-swap of %.20q: %v", key, err)
		}
		e, err := store.Get(ctx, key)
		if err != nil || string(e.Value) != "theirs" || time.Until(e.ExpiresAt) < 59*time.Minute {
			t.Errorf("our get of their %.20q: %q until %s, %v", key, e.Value, e.ExpiresAt, err)
		}
		_, old, _, _ := other.Get(ctx, key)
		if _, err := store.Touch(ctx, key, kv.TTL(time.Minute), kv.IfVersion(e.Version)); err != nil {
			t.Errorf("our touch of their %.20q: %v", key, err)
		}
		if stored, err := other.CompareAndSwap(ctx, key, old, nil, 0); stored || err != nil {
			t.Errorf("rule: our touch makes a version old; their compare-and-swap of %.20q: %v, %v", key, stored, err)
		}
		if value, _, found, err := other.Get(ctx, key); err != nil || !found || string(value) != "theirs" {
			t.Errorf("their get of %.20q, which we touched: %q, %v, %v", key, value, found, err)
		}
	}
	keys, errs := keysOf(ctx, store, "")
	listed, err := other.Scan(ctx, "a")
	if errs != nil || err != nil || len(keys) != 10 || !slices.Equal(listed, []string{"a", "a:1::b"}) {
		t.Errorf("our scan yields %d keys, %v; theirs %q, %v", len(keys), errs, listed, err)
	}
	n, err := store.Increment(ctx, "counter", 41)
	if err != nil || n != 41 {
		t.Fatalf("Increment = %d, %v", n, err)
	}
	if err := other.Put(ctx, "counter", []byte("7"), 0); err != nil {
		t.Fatal(err)
	}
	if n, err := store.Increment(ctx, "counter", 1); err != nil || n != 8 {
		t.Errorf("Increment of what they put = %d, %v; want 8", n, err)
	}
	if _, err := store.AtomicWrite(ctx, kv.PutOp("g::a", nil, kv.IfNotExists()), kv.PutOp("g::b", []byte("b"))); err != nil {
		t.Errorf("AtomicWrite: %v", err)
	}
	if value, _, found, err := other.Get(ctx, "g::b"); err != nil || !found || string(value) != "b" {
		t.Errorf("their get of what an AtomicWrite stored: %q, %v, %v", value, found, err)
	}
}

// The rule: if the response to a write of skykv is lost and the other program writes next, skykv
// returns ErrIndeterminate, because the other program's write removes the token. If the next
// write is skykv's, the result of the first one is known.
func TestTheirWritesRemoveTokens(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, other := shared(t, time.Now)
	if _, err := store.Increment(ctx, "n", 1); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		between func() error
		kind    error
	}{
		"ours":   {func() error { _, err := store.Increment(ctx, "n", 1); return err }, nil},
		"theirs": {func() error { return other.Put(ctx, "n", []byte("5"), 0) }, kv.ErrIndeterminate},
	} {
		lossy := store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
			return &losing{Driver: d, after: test.between}
		}))
		if _, err := lossy.Increment(ctx, "n", 1); !errors.Is(err, test.kind) {
			t.Errorf("an Increment whose response is lost, after which there is a write of %s: %v; want %v", name, err, test.kind)
		}
	}
}

// losing is a driver that loses the response to its first write. The function after runs between
// that write and the error.
type losing struct {
	kv.Driver
	once  sync.Once
	after func() error
}

func (d *losing) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	out, err := d.Driver.Write(ctx, req)
	d.once.Do(func() {
		if err == nil {
			err = d.after()
		}
		out, err = kv.Outcome{}, errors.Join(err, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("lost")})
	})
	return out, err
}

// The rule: a put-if-absent whose response is lost finds its own token, unless another program
// has replaced the document.
func TestLostResponseInLayoutAlien(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		theirs bool
		want   error
	}{"nobody wrote since": {false, nil}, "they replaced it": {true, kv.ErrIndeterminate}} {
		f := new(fake)
		d := driverOver(t, connect(t, f.start(t)), &Options{Layout: provider.LayoutAlien})
		f.lose = func(_ context.Context, method string, n int) error {
			if method != "Commit" || n > 0 {
				return nil
			}
			if test.theirs {
				f.put("a", map[string]*pb.Value{"value": textOf(""), "created_at": timestamp(testNow)})
			}
			return status.Error(codes.Unavailable, "lost")
		}
		if _, err := kv.New(d).Put(t.Context(), "a", nil, kv.IfNotExists()); !errors.Is(err, test.want) {
			t.Errorf("rule: the token shows it; if %s: %v, want %v", name, err, test.want)
		}
	}
}

// collections are the possible contents of a collection, and the results of New with layout
// alien, with layout skykv and without a layout.
var collections = map[string]struct {
	docs map[string]map[string]*pb.Value
	want [3]error
}{
	"empty":              {nil, [3]error{nil, nil, kv.ErrNotProvisioned}},
	"an entry of theirs": {docsOf("key", theirFields), [3]error{nil, kv.ErrIncompatible, kv.ErrIncompatible}},
	"an entry of theirs named as the layout document": {docsOf(layoutID, theirFields), [3]error{nil, kv.ErrIncompatible, kv.ErrIncompatible}},
	"a layout document":                        {docsOf(layoutID, testLayout(1).record().GetFields()), [3]error{kv.ErrIncompatible, nil, nil}},
	"a layout document and an entry of theirs": {map[string]map[string]*pb.Value{layoutID: testLayout(1).record().GetFields(), "a": theirFields}, [3]error{kv.ErrIncompatible, nil, nil}},
	"an entry of skykv's alone":                {docsOf("00a", testLayout(1).encode(kv.Record{Key: "a", Token: testToken}, testNow).Update.GetFields()), [3]error{kv.ErrIncompatible, kv.ErrIncompatible, kv.ErrIncompatible}},
	"a document of others":                     {docsOf("a", map[string]*pb.Value{"name": textOf("x")}), [3]error{kv.ErrIncompatible, kv.ErrIncompatible, kv.ErrIncompatible}},
	"a document of others, no key":             {docsOf("+49 30", nil), [3]error{kv.ErrIncompatible, kv.ErrIncompatible, kv.ErrIncompatible}},
}

var theirFields = map[string]*pb.Value{"value": textOf("dg=="), "created_at": timestamp(testNow)}

func docsOf(id string, fields map[string]*pb.Value) map[string]map[string]*pb.Value {
	return map[string]map[string]*pb.Value{id: fields}
}

// The rule: a collection in one layout cannot be opened with the other, and New writes nothing
// if it refuses. docs/alien.md has the same table.
func TestLayoutsAreNeverMixed(t *testing.T) {
	t.Parallel()
	for name, test := range collections {
		for i, layout := range []provider.Layout{provider.LayoutAlien, provider.LayoutSkykv, ""} {
			f := new(fake)
			client := connect(t, f.start(t))
			for id, fields := range test.docs {
				f.put(id, fields)
			}
			before := f.clock
			_, err := New(t.Context(), client, testProject, testCollection, &Options{Layout: layout})
			if !errors.Is(err, test.want[i]) || err != nil && test.want[i] == nil {
				t.Errorf("rule: opening a collection with %s, layout=%s: %v; want %v", name, layout, err, test.want[i])
			}
			if wrote := f.clock != before; wrote != (err == nil && name == "empty" && layout == provider.LayoutSkykv) {
				t.Errorf("rule: opening writes the layout document of skykv's own layout, and nothing else; with %s, layout=%s: %q", name, layout, f.ids())
			}
			if settings := new(fakeAdmin); errors.Is(err, kv.ErrIncompatible) {
				err := EnsureWith(t.Context(), client, settings.start(t), testProject, testCollection, &Options{Layout: layout})
				if !errors.Is(err, kv.ErrIncompatible) || settings.updates != nil || f.clock != before {
					t.Errorf("rule: EnsureWith refuses what New refuses, and changes nothing; with %s, layout=%s: %v", name, layout, err)
				}
			}
		}
	}
	// Without the permission to query, New treats a collection without a layout document as empty.
	f := new(fake)
	client := connect(t, f.start(t))
	f.refuse = always("RunQuery", status.Error(codes.PermissionDenied, "denied"))
	if _, err := New(t.Context(), client, testProject, testCollection, &Options{Layout: provider.LayoutAlien}); err != nil {
		t.Errorf("rule: opening needs no permission to query; got %v", err)
	}
}

// The rule: if another program writes a layout document or an entry while New opens a new
// collection, New finds the layout of the other program.
func TestOpenersMeet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method string // the request before which the other program writes
		doc    map[string]*pb.Value
		want   error
	}{
		"the same layout, before the query": {"RunQuery", testLayout(1).record().GetFields(), nil},
		"the same layout, before the write": {"Commit", testLayout(1).record().GetFields(), nil},
		"other shards":                      {"Commit", testLayout(2).record().GetFields(), kv.ErrIncompatible},
		"an entry of theirs":                {"Commit", theirFields, kv.ErrIncompatible},
	} {
		f := new(fake)
		client := connect(t, f.start(t))
		f.refuse = func(_ context.Context, method string, n int) error {
			if method == test.method && n == 0 {
				f.put(layoutID, test.doc)
			}
			return nil
		}
		if _, err := New(t.Context(), client, testProject, testCollection, &Options{Layout: provider.LayoutSkykv}); !errors.Is(err, test.want) || err != nil && test.want == nil {
			t.Errorf("%s: %v; want %v", name, err, test.want)
		}
	}
}

// The rule: the emulator accepts the scans of the layout, even if a scan begins or ends at a
// reserved ID. It refuses to store a document under a reserved ID, except under ____ and __id7__.
// The service refuses these two as well, according to its documentation.
func TestReservedIDsOnEmulator(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, other := shared(t, time.Now)
	for _, key := range []string{".", "..", "__x__", "____", "__id7__"} {
		if _, err := store.Put(ctx, key, nil); !errors.Is(err, kv.ErrInvalidKey) || !strings.Contains(err.Error(), "firestore-alien") {
			t.Errorf("rule: a reserved key is ErrInvalidKey, with the layout; Put of %q: %v", key, err)
		}
		if err := other.Put(ctx, key, nil, 0); err == nil && key != "____" && key != "__id7__" {
			t.Errorf("the emulator takes the ID %q", key)
		}
		for _, opts := range [][]kv.ScanOption{{kv.From(key)}, {kv.After(key)}, {kv.Before(key)}, {kv.Before(key + "-")}} {
			for e, err := range store.Scan(ctx, "", opts...) {
				if err != nil {
					t.Errorf("rule: a reserved key may be a bound; a scan from or to %q: %q, %v", key, e.Key, err)
				}
			}
		}
		if n, err := store.DeletePrefix(ctx, key); err != nil || n != 0 {
			t.Errorf("rule: a reserved key may be a prefix; DeletePrefix of %q: %d, %v", key, n, err)
		}
	}
	for _, key := range []string{"__", "___", "...", "__x", "x__"} {
		if _, err := store.Put(ctx, key, nil); err != nil {
			t.Errorf("rule: %q is no reserved ID; Put: %v", key, err)
		}
	}
	ns, err := store.Namespace("n:")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Put(ctx, "__x__", nil); err != nil {
		t.Errorf("rule: the whole key decides; Put of __x__ in a namespace: %v", err)
	}
}

// interleaving returns a run of operations by skykv and by a program of the Alien platform on
// one collection. If the environment variable SKYKV_INTERLEAVE is set, it is the number of
// operations, and the run uses the real clock. Otherwise the run uses a test clock, which moves
// in random steps.
func interleaving(t *testing.T, seed uint64) reference.Interleaving {
	run := reference.Interleaving{Seed: seed, Operations: 1200, Keys: 4, Now: time.Now}
	if text := os.Getenv("SKYKV_INTERLEAVE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SKYKV_INTERLEAVE is %q; want a number", text)
		}
		run.Operations, run.Keys = n, 8
	} else {
		at := time.Now()
		run.Now = func() time.Time { return at }
		run.Pass = func(rng *rand.Rand) { at = at.Add(time.Duration(rng.Int64N(int64(150 * time.Millisecond)))) }
	}
	store, other := shared(t, run.Now)
	run.Ours, run.Theirs = store.With(kv.Clock(run.Now)), other
	return run
}

// The rule: the results of skykv and of a program of the Alien platform on the same keys agree
// with a model.
func TestInterleaving(t *testing.T) {
	t.Parallel()
	run := interleaving(t, 1)
	violations, counts, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range violations {
		t.Errorf("rule: each side judges by its own expiry, and a version is that of one entry: %s", violation)
	}
	t.Logf("%d operations: %v", run.Operations, counts)
	for _, what := range []string{
		"their put-if-absent, gone", "their put-if-absent, live", "our put-if-absent, gone", "our put-if-absent, live", "their compare-and-swap, live",
		"our compare-and-swap, live", "their compare-and-swap of an old version, either", "our compare-and-swap of an old version, either", "our touch, live", "our touch, gone",
	} {
		if counts[what] < 3 {
			t.Errorf("the run has %d of %q; want 3 at least", counts[what], what)
		}
	}
}

// The rule: TestInterleaving finds the bugs in the map below.
func TestInterleavingFindsBugs(t *testing.T) {
	t.Parallel()
	for name, bug := range map[string]func(req *kv.WriteRequest, found *kv.Found){
		"a put with a version ignores it": func(req *kv.WriteRequest, _ *kv.Found) {
			if req != nil && req.Kind == kv.KindPut && req.Condition.Kind == kv.CondVersion {
				req.Condition = kv.Condition{}
			}
		},
		"an expiry is rounded to the second": func(_ *kv.WriteRequest, found *kv.Found) {
			if found != nil {
				found.Expires = (found.Expires + 999) / 1000 * 1000
			}
		},
		"an expiry is rounded down": func(req *kv.WriteRequest, _ *kv.Found) {
			if req != nil {
				req.Expires = req.Expires / 1000 * 1000
			}
		},
		"their expiry is rounded down to the millisecond": func(_ *kv.WriteRequest, found *kv.Found) {
			if found != nil && found.Token == "" && found.Expires != 0 {
				found.Expires--
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := interleaving(t, 2)
			run.Ours = run.Ours.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &buggy{d, bug} }))
			violations, _, err := run.Run(t.Context())
			if err == nil && len(violations) == 0 {
				t.Error("rule: the interleaving test finds this bug; it found nothing")
			}
		})
	}
}

// buggy is a driver with a bug. The function bug changes either the request of a write or the
// record that was found. Its other argument is nil.
type buggy struct {
	kv.Driver
	bug func(req *kv.WriteRequest, found *kv.Found)
}

func (d *buggy) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	found, err := d.Driver.Get(ctx, req)
	d.bug(nil, &found)
	return found, err
}

func (d *buggy) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.bug(&req, nil)
	out, err := d.Driver.Write(ctx, req)
	found := kv.Found{Record: out.Found, Exists: out.Exists}
	d.bug(nil, &found)
	out.Found = found.Record
	return out, err
}
