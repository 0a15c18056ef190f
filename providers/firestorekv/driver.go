package firestorekv

import (
	"context"
	"io"
	"sync"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/googleapis/gax-go/v2/callctx"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// name is the provider's name in errors and versions.
const name = "firestore"

type driver struct {
	client *firestore.Client
	close  func() // closes the client; nil for a client of the program
	layout *layout
	claims bool // opening may write the layout document
	info   kv.Info

	timeout    time.Duration
	firstPause time.Duration
	pace       pace
	underWay   calls
	idle       sync.Pool // of *attempts whose timers are stopped

	// getHeaders is for requests that read documents by name. headers is for all other
	// requests.
	headers, getHeaders headers
}

func (d *driver) Info() kv.Info { return d.info }

// Get sends a BatchGetDocuments for one document, like the high-level client's Get. The
// simpler GetDocument returns NotFound both for a missing document and for a missing
// database.
func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	a := d.watch(ctx, attempt.One, req.Meter)
	defer a.end()
	a.readOnce = req.Prompt
	found, err := d.get(a, req.Key, req.WithValue)
	if err != nil {
		return kv.Found{}, a.failRead(err)
	}
	return found, nil
}

// get reads one record, and records its attempts in the argument a.
func (d *driver) get(a *attempts, key string, withValue bool) (kv.Found, error) {
	doc, err := d.read(a, d.layout.docName(key), d.layout.mask(withValue))
	if doc == nil || err != nil {
		return kv.Found{Record: kv.Record{Key: key}}, err
	}
	rec, err := d.layout.decode(key, doc, withValue)
	return kv.Found{Record: rec, Exists: err == nil}, err
}

// read reads one document. It returns nil if the document does not exist.
func (d *driver) read(a *attempts, docName string, mask *pb.DocumentMask) (*pb.Document, error) {
	defer a.ended()
	for {
		req := &getRequest{docName: [1]string{docName}}
		req.Database, req.Documents, req.Mask = d.layout.database, req.docName[:], mask
		doc, err := d.readOnce(req.headed.with(a.begin(), d.getHeaders), &req.BatchGetDocumentsRequest)
		if done, err := a.done(err); done {
			return doc, err
		}
	}
}

// getRequest has the request and the context of an attempt to read one document, in one
// allocation.
type getRequest struct {
	pb.BatchGetDocumentsRequest
	docName [1]string
	headed  headed
}

func (d *driver) readOnce(ctx context.Context, req *pb.BatchGetDocumentsRequest) (*pb.Document, error) {
	stream, err := d.client.BatchGetDocuments(ctx, req, readOptions...)
	if err != nil {
		return nil, err
	}
	for range 1 + progressMessages {
		resp, err := stream.Recv()
		if err != nil {
			return nil, cutShort(err)
		}
		docName, doc := answered(resp)
		switch {
		case docName == "" && doc == nil: // the message only reports the progress
			continue
		case docName != req.Documents[0]:
			return nil, d.layout.errOther(docName, req.Documents[0])
		case doc != nil && !validVersion(doc.GetUpdateTime()):
			return nil, errNoVersion
		}
		// Reading the end of the stream frees it. The error does not matter, because the
		// stream ends with the call at the latest.
		_ = stream.RecvMsg(resp)
		return doc, nil
	}
	return nil, errEndless
}

// progressMessages is how many messages without a document a stream may have. The service
// sends one or two.
const progressMessages = 1000

// answered returns the name of the document that a message is about, and the document if it
// exists.
func answered(resp *pb.BatchGetDocumentsResponse) (docName string, _ *pb.Document) {
	switch result := resp.GetResult().(type) {
	case *pb.BatchGetDocumentsResponse_Found:
		if result.Found == nil {
			return "", &pb.Document{} // a document without a name, which all callers refuse
		}
		return result.Found.GetName(), result.Found
	case *pb.BatchGetDocumentsResponse_Missing:
		return result.Missing, nil
	}
	return "", nil
}

// cutShort returns the error of a stream that ended too early with err.
func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write sends one Commit. If the condition fails, Write then reads the document. With
// req.Prompt, the store reads the document instead. For a touch of a live entry, Write only
// reads the document: see touchesLive.
func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if touchesLive(req.Write) {
		found, err := d.Get(ctx, kv.GetRequest{Key: req.Key, Meter: req.Meter})
		return kv.Outcome{Exists: found.Exists, Found: found.Record}, err
	}
	write, err := d.layout.write(req.Write, req.Now)
	if err == nil && req.Kind == kv.KindCheck {
		err = kv.UnsupportedWrite(req.Write)
	}
	if err != nil {
		return kv.Outcome{}, err
	}
	a := d.watch(ctx, attempt.One, req.Meter)
	defer a.end()
	a.prompt = req.Prompt
	results, err := d.commit(a, write)
	switch {
	case err == nil:
		return kv.Outcome{Done: true, Version: versionOf(write, results[0])}, nil
	case !conditionFailed(write.GetCurrentDocument(), err):
		return kv.Outcome{}, a.failWrite(err)
	case req.Prompt:
		return kv.Outcome{MayHaveApplied: a.mayHaveApplied()}, nil
	}
	found, err := d.get(a, req.Key, false)
	if err != nil {
		return kv.Outcome{}, a.failWrite(err)
	}
	return kv.Outcome{Exists: found.Exists, Found: found.Record, MayHaveApplied: a.mayHaveApplied()}, nil
}

// commit applies all writes or none, and returns their results. It records its attempts in the
// argument a.
func (d *driver) commit(a *attempts, writes ...*pb.Write) ([]*pb.WriteResult, error) {
	defer a.ended()
	req := &pb.CommitRequest{Database: d.layout.database, Writes: writes}
	var opt writing
	for {
		resp, err := d.client.Commit(withHeaders(a.begin(), d.headers), req, opt.options()...)
		if err == nil {
			err = checkResults(writes, resp.GetWriteResults())
		}
		a.lost = a.lost || err != nil && opt.lost(err)
		if done, err := a.done(err); done {
			return resp.GetWriteResults(), err
		}
	}
}

// checkResults returns an error if the results of writes cannot be right. There must be one
// result for each write, with an update time unless the write is a deletion.
func checkResults(writes []*pb.Write, results []*pb.WriteResult) error {
	if len(results) != len(writes) {
		return errResults
	}
	for i, write := range writes {
		if write.GetUpdate() != nil && !validVersion(results[i].GetUpdateTime()) {
			return errNoVersion
		}
	}
	return nil
}

// versionOf returns the native version of a document that was written, or "" after a
// deletion.
func versionOf(write *pb.Write, result *pb.WriteResult) string {
	if write.GetUpdate() == nil {
		return ""
	}
	return formatVersion(result.GetUpdateTime())
}

func (d *driver) Close() error {
	d.underWay.close()
	if d.close != nil {
		d.close()
	}
	return nil
}

// headers are request headers by which Google routes a request to its database. The
// high-level client adds them by itself. The apiv1 client does not.
type headers struct {
	pairs []string

	// carrier is a context that has the headers in the place where the client looks for them.
	carrier context.Context
}

func newHeaders(pairs ...string) headers {
	return headers{pairs, callctx.SetHeaders(context.Background(), pairs...)}
}

// withHeaders adds the headers to a caller's context.
func withHeaders(ctx context.Context, h headers) context.Context { return new(headed).with(ctx, h) }

// headed is the caller's context, and also has the values of the context carrier, which has
// the headers. It saves copies: callctx.SetHeaders and gRPC's metadata would copy the headers
// for every request.
type headed struct {
	context.Context
	carrier context.Context
}

// The method with does the same as withHeaders. h must be zero. The method may return h
// itself, which saves an allocation.
func (h *headed) with(ctx context.Context, headers headers) context.Context {
	if len(callctx.HeadersFromContext(ctx)) > 0 {
		return callctx.SetHeaders(ctx, headers.pairs...)
	}
	h.Context, h.carrier = ctx, headers.carrier
	return h
}

func (h *headed) Value(key any) any {
	if v := h.carrier.Value(key); v != nil {
		return v
	}
	return h.Context.Value(key)
}
