package reference

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Firestore is a collection. Database is the resource name of its database. Now is the
// clock.
type Firestore struct {
	Client     *firestore.Client
	Database   string
	Collection string
	Now        func() time.Time
}

func (f *Firestore) parent() string { return f.Database + "/documents" }

func (f *Firestore) name(key string) string { return f.parent() + "/" + f.Collection + "/" + key }

func (f *Firestore) fields(value []byte, ttl time.Duration) map[string]*pb.Value {
	now := f.Now()
	timestamp := func(at time.Time) *pb.Value {
		return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(at)}}
	}
	fields := map[string]*pb.Value{
		"value":      {ValueType: &pb.Value_StringValue{StringValue: base64.StdEncoding.EncodeToString(value)}},
		"created_at": timestamp(now),
	}
	if ttl != 0 {
		fields["expires_at"] = timestamp(f.Expires(now, ttl))
	}
	return fields
}

// Expires returns the instant of expiry, rounded down to the microsecond as Firestore does.
func (f *Firestore) Expires(now time.Time, ttl time.Duration) time.Time {
	return now.Add(ttl).Truncate(time.Microsecond)
}

// Sees returns the expiry, unchanged.
func (f *Firestore) Sees(at time.Time) time.Time { return at }

func (f *Firestore) expired(doc *pb.Document) bool {
	at := doc.GetFields()["expires_at"].GetTimestampValue()
	return at != nil && !f.Now().Before(at.AsTime())
}

// read returns a document, or nil if the document does not exist. It returns an error if the
// document has no created_at, because the programs of the Alien platform could not read it.
func (f *Firestore) read(ctx context.Context, key string) (*pb.Document, error) {
	doc, err := f.Client.GetDocument(ctx, &pb.GetDocumentRequest{Name: f.name(key)})
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	if err == nil && doc.GetFields()["created_at"].GetTimestampValue() == nil {
		err = fmt.Errorf("the document of %q has no created_at", key)
	}
	return doc, err
}

// Get reads the document. The version is its update time.
func (f *Firestore) Get(ctx context.Context, key string) (value []byte, version string, found bool, err error) {
	doc, err := f.read(ctx, key)
	if doc == nil || err != nil || f.expired(doc) {
		return nil, "", false, err
	}
	value, err = base64.StdEncoding.DecodeString(doc.GetFields()["value"].GetStringValue())
	if err != nil {
		return nil, "", false, fmt.Errorf("the value of %q: %w", key, err)
	}
	return value, doc.GetUpdateTime().AsTime().Format(time.RFC3339Nano), true, nil
}

// patch replaces the whole document, because the request has no field mask. If updated is
// not nil, the document must still have that update time.
func (f *Firestore) patch(ctx context.Context, key string, value []byte, ttl time.Duration, updated *timestamppb.Timestamp) (bool, error) {
	req := &pb.UpdateDocumentRequest{Document: &pb.Document{Name: f.name(key), Fields: f.fields(value, ttl)}}
	if updated != nil {
		req.CurrentDocument = &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: updated}}
	}
	_, err := f.Client.UpdateDocument(ctx, req)
	if c := status.Code(err); updated != nil && (c == codes.FailedPrecondition || c == codes.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// Put replaces the document.
func (f *Firestore) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := f.patch(ctx, key, value, ttl, nil)
	return err
}

// PutIfAbsent creates the document. If there is an expired document, PutIfAbsent replaces it on
// condition of its update time.
func (f *Firestore) PutIfAbsent(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	_, err := f.Client.CreateDocument(ctx, &pb.CreateDocumentRequest{
		Parent: f.parent(), CollectionId: f.Collection, DocumentId: key, Document: &pb.Document{Fields: f.fields(value, ttl)},
	})
	if status.Code(err) != codes.AlreadyExists {
		return err == nil, err
	}
	doc, err := f.read(ctx, key)
	if doc == nil || err != nil || !f.expired(doc) {
		return false, err
	}
	return f.patch(ctx, key, value, ttl, doc.GetUpdateTime())
}

// CompareAndSwap replaces the document on condition of its update time. The programs of the
// Alien platform know from the version whether the entry has expired. The version here has no
// expiry, so CompareAndSwap first reads the document.
func (f *Firestore) CompareAndSwap(ctx context.Context, key, version string, value []byte, ttl time.Duration) (bool, error) {
	updated, err := time.Parse(time.RFC3339Nano, version)
	if err != nil {
		return false, err
	}
	doc, err := f.read(ctx, key)
	if doc == nil || err != nil || f.expired(doc) {
		return false, err
	}
	return f.patch(ctx, key, value, ttl, timestamppb.New(updated))
}

// Delete deletes the document without a condition.
func (f *Firestore) Delete(ctx context.Context, key string) error {
	return f.Client.DeleteDocument(ctx, &pb.DeleteDocumentRequest{Name: f.name(key)})
}

// Scan queries a range of document names.
func (f *Firestore) Scan(ctx context.Context, prefix string) ([]string, error) {
	bound := func(id string) *pb.Cursor {
		return &pb.Cursor{Before: true, Values: []*pb.Value{{ValueType: &pb.Value_ReferenceValue{ReferenceValue: f.name(id)}}}}
	}
	stream, err := f.Client.RunQuery(ctx, &pb.RunQueryRequest{
		Parent: f.parent(),
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: &pb.StructuredQuery{
			From:    []*pb.StructuredQuery_CollectionSelector{{CollectionId: f.Collection}},
			OrderBy: []*pb.StructuredQuery_Order{{Field: &pb.StructuredQuery_FieldReference{FieldPath: "__name__"}}},
			StartAt: bound(prefix), EndAt: bound(prefix + "~"),
		}},
	})
	if err != nil {
		return nil, err
	}
	var keys []string
	for {
		answer, err := stream.Recv()
		doc := answer.GetDocument()
		switch {
		case err == io.EOF:
			return keys, nil
		case err != nil:
			return nil, err
		case doc != nil && !f.expired(doc):
			keys = append(keys, strings.TrimPrefix(doc.GetName(), f.name("")))
		}
	}
}
