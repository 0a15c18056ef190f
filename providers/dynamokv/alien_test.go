package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"reflect"
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

const hexVersion = "0123456789abcdef0123456789abcdef" // a version of the Alien platform

func TestConformanceInLayoutAlien(t *testing.T) {
	t.Parallel()
	conformance.Run(t, suite(t, &Options{Layout: provider.LayoutAlien}))
}

// Programs of the Alien platform read these items, so the form of the items must not change.
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
		// The predecessors are also valid if another attempt at the same write wrote the version.
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

// The rule: skykv_x is valid only while ttl is as skykv wrote it, and skykv_p only while
// version is.
func TestOwnAttributesCountWhileTheyAgree(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change       item // to an item that skykv wrote; nil removes an attribute
		expires      int64
		predecessors string
	}{
		"as it was written":                           {nil, 1_700_000_000_001, "AAAA"},
		"another ttl":                                 {item{"ttl": number(1700000002)}, 1_700_000_002_000, "AAAA"},
		"an earlier ttl":                              {item{"ttl": number(1700000000)}, 1_700_000_000_000, "AAAA"},
		"a ttl long ago":                              {item{"ttl": number(-5)}, 1, "AAAA"},
		"a ttl in milliseconds below 64 bits":         {item{"ttl": number(-18e15)}, 1, "AAAA"},
		"a ttl beyond every instant":                  {item{"ttl": number(1 << 62)}, kv.MaxExpiry.Unix() * 1000, "AAAA"},
		"no ttl":                                      {item{"ttl": nil}, 0, "AAAA"},
		"no exact instant":                            {item{"skykv_x": nil}, 1_700_000_001_000, "AAAA"},
		"an exact instant of another type":            {item{"skykv_x": text("1700000000001")}, 1_700_000_001_000, "AAAA"},
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

// The rule: no condition of the service treats a live item as expired, or an expired item
// as live, and the filter of scans leaves out no live item. This is true for an item with
// skykv's exact expiry, and for an item of another program, which has only a ttl.
func TestConditionsOfLayoutAlienAreCautious(t *testing.T) {
	t.Parallel()
	const second = 1_700_000_000
	for exact := int64(second*1000 - 1999); exact <= second*1000; exact++ {
		ttl := seconds(exact)
		for _, now := range []int64{exact - 1001, exact - 1000, exact - 999, exact - 1, exact, exact + 1, ttl*1000 - 1, ttl * 1000, ttl*1000 + 1, exact + 2000} {
			expired, live := alienLayout.expired(now)
			isExpired := now >= exact // an item of another program is the case exact == ttl*1000
			if ttl <= expired && !isExpired {
				t.Fatalf("an item that expires at %d is replaced at %d", exact, now)
			}
			if ttl > live && isExpired {
				t.Fatalf("an item that expires at %d is touched at %d", exact, now)
			}
			if !(ttl > expired) && !isExpired { // the filter of scans
				t.Fatalf("an item that expires at %d is left out of a scan at %d", exact, now)
			}
			if expired, _ := alienLayout.expired(now); (ttl <= expired) != (now >= ttl*1000) {
				t.Fatalf("an item of another program that expires at %d is judged wrongly at %d", ttl, now)
			}
		}
	}
}

// theirs returns a program of the Alien platform that uses the table, with its own
// client.
func theirs(t *testing.T, table string, now func() time.Time) *reference.DynamoDB {
	client := dynamodb.New(local(t).Options(), func(o *dynamodb.Options) { o.APIOptions = nil })
	return &reference.DynamoDB{Client: client, Table: table, Bucket: alien.Bucket, Now: now}
}

// bothSides returns skykv's store over a new table, and a program of the Alien platform
// that uses the same table.
func bothSides(t *testing.T, now func() time.Time) (*kv.Store, reference.Store) {
	client := local(t)
	table := newTable(t, client)
	opts := &Options{Layout: provider.LayoutAlien}
	if err := EnsureWith(t.Context(), client, table, opts); err != nil {
		t.Fatal(err)
	}
	store, err := New(t.Context(), client, table, opts)
	if err != nil {
		t.Fatal(err)
	}
	return store, theirs(t, table, now)
}

// inOwnShards returns a store with a bug, over the table that run uses: the store reads and
// writes keys in the shards of skykv's own layout.
func inOwnShards(t *testing.T, run reference.Interleaving) *kv.Store {
	d, err := newDriver("open", local(t), run.Theirs.(*reference.DynamoDB).Table, &Options{Layout: provider.LayoutAlien})
	if err != nil {
		t.Fatal(err)
	}
	wrong := *d.layout
	wrong.shard = newLayout(alien.Buckets).shard
	d.layout, d.info.Shard = &wrong, wrong.shard
	return kv.New(d)
}

// The rule: each side reads the other's writes, and accepts the other's versions.
func TestBothSidesSeeEachOther(t *testing.T) {
	t.Parallel()
	reference.SeeEachOther(t, bothSides)
}

// The rule: if the response to an update is lost and the program of the Alien platform writes
// next, the update returns ErrIndeterminate, because that write removes the predecessors. If
// skykv writes next, the result of the update is known.
func TestTheirWritesRemovePredecessors(t *testing.T) {
	t.Parallel()
	reference.RemovePredecessors(t, bothSides)
}

// The rule: if two programs open an empty table with different layouts, only one
// succeeds. A table with items in one layout cannot be opened with the other.
func TestLayoutsAreNeverMixed(t *testing.T) {
	t.Parallel()
	client := local(t)
	reference.Tables{
		New: func(t *testing.T) string {
			table := newTable(t, client)
			d, err := newDriver("open", client, table, nil)
			if err == nil {
				_, err = d.ensureTable(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			return table
		},
		Count: func(t *testing.T, table string) int { return countItems(t, client, table) },
		PlantForeign: func(t *testing.T, table string) {
			if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item{"pk": text("bucket_1"), "sk": text("user:42"), "version": text(hexVersion)}}); err != nil {
				t.Fatal(err)
			}
		},
		Open: func(ctx context.Context, table string, layout provider.Layout) (*kv.Store, error) {
			return New(ctx, client, table, &Options{Layout: layout})
		},
		Ensure: func(ctx context.Context, table string, layout provider.Layout) error {
			return EnsureWith(ctx, client, table, &Options{Layout: layout})
		},
		Theirs: func(t *testing.T, table string) reference.Store { return theirs(t, table, time.Now) },
	}.NeverMixed(t)
}

// countItems counts the items of a table, including the layout record.
func countItems(t *testing.T, client *dynamodb.Client, table string) int {
	out, err := client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Items)
}

// The rule: the results of both sides on the same keys agree with a model. In the model, an
// entry has two expiries: one for skykv, and one for the other program.
func TestInterleaving(t *testing.T) {
	t.Parallel()
	reference.Interleave(t, bothSides)
}

// The rule: TestInterleaving finds bugs of a driver.
func TestInterleavingFindsBugs(t *testing.T) {
	t.Parallel()
	reference.FindBugs(t, bothSides, inOwnShards)
}

// The rule: every attempt at a put stores its own version, even in this layout.
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
