package firestorekv

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// The names in the documents of skykv's own layout. doc.go describes them.
const (
	valueField        = "v" // bytes
	expiryField       = "x" // timestamp of whole milliseconds, absent without an expiry
	tokenField        = "t" // string
	predecessorsField = "p" // string, absent when empty

	// layoutID is the ID of the layout document. It does not begin with two hexadecimal
	// digits, so it is not the ID of a key, and scans do not find it.
	layoutID    = "skykv-layout"
	formatField = "format" // integer
	shardsField = "shards" // integer
	format      = 2
)

// layout says how records are stored in a collection: the names and fields of documents, the
// preconditions, the queries and the layout document. doc.go describes both layouts. Little
// else in the driver depends on their details.
type layout struct {
	name   provider.Layout
	driver string // the driver's name; each layout has its own, because its versions mean nothing in the other

	database   string // projects/P/databases/D
	parent     string // projects/P/databases/D/documents, the parent of the collection
	collection string
	prefixes   []string // the prefix of the documents' names in each shard

	fieldNames
	metadata, touched *pb.DocumentMask // the fields of reads without values, and of touches

	// shared reports whether other programs write documents too. These programs do not know
	// the fields token and predecessors. In a shared layout, the key of an entry is the ID of
	// its document. So some keys are reserved, and every document may be an entry.
	shared bool
}

// fieldNames are the names of a document's fields.
type fieldNames struct {
	value, expiry, token, predecessors string

	// created is the name of the field with the time of the put, for other programs. skykv only
	// checks the field's type. The name is empty in skykv's own layout.
	created string
}

// newLayout returns skykv's own layout of a collection.
func newLayout(project, database, collection string, shards int) *layout {
	l := &layout{
		name: provider.LayoutSkykv, driver: name, collection: collection,
		fieldNames: fieldNames{value: valueField, expiry: expiryField, token: tokenField, predecessors: predecessorsField},
		metadata:   &pb.DocumentMask{FieldPaths: []string{expiryField, tokenField, predecessorsField}},
		touched:    &pb.DocumentMask{FieldPaths: []string{expiryField, tokenField, predecessorsField}},
	}
	l.in(project, database)
	for shard := range shards {
		l.prefixes = append(l.prefixes, fmt.Sprintf("%s%02x", l.root(), shard))
	}
	return l
}

// alienFields are the fields of the Alien platform's programs, and two more fields,
// which only skykv uses.
var alienFields = fieldNames{value: "value", expiry: "expires_at", token: "skykv_t", predecessors: "skykv_p", created: "created_at"}

// newAlienLayout returns the layout of the Alien platform's programs.
func newAlienLayout(project, database, collection string) *layout {
	l := &layout{
		name: provider.LayoutAlien, driver: name + "-alien", collection: collection, shared: true,
		fieldNames: alienFields,
		metadata:   &pb.DocumentMask{FieldPaths: []string{"expires_at", "created_at", "skykv_t", "skykv_p"}},
		touched:    &pb.DocumentMask{FieldPaths: []string{"expires_at", "skykv_t", "skykv_p"}},
	}
	l.in(project, database)
	l.prefixes = []string{l.root()}
	return l
}

// projectAndDatabase returns the names of the project and of the database.
func (l *layout) projectAndDatabase() (project, database string) {
	names := strings.Split(l.database, "/")
	return names[1], names[3]
}

// The method in sets the database of a new layout.
func (l *layout) in(project, database string) {
	l.database = "projects/" + project + "/databases/" + database
	l.parent = l.database + "/documents"
}

// root returns the prefix of the names of the collection's documents.
func (l *layout) root() string { return l.parent + "/" + l.collection + "/" }

// isReserved reports whether Firestore refuses an ID of a document or a collection:
// https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields
func isReserved(id string) bool {
	return id == "." || id == ".." || len(id) >= len("____") && strings.HasPrefix(id, "__") && strings.HasSuffix(id, "__")
}

// reservedKey is the [kv.Info].ReservedKey of the layout.
func (l *layout) reservedKey() func(key string) bool {
	if l.shared {
		return isReserved
	}
	return nil // with the digits of the shard every key is a valid ID
}

func (l *layout) shards() int { return len(l.prefixes) }

func (l *layout) shard(key string) int { return kv.Shard(key, len(l.prefixes)) }

func (l *layout) shardOfPrefix(prefix string) (int, bool) {
	return kv.ShardOfPrefix(prefix, len(l.prefixes))
}

// docName returns the resource name of key's document.
func (l *layout) docName(key string) string { return l.prefixes[l.shard(key)] + key }

// noFieldMask names a field that no entry's document has.
var noFieldMask = &pb.DocumentMask{FieldPaths: []string{"none"}}

// mask returns the fields that a read requests, or nil for all fields.
func (l *layout) mask(withValue bool) *pb.DocumentMask {
	if withValue {
		return nil
	}
	return l.metadata
}

// query returns the query for the documents of a scan, in ascending order of their names.
// The query also finds expired documents. Excluding them would need an index on the expiry,
// which would cost more in every write than it would save here.
func (l *layout) query(req kv.ScanRequest) *pb.StructuredQuery {
	prefix := l.prefixes[req.Shard]
	return l.queryRange(prefix+l.bound(req.From), prefix+l.bound(req.To), req.WithValue)
}

// The method bound returns the ID for the key at which a scan begins or ends. A reserved key is
// not a valid ID, so bound appends a comma to it. No key is between the reserved key and the
// result, because a comma is less than every byte of a key.
func (l *layout) bound(key string) string {
	if l.shared && isReserved(key) {
		return key + ","
	}
	return key
}

// firstID and lastID are the bounds of a query for documents with any ID. The query misses only
// IDs that begin with a control character or with U+10FFFF.
const firstID, lastID = " ", "\U0010ffff"

// queryAll returns the query for the documents of all shards, without values. The query also
// finds documents whose IDs contain no legal key.
func (l *layout) queryAll() *pb.StructuredQuery {
	from := l.prefixes[0]
	if l.shared {
		from += firstID // a bound needs a valid ID, and no ID is empty
	}
	return l.queryRange(from, l.prefixes[len(l.prefixes)-1]+lastID, false)
}

// queryAny returns the query for one document of the collection, in any layout.
func (l *layout) queryAny() *pb.StructuredQuery {
	q := l.queryRange(l.root()+firstID, l.root()+lastID, true)
	q.Limit = wrapperspb.Int32(1)
	return q
}

// queryRange returns the query for the documents between two names, both included.
func (l *layout) queryRange(from, to string, withValue bool) *pb.StructuredQuery {
	q := &pb.StructuredQuery{
		From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: l.collection}},
		OrderBy: []*pb.StructuredQuery_Order{{
			Field:     &pb.StructuredQuery_FieldReference{FieldPath: "__name__"},
			Direction: pb.StructuredQuery_ASCENDING,
		}},
		StartAt: &pb.Cursor{Values: referenceTo(from), Before: true},
		EndAt:   &pb.Cursor{Values: referenceTo(to)},
	}
	if !withValue {
		q.Select = &pb.StructuredQuery_Projection{}
		for _, field := range l.metadata.GetFieldPaths() {
			q.Select.Fields = append(q.Select.Fields, &pb.StructuredQuery_FieldReference{FieldPath: field})
		}
	}
	return q
}

// startAfter makes a query begin after a document.
func startAfter(q *pb.StructuredQuery, docName string) {
	q.StartAt = &pb.Cursor{Values: referenceTo(docName)}
}

func referenceTo(docName string) []*pb.Value {
	return []*pb.Value{{ValueType: &pb.Value_ReferenceValue{ReferenceValue: docName}}}
}

// scanned returns the record of a document in the range of a query. The store checks whether
// the Key is valid and belongs to the shard that was scanned. With an error, the record has only the Key.
func (l *layout) scanned(doc *pb.Document, withValue bool) (kv.Record, error) {
	return l.decode(l.keyOf(doc.GetName()), doc, withValue)
}

// keyOf returns the key of a document of the collection. The key may be invalid.
func (l *layout) keyOf(docName string) string {
	return docName[min(len(l.prefixes[0]), len(docName)):]
}

// errOther returns the error for a response that is about the document got, although the
// request was for the document asked. Firestore accepts the number of a project instead of its
// ID. But its responses then have the ID, and queries with the number find nothing. In this
// case, the error asks for the ID.
func (l *layout) errOther(got, asked string) error {
	const before = "projects/"
	project, path, _ := strings.Cut(strings.TrimPrefix(got, before), "/")
	own, ownPath, _ := strings.Cut(strings.TrimPrefix(asked, before), "/")
	if project != own && path == ownPath && projectID.MatchString(project) {
		return &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the project %q is not an ID: Firestore calls the project %q; want the ID", own, project)}
	}
	return errOther
}

// decode returns the record of key's document. The record shares the document's slices. With
// an error, the record has only the Key.
func (l *layout) decode(key string, doc *pb.Document, withValue bool) (kv.Record, error) {
	rec := kv.Record{Key: key, Version: formatVersion(doc.GetUpdateTime())}
	var err error
	if l.shared {
		err = l.decodeShared(&rec, doc.GetFields())
	} else {
		err = l.decodeOwn(&rec, doc.GetFields())
	}
	if err == nil && withValue {
		rec.Value, err = l.decodeValue(doc.GetFields()[l.value])
	}
	if err != nil {
		return kv.Record{Key: key}, err
	}
	return rec, nil
}

// decodeOwn reads the fields of a document in skykv's own layout, except the value.
func (l *layout) decodeOwn(rec *kv.Record, fields map[string]*pb.Value) error {
	token, ok := fields[l.token].GetValueType().(*pb.Value_StringValue)
	if !ok || len(token.StringValue) != kv.TokenLen {
		return errForeign(quoted(l.token), fmt.Sprintf("a string of %d bytes", kv.TokenLen))
	}
	rec.Token = token.StringValue
	if x, ok := fields[l.expiry]; ok {
		at, ok := x.GetValueType().(*pb.Value_TimestampValue)
		if ok {
			rec.Expires = at.TimestampValue.AsTime().UnixMilli()
		}
		if rec.Expires <= 0 {
			return errForeign(quoted(l.expiry), "absent, or a timestamp after 1970 began")
		}
	}
	if p, ok := fields[l.predecessors]; ok {
		names, ok := p.GetValueType().(*pb.Value_StringValue)
		if !ok || len(names.StringValue) > kv.MaxPredecessorsLen {
			return errForeign(quoted(l.predecessors), fmt.Sprintf("absent, or a string of at most %d bytes", kv.MaxPredecessorsLen))
		}
		rec.Predecessors = names.StringValue
	}
	return nil
}

// decodeShared reads the fields of a document in a shared layout, except the value.
func (l *layout) decodeShared(rec *kv.Record, fields map[string]*pb.Value) error {
	if _, ok := fields[l.created].GetValueType().(*pb.Value_TimestampValue); !ok {
		return errForeign(quoted(l.created), "a timestamp")
	}
	if x, ok := fields[l.expiry]; ok {
		at, ok := x.GetValueType().(*pb.Value_TimestampValue)
		if !ok || at.TimestampValue.CheckValid() != nil {
			return errForeign(quoted(l.expiry), "absent, or a timestamp")
		}
		rec.Expires = expiresAt(at.TimestampValue)
	}
	token, predecessors := fields[l.token].GetStringValue(), fields[l.predecessors].GetStringValue()
	if len(token) == kv.TokenLen {
		rec.Token = token
		if len(predecessors) <= kv.MaxPredecessorsLen {
			rec.Predecessors = predecessors
		}
	}
	return nil
}

// expiresAt returns a timestamp in milliseconds, rounded up, as skykv rounds its own
// expiries. Other programs may store any timestamp, so expiresAt limits the result to the
// expiries that skykv can represent. The earliest of these has always passed, and the latest
// practically never will.
func expiresAt(t *timestamppb.Timestamp) int64 {
	ms := t.GetSeconds()*1000 + (int64(t.GetNanos())+999_999)/1_000_000
	return max(1, min(ms, kv.MaxExpiry.UnixMilli()))
}

// decodeValue reads the field of the value.
func (l *layout) decodeValue(field *pb.Value) (value []byte, err error) {
	if l.shared {
		text, ok := field.GetValueType().(*pb.Value_StringValue)
		if ok {
			value, err = base64.StdEncoding.DecodeString(text.StringValue)
		}
		if !ok || err != nil {
			return nil, errForeign(quoted(l.value), "a string in base64")
		}
		return value, nil
	}
	v, ok := field.GetValueType().(*pb.Value_BytesValue)
	if !ok {
		return nil, errForeign(quoted(l.value), "bytes")
	}
	if v.BytesValue == nil {
		return []byte{}, nil
	}
	return v.BytesValue, nil
}

func quoted(field string) string { return fmt.Sprintf("field %q", field) }

// encoded is the update of a document with the fields that every record has, in one
// allocation.
type encoded struct {
	update       pb.Write_Update
	doc          pb.Document
	value, token pb.Value
	bytes        pb.Value_BytesValue
	text         pb.Value_StringValue
}

// encode returns the update that stores rec's document. now is the time of the write in
// milliseconds. In skykv's own layout the document shares rec's value.
func (l *layout) encode(rec kv.Record, now int64) *pb.Write_Update {
	e := &encoded{bytes: pb.Value_BytesValue{BytesValue: rec.Value}, text: pb.Value_StringValue{StringValue: rec.Token}}
	e.value.ValueType, e.token.ValueType = &e.bytes, &e.text
	e.doc.Name = l.docName(rec.Key)
	e.doc.Fields = make(map[string]*pb.Value, 4)
	e.doc.Fields[l.value], e.doc.Fields[l.token] = &e.value, &e.token
	if l.shared {
		e.value.ValueType = &pb.Value_StringValue{StringValue: base64.StdEncoding.EncodeToString(rec.Value)}
		e.doc.Fields[l.created] = timestamp(now)
	}
	if rec.Expires != 0 {
		e.doc.Fields[l.expiry] = timestamp(rec.Expires)
	}
	if rec.Predecessors != "" {
		e.doc.Fields[l.predecessors] = &pb.Value{ValueType: &pb.Value_StringValue{StringValue: rec.Predecessors}}
	}
	e.update.Update = &e.doc
	return &e.update
}

// timestamp returns the field for an instant in milliseconds.
func timestamp(ms int64) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(time.UnixMilli(ms))}}
}

// write returns Firestore's form of w. now is the time of the write in milliseconds. The
// error is ErrUnsupported for a kind of write or a condition that Firestore cannot carry out, and
// ErrInvalidVersion for a version that cannot be Firestore's.
func (l *layout) write(w kv.Write, now int64) (*pb.Write, error) {
	var write pb.Write
	switch w.Kind {
	case kv.KindPut:
		write.Operation = l.encode(w.Record, now)
	case kv.KindTouch:
		update := l.encode(w.Record, now)
		// The mask does not have these two fields, so the stored document keeps its own.
		delete(update.Update.Fields, l.value)
		delete(update.Update.Fields, l.created)
		write.Operation, write.UpdateMask = update, l.touched
	case kv.KindDelete:
		write.Operation = &pb.Write_Delete{Delete: l.docName(w.Key)}
	case kv.KindCheck:
		// Remove a field that no entry has. This changes nothing, not even the update
		// time. A check for absence instead deletes the document on condition that it does
		// not exist.
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
	case w.Condition.Kind == kv.CondAbsent && w.Kind != kv.KindTouch:
		// The precondition fails even for an expired record. The store then replaces that
		// record under its version.
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

// touchesLive reports whether w is a touch of a live entry of any version. Firestore has no
// such condition, so the driver only reads the entry. The store then decides whether the
// entry has expired, and touches it under its version.
func touchesLive(w kv.Write) bool {
	return w.Kind == kv.KindTouch && w.Condition.Kind == kv.CondLive
}

var notExists = &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}}

// formatVersion returns the native version of a document: its update time in microseconds
// since 1970. Firestore's times have this precision. For nil it returns "".
func formatVersion(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return strconv.FormatInt(t.GetSeconds()*1e6+int64(t.GetNanos())/1e3, 10)
}

// validVersion reports whether a document can have this update time.
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

// fields returns the names of all fields of an entry. None of them should have an index, and
// the first one has the TTL policy.
func (l *layout) fields() []string {
	fields := []string{l.expiry, l.value, l.token, l.predecessors}
	if l.created != "" {
		fields = append(fields, l.created)
	}
	return fields
}

// fieldName returns the resource name of a field's settings.
func (l *layout) fieldName(field string) string {
	return l.database + "/collectionGroups/" + l.collection + "/fields/" + field
}

// recordName returns the resource name of the layout document.
func (l *layout) recordName() string { return l.root() + layoutID }

// record returns the layout document.
func (l *layout) record() *pb.Document {
	integer := func(n int) *pb.Value { return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: int64(n)}} }
	return &pb.Document{Name: l.recordName(), Fields: map[string]*pb.Value{
		formatField: integer(format), shardsField: integer(l.shards()),
	}}
}

// shardsOf returns the number of shards in a layout document. It returns an error if skykv
// did not write the document, or if the document has a different format or an impossible number
// of shards.
func (l *layout) shardsOf(doc *pb.Document) (int, error) {
	found, ok := doc.GetFields()[formatField].GetValueType().(*pb.Value_IntegerValue)
	if !ok {
		return 0, errIncompatible("the document %q of collection %q is not a layout document of skykv", layoutID, l.collection)
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

// isAlien reports whether a document is an entry in the Alien platform's layout. In that
// layout, even a document with the ID of skykv's layout document may be an entry.
func isAlien(doc *pb.Document) bool {
	l := &layout{shared: true, fieldNames: alienFields}
	_, err := l.decode("", doc, true)
	return err == nil
}

// layoutOf returns the layout and the number of shards of the collection. doc must be the
// document with the ID of the layout document. If doc is neither a valid layout document nor
// an entry in the Alien platform's layout, the error is ErrIncompatible.
func (l *layout) layoutOf(doc *pb.Document) (provider.Layout, int, error) {
	if isAlien(doc) {
		return provider.LayoutAlien, 1, nil
	}
	shards, err := l.shardsOf(doc)
	if err != nil {
		return "", 0, err
	}
	return provider.LayoutSkykv, shards, nil
}

// checkFound returns an error if the collection has a different layout or number of shards.
func (l *layout) checkFound(found provider.Layout, shards int) error {
	switch {
	case found != l.name:
		return l.errOtherLayout(found)
	case shards != l.shards():
		return errIncompatible("collection %q has %d shards and was opened with %d; want the number with which it was created", l.collection, shards, l.shards())
	}
	return nil
}

func (l *layout) errOtherLayout(found provider.Layout) error {
	return errIncompatible("collection %q has layout %q and was opened with layout %q; want layout=%s", l.collection, found, l.name, found)
}

// errUnclaimed returns the error for an empty collection, for which nobody has chosen a layout.
func (l *layout) errUnclaimed() error {
	return &kv.Error{Kind: kv.ErrNotProvisioned, Err: fmt.Errorf("collection %q is empty: providers.Ensure writes its layout document, and so does opening it with layout=%s", l.collection, provider.LayoutSkykv)}
}

// checkLayout returns an error if the collection has a different layout, or has documents of
// other programs. For an empty collection, checkLayout returns ErrNotProvisioned unless d.claims
// is set. If d.claims is set, it creates the layout document, if d's layout has such a document.
func (d *driver) checkLayout(ctx context.Context) error {
	found, shards, err := d.findLayout(ctx)
	switch {
	case err != nil:
		return err
	case found != "":
		return d.layout.checkFound(found, shards)
	case !d.claims:
		return d.layout.errUnclaimed()
	case d.layout.shared:
		return nil
	}
	if created, err := d.createLayout(ctx); created || err != nil {
		return err
	}
	// Another program has created the layout document since findLayout.
	doc, err := d.readRecord(ctx)
	switch {
	case err != nil:
		return err
	case doc == nil:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the document %q of collection %q vanished", layoutID, d.layout.collection)}
	}
	if found, shards, err = d.layout.layoutOf(doc); err != nil {
		return err
	}
	return d.layout.checkFound(found, shards)
}

// findLayout returns the layout of the collection and its number of shards. It returns no
// layout for an empty collection. The error is ErrIncompatible if there are documents of
// another program. Without the permission to query documents, findLayout assumes that there
// are none.
//
// In the Alien platform's layout every ID is a key, so there is no layout document.
// findLayout first reads the layout document of skykv's own layout. This document is older than
// all entries. If there is none, findLayout reads the first document of the collection.
func (d *driver) findLayout(ctx context.Context) (provider.Layout, int, error) {
	doc, err := d.readRecord(ctx)
	switch {
	case err != nil:
		return "", 0, err
	case doc != nil:
		return d.layout.layoutOf(doc)
	}
	page, err := d.page(ctx, d.layout.queryAny(), pageBytes, nil)
	switch {
	case errors.Is(err, kv.ErrPermission), err == nil && len(page.docs) == 0:
		return "", 0, nil
	case err != nil:
		return "", 0, err
	case isAlien(page.docs[0]):
		return provider.LayoutAlien, 1, nil
	}
	// In the meantime, another program may have written the layout document and a first
	// entry.
	switch doc, err = d.readRecord(ctx); {
	case err != nil:
		return "", 0, err
	case doc != nil:
		return d.layout.layoutOf(doc)
	}
	return "", 0, errIncompatible("collection %q has documents but no layout document of skykv: it belongs to another program", d.layout.collection)
}

// readRecord returns the layout document, or nil if there is none.
func (d *driver) readRecord(ctx context.Context) (*pb.Document, error) {
	a := d.watch(ctx, attempt.One, nil)
	defer a.end()
	doc, err := d.read(a, d.layout.recordName(), nil)
	if err != nil {
		e := a.failRead(err)
		if code(err) == codes.InvalidArgument {
			e.Kind = kv.ErrInvalidOption // the ID of the project or of the database is invalid
		}
		return nil, e
	}
	return doc, nil
}

// createLayout creates the layout document. It returns false if there is one already.
func (d *driver) createLayout(ctx context.Context) (created bool, err error) {
	a := d.watch(ctx, attempt.One, nil)
	defer a.end()
	_, err = d.commit(a, &pb.Write{Operation: &pb.Write_Update{Update: d.layout.record()}, CurrentDocument: notExists})
	switch {
	case err == nil:
		return true, nil
	case conditionFailed(notExists, err):
		return false, nil
	}
	return false, a.failRead(err) // not failWrite: for the caller, New is not a write
}
