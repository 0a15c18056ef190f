package dynamokv

import (
	"errors"
	"reflect"
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
