package dynamokv

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// Programs in production have stored these items. If this test must change, the layout
// record needs a new format.
func TestItemsAreOfFormat2(t *testing.T) {
	t.Parallel()
	l := newLayout(DefaultShards)
	for _, test := range []struct {
		rec  kv.Record
		want item
	}{
		{kv.Record{Key: "user:42", Value: []byte("v"), Token: token}, item{
			"pk": text("5"), "sk": text("user:42"), "v": &types.AttributeValueMemberB{Value: []byte("v")}, "t": text(token),
		}},
		{kv.Record{Key: ".", Value: []byte{}, Token: token, Expires: 1_700_000_000_000}, item{
			"pk": text("11"), "sk": text("."), "v": &types.AttributeValueMemberB{Value: []byte{}}, "t": text(token),
			"x": &types.AttributeValueMemberN{Value: "1700000000000"}, "ttl": &types.AttributeValueMemberN{Value: "1700003600"},
		}},
		{kv.Record{Key: "__x__", Value: []byte{0}, Token: token, Expires: 1_700_000_000_001}, item{
			"pk": text("14"), "sk": text("__x__"), "v": &types.AttributeValueMemberB{Value: []byte{0}}, "t": text(token),
			"x": &types.AttributeValueMemberN{Value: "1700000000001"}, "ttl": &types.AttributeValueMemberN{Value: "1700003601"},
		}},
		{kv.Record{Key: "user:42::mail", Value: []byte("v"), Token: token, Predecessors: "AAAA BBBB"}, item{
			"pk": text("5"), "sk": text("user:42::mail"), "v": &types.AttributeValueMemberB{Value: []byte("v")}, "t": text(token), "p": text("AAAA BBBB"),
		}},
	} {
		got := l.encode(test.rec)
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("the item of %q is %s; want %s", test.rec.Key, show(got), show(test.want))
		}
		want := test.rec
		want.Version = want.Token
		back, err := l.decode(l.keyOf(got), got, true)
		if err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("decode of the item of %q: %+v, %v; want %+v", test.rec.Key, back, err, want)
		}
		want.Value = nil
		back, err = l.decode(l.keyOf(got), got, false)
		if err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("decode without value of the item of %q: %+v, %v; want %+v", test.rec.Key, back, err, want)
		}
		if key := l.primaryKey(test.rec.Key); !reflect.DeepEqual(key, item{"pk": got["pk"], "sk": got["sk"]}) {
			t.Errorf("the primary key of %q is %s; want the key of its item, %s", test.rec.Key, show(key), show(got))
		}
	}
	want := item{
		"pk": text("layout"), "sk": text("skykv"),
		"format": &types.AttributeValueMemberN{Value: "2"}, "shards": &types.AttributeValueMemberN{Value: "16"},
	}
	if got := l.record(); !reflect.DeepEqual(got, want) {
		t.Errorf("the layout record is %s; want %s", show(got), show(want))
	}
}

func show(it item) map[string]any {
	m := make(map[string]any)
	for attr, v := range it {
		m[attr] = reflect.Indirect(reflect.ValueOf(v)).Field(0).Interface()
	}
	return m
}

func TestDecodeRefusesForeignItems(t *testing.T) {
	t.Parallel()
	l := newLayout(DefaultShards)
	for name, test := range map[string]struct {
		attr  string
		value types.AttributeValue
	}{
		"no token":               {"t", nil},
		"empty token":            {"t", text("")},
		"number as token":        {"t", number(1)},
		"no value":               {"v", nil},
		"text as value":          {"v", text("v")},
		"null as value":          {"v", &types.AttributeValueMemberNULL{Value: true}},
		"text as expiry":         {"x", text("1700000000000")},
		"fraction as expiry":     {"x", &types.AttributeValueMemberN{Value: "1.5"}},
		"expiry of zero":         {"x", number(0)},
		"negative expiry":        {"x", number(-1)},
		"huge expiry":            {"x", &types.AttributeValueMemberN{Value: "1e30"}},
		"number as predecessors": {"p", number(1)},
		"null as predecessors":   {"p", &types.AttributeValueMemberNULL{Value: true}},
	} {
		it := l.encode(kv.Record{Key: "key", Value: []byte("v"), Token: token, Expires: 5})
		if it[test.attr] = test.value; test.value == nil {
			delete(it, test.attr)
		}
		rec, err := l.decode("key", it, true)
		if !errors.Is(err, kv.ErrIncompatible) || !reflect.DeepEqual(rec, kv.Record{}) {
			t.Errorf("rule: an item with %s is ErrIncompatible; got %+v, %v", name, rec, err)
		}
		if _, err := l.decode("key", it, false); (err == nil) != (test.attr == "v") {
			t.Errorf("rule: without the value, an item with %s is read by its other attributes; got %v", name, err)
		}
	}
}

// sizeOf returns the size of an item by DynamoDB's rules, with the rounded-up size of its numbers:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
func sizeOf(it item) (size int) {
	for name, value := range it {
		size += len(name)
		switch v := value.(type) {
		case *types.AttributeValueMemberS:
			size += len(v.Value)
		case *types.AttributeValueMemberB:
			size += len(v.Value)
		case *types.AttributeValueMemberN:
			size += (len(v.Value)+1)/2 + 1
		}
	}
	return size
}

// The rule: an item has 30 bytes more than its key and value, 18 more with an expiry, and up to 184
// more for the writes that updates replaced. The package comment and docs/scale.md say so.
func TestSizeOfItems(t *testing.T) {
	t.Parallel()
	l := newLayout(DefaultShards)
	key := "user:42" // shards of one and of two digits differ by a byte
	for l.shard(key) < 10 {
		key += "."
	}
	const expires = 1_800_000_000_000
	names := strings.Repeat(token+" ", 7) + token // the name of a state is at most as long as a token
	for _, c := range []struct {
		rec  kv.Record
		more int
	}{
		{kv.Record{}, 30},
		{kv.Record{Expires: expires}, 30 + 18},
		{kv.Record{Predecessors: names}, 30 + 184},
	} {
		c.rec.Key, c.rec.Value, c.rec.Token = key, make([]byte, 970-len(key)), token
		got := sizeOf(l.encode(c.rec))
		if got != 970+c.more {
			t.Errorf("rule: an item has %d bytes more than key and value; with expiry %d and %d bytes of predecessors it has %d", c.more, c.rec.Expires, len(c.rec.Predecessors), got-970)
		}
		if c.rec.Predecessors == "" && got > 1024 {
			t.Errorf("rule: key and value of 970 bytes fit into one write unit; the item has %d bytes", got)
		}
	}
}
