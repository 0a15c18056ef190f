package firestorekv

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/googleapis/gax-go/v2/callctx"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
)

// name is the provider's name in errors and versions.
const name = "firestore"

type driver struct {
	client *firestore.Client
	opened bool // the client is skykv's own

	database   string // projects/P/databases/D
	parent     string // database + "/documents"
	collection string
	prefix     string // of the names of records' documents

	timeout    time.Duration
	firstPause time.Duration
	limits     sync.Pool // of *limit: those whose timers did not fire and no longer will

	// Headers of every request, and of the gets.
	headers, getHeaders headers
}

func (d *driver) Info() kv.Info { return kv.Info{Name: name, Shards: 1} }

func (d *driver) Close() error {
	if !d.opened {
		return nil
	}
	return d.client.Close()
}

// Get is a BatchGetDocuments of one document, as the high-level client's Get:
// GetDocument's NotFound would not tell a missing document from a missing
// database.
func (d *driver) Get(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
	a := d.begin(ctx)
	defer a.end(d)
	rec, found, err := d.get(&a, key, withValue)
	if err != nil {
		return kv.Record{}, false, a.fail(err)
	}
	return rec, found, nil
}

// get reads one record, in as many attempts as a allows.
func (d *driver) get(a *attempts, key string, withValue bool) (kv.Record, bool, error) {
	var mask *pb.DocumentMask
	if !withValue {
		mask = metadataMask
	}
	doc, err := d.read(a, d.docName(key), mask)
	if doc == nil || err != nil {
		return kv.Record{}, false, err
	}
	rec, err := decode(key, doc, withValue)
	return rec, err == nil, err
}

// read gets one document, nil when it does not exist.
func (d *driver) read(a *attempts, docName string, mask *pb.DocumentMask) (*pb.Document, error) {
	req := &pb.BatchGetDocumentsRequest{Database: d.database, Documents: []string{docName}, Mask: mask}
	ctx := withHeaders(a.ctx, d.getHeaders)
	for {
		doc, err := d.readOnce(ctx, req)
		if err == nil || !a.again(err) {
			return doc, err
		}
	}
}

func (d *driver) readOnce(ctx context.Context, req *pb.BatchGetDocumentsRequest) (*pb.Document, error) {
	stream, err := d.client.BatchGetDocuments(ctx, req, readOptions...)
	if err != nil {
		return nil, err
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return nil, cutShort(err)
		}
		switch result := resp.GetResult().(type) {
		case *pb.BatchGetDocumentsResponse_Found:
			return result.Found, drain(stream)
		case *pb.BatchGetDocumentsResponse_Missing:
			return nil, drain(stream)
		}
	}
}

// cutShort is the error of a stream that ended with err before its time.
func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// drain reads the end of a stream that said all it had to say, which frees it. How
// it ends no longer matters.
func drain(stream pb.Firestore_BatchGetDocumentsClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return nil
		}
	}
}

// notExists is the precondition of a put-if-absent.
var notExists = &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}}

func updateTime(version string) (*pb.Precondition, error) {
	t, err := parseVersion(version)
	if err != nil {
		return nil, err
	}
	return &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: t}}, nil
}

// Put is one Commit, and a read after a condition that failed. An expired record
// makes the condition Absent fail as any other: the store then replaces it by its
// version.
func (d *driver) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	write := &pb.Write{Operation: &pb.Write_Update{Update: d.encode(rec)}}
	switch {
	case cond.Absent:
		write.CurrentDocument = notExists
	case cond.Version != "":
		var err error
		if write.CurrentDocument, err = updateTime(cond.Version); err != nil {
			return kv.Outcome{}, err
		}
	}
	return d.write(ctx, rec.Key, write)
}

// Delete is one Commit, and a read after a condition that failed.
func (d *driver) Delete(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	write := &pb.Write{Operation: &pb.Write_Delete{Delete: d.docName(key)}}
	if cond.Version != "" {
		var err error
		if write.CurrentDocument, err = updateTime(cond.Version); err != nil {
			return kv.Outcome{}, err
		}
	}
	return d.write(ctx, key, write)
}

func (d *driver) write(ctx context.Context, key string, write *pb.Write) (kv.Outcome, error) {
	a := d.begin(ctx)
	defer a.end(d)
	updated, err := d.commit(&a, write)
	switch {
	case err == nil:
		return kv.Outcome{Done: true, Version: formatVersion(updated)}, nil
	case !conditionFailed(write.GetCurrentDocument(), err):
		return kv.Outcome{}, a.fail(err)
	}
	// NotFound is said of a missing document and of a missing database: this tells
	// them apart, and finds documents that are not skykv's.
	out := kv.Outcome{Retried: a.applied}
	a.succeeded(d)
	if out.Found, out.Exists, err = d.get(&a, key, false); err != nil {
		return kv.Outcome{}, a.fail(err)
	}
	return out, nil
}

// commit applies one write, in as many attempts as a allows, and gives the update
// time of a document that was put.
func (d *driver) commit(a *attempts, write *pb.Write) (*timestamppb.Timestamp, error) {
	req := &pb.CommitRequest{Database: d.database, Writes: []*pb.Write{write}}
	ctx := withHeaders(a.ctx, d.headers)
	var opt writing
	for {
		resp, err := d.client.Commit(ctx, req, opt.options()...)
		if err == nil {
			results := resp.GetWriteResults()
			if write.GetUpdate() == nil {
				return nil, nil
			}
			if len(results) == 1 && results[0].GetUpdateTime() != nil {
				return results[0].GetUpdateTime(), nil
			}
			a.applied = true
			return nil, errors.New("the response to a put names no update time")
		}
		a.applied = a.applied || opt.mayBeApplied(err)
		if !a.again(err) {
			return nil, err
		}
	}
}

// conditionFailed reports whether err says that cond did not hold.
func conditionFailed(cond *pb.Precondition, err error) bool {
	switch cond.GetConditionType().(type) {
	case *pb.Precondition_Exists:
		return code(err) == codes.AlreadyExists
	case *pb.Precondition_UpdateTime:
		// Another update time, and no document.
		return code(err) == codes.FailedPrecondition || code(err) == codes.NotFound
	}
	return false
}

// headers are those that route requests to their database, the same that the
// high-level client sends: the apiv1 client leaves them to its callers.
type headers struct {
	pairs []string

	// carrier is a context that holds them where the client looks for headers.
	carrier context.Context
}

func newHeaders(pairs ...string) headers {
	return headers{pairs, callctx.SetHeaders(context.Background(), pairs...)}
}

// withHeaders adds the headers to those of the caller's context.
func withHeaders(ctx context.Context, h headers) context.Context {
	if len(callctx.HeadersFromContext(ctx)) > 0 {
		return callctx.SetHeaders(ctx, h.pairs...)
	}
	return &headed{ctx, h.carrier}
}

// headed is a context with headers of another one: SetHeaders and the metadata of
// gRPC would copy them for every request.
type headed struct {
	context.Context
	carrier context.Context
}

func (h *headed) Value(key any) any {
	if v := h.carrier.Value(key); v != nil {
		return v
	}
	return h.Context.Value(key)
}
