package firestorekv

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
)

// The layout of what is stored; the package comment describes it for users.
const (
	// letter begins the ID of every record's document, the key follows. IDs such
	// as ".", ".." and "__x__", which Firestore refuses, are legal keys this way,
	// and the order of the IDs stays that of the keys.
	letter = "k"

	// layoutID is the ID of the layout document. It does not begin with letter, so
	// that no key and no scan meets it.
	layoutID    = "skykv-layout"
	formatField = "format"
	format      = 1

	valueField   = "v" // bytes
	expiresField = "x" // timestamp of whole milliseconds, left out without an expiry: the TTL policy's field
	tokenField   = "t" // string
)

var (
	// metadataMask selects everything but the value.
	metadataMask = &pb.DocumentMask{FieldPaths: []string{expiresField, tokenField}}

	// metadataFields is metadataMask for queries.
	metadataFields = &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{
		{FieldPath: expiresField}, {FieldPath: tokenField},
	}}
)

// docName is the resource name of the document under key.
func (d *driver) docName(key string) string { return d.prefix + key }

// keyOf is the key of a document, "" when its ID is none of a record's.
func (d *driver) keyOf(docName string) string {
	key, ok := strings.CutPrefix(docName, d.prefix)
	if !ok || kv.ValidateKey(key) != nil {
		return ""
	}
	return key
}

// encode makes the document of rec. It shares rec's value.
func (d *driver) encode(rec kv.Record) *pb.Document {
	fields := make(map[string]*pb.Value, 3)
	fields[valueField] = &pb.Value{ValueType: &pb.Value_BytesValue{BytesValue: rec.Value}}
	fields[tokenField] = &pb.Value{ValueType: &pb.Value_StringValue{StringValue: rec.Token}}
	if rec.Expires != 0 {
		fields[expiresField] = &pb.Value{ValueType: &pb.Value_TimestampValue{
			TimestampValue: timestamppb.New(time.UnixMilli(rec.Expires)),
		}}
	}
	return &pb.Document{Name: d.docName(rec.Key), Fields: fields}
}

// decode makes the record of key's document. Its value is the document's own.
func decode(key string, doc *pb.Document, withValue bool) (kv.Record, error) {
	rec := kv.Record{Key: key, Version: formatVersion(doc.GetUpdateTime())}
	token, ok := doc.GetFields()[tokenField].GetValueType().(*pb.Value_StringValue)
	if !ok || len(token.StringValue) != kv.TokenLen {
		return kv.Record{}, errForeign(tokenField)
	}
	rec.Token = token.StringValue
	if x, ok := doc.GetFields()[expiresField]; ok {
		at, ok := x.GetValueType().(*pb.Value_TimestampValue)
		if !ok {
			return kv.Record{}, errForeign(expiresField)
		}
		if rec.Expires = at.TimestampValue.AsTime().UnixMilli(); rec.Expires <= 0 {
			return kv.Record{}, errForeign(expiresField)
		}
	}
	if withValue {
		v, ok := doc.GetFields()[valueField].GetValueType().(*pb.Value_BytesValue)
		if !ok {
			return kv.Record{}, errForeign(valueField)
		}
		if rec.Value = v.BytesValue; rec.Value == nil {
			rec.Value = []byte{}
		}
	}
	return rec, nil
}

// errForeign is the error of a document that skykv did not write.
func errForeign(field string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("skykv did not write the document of this key: its field %q is missing or of another type", field)}
}

// formatVersion gives the native version of a document: its update time, which
// Firestore counts in microseconds, as a decimal number of them since the epoch.
// Nil gives nothing.
func formatVersion(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return strconv.FormatInt(t.GetSeconds()*1e6+int64(t.GetNanos())/1e3, 10)
}

// parseVersion gives the update time that formatVersion wrote.
func parseVersion(version string) (*timestamppb.Timestamp, error) {
	us, err := strconv.ParseInt(version, 10, 64)
	if err != nil || us <= 0 || strconv.FormatInt(us, 10) != version {
		return nil, &kv.Error{Kind: kv.ErrInvalidVersion, Err: fmt.Errorf("the native version %q is not an update time in microseconds", version)}
	}
	return &timestamppb.Timestamp{Seconds: us / 1e6, Nanos: int32(us % 1e6 * 1e3)}, nil
}
