package firestorekv

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// Names in the stored documents, which the package comment describes for users. Only
// this file has them.
const (
	valueField        = "v" // bytes
	expiryField       = "x" // timestamp of whole milliseconds, absent without an expiry
	tokenField        = "t" // string
	predecessorsField = "p" // string, absent when empty

	// layoutID is the ID of the layout document. It does not begin with two
	// hexadecimal digits, so that no key and no scan meets it.
	layoutID    = "skykv-layout"
	formatField = "format" // integer
	shardsField = "shards" // integer
	format      = 2
)

// layout stores the records of one collection in documents. It has their names and
// fields, and turns conditions and ranges of keys into Firestore's.
type layout struct {
	database   string // projects/P/databases/D
	parent     string // of the collection
	collection string
	prefixes   []string // of the documents' names in each shard
}

func newLayout(project, database, collection string, shards int) *layout {
	l := &layout{database: "projects/" + project + "/databases/" + database, collection: collection}
	l.parent = l.database + "/documents"
	for shard := range shards {
		l.prefixes = append(l.prefixes, fmt.Sprintf("%s/%s/%02x", l.parent, collection, shard))
	}
	return l
}

func (l *layout) shards() int { return len(l.prefixes) }

func (l *layout) shard(key string) int { return kv.Shard(key, len(l.prefixes)) }

func (l *layout) shardOfPrefix(prefix string) (int, bool) {
	return kv.ShardOfPrefix(prefix, len(l.prefixes))
}

// docName returns the resource name of key's document. The digits of the shard make
// every key a legal ID, also ".", ".." and "__x__".
func (l *layout) docName(key string) string { return l.prefixes[l.shard(key)] + key }

// metadata selects everything but the value, for reads and for queries.
var (
	metadataMask   = &pb.DocumentMask{FieldPaths: []string{expiryField, tokenField, predecessorsField}}
	noFieldMask    = &pb.DocumentMask{FieldPaths: []string{"none"}}
	metadataFields = &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{
		{FieldPath: expiryField}, {FieldPath: tokenField}, {FieldPath: predecessorsField},
	}}
)

// mask returns the fields that a read transfers, nil for all.
func (l *layout) mask(withValue bool) *pb.DocumentMask {
	if withValue {
		return nil
	}
	return metadataMask
}

// query returns the query for the documents of a scan, in ascending order of their
// names. It finds expired ones too: to leave them out would take an index on x, which
// costs more with every write than it saves here.
func (l *layout) query(req kv.ScanRequest) *pb.StructuredQuery {
	prefix := l.prefixes[req.Shard]
	return l.queryRange(prefix+req.From, prefix+req.To, req.WithValue)
}

// queryAll returns the query for the documents of all shards, without values. It also
// finds documents of no key.
func (l *layout) queryAll() *pb.StructuredQuery {
	return l.queryRange(l.prefixes[0], l.prefixes[len(l.prefixes)-1]+"\U0010ffff", false)
}

// queryRange returns the query for the documents from a name to another one.
func (l *layout) queryRange(from, to string, withValue bool) *pb.StructuredQuery {
	q := &pb.StructuredQuery{
		From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: l.collection}},
		OrderBy: []*pb.StructuredQuery_Order{{
			Field:     &pb.StructuredQuery_FieldReference{FieldPath: "__name__"},
			Direction: pb.StructuredQuery_ASCENDING,
		}},
		StartAt: &pb.Cursor{Values: reference(from), Before: true},
		EndAt:   &pb.Cursor{Values: reference(to)},
	}
	if !withValue {
		q.Select = metadataFields
	}
	return q
}

// startAfter makes a query begin after a document.
func startAfter(q *pb.StructuredQuery, docName string) {
	q.StartAt = &pb.Cursor{Values: reference(docName)}
}

func reference(docName string) []*pb.Value {
	return []*pb.Value{{ValueType: &pb.Value_ReferenceValue{ReferenceValue: docName}}}
}

// scanned returns the record of a document in the range of a query. The store
// checks whether the Key is one, and whether it belongs to the shard. An error is about
// the record with the Key.
func (l *layout) scanned(doc *pb.Document, withValue bool) (kv.Record, error) {
	return l.decode(l.keyOf(doc.GetName()), doc, withValue)
}

// keyOf returns the key of a document of the collection, which need not be a legal one.
func (l *layout) keyOf(docName string) string {
	return docName[min(len(l.prefixes[0]), len(docName)):]
}

// errOther is the error of an answer about the document got when asked was asked for.
// Firestore takes the number of a project in place of its ID, and names the ID in its
// answers. Queries from and to names with the number then find nothing.
func (l *layout) errOther(got, asked string) error {
	const before = "projects/"
	project, path, _ := strings.Cut(strings.TrimPrefix(got, before), "/")
	own, ownPath, _ := strings.Cut(strings.TrimPrefix(asked, before), "/")
	if project != own && path == ownPath && projectID.MatchString(project) {
		return &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the project %q is not an ID: Firestore calls the project %q; want the ID", own, project)}
	}
	return errOther
}

// decode returns the record of key's document, and shares the document's value. With an
// error, the record has only the Key.
func (l *layout) decode(key string, doc *pb.Document, withValue bool) (kv.Record, error) {
	rec := kv.Record{Key: key, Version: formatVersion(doc.GetUpdateTime())}
	fields := doc.GetFields()
	token, ok := fields[tokenField].GetValueType().(*pb.Value_StringValue)
	if !ok || len(token.StringValue) != kv.TokenLen {
		return kv.Record{Key: key}, errForeign(quoted(tokenField), fmt.Sprintf("a string of %d bytes", kv.TokenLen))
	}
	rec.Token = token.StringValue
	if x, ok := fields[expiryField]; ok {
		at, ok := x.GetValueType().(*pb.Value_TimestampValue)
		if ok {
			rec.Expires = at.TimestampValue.AsTime().UnixMilli()
		}
		if rec.Expires <= 0 {
			return kv.Record{Key: key}, errForeign(quoted(expiryField), "absent, or a timestamp after 1970 began")
		}
	}
	if p, ok := fields[predecessorsField]; ok {
		names, ok := p.GetValueType().(*pb.Value_StringValue)
		if !ok || len(names.StringValue) > kv.MaxPredecessorsLen {
			return kv.Record{Key: key}, errForeign(quoted(predecessorsField), fmt.Sprintf("absent, or a string of at most %d bytes", kv.MaxPredecessorsLen))
		}
		rec.Predecessors = names.StringValue
	}
	if withValue {
		v, ok := fields[valueField].GetValueType().(*pb.Value_BytesValue)
		if !ok {
			return kv.Record{Key: key}, errForeign(quoted(valueField), "bytes")
		}
		if rec.Value = v.BytesValue; rec.Value == nil {
			rec.Value = []byte{}
		}
	}
	return rec, nil
}

func quoted(field string) string { return fmt.Sprintf("field %q", field) }

// encoded is an update of a document and the fields that every record has, in one
// allocation.
type encoded struct {
	update       pb.Write_Update
	doc          pb.Document
	value, token pb.Value
	bytes        pb.Value_BytesValue
	text         pb.Value_StringValue
}

// encode returns the update that stores rec's document, which shares rec's value.
func (l *layout) encode(rec kv.Record) *pb.Write_Update {
	e := &encoded{bytes: pb.Value_BytesValue{BytesValue: rec.Value}, text: pb.Value_StringValue{StringValue: rec.Token}}
	e.value.ValueType, e.token.ValueType = &e.bytes, &e.text
	e.doc.Name = l.docName(rec.Key)
	e.doc.Fields = make(map[string]*pb.Value, 4)
	e.doc.Fields[valueField], e.doc.Fields[tokenField] = &e.value, &e.token
	if rec.Expires != 0 {
		e.doc.Fields[expiryField] = &pb.Value{ValueType: &pb.Value_TimestampValue{
			TimestampValue: timestamppb.New(time.UnixMilli(rec.Expires)),
		}}
	}
	if rec.Predecessors != "" {
		e.doc.Fields[predecessorsField] = &pb.Value{ValueType: &pb.Value_StringValue{StringValue: rec.Predecessors}}
	}
	e.update.Update = &e.doc
	return &e.update
}

// write returns the request for w. It returns ErrUnsupported for an unknown kind of
// write or condition, and ErrInvalidVersion for a version that is not Firestore's.
func (l *layout) write(w kv.Write) (*pb.Write, error) {
	var write pb.Write
	switch w.Kind {
	case kv.KindPut:
		write.Operation = l.encode(w.Record)
	case kv.KindTouch:
		update := l.encode(w.Record)
		delete(update.Update.Fields, valueField) // what the mask names and the document lacks is removed
		write.Operation, write.UpdateMask = update, metadataMask
	case kv.KindDelete:
		write.Operation = &pb.Write_Delete{Delete: l.docName(w.Key)}
	case kv.KindCheck:
		// The removal of a field that no document has: it changes nothing, the update time
		// included. Where there must be no document, nothing is deleted.
		write.Operation = &pb.Write_Update{Update: &pb.Document{Name: l.docName(w.Key)}}
		write.UpdateMask = noFieldMask
		if w.Condition.Kind == kv.CondAbsent {
			write.Operation, write.UpdateMask = &pb.Write_Delete{Delete: l.docName(w.Key)}, nil
		}
	default:
		return nil, kv.UnsupportedWrite(w)
	}
	switch {
	case w.Condition.Kind == kv.CondNone && (w.Kind == kv.KindPut || w.Kind == kv.KindDelete):
	case w.Condition.Kind == kv.CondAbsent && w.Kind != kv.KindTouch: // fails for an expired record too, which the store then replaces by its version
		write.CurrentDocument = notExists
	case w.Condition.Kind == kv.CondVersion:
		at, err := parseVersion(w.Condition.Version)
		if err != nil {
			return nil, err
		}
		write.CurrentDocument = &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: at}}
	default:
		return nil, kv.UnsupportedWrite(w)
	}
	return &write, nil
}

// touchesLive reports whether w is a touch of whatever is under its key and has not
// expired. Firestore has no such condition: the store judges what the driver reads, and
// touches it under its version.
func touchesLive(w kv.Write) bool {
	return w.Kind == kv.KindTouch && w.Condition.Kind == kv.CondLive
}

var notExists = &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}}

// formatVersion returns the native version of a document: its update time in
// microseconds since the epoch, which is Firestore's precision. For nil it returns "".
func formatVersion(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return strconv.FormatInt(t.GetSeconds()*1e6+int64(t.GetNanos())/1e3, 10)
}

// validVersion reports whether an update time can be a document's.
func validVersion(t *timestamppb.Timestamp) bool {
	return t.CheckValid() == nil && (t.GetSeconds() > 0 || t.GetSeconds() == 0 && t.GetNanos() >= 1e3)
}

// parseVersion returns the update time of a native version.
func parseVersion(version string) (*timestamppb.Timestamp, error) {
	us, err := strconv.ParseInt(version, 10, 64)
	if err != nil || us <= 0 || strconv.FormatInt(us, 10) != version {
		return nil, &kv.Error{Kind: kv.ErrInvalidVersion, Err: fmt.Errorf("the native version is %q; want an update time in microseconds", version)}
	}
	return &timestamppb.Timestamp{Seconds: us / 1e6, Nanos: int32(us % 1e6 * 1e3)}, nil
}

// fields returns the names of the fields, which have no indexes. The first has the TTL
// policy.
func (l *layout) fields() []string {
	return []string{expiryField, valueField, tokenField, predecessorsField}
}

// fieldName returns the resource name of a field's settings.
func (l *layout) fieldName(field string) string {
	return l.database + "/collectionGroups/" + l.collection + "/fields/" + field
}

// recordName returns the resource name of the layout document.
func (l *layout) recordName() string { return l.parent + "/" + l.collection + "/" + layoutID }

// record returns the layout document.
func (l *layout) record() *pb.Document {
	integer := func(n int) *pb.Value { return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: int64(n)}} }
	return &pb.Document{Name: l.recordName(), Fields: map[string]*pb.Value{
		formatField: integer(format), shardsField: integer(l.shards()),
	}}
}

// shardsOf returns the number of shards in a layout document. It returns
// ErrIncompatible for a document of another format.
func (l *layout) shardsOf(doc *pb.Document) (int, error) {
	found, ok := doc.GetFields()[formatField].GetValueType().(*pb.Value_IntegerValue)
	if !ok {
		return 0, errIncompatible("skykv did not write the document %q of collection %q", layoutID, l.collection)
	}
	if found.IntegerValue != format {
		return 0, errIncompatible("collection %q has format %d; this version of skykv knows format %d", l.collection, found.IntegerValue, format)
	}
	shards := doc.GetFields()[shardsField].GetIntegerValue()
	if shards < 1 || shards > MaxShards {
		return 0, errIncompatible("the document %q of collection %q is damaged: its field %q is %d; want 1 to %d", layoutID, l.collection, shardsField, shards, MaxShards)
	}
	return int(shards), nil
}

// checkLayout compares the collection's layout document with the driver's layout, and
// creates it if there is none.
func (d *driver) checkLayout(ctx context.Context) error {
	shards, err := d.readLayout(ctx)
	if err == nil && shards == 0 {
		if shards, err = d.createLayout(ctx); err == nil && shards == 0 { // another opener was faster
			shards, err = d.readLayout(ctx)
		}
	}
	switch {
	case err != nil:
		return err
	case shards == 0:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the document %q of collection %q vanished", layoutID, d.layout.collection)}
	case shards != d.layout.shards():
		return errIncompatible("collection %q has shards=%d; the options or the URL say %d", d.layout.collection, shards, d.layout.shards())
	}
	return nil
}

// readLayout returns the number of shards of the collection. It returns 0 without a
// layout document.
func (d *driver) readLayout(ctx context.Context) (shards int, err error) {
	a := d.watch(ctx, attempt.One, nil)
	defer a.end()
	doc, err := d.read(a, d.layout.recordName(), nil)
	switch {
	case err != nil:
		e := a.failRead(err)
		if code(err) == codes.InvalidArgument {
			e.Kind = kv.ErrInvalidOption // the ID of the project or of the database
		}
		return 0, e
	case doc == nil:
		return 0, nil
	}
	return d.layout.shardsOf(doc)
}

// createLayout creates the layout document, and returns its number of shards. It
// returns 0 when there is a layout document already.
func (d *driver) createLayout(ctx context.Context) (shards int, err error) {
	a := d.watch(ctx, attempt.One, nil)
	defer a.end()
	_, err = d.commit(a, &pb.Write{Operation: &pb.Write_Update{Update: d.layout.record()}, CurrentDocument: notExists})
	switch {
	case err == nil:
		return d.layout.shards(), nil
	case conditionFailed(notExists, err):
		return 0, nil
	}
	return 0, a.failRead(err) // not failWrite: opening the store is no write to its caller
}
