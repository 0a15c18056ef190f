package firestorekv

import (
	"errors"
	"reflect"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"github.com/skykv/skykv/kv"
)

// The rule: no document makes the decoder panic, and what is not skykv's is
// ErrIncompatible. The input is a document as it comes from the wire.
func FuzzDecode(f *testing.F) {
	l := testLayout(1)
	for _, rec := range []kv.Record{
		{Key: "key", Value: []byte("value"), Token: testToken, Predecessors: "p"},
		{Key: "..", Value: []byte{}, Token: testToken, Expires: 1_700_000_000_000},
		{Key: "__x__", Value: []byte("value"), Token: "short"},
		{Key: "key", Value: []byte("value"), Token: testToken, Expires: -1},
	} {
		wire, err := proto.Marshal(l.encode(rec))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var doc pb.Document
		if proto.Unmarshal(wire, &doc) != nil {
			return
		}
		for _, withValue := range []bool{true, false} {
			found, foundErr := l.scanned(0, &doc, withValue)
			if (found.Key != "") != (foundErr != nil || found.Token != "") || found.Key != "" && l.docName(found.Key) != doc.GetName() {
				t.Fatalf("a scan takes document %q for %+v, %v", doc.GetName(), found, foundErr)
			}
			key := found.Key // as a read has it, which does not look at the name
			if key == "" {
				key = "key"
			}
			rec, err := l.decode(key, &doc, withValue)
			if found.Key != "" && (!reflect.DeepEqual(found, rec) || (foundErr == nil) != (err == nil)) {
				t.Fatalf("a scan finds %+v, %v; a read %+v, %v", found, foundErr, rec, err)
			}
			if err != nil {
				if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != kv.ErrIncompatible {
					t.Fatalf("the error is %v; want ErrIncompatible", err)
				}
				continue
			}
			if rec.Key != key || len(rec.Token) != kv.TokenLen || rec.Expires < 0 || len(rec.Predecessors) > kv.MaxPredecessorsLen || withValue && rec.Value == nil {
				t.Fatalf("the record is %+v", rec)
			}
		}
	})
}

// The rule: documents are named by their keys, one to one, and in the same order in a shard; a name
// of another collection or of no legal key is none; and a record comes back as it was.
func FuzzRecord(f *testing.F) {
	f.Add("key", "other", []byte("value"), int64(1_700_000_000_000))
	f.Add(".", "..", []byte{}, int64(0))
	f.Add("a/b", "projects/p", []byte{}, int64(0))
	l := testLayout(3)
	f.Fuzz(func(t *testing.T, key, other string, value []byte, expires int64) {
		shard := l.shard(key)
		if kv.ValidateKey(key) != nil {
			if got, _ := l.scanned(shard, &pb.Document{Name: l.docName(key)}, true); got.Key != "" {
				t.Fatalf("the document of %q, which is no key, has the key %q", key, got.Key)
			}
			return
		}
		if kv.ValidateKey(other) == nil && l.shard(other) == shard && (l.docName(key) < l.docName(other)) != (key < other) {
			t.Fatalf("%q and %q of one shard are stored in another order", key, other)
		}
		if expires < 0 || expires > kv.MaxExpiry.UnixMilli() || value == nil {
			return
		}
		in := kv.Record{Key: key, Value: value, Expires: expires, Token: testToken}
		out, err := l.scanned(shard, l.encode(in), true)
		if err != nil || out.Key != key || string(out.Value) != string(value) || out.Expires != expires || out.Token != in.Token {
			t.Fatalf("%+v came back as %+v, %v", in, out, err)
		}
	})
}

// The rule: a native version has one text, which is read back as the update time.
func FuzzVersion(f *testing.F) {
	f.Add("1700000000000000")
	f.Add("-1")
	f.Add("+1")
	f.Fuzz(func(t *testing.T, version string) {
		at, err := parseVersion(version)
		if err != nil {
			return
		}
		if got := formatVersion(at); got != version {
			t.Fatalf("version %q came back as %q", version, got)
		}
	})
}
