package firestorekv

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
)

// testNow is the time of a write.
const testNow = 1_700_000_000_000

// testToken has the length of a token.
var testToken = strings.Repeat("t", kv.TokenLen)

func testLayout(shards int) *layout {
	return newLayout(testProject, defaultDatabase, testCollection, shards)
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	l := testLayout(16)
	updated := &timestamppb.Timestamp{Seconds: 1_700_000_000, Nanos: 123_456_000}
	for _, rec := range []kv.Record{
		{Key: "a", Value: []byte{}, Token: testToken},
		{Key: "..", Value: []byte("\x00\xff"), Token: testToken, Expires: 1},
		{Key: "__x__", Value: make([]byte, kv.MaxValueLen), Token: testToken, Expires: kv.MaxExpiry.UnixMilli()},
		{Key: strings.Repeat("z", kv.MaxKeyLen), Value: []byte("v"), Token: testToken, Expires: time.Now().UnixMilli()},
		{Key: "p", Value: []byte("v"), Token: testToken, Predecessors: strings.Repeat("p", kv.MaxPredecessorsLen)},
	} {
		doc := l.encode(rec, testNow).Update
		if _, has := doc.GetFields()["p"]; has != (rec.Predecessors != "") {
			t.Errorf("rule: the predecessors are absent when there are none; the fields of %q are %v", rec.Key, doc.GetFields())
		}
		// Do as Firestore does: encode and decode the document, and add an update time.
		wire, err := proto.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		stored := &pb.Document{}
		if err := proto.Unmarshal(wire, stored); err != nil {
			t.Fatal(err)
		}
		stored.UpdateTime = updated
		got, err := l.scanned(stored, true)
		if err != nil {
			t.Errorf("%q: %v", rec.Key, err)
		}
		if got.Version != "1700000000123456" {
			t.Errorf("rule: the native version is the update time in microseconds; got %q", got.Version)
		}
		rec.Version = got.Version
		if got.Value == nil || !reflect.DeepEqual(got, rec) {
			t.Errorf("rule: a record comes back as it was stored; %+v became %+v", rec, got)
		}
	}
}

// TestDocumentIDs checks the rules for IDs of
// https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields.
func TestDocumentIDs(t *testing.T) {
	t.Parallel()
	keys := []string{"-", ".", "..", "__x__", "a", "user42::mail", "user42::profile", strings.Repeat("z", kv.MaxKeyLen)}
	for _, shards := range []int{1, 16, MaxShards} {
		l := testLayout(shards)
		last := make(map[string]string)
		for _, key := range keys {
			id := strings.TrimPrefix(l.docName(key), l.parent+"/"+testCollection+"/")
			if len(id) > 1500 || id == "." || id == ".." || strings.HasPrefix(id, "__") || strings.Contains(id, "/") {
				t.Errorf("rule: every key has a legal document ID; %q has %q", key, id)
			}
			if want := fmt.Sprintf("%02x%s", kv.Shard(key, shards), key); id != want {
				t.Errorf("rule: an ID is the shard of the key's group in two hexadecimal digits, and the key; that of %q with %d shards is %q, want %q", key, shards, id, want)
			}
			if id <= last[id[:2]] {
				t.Errorf("rule: the documents of a shard sort as their keys; %q comes before %q", id, last[id[:2]])
			}
			last[id[:2]] = id
		}
	}
	l := testLayout(1)
	all := kv.ScanRequest{From: "-", To: "~"}
	for _, id := range []string{layoutID, "00", "00ä", "a", "01a", "0"} {
		if names := namesOf(l.query(all)); names.take(l.parent + "/" + testCollection + "/" + id) {
			t.Errorf("rule: documents with other names are none of skykv's; %q is in the range of a scan", id)
		}
	}
	if l.docName("a") != testDatabase+"/documents/c/00a" {
		t.Errorf("the document of a is %q, not what the package comment says", l.docName("a"))
	}
}

// TestQueries: the query of a scan is for a range of keys in one shard.
func TestQueries(t *testing.T) {
	t.Parallel()
	l := testLayout(16)
	for shard := range 16 {
		q := l.query(kv.ScanRequest{Shard: shard, From: "user:", To: "user:~"})
		from, to := q.GetStartAt().GetValues()[0].GetReferenceValue(), q.GetEndAt().GetValues()[0].GetReferenceValue()
		want := fmt.Sprintf("%s/documents/c/%02xuser:", testDatabase, shard)
		if from != want || to != want+"~" || !q.GetStartAt().GetBefore() || q.GetEndAt().GetBefore() {
			t.Errorf("rule: a scan of shard %d is a range of its documents, ends included; it is %q to %q", shard, from, to)
		}
	}
}

func TestWrites(t *testing.T) {
	t.Parallel()
	l := testLayout(1)
	rec := kv.Record{Key: "a", Value: []byte("v"), Token: testToken}
	for _, w := range []kv.Write{
		{Kind: 0, Record: rec},
		{Kind: kv.KindTouch, Record: rec},
		{Kind: kv.KindTouch, Record: rec, Condition: kv.Condition{Kind: kv.CondAbsent}},
		{Kind: kv.KindTouch, Record: rec, Condition: kv.Condition{Kind: kv.CondLive}}, // the driver only reads: see touchesLive
		{Kind: kv.KindCheck, Record: rec},
		{Kind: kv.KindCheck, Record: rec, Condition: kv.Condition{Kind: kv.CondLive}},
		{Kind: kv.KindCheck + 1, Record: rec},
		{Kind: kv.KindPut, Record: rec, Condition: kv.Condition{Kind: kv.CondLive}},
		{Kind: kv.KindPut, Record: rec, Condition: kv.Condition{Kind: kv.CondLive + 1}},
		{Kind: kv.KindDelete, Record: rec, Condition: kv.Condition{Kind: kv.CondLive}},
	} {
		write, err := l.write(w, testNow)
		if e, ok := err.(*kv.Error); write != nil || !ok || e.Kind != kv.ErrUnsupported || e.MayHaveApplied {
			t.Errorf("rule: a kind of write or condition that is not known is ErrUnsupported; %s under %s: %v, %v", w.Kind, w.Condition.Kind, write, err)
		}
	}
}

// TestLayoutDocument has valid and invalid layout documents.
func TestLayoutDocument(t *testing.T) {
	t.Parallel()
	l := testLayout(16)
	fields := l.record().GetFields()
	if len(fields) != 2 || fields["format"].GetIntegerValue() != 2 || fields["shards"].GetIntegerValue() != 16 {
		t.Errorf("the layout document has %v, not what the package comment says", fields)
	}
	if shards, err := l.shardsOf(l.record()); shards != 16 || err != nil {
		t.Errorf("rule: a layout document has the number of shards; got %d, %v", shards, err)
	}
	integer := func(n int64) *pb.Value { return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: n}} }
	for says, fields := range map[string]map[string]*pb.Value{
		"is not a layout document of skykv":            {"name": {ValueType: &pb.Value_StringValue{StringValue: "theirs"}}},
		"format 1; this version of skykv knows format": {"format": integer(1)},
		"format 3; this version of skykv knows format": {"format": integer(3), "shards": integer(1)},
		`"shards" is 0; want 1 to 256`:                 {"format": integer(2)},
		`"shards" is 257; want 1 to 256`:               {"format": integer(2), "shards": integer(257)},
	} {
		if _, err := l.shardsOf(&pb.Document{Fields: fields}); !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), says) {
			t.Errorf("rule: another layout document is ErrIncompatible; %v: %v, want %q", fields, err, says)
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
		"predecessors, bytes": {"v": bytes("secret"), "t": text(testToken), "p": bytes("secret")},
		"predecessors, long":  {"v": bytes("secret"), "t": text(testToken), "p": text(strings.Repeat("p", kv.MaxPredecessorsLen+1))},
	} {
		rec, err := testLayout(1).decode("a", &pb.Document{Fields: fields}, true)
		if !errors.Is(err, kv.ErrIncompatible) || !reflect.DeepEqual(rec, kv.Record{Key: "a"}) {
			t.Errorf("rule: a document that skykv did not write is ErrIncompatible; %s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("rule: no message holds a value; %s: %v", name, err)
		}
	}
	if _, err := testLayout(1).decode("a", &pb.Document{Fields: map[string]*pb.Value{"t": text(testToken)}}, false); err != nil {
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
	for _, version := range []string{"x", "-1", "0", "01", "+1", "1.5", " 1", "99999999999999999999"} {
		for _, kind := range []kv.WriteKind{kv.KindPut, kv.KindDelete} {
			w := kv.Write{Kind: kind, Record: kv.Record{Key: "a", Token: testToken}, Condition: kv.Condition{Kind: kv.CondVersion, Version: version}}
			if _, err := testLayout(1).write(w, testNow); !errors.Is(err, kv.ErrInvalidVersion) {
				t.Errorf("rule: a malformed version is refused before any I/O; %q: %v", version, err)
			}
		}
	}
}
