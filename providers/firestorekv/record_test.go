package firestorekv

import (
	"errors"
	"strings"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
)

// testToken has the length of a token.
var testToken = strings.Repeat("t", kv.TokenLen)

func testDriver() *driver { return newDriver(nil, testProject, testCollection, Options{}) }

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	d := testDriver()
	updated := &timestamppb.Timestamp{Seconds: 1_700_000_000, Nanos: 123_456_000}
	for _, rec := range []kv.Record{
		{Key: "a", Value: []byte{}, Token: testToken},
		{Key: "..", Value: []byte("\x00\xff"), Token: testToken, Expires: 1},
		{Key: "__x__", Value: make([]byte, kv.MaxValueLen), Token: testToken, Expires: kv.MaxExpiry.UnixMilli()},
		{Key: strings.Repeat("z", kv.MaxKeyLen), Value: []byte("v"), Token: testToken, Expires: time.Now().UnixMilli()},
	} {
		doc := d.encode(rec)
		// What Firestore does to it: over the wire, with an update time.
		wire, err := proto.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		stored := &pb.Document{}
		if err := proto.Unmarshal(wire, stored); err != nil {
			t.Fatal(err)
		}
		stored.UpdateTime = updated
		if got := d.keyOf(stored.GetName()); got != rec.Key {
			t.Errorf("key %q becomes %q", rec.Key, got)
		}
		got, err := decode(rec.Key, stored, true)
		if err != nil {
			t.Errorf("%q: %v", rec.Key, err)
		}
		if got.Value == nil || string(got.Value) != string(rec.Value) || got.Expires != rec.Expires || got.Token != rec.Token {
			t.Errorf("%q: expiry %d, %d bytes, token %q; want %d, %d, %q", rec.Key, got.Expires, len(got.Value), got.Token, rec.Expires, len(rec.Value), rec.Token)
		}
		if got.Version != "1700000000123456" {
			t.Errorf("rule: the native version is the update time in microseconds; got %q", got.Version)
		}
	}
}

// TestDocumentIDs checks the rules for IDs of
// https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields.
func TestDocumentIDs(t *testing.T) {
	t.Parallel()
	d := testDriver()
	last := ""
	for _, key := range []string{"-", ".", "..", "__x__", "a", strings.Repeat("z", kv.MaxKeyLen)} {
		docName := d.docName(key)
		id := docName[strings.LastIndexByte(docName, '/')+1:]
		if len(id) > 1500 || id == "." || id == ".." || strings.HasPrefix(id, "__") {
			t.Errorf("rule: every key has a legal document ID; %q has %q", key, id)
		}
		if docName <= last {
			t.Errorf("rule: documents sort as their keys; %q comes before %q", docName, last)
		}
		last = docName
	}
	for _, id := range []string{layoutID, "k", "kä", "k b", "a", "l", "k" + strings.Repeat("z", kv.MaxKeyLen+1)} {
		if key := d.keyOf(d.parent + "/c/" + id); key != "" {
			t.Errorf("document %q is taken for key %q", id, key)
		}
	}
}

func TestDecodeForeign(t *testing.T) {
	t.Parallel()
	text := func(s string) *pb.Value { return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}} }
	bytes := func(s string) *pb.Value { return &pb.Value{ValueType: &pb.Value_BytesValue{BytesValue: []byte(s)}} }
	at := func(ms int64) *pb.Value {
		return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(time.UnixMilli(ms))}}
	}
	for name, fields := range map[string]map[string]*pb.Value{
		"no fields":           nil,
		"other fields":        {"name": text("x")},
		"no token":            {"v": bytes("secret")},
		"token of bytes":      {"v": bytes("secret"), "t": bytes(testToken)},
		"short token":         {"v": bytes("secret"), "t": text("t")},
		"no value":            {"t": text(testToken)},
		"value of text":       {"v": text("secret"), "t": text(testToken)},
		"expiry of text":      {"v": bytes("secret"), "t": text(testToken), "x": text("secret")},
		"expiry before epoch": {"v": bytes("secret"), "t": text(testToken), "x": at(-1)},
		"empty value field":   {"v": {}, "t": text(testToken)},
	} {
		rec, err := decode("a", &pb.Document{Fields: fields}, true)
		if !errors.Is(err, kv.ErrIncompatible) || rec.Key != "" {
			t.Errorf("rule: a document that skykv did not write is ErrIncompatible; %s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("rule: no message holds a value; %s: %v", name, err)
		}
	}
	if _, err := decode("a", &pb.Document{Fields: map[string]*pb.Value{"t": text(testToken)}}, false); err != nil {
		t.Errorf("rule: without the value, it is not missed; got %v", err)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for _, at := range []*timestamppb.Timestamp{{Seconds: 1}, {Nanos: 1000}, {Seconds: 1_700_000_000, Nanos: 999_999_000}} {
		got, err := parseVersion(formatVersion(at))
		if err != nil || !proto.Equal(got, at) {
			t.Errorf("%v becomes %v, %v", at, got, err)
		}
	}
	d := driverAt(t, nobody)
	for _, version := range []string{"x", "-1", "0", "01", "+1", "1.5", " 1", "99999999999999999999"} {
		for _, write := range []func() error{
			func() error {
				_, err := d.Put(t.Context(), kv.Record{Key: "a", Token: testToken}, kv.Condition{Version: version})
				return err
			},
			func() error {
				_, err := d.Delete(t.Context(), "a", kv.Condition{Version: version})
				return err
			},
		} {
			if err := write(); !errors.Is(err, kv.ErrInvalidVersion) {
				t.Errorf("rule: a malformed version is refused before any I/O; %q: %v", version, err)
			}
		}
	}
}
