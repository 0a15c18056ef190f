package dynamokv

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// fuzzAttribute makes an attribute of one of the service's types.
func fuzzAttribute(kind uint8, value []byte) types.AttributeValue {
	switch kind % 8 {
	case 0:
		return text(string(value))
	case 1:
		return &types.AttributeValueMemberN{Value: string(value)}
	case 2:
		return &types.AttributeValueMemberB{Value: value}
	case 3:
		return &types.AttributeValueMemberNULL{Value: true}
	case 4:
		return &types.AttributeValueMemberBOOL{}
	case 5:
		return &types.AttributeValueMemberL{Value: []types.AttributeValue{text(string(value))}}
	case 6:
		return &types.AttributeValueMemberM{Value: item{attrToken: text(string(value))}}
	}
	return nil
}

// The rule: no item makes the decoder panic, and what is not skykv's is ErrIncompatible.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(0), []byte("key"), uint8(0), []byte("token"), uint8(1), []byte("1700000000000"), uint8(2), []byte("value"), uint8(31), uint8(0), []byte("earlier"))
	f.Add(uint8(0), []byte("key"), uint8(2), []byte("token"), uint8(1), []byte("-1"), uint8(0), []byte("value"), uint8(23), uint8(1), []byte("1"))
	l := newLayout(DefaultShards)
	f.Fuzz(func(t *testing.T, k uint8, key []byte, tk uint8, token []byte, xk uint8, x []byte, vk uint8, value []byte, present uint8, pk uint8, predecessors []byte) {
		it := make(item)
		for i, a := range []struct {
			name string
			attr types.AttributeValue
		}{
			{attrKey, fuzzAttribute(k, key)}, {attrToken, fuzzAttribute(tk, token)},
			{attrExpires, fuzzAttribute(xk, x)}, {attrValue, fuzzAttribute(vk, value)},
			{attrPredecessors, fuzzAttribute(pk, predecessors)},
		} {
			if present&(1<<i) != 0 {
				it[a.name] = a.attr
			}
		}
		name := l.keyOf(it)
		for _, withValue := range []bool{true, false} {
			rec, err := l.decode(name, it, withValue)
			if err != nil {
				if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != kv.ErrIncompatible {
					t.Fatalf("the error is %v; want ErrIncompatible", err)
				}
				continue
			}
			if rec.Key != name || rec.Token == "" || rec.Version == "" || rec.Expires < 0 {
				t.Fatalf("the record of %v is %+v", it, rec)
			}
			if want := it[attrPredecessors]; (want != nil || rec.Predecessors != "") && (pk%8 != 0 || rec.Predecessors != string(predecessors)) {
				t.Fatalf("the record of %v, whose predecessors are of kind %d, is %+v", it, pk%8, rec)
			}
			if tk%8 != 0 || rec.Token != string(token) || withValue && (vk%8 != 2 || string(rec.Value) != string(value)) {
				t.Fatalf("the record of %v, whose token is of kind %d and value of kind %d, is %+v", it, tk%8, vk%8, rec)
			}
		}
	})
}

// The rule: a record comes back as it was stored, under a key of its own in its shard.
func FuzzRecord(f *testing.F) {
	f.Add("key", "other", []byte("value"), int64(1), uint8(16), "")
	f.Add(".", "..", []byte{}, int64(0), uint8(1), "earlier:0123456789")
	f.Fuzz(func(t *testing.T, key, other string, value []byte, expires int64, shards uint8, predecessors string) {
		if kv.ValidateKey(key) != nil || kv.ValidateKey(other) != nil || expires < 0 || shards == 0 || value == nil {
			return
		}
		l := newLayout(int(shards))
		in := kv.Record{Key: key, Value: value, Expires: expires, Token: "token", Predecessors: predecessors}
		it := l.encode(in)
		out, err := l.decode(l.keyOf(it), it, true)
		if err != nil || out.Key != key || string(out.Value) != string(value) || out.Expires != expires || out.Token != "token" || out.Predecessors != predecessors {
			t.Fatalf("%+v came back as %+v, %v", in, out, err)
		}
		if it[attrShard] != l.primaryKey(key)[attrShard] || l.keyOf(l.primaryKey(key)) != key {
			t.Fatalf("the item of %q and its key are apart", key)
		}
		if (l.keyOf(l.primaryKey(other)) < l.keyOf(it)) != (other < key) {
			t.Fatalf("%q and %q are stored in another order", key, other)
		}
	})
}
