package firestorekv

import (
	"errors"
	"reflect"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"github.com/skykv/skykv/kv"
)

// The rule: no document makes the decoder panic. For a document that skykv did not write,
// the error is ErrIncompatible. The input is an encoded document.
func FuzzDecode(f *testing.F) {
	l := testLayout(1)
	for _, rec := range []kv.Record{
		{Key: "key", Value: []byte("value"), Token: testToken, Predecessors: "p"},
		{Key: "..", Value: []byte{}, Token: testToken, Expires: 1_700_000_000_000},
		{Key: "__x__", Value: []byte("value"), Token: "short"},
		{Key: "key", Value: []byte("value"), Token: testToken, Expires: -1},
	} {
		wire, err := proto.Marshal(l.encode(rec, testNow).Update)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	for _, doc := range falseDocuments {
		wire, err := proto.Marshal(doc)
		if err != nil {
			f.Fatal(err)
		}
		if len(wire) < 1<<20 { // the fuzzing engine copies whole inputs, so large ones would be slow
			f.Add(wire)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		var doc pb.Document
		if proto.Unmarshal(wire, &doc) != nil {
			return
		}
		key := "key" // a read of one key does not use the document's name
		for _, withValue := range []bool{true, false} {
			if names := namesOf(l.query(kv.ScanRequest{From: "-", To: "~"})); names.take(doc.GetName()) {
				found, _ := l.scanned(&doc, withValue)
				if key = found.Key; l.docName(key) != doc.GetName() {
					t.Fatalf("a scan takes document %q for key %q", doc.GetName(), key)
				}
			}
			rec, err := l.decode(key, &doc, withValue)
			if err != nil {
				if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != kv.ErrIncompatible {
					t.Fatalf("the error is %v; want ErrIncompatible", err)
				}
				continue
			}
			if rec.Key != key || len(rec.Token) != kv.TokenLen || rec.Expires < 0 || len(rec.Predecessors) > kv.MaxPredecessorsLen || withValue && rec.Value == nil {
				t.Fatalf("the record is %+v", rec)
			}
			if validVersion(doc.GetUpdateTime()) {
				if _, err := parseVersion(rec.Version); err != nil {
					t.Fatalf("a version that is taken for valid is not: %v", err)
				}
			}
		}
	})
}

// The rule: no document of a shared collection makes the decoder panic. If another program has
// written skykv's own fields, they affect only the token and the predecessors of the decoded
// record.
func FuzzDecodeShared(f *testing.F) {
	l := testAlienLayout()
	for _, rec := range []kv.Record{
		{Key: "key", Value: []byte("value"), Token: testToken, Predecessors: "p"},
		{Key: "...", Value: []byte{}, Token: "short", Predecessors: "p", Expires: testNow},
		{Key: layoutID, Value: []byte("value"), Token: testToken, Expires: -1},
	} {
		wire, err := proto.Marshal(l.encode(rec, testNow).Update)
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
		rec, err := l.decode("key", &doc, true)
		delete(doc.Fields, "skykv_t")
		delete(doc.Fields, "skykv_p")
		plain, plainErr := l.decode("key", &doc, true)
		switch {
		case (err == nil) != (plainErr == nil) || (err == nil) != isAlien(&doc):
			t.Fatalf("skykv's fields decide whether a document can be read: %v, and without them %v", err, plainErr)
		case err != nil:
			if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != kv.ErrIncompatible {
				t.Fatalf("the error is %v; want ErrIncompatible", err)
			}
			return
		case plain.Token != "" || plain.Predecessors != "" || plain.Value == nil || plain.Expires < 0 || plain.Expires > kv.MaxExpiry.UnixMilli():
			t.Fatalf("the record is %+v", plain)
		case rec.Token != "" && len(rec.Token) != kv.TokenLen || rec.Token == "" && rec.Predecessors != "" || len(rec.Predecessors) > kv.MaxPredecessorsLen:
			t.Fatalf("the record is %+v", rec)
		}
		rec.Token, rec.Predecessors = "", ""
		if !reflect.DeepEqual(rec, plain) {
			t.Fatalf("the record is %+v; without skykv's fields it is %+v", rec, plain)
		}
	})
}

// The rule: every key has its own document name, and in a shard the names are in the order
// of the keys. A read returns a record as it was stored.
func FuzzRecord(f *testing.F) {
	f.Add("key", "other", []byte("value"), int64(1_700_000_000_000))
	f.Add(".", "..", []byte{}, int64(0))
	f.Add("a/b", "projects/p", []byte{}, int64(0))
	f.Add("a.", "a", []byte("\xfb\xff"), int64(1))
	f.Fuzz(func(t *testing.T, key, other string, value []byte, expires int64) {
		for _, l := range []*layout{testLayout(3), testAlienLayout()} {
			checkRecord(t, l, key, other, value, expires)
		}
	})
}

func checkRecord(t *testing.T, l *layout, key, other string, value []byte, expires int64) {
	shard := l.shard(key)
	if kv.ValidateKey(key) != nil {
		return
	}
	if kv.ValidateKey(other) == nil && l.shard(other) == shard && (l.docName(key) < l.docName(other)) != (key < other) {
		t.Fatalf("%q and %q of one shard are stored in another order", key, other)
	}
	if expires < 0 || expires > kv.MaxExpiry.UnixMilli() || value == nil {
		return
	}
	in := kv.Record{Key: key, Value: value, Expires: expires, Token: testToken}
	out, err := l.scanned(l.encode(in, testNow).Update, true)
	if err != nil || out.Key != key || string(out.Value) != string(value) || out.Expires != expires || out.Token != in.Token {
		t.Fatalf("%+v came back as %+v, %v", in, out, err)
	}
}

// The rule: a text that can be parsed as a native version is the only text of its update time.
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
