package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/alien"
	"github.com/skykv/skykv/internal/testing/reference"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

const hexVersion = "0123456789abcdef0123456789abcdef" // a version of the reference platform

func TestConformanceInLayoutAlien(t *testing.T) {
	t.Parallel()
	conformance.Run(t, suite(t, &Options{Layout: provider.LayoutAlien}))
}

// Programs of the reference platform store or read these items.
func TestItemsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	l := alienLayout
	for _, test := range []struct {
		rec  kv.Record
		want item
	}{
		{kv.Record{Key: "user:42", Value: []byte("v"), Token: token}, item{
			"pk": text("bucket_2"), "sk": text("user:42"), "value": &types.AttributeValueMemberB{Value: []byte("v")}, "version": text(token),
		}},
		{kv.Record{Key: ".", Value: []byte{}, Token: token, Expires: 1_700_000_000_000}, item{
			"pk": text("bucket_0"), "sk": text("."), "value": &types.AttributeValueMemberB{Value: []byte{}}, "version": text(token),
			"ttl": number(1700000000), "skykv_x": number(1700000000000),
		}},
		{kv.Record{Key: "user42::profile", Value: []byte{0}, Token: token, Expires: 1_700_000_000_001, Predecessors: "AAAA BBBB"}, item{
			"pk": text("bucket_9"), "sk": text("user42::profile"), "value": &types.AttributeValueMemberB{Value: []byte{0}}, "version": text(token),
			"ttl": number(1700000001), "skykv_x": number(1700000000001), "skykv_p": text(token + " AAAA BBBB"),
		}},
	} {
		got := l.encode(test.rec)
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("the item of %q is %s; want %s", test.rec.Key, show(got), show(test.want))
		}
		want := test.rec
		want.Version = want.Token
		for _, withValue := range []bool{true, false} {
			if !withValue {
				want.Value = nil
			}
			back, err := l.decode(l.keyOf(got), got, withValue)
			if err != nil || !reflect.DeepEqual(back, want) {
				t.Errorf("decode of the item of %q: %+v, %v; want %+v", test.rec.Key, back, err, want)
			}
		}
		// Another attempt of the same write has the same predecessors.
		got["version"] = text(kv.AttemptToken(token, 7))
		if back, err := l.decode(l.keyOf(got), got, true); err != nil || back.Predecessors != test.rec.Predecessors {
			t.Errorf("decode of the item of another attempt: %+v, %v; want the predecessors %q", back, err, test.rec.Predecessors)
		}
	}
	want := item{"pk": text("layout"), "sk": text("skykv"), "format": number(2), "shards": number(16), "layout": text("alien")}
	if got := l.record(); !reflect.DeepEqual(got, want) {
		t.Errorf("the layout record is %s; want %s", show(got), show(want))
	}
}

// The rule: skykv's attributes of an item are valid only while the item is as skykv wrote
// it.
func TestOwnAttributesCountWhileTheyAgree(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change       item // of an item that skykv wrote; nil removes an attribute
		expires      int64
		predecessors string
	}{
		"as it was written":                {nil, 1_700_000_000_001, "AAAA"},
		"another ttl":                      {item{"ttl": number(1700000002)}, 1_700_000_002_000, "AAAA"},
		"an earlier ttl":                   {item{"ttl": number(1700000000)}, 1_700_000_000_000, "AAAA"},
		"a ttl long ago":                   {item{"ttl": number(-5)}, 1, "AAAA"},
		"a ttl beyond every instant":       {item{"ttl": number(1 << 62)}, kv.MaxExpiry.Unix() * 1000, "AAAA"},
		"no ttl":                           {item{"ttl": nil}, 0, "AAAA"},
		"no exact instant":                 {item{"skykv_x": nil}, 1_700_000_001_000, "AAAA"},
		"an exact instant of another type": {item{"skykv_x": text("1700000000001")}, 1_700_000_001_000, "AAAA"},
		"an exact instant that is not a whole number": {item{"skykv_x": &types.AttributeValueMemberN{Value: "1.5"}}, 1_700_000_001_000, "AAAA"},
		"an exact instant at the end of time":         {item{"skykv_x": number(1<<63 - 1)}, 1_700_000_001_000, "AAAA"},
		"another version":                             {item{"version": text(hexVersion)}, 1_700_000_000_001, ""},
		"a version of another write of skykv":         {item{"version": text("Z" + token[1:])}, 1_700_000_000_001, ""},
		"no predecessors":                             {item{"skykv_p": nil}, 1_700_000_000_001, ""},
		"predecessors of another type":                {item{"skykv_p": number(1)}, 1_700_000_000_001, ""},
		"predecessors without a version":              {item{"skykv_p": text("AAAA")}, 1_700_000_000_001, ""},
	} {
		it := alienLayout.encode(kv.Record{Key: "key", Value: []byte("v"), Token: token, Expires: 1_700_000_000_001, Predecessors: "AAAA"})
		for attr, value := range test.change {
			if it[attr] = value; value == nil {
				delete(it, attr)
			}
		}
		rec, err := alienLayout.decode("key", it, true)
		if err != nil || rec.Expires != test.expires || rec.Predecessors != test.predecessors {
			t.Errorf("an item with %s expires at %d and has the predecessors %q (%v); want %d and %q", name, rec.Expires, rec.Predecessors, err, test.expires, test.predecessors)
		}
	}
}

func TestDecodeRefusesItemsOfNoLayout(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		attr  string
		value types.AttributeValue
	}{
		"no version":          {"version", nil},
		"an empty version":    {"version", text("")},
		"a number as version": {"version", number(1)},
		"no value":            {"value", nil},
		"text as value":       {"value", text("v")},
		"text as ttl":         {"ttl", text("1700000000")},
		"a fraction as ttl":   {"ttl", &types.AttributeValueMemberN{Value: "1.5"}},
		"a huge ttl":          {"ttl", &types.AttributeValueMemberN{Value: "1e30"}},
		"a null as its ttl":   {"ttl", &types.AttributeValueMemberNULL{Value: true}},
		"a list as version":   {"version", &types.AttributeValueMemberL{}},
		"a number for value":  {"value", number(1)},
	} {
		it := alienLayout.encode(kv.Record{Key: "key", Value: []byte("v"), Token: token, Expires: 5})
		if it[test.attr] = test.value; test.value == nil {
			delete(it, test.attr)
		}
		rec, err := alienLayout.decode("key", it, true)
		if !errors.Is(err, kv.ErrIncompatible) || !reflect.DeepEqual(rec, kv.Record{}) {
			t.Errorf("rule: an item with %s is ErrIncompatible; got %+v, %v", name, rec, err)
		}
	}
}

// The rule: a condition of the service never holds if the store would judge differently,
// whichever of the two expiries is valid.
func TestConditionsOfLayoutAlienAreCautious(t *testing.T) {
	t.Parallel()
	const second = 1_700_000_000
	for exact := int64(second*1000 - 1999); exact <= second*1000; exact++ {
		ttl := seconds(exact)
		for _, now := range []int64{exact - 1001, exact - 1000, exact - 999, exact - 1, exact, exact + 1, ttl*1000 - 1, ttl * 1000, ttl*1000 + 1, exact + 2000} {
			expired, live := alienLayout.expired(now)
			isExpired := now >= exact // also for other programs' items, whose instant is ttl
			if ttl <= expired && !isExpired {
				t.Fatalf("an item that expires at %d is replaced at %d", exact, now)
			}
			if ttl > live && isExpired {
				t.Fatalf("an item that expires at %d is touched at %d", exact, now)
			}
			if !(ttl > expired) && !isExpired { // as the filter of scans
				t.Fatalf("an item that expires at %d is left out of a scan at %d", exact, now)
			}
			if expired, _ := alienLayout.expired(now); (ttl <= expired) != (now >= ttl*1000) {
				t.Fatalf("an item of another program that expires at %d is judged wrongly at %d", ttl, now)
			}
		}
	}
}

// theirs is the other side of a table, with its own client.
func theirs(t *testing.T, table string, now func() time.Time) *reference.DynamoDB {
	client := dynamodb.New(local(t).Options(), func(o *dynamodb.Options) { o.APIOptions = nil })
	return &reference.DynamoDB{Client: client, Table: table, Bucket: alien.Bucket, Now: now}
}

// shared returns an empty table that both sides use, and skykv's store over it.
func shared(t *testing.T) (table string, store *kv.Store) {
	client := local(t)
	table = newTable(t, client)
	opts := &Options{Layout: provider.LayoutAlien}
	if err := EnsureWith(t.Context(), client, table, opts); err != nil {
		t.Fatal(err)
	}
	store, err := New(t.Context(), client, table, opts)
	if err != nil {
		t.Fatal(err)
	}
	return table, store
}

// inOwnShards returns a store over a table of both sides whose keys are in skykv's
// shards.
func inOwnShards(t *testing.T, table string) *kv.Store {
	d, err := newDriver("open", local(t), table, &Options{Layout: provider.LayoutAlien})
	if err != nil {
		t.Fatal(err)
	}
	wrong := *d.layout
	wrong.shard = newLayout(alien.Buckets).shard
	d.layout, d.info.Shard = &wrong, wrong.shard
	return kv.New(d)
}

// The rule: each side sees what the other wrote, and both can use the versions of both.
func TestBothSidesSeeEachOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	table, store := shared(t)
	other := theirs(t, table, time.Now)
	for key := range keysOfVectors(t) {
		if _, err := store.Put(ctx, key, []byte("ours")); err != nil {
			t.Fatal(err)
		}
		if value, _, found, err := other.Get(ctx, key); err != nil || !found || string(value) != "ours" {
			t.Errorf("their get of our %.20q: %q, %v, %v", key, value, found, err)
		}
		if err := other.Put(ctx, key, []byte("theirs"), time.Hour); err != nil {
			t.Fatal(err)
		}
		e, err := store.Get(ctx, key)
		if err != nil || string(e.Value) != "theirs" || time.Until(e.ExpiresAt) < 59*time.Minute || e.ExpiresAt.Nanosecond() != 0 {
			t.Errorf("our get of their %.20q: %q until %s, %v", key, e.Value, e.ExpiresAt, err)
		}
		if _, err := store.Touch(ctx, key, kv.TTL(time.Minute), kv.IfVersion(e.Version)); err != nil {
			t.Errorf("our touch of their %.20q: %v", key, err)
		}
		if value, _, found, err := other.Get(ctx, key); err != nil || !found || string(value) != "theirs" {
			t.Errorf("their get of %.20q, which we touched: %q, %v, %v", key, value, found, err)
		}
	}
	n, err := store.Increment(ctx, "counter", 41)
	if err != nil || n != 41 {
		t.Fatalf("Increment = %d, %v", n, err)
	}
	if err := other.Put(ctx, "counter", []byte("7"), 0); err != nil {
		t.Fatal(err)
	}
	if n, err := store.Increment(ctx, "counter", 1); err != nil || n != 8 {
		t.Errorf("Increment of their entry = %d, %v; want 8", n, err)
	}
}

// keysOfVectors are the keys of the golden vectors that are legal.
func keysOfVectors(t *testing.T) iter.Seq[string] {
	text, err := os.ReadFile("../../internal/alien/testdata/buckets.tsv")
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(string) bool) {
		for line := range strings.Lines(string(text)) {
			key, _, _ := strings.Cut(line, "\t")
			if kv.ValidateKey(key) == nil && !yield(key) {
				return
			}
		}
	}
}

// The rule: if the response to an update is lost and the other side then writes, the
// update is ErrIndeterminate, because that write removes the predecessors. If skykv
// writes, the result is known.
func TestTheirWritesRemovePredecessors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	table, store := shared(t)
	other := theirs(t, table, time.Now)
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

// losing loses the response to the first write, and calls a function before the next
// read.
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

// The rule: of two openers of an empty table, one for each layout, only one succeeds, and
// a table with items in one layout does not open in the other.
func TestLayoutsAreNeverMixed(t *testing.T) {
	t.Parallel()
	ctx, client := t.Context(), local(t)
	bare := func() string {
		table := newTable(t, client)
		d, err := newDriver("open", client, table, nil)
		if err == nil {
			_, err = d.ensureTable(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	layouts := []provider.Layout{provider.LayoutSkykv, provider.LayoutAlien}
	for range 5 {
		table := bare()
		if _, err := New(ctx, client, table, nil); !errors.Is(err, kv.ErrNotProvisioned) || countItems(t, client, table) != 0 {
			t.Fatalf("rule: opening without a layout writes nothing; got %v and %d items", err, countItems(t, client, table))
		}
		errs := make([]error, len(layouts))
		var opening sync.WaitGroup
		for i, layout := range layouts {
			opening.Go(func() { _, errs[i] = New(ctx, client, table, &Options{Layout: layout}) })
		}
		opening.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil || !errors.Is(errs[1-winner], kv.ErrIncompatible) || countItems(t, client, table) != 1 {
			t.Errorf("rule: one of two openers fails with ErrIncompatible; got %v, and %d items", errs, countItems(t, client, table))
		}
		for i, layout := range layouts {
			opts := &Options{Layout: layout}
			_, err := New(ctx, client, table, opts)
			if i == winner && err != nil || i != winner && (!errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "want layout=")) {
				t.Errorf("rule: a table of layout %s opens only with that; New for %s returns %v", layouts[winner], layout, err)
			}
			if err := EnsureWith(ctx, client, table, opts); (err == nil) != (i == winner) {
				t.Errorf("rule: a table of layout %s is provisioned only with that; EnsureWith for %s returns %v", layouts[winner], layout, err)
			}
		}
		if n := countItems(t, client, table); n != 1 {
			t.Errorf("rule: a refused opener has written nothing; there are %d items", n)
		}
	}

	table := bare()
	if err := theirs(t, table, time.Now).Put(ctx, "key", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	for _, opts := range []*Options{nil, {Layout: provider.LayoutSkykv}} {
		if _, err := New(ctx, client, table, opts); !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "want layout=alien") {
			t.Errorf("rule: a table in use by the other side does not open in skykv's layout; got %v", err)
		}
	}
	if n := countItems(t, client, table); n != 1 {
		t.Errorf("rule: a refused opener has written nothing; there are %d items", n)
	}
	store, err := New(ctx, client, table, &Options{Layout: provider.LayoutAlien})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := store.Get(ctx, "key"); err != nil || string(e.Value) != "v" {
		t.Errorf("our get of an entry that they had stored before: %q, %v", e.Value, err)
	}

	foreign := bare()
	if _, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &foreign, Item: item{"pk": text("bucket_1"), "sk": text("user:42"), "version": text(hexVersion)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(ctx, client, foreign, &Options{Layout: provider.LayoutAlien}); !errors.Is(err, kv.ErrIncompatible) {
		t.Errorf("rule: items that are not in their place of the layout belong to another program; got %v", err)
	}
}

// countItems counts the items of a table, including the layout record.
func countItems(t *testing.T, client *dynamodb.Client, table string) int {
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Items)
}

// interleaving returns a run of both sides on one table. SKYKV_INTERLEAVE is the number
// of operations, by the real clock. Without it, the run has its own clock, which moves in
// steps.
func interleaving(t *testing.T, seed uint64) reference.Interleaving {
	table, store := shared(t)
	run := reference.Interleaving{Seed: seed, Operations: 1200, Keys: 4, Now: time.Now}
	if text := os.Getenv("SKYKV_INTERLEAVE"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SKYKV_INTERLEAVE is %q; want a number", text)
		}
		run.Operations, run.Keys = n, 8
	} else {
		at := time.Now().Add(time.Hour) // nothing expires by the service's clock
		run.Now = func() time.Time { return at }
		run.Pass = func(rng *rand.Rand) { at = at.Add(time.Duration(rng.Int64N(int64(150 * time.Millisecond)))) }
	}
	run.Ours, run.Theirs = store.With(kv.Clock(run.Now)), theirs(t, table, run.Now)
	return run
}

// The rule: both sides on the same keys agree with a model that has an expiry for each
// side.
func TestInterleaving(t *testing.T) {
	t.Parallel()
	run := interleaving(t, 1)
	violations, counts, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, violation := range violations {
		t.Errorf("rule: each side judges by its own expiry, and a version belongs to one entry: %s", violation)
	}
	t.Logf("%d operations: %v", run.Operations, counts)
	for _, what := range []string{
		"their put-if-absent, gone", "their put-if-absent, live", "our put-if-absent, gone", "our put-if-absent, live", "their compare-and-swap, live",
		"our compare-and-swap, live", "their compare-and-swap of an old version, either", "our compare-and-swap of an old version, either", "our touch, live", "our touch, gone",
	} {
		if counts[what] < 3 {
			t.Errorf("the run has %d of %q; want at least 3", counts[what], what)
		}
	}
}

// TestInterleaving finds these bugs.
func TestInterleavingFindsBugs(t *testing.T) {
	t.Parallel()
	for name, bug := range map[string]func(req *kv.WriteRequest, found *kv.Found){
		"a put with a version has no condition": func(req *kv.WriteRequest, _ *kv.Found) {
			if req != nil && req.Kind == kv.KindPut && req.Condition.Kind == kv.CondVersion {
				req.Condition = kv.Condition{}
			}
		},
		"an expiry is kept only to the second": func(_ *kv.WriteRequest, found *kv.Found) {
			if found != nil {
				found.Expires = seconds(found.Expires) * 1000
			}
		},
		"an expiry is rounded down": func(req *kv.WriteRequest, _ *kv.Found) {
			if req != nil {
				req.Expires = req.Expires / 1000 * 1000
			}
		},
		"a key is in skykv's own shard": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := interleaving(t, 2)
			if bug == nil {
				run.Ours = inOwnShards(t, run.Theirs.(*reference.DynamoDB).Table).With(kv.Clock(run.Now))
			} else {
				run.Ours = run.Ours.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &buggy{d, bug} }))
			}
			violations, _, err := run.Run(t.Context())
			if err == nil && len(violations) == 0 {
				t.Error("rule: the interleaving test finds this bug; it found nothing")
			}
		})
	}
}

// buggy is a driver with a bug in its requests or results.
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

// The rule: every attempt at a put stores its own version, also in this layout.
func TestAttemptsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	f := newFake(t, cut, cut, ok("{}"))
	d, err := newDriver("open", f.client(), "table", &Options{Layout: provider.LayoutAlien})
	if err != nil {
		t.Fatal(err)
	}
	req := put("key", kv.Condition{})
	req.Predecessors = "AAAA"
	out, err := d.Write(t.Context(), req)
	if err != nil || out.Version != kv.AttemptToken(token, 2) {
		t.Fatalf("the put: %+v, %v; want the version of the third attempt", out, err)
	}
	for n := range 3 {
		stored := f.call(n).body["Item"].(map[string]any)
		if got, want := fmt.Sprint(stored["version"]), fmt.Sprint(map[string]any{"S": kv.AttemptToken(token, n)}); got != want {
			t.Errorf("attempt %d stores the version %s; want %s", n, got, want)
		}
	}
}
