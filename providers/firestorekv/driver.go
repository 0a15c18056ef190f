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
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
)

// name is the provider's name in errors and versions.
const name = "firestore"

type driver struct {
	client *firestore.Client
	close  func() // closes the client; nil when the program made it
	layout *layout
	info   kv.Info

	timeout    time.Duration
	firstPause time.Duration
	underWay   calls
	idle       sync.Pool // of *attempts: those whose timers did not fire and no longer will

	// Headers of every request, and of the gets.
	headers, getHeaders headers
}

func (d *driver) Info() kv.Info { return d.info }

// Get is a BatchGetDocuments of one document, like the high-level client's Get.
// GetDocument returns NotFound both for a missing document and for a missing database.
func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	ctx, a := d.watch(ctx, req.Meter)
	defer a.end()
	found, err := d.get(ctx, a, req.Key, req.WithValue)
	if err != nil {
		return kv.Found{}, a.failRead(ctx, err)
	}
	return found, nil
}

// get reads one record, in as many attempts as a allows.
func (d *driver) get(ctx context.Context, a *attempts, key string, withValue bool) (kv.Found, error) {
	doc, err := d.read(ctx, a, d.layout.docName(key), d.layout.mask(withValue))
	if doc == nil || err != nil {
		return kv.Found{Record: kv.Record{Key: key}}, err
	}
	rec, err := d.layout.decode(key, doc, withValue)
	return kv.Found{Record: rec, Exists: err == nil}, err
}

// read gets one document, nil when it does not exist.
func (d *driver) read(ctx context.Context, a *attempts, docName string, mask *pb.DocumentMask) (*pb.Document, error) {
	defer a.ended()
	req := &getRequest{docName: [1]string{docName}}
	req.Database, req.Documents, req.Mask = d.layout.database, req.docName[:], mask
	headed := withHeaders(ctx, d.getHeaders)
	for {
		a.made++
		doc, err := d.readOnce(headed, &req.BatchGetDocumentsRequest)
		if err == nil || !a.again(ctx, err) {
			return doc, err
		}
	}
}

// getRequest asks for one document, in one allocation.
type getRequest struct {
	pb.BatchGetDocumentsRequest
	docName [1]string
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

// drain reads a stream to its end, which frees it. How the stream ends does not matter.
func drain(stream pb.Firestore_BatchGetDocumentsClient) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return nil
		}
	}
}

// Write is one Commit, and a read after a condition that failed.
func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	write, err := d.layout.write(req.Write)
	if err != nil {
		return kv.Outcome{}, err
	}
	ctx, a := d.watch(ctx, req.Meter)
	defer a.end()
	updated, err := d.commit(ctx, a, write)
	switch {
	case err == nil:
		return kv.Outcome{Done: true, Version: formatVersion(updated)}, nil
	case !conditionFailed(write.GetCurrentDocument(), err):
		return kv.Outcome{}, a.failWrite(ctx, err)
	}
	found, err := d.get(ctx, a, req.Key, false)
	if err != nil {
		return kv.Outcome{}, a.failWrite(ctx, err)
	}
	return kv.Outcome{Exists: found.Exists, Found: found.Record, MayHaveApplied: a.mayHaveApplied()}, nil
}

// commit applies one write, in as many attempts as a allows, and returns the update
// time of a document that was put.
func (d *driver) commit(ctx context.Context, a *attempts, write *pb.Write) (*timestamppb.Timestamp, error) {
	defer a.ended()
	req := &pb.CommitRequest{Database: d.layout.database, Writes: []*pb.Write{write}}
	headed := withHeaders(ctx, d.headers)
	var opt writing
	for {
		a.made++
		resp, err := d.client.Commit(headed, req, opt.options()...)
		if err == nil {
			var result *pb.WriteResult
			if results := resp.GetWriteResults(); len(results) == 1 {
				result = results[0]
			}
			if write.GetUpdate() != nil && result.GetUpdateTime() == nil {
				a.lost = true
				return nil, errNoVersion
			}
			return result.GetUpdateTime(), nil
		}
		a.lost = a.lost || opt.lost(err)
		if !a.again(ctx, err) {
			return nil, err
		}
	}
}

// errNoVersion is the error of a success without a version.
var errNoVersion = errors.New("the response to a put has no update time")

func (d *driver) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnsupported, Err: errors.New("firestorekv carries out no atomic writes")}
}

func (d *driver) Close() error {
	d.underWay.close()
	if d.close != nil {
		d.close()
	}
	return nil
}

// headers route requests to their database. The high-level client sends the same ones;
// the apiv1 client leaves them to its callers.
type headers struct {
	pairs []string

	// carrier is a context that holds them where the client looks for headers.
	carrier context.Context
}

func newHeaders(pairs ...string) headers {
	return headers{pairs, callctx.SetHeaders(context.Background(), pairs...)}
}

// withHeaders adds the headers to a caller's context.
func withHeaders(ctx context.Context, h headers) context.Context {
	if len(callctx.HeadersFromContext(ctx)) > 0 {
		return callctx.SetHeaders(ctx, h.pairs...)
	}
	return &headed{ctx, h.carrier}
}

// headed is a context with the headers of another context. SetHeaders and gRPC's
// metadata would copy them for every request.
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
