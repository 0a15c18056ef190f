package dynamokv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
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

// The rule: no item makes the decoder panic. If the decoder refuses an item, the error is
// ErrIncompatible.
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
				t.Fatalf("the record of %v, whose predecessors have kind %d, is %+v", it, pk%8, rec)
			}
			if tk%8 != 0 || rec.Token != string(token) || withValue && (vk%8 != 2 || string(rec.Value) != string(value)) {
				t.Fatalf("the record of %v, whose token has kind %d and value kind %d, is %+v", it, tk%8, vk%8, rec)
			}
		}
	})
}

// The rule: no item of a shared table makes the decoder panic. If another program has
// written skykv's own attributes, they affect only the predecessors of the decoded record,
// and its expiry within one second.
func FuzzDecodeShared(f *testing.F) {
	f.Add(uint8(0), []byte(token), uint8(1), []byte("1700000000"), uint8(1), []byte("1699999999001"), uint8(0), []byte(token+" AAAA"))
	f.Add(uint8(0), []byte(token), uint8(1), []byte("-9223372036854775808"), uint8(1), []byte("9223372036854775807"), uint8(3), []byte(""))
	f.Add(uint8(0), []byte(token), uint8(1), []byte("-18000000000000000"), uint8(1), []byte("1"), uint8(3), []byte("")) // the milliseconds do not fit into 64 bits
	f.Fuzz(func(t *testing.T, vk uint8, version []byte, tk uint8, ttl []byte, xk uint8, x []byte, pk uint8, predecessors []byte) {
		it := item{"value": &types.AttributeValueMemberB{}}
		for name, attr := range map[string]types.AttributeValue{
			"version": fuzzAttribute(vk, version), "ttl": fuzzAttribute(tk, ttl), "skykv_x": fuzzAttribute(xk, x), "skykv_p": fuzzAttribute(pk, predecessors),
		} {
			if attr != nil {
				it[name] = attr
			}
		}
		rec, err := alienLayout.decode("key", it, true)
		delete(it, "skykv_x")
		delete(it, "skykv_p")
		plain, plainErr := alienLayout.decode("key", it, true)
		switch {
		case (err == nil) != (plainErr == nil):
			t.Fatalf("skykv's attributes decide whether an item can be read: %v, and without them %v", err, plainErr)
		case err != nil:
			if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != kv.ErrIncompatible {
				t.Fatalf("the error is %v; want ErrIncompatible", err)
			}
			return
		case plain.Predecessors != "" || plain.Expires < 0 || plain.Expires > kv.MaxExpiry.UnixMilli():
			t.Fatalf("the record is %+v", plain)
		case rec.Expires > plain.Expires || rec.Expires <= plain.Expires-1000 || (rec.Expires == 0) != (plain.Expires == 0):
			t.Fatalf("an item that expires at %d for others expires at %d for skykv", plain.Expires, rec.Expires)
		case rec.Token != plain.Token || rec.Version != plain.Version:
			t.Fatalf("the record is %+v; without skykv's attributes it is %+v", rec, plain)
		}
	})
}

// The rule: a record is stored under its own key in its shard, and a read returns it as
// it was stored.
func FuzzRecord(f *testing.F) {
	f.Add("key", "other", []byte("value"), int64(1), uint8(16), "")
	f.Add(".", "..", []byte{}, int64(0), uint8(1), "earlier:0123456789")
	f.Fuzz(func(t *testing.T, key, other string, value []byte, expires int64, shards uint8, predecessors string) {
		if kv.ValidateKey(key) != nil || kv.ValidateKey(other) != nil || expires < 0 || shards == 0 || value == nil {
			return
		}
		l := newLayout(int(shards))
		in := kv.Record{Key: key, Value: value, Expires: expires, Token: "token", Predecessors: predecessors}
		if expires <= kv.MaxExpiry.UnixMilli() {
			both := in
			both.Token = token
			it := alienLayout.encode(both)
			out, err := alienLayout.decode(alienLayout.keyOf(it), it, true)
			if both.Version = token; err != nil || !reflect.DeepEqual(out, both) {
				t.Fatalf("in layout alien, %+v was read as %+v, %v", both, out, err)
			}
		}
		it := l.encode(in)
		out, err := l.decode(l.keyOf(it), it, true)
		if err != nil || out.Key != key || string(out.Value) != string(value) || out.Expires != expires || out.Token != "token" || out.Predecessors != predecessors {
			t.Fatalf("%+v was read as %+v, %v", in, out, err)
		}
		if it[attrShard] != l.primaryKey(key)[attrShard] || l.keyOf(l.primaryKey(key)) != key {
			t.Fatalf("the item of %q and its primary key differ", key)
		}
		if (l.keyOf(l.primaryKey(other)) < l.keyOf(it)) != (other < key) {
			t.Fatalf("%q and %q are stored in another order", key, other)
		}
	})
}

// The rule: no response of the service causes a panic. Only a JSON object can mean
// success or the absence of an entry.
func FuzzAnswers(f *testing.F) {
	names := slices.Sorted(maps.Keys(storeCalls))
	names = append(names, slices.Sorted(maps.Keys(setUp))...)
	for _, body := range []string{
		"", " ", "null", "[]", "{}", "{}{}", `{"Item":null}`, `{"Item":{}}`, `{"Item":{"sk":null}}`, `{"Item":` + itemJSON("key", "value", token, 9) + `}`,
		`{"Items":null}`, `{"Items":[null]}`, `{"Items":[],"LastEvaluatedKey":{"pk":{"S":"1"},"sk":{"S":"key"}}}`, `{"Items":[],"LastEvaluatedKey":{"sk":null}}`,
		`{"Items":[` + itemJSON("key-2", "value", token, 0) + `,` + itemJSON("key-1", "value", token, 0) + `,` + itemJSON("key\\u001b", "value", token, 0) + `]}`,
		`{"Responses":null}`, `{"Responses":{"table":[null]}}`, `{"Responses":{"table":[]},"UnprocessedKeys":{"table":{"Keys":[null]}}}`,
		`{"UnprocessedItems":{"table":[{"PutRequest":null}]}}`, `{"UnprocessedItems":{"table":null}}`,
		`{"Table":null}`, `{"Table":{"TableStatus":"ACTIVE","KeySchema":[null]}}`, `{"Table":{"TableStatus":"CREATING","KeySchema":[{"AttributeName":"pk","KeyType":"HASH"},{"AttributeName":"sk","KeyType":"RANGE"}],"AttributeDefinitions":[{"AttributeName":"sk","AttributeType":"S"},{"AttributeName":"pk","AttributeType":"S"}]}}`,
		`{"TimeToLiveDescription":null}`, `{"TimeToLiveDescription":{"TimeToLiveStatus":"ENABLED"}}`, `{"TimeToLiveSpecification":null,"TableDescription":null}`,
		`{"__type":"ConditionalCheckFailedException","Item":null}`, `{"__type":"ConditionalCheckFailedException","Item":{"sk":{"S":"key"},"t":null}}`,
		`{"__type":"ThrottlingException"}`, `{"__type":"ResourceNotFoundException"}`, `{"__type":"TransactionConflictException"}`, `{"__type":null,"message":1}`, "\x1f\x8b\x08",
	} {
		status := uint16(200)
		if strings.Contains(body, "__type") {
			status = 400
		}
		for call := range names {
			f.Add(uint8(call), status, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, status uint16, body []byte) {
		what := names[int(n)%len(names)]
		client := dynamodb.New((&fake{url: "http://dynamodb.invalid"}).client().Options(), func(o *dynamodb.Options) {
			o.HTTPClient = httpClientFunc(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: int(status), Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, r.Context().Err()
			})
			o.Retryer = aws.NopRetryer{}
		})
		d, err := newDriver("open", client, "table", &Options{Shards: 1})
		if err != nil {
			t.Fatal(err)
		}
		var pauses atomic.Int64 // atomic because requests run in parallel
		d.pause = func(context.Context, int) error {
			if pauses.Add(1) > 20 {
				return errors.New("enough")
			}
			return nil
		}
		trimmed := bytes.Trim(body, " \t\r\n")
		object := len(trimmed) > 1 && trimmed[0] == '{' && trimmed[len(trimmed)-1] == '}'
		success := status >= 200 && status < 300
		call, stored := storeCalls[what]
		if !stored {
			_ = setUp[what](t.Context(), d)
			return
		}
		err = call.do(t.Context(), kv.New(d))
		switch {
		case success && !object && (!errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) != call.write):
			t.Errorf("rule: a body that is not a JSON object is not a response; %s returns %v", what, err)
		case err == nil && !success:
			t.Errorf("rule: the status %d is not a success; %s succeeds", status, what)
		case what == "Touch" && status == 400 && bytes.Contains(body, []byte("ConditionalCheckFailedException")):
			// A touch requires a live entry, so a failed condition may mean ErrNotFound.
		case errors.Is(err, kv.ErrNotFound) && !success:
			t.Errorf("rule: the status %d does not say that an entry is absent; %s returns that", status, what)
		}
	})
}
