package firestorekv

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
)

// fake is a Firestore service in memory, with real gRPC on the loopback interface. It can
// fail in ways in which the emulator cannot.
type fake struct {
	pb.UnimplementedFirestoreServer

	mu    sync.Mutex
	docs  map[string]*pb.Document // by name
	clock int64                   // microseconds
	calls []call

	// These functions inject faults; n is the number of earlier calls of the method. refuse
	// fails a call before it is carried out, and lose fails it after that. Both may block.
	// cut returns the number of documents after which a stream ends, with the error cutWith,
	// or errCut if that is nil. If the number is negative, the stream does not end early.
	// status returns the status of a write of a BatchWrite. The write is carried out only if
	// the status is OK.
	refuse  func(ctx context.Context, method string, n int) error
	lose    func(ctx context.Context, method string, n int) error
	cut     func(method string, n int) int
	cutWith error
	status  func(docName string, n int) codes.Code

	// between, if set, is called before a document of a BatchGetDocuments is sent. Its error
	// ends the stream.
	between func(ctx context.Context, docName string) error

	open  atomic.Int32  // number of open streams
	ended chan struct{} // has an element after a stream has ended
}

// call is a request that a fake received.
type call struct {
	method string
	req    proto.Message
	header metadata.MD
}

const (
	testProject    = "p"
	testDatabase   = "projects/p/databases/(default)"
	testCollection = "c"
)

// serve runs a gRPC server until the test ends, and returns the server's address.
func serve(t testing.TB, register func(*grpc.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// start runs f until the test ends, and returns its address.
func (f *fake) start(t testing.TB) string { return serve(t, f.register) }

func (f *fake) register(s *grpc.Server) {
	f.docs = make(map[string]*pb.Document)
	f.clock = 1_700_000_000_000_000
	f.ended = make(chan struct{}, 1)
	pb.RegisterFirestoreServer(s, f)
}

// connect returns a client for addr, as a program makes it.
func connect(t testing.TB, addr string, opts ...grpc.DialOption) *firestore.Client {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	client, err := firestore.NewClient(t.Context(), option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// newStore runs f, and returns a store over it with short pauses between attempts.
func newStore(t testing.TB, f *fake) *kv.Store {
	t.Helper()
	return storeAt(t, f.start(t))
}

func storeAt(t testing.TB, addr string) *kv.Store {
	t.Helper()
	return kv.New(driverAt(t, addr))
}

func driverAt(t testing.TB, addr string) *driver {
	t.Helper()
	return driverOver(t, connect(t, addr), &Options{Timeout: 30 * time.Second})
}

// driverOver returns a driver with short pauses between attempts.
func driverOver(t testing.TB, client *firestore.Client, opts *Options) *driver {
	t.Helper()
	d, err := newDriver("open", client, testProject, testCollection, opts)
	if err != nil {
		t.Fatal(err)
	}
	d.firstPause = time.Microsecond
	return d
}

// begin records a call. It returns the number of earlier calls of the method, and the error
// of refuse.
func (f *fake) begin(ctx context.Context, method string, req proto.Message) (n int, err error) {
	header, _ := metadata.FromIncomingContext(ctx)
	f.mu.Lock()
	n = f.countLocked(method)
	f.calls = append(f.calls, call{method, proto.Clone(req), header})
	f.mu.Unlock()
	if f.refuse != nil {
		err = f.refuse(ctx, method, n)
	}
	return n, err
}

func (f *fake) countLocked(method string) (n int) {
	for _, call := range f.calls {
		if call.method == method {
			n++
		}
	}
	return n
}

// count returns the number of calls of each method since the last reset.
func (f *fake) count() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := make(map[string]int)
	for _, call := range f.calls {
		counts[call.method]++
	}
	var text []string
	for _, method := range slices.Sorted(maps.Keys(counts)) {
		text = append(text, fmt.Sprintf("%d %s", counts[method], method))
	}
	return strings.Join(text, ", ")
}

func (f *fake) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = nil
}

// received returns the requests of one method since the last reset.
func received[R proto.Message](f *fake) (reqs []R) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, call := range f.calls {
		if req, ok := call.req.(R); ok {
			reqs = append(reqs, req)
		}
	}
	return reqs
}

// put stores a document directly, without a request.
func (f *fake) put(id string, fields map[string]*pb.Value) { f.putIn(testCollection, id, fields) }

func (f *fake) putIn(collection, id string, fields map[string]*pb.Value) {
	f.mu.Lock()
	defer f.mu.Unlock()
	docName := testDatabase + "/documents/" + collection + "/" + id
	f.docs[docName] = &pb.Document{Name: docName, Fields: fields, UpdateTime: f.nowLocked()}
}

// ids returns the IDs of the documents.
func (f *fake) ids() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ids []string
	for docName := range f.docs {
		ids = append(ids, docName[strings.LastIndexByte(docName, '/')+1:])
	}
	slices.Sort(ids)
	return ids
}

func (f *fake) nowLocked() *timestamppb.Timestamp {
	f.clock++
	return timestamppb.New(time.UnixMicro(f.clock))
}

// applyLocked carries out one write.
func (f *fake) applyLocked(w *pb.Write) (*pb.WriteResult, error) {
	docName := cmp.Or(w.GetDelete(), w.GetUpdate().GetName())
	old := f.docs[docName]
	switch cond := w.GetCurrentDocument().GetConditionType().(type) {
	case *pb.Precondition_Exists:
		if !cond.Exists && old != nil {
			return nil, grpcstatus.Errorf(codes.AlreadyExists, "Document already exists: %s", docName)
		}
	case *pb.Precondition_UpdateTime:
		if old == nil {
			return nil, grpcstatus.Errorf(codes.NotFound, "No document to update: %s", docName)
		}
		if !proto.Equal(cond.UpdateTime, old.GetUpdateTime()) {
			return nil, grpcstatus.Error(codes.FailedPrecondition, "the stored version does not match the required base version")
		}
	}
	if w.GetUpdate() == nil {
		delete(f.docs, docName)
		return &pb.WriteResult{}, nil
	}
	doc := proto.CloneOf(w.GetUpdate())
	if mask := w.GetUpdateMask(); mask != nil {
		if doc.Fields = make(map[string]*pb.Value); old != nil {
			doc.Fields = maps.Clone(old.GetFields())
		}
		for _, field := range mask.GetFieldPaths() {
			delete(doc.Fields, field)
			if v, ok := w.GetUpdate().GetFields()[field]; ok {
				doc.Fields[field] = v
			}
		}
		if doc.UpdateTime = old.GetUpdateTime(); proto.Equal(doc, old) { // nothing changes
			return &pb.WriteResult{UpdateTime: doc.UpdateTime}, nil
		}
	}
	doc.UpdateTime = f.nowLocked()
	f.docs[docName] = doc
	return &pb.WriteResult{UpdateTime: doc.UpdateTime}, nil
}

func (f *fake) Commit(ctx context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
	n, err := f.begin(ctx, "Commit", req)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	before := maps.Clone(f.docs)
	resp := new(pb.CommitResponse)
	for _, w := range req.GetWrites() {
		var result *pb.WriteResult
		if result, err = f.applyLocked(w); err != nil {
			f.docs = before
			break
		}
		resp.WriteResults = append(resp.WriteResults, result)
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if f.lose != nil {
		err = f.lose(ctx, "Commit", n)
	}
	return resp, err
}

func (f *fake) BatchWrite(ctx context.Context, req *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
	n, err := f.begin(ctx, "BatchWrite", req)
	if err != nil {
		return nil, err
	}
	resp := &pb.BatchWriteResponse{}
	for _, w := range req.GetWrites() {
		var failed error
		if f.status != nil {
			if code := f.status(cmp.Or(w.GetDelete(), w.GetUpdate().GetName()), n); code != codes.OK {
				failed = grpcstatus.Error(code, code.String())
			}
		}
		result := &pb.WriteResult{}
		if failed == nil {
			f.mu.Lock()
			result, failed = f.applyLocked(w)
			f.mu.Unlock()
		}
		resp.WriteResults = append(resp.WriteResults, result)
		resp.Status = append(resp.Status, grpcstatus.Convert(failed).Proto())
	}
	if f.lose != nil {
		err = f.lose(ctx, "BatchWrite", n)
	}
	return resp, err
}

// stream counts an open stream until the returned function is called.
func (f *fake) stream() func() {
	f.open.Add(1)
	return func() {
		f.open.Add(-1)
		select {
		case f.ended <- struct{}{}:
		default:
		}
	}
}

// cutAt returns the number of documents after which a stream ends early, or -1 for never.
func (f *fake) cutAt(method string, n int) int {
	if f.cut == nil {
		return -1
	}
	return f.cut(method, n)
}

var errCut = grpcstatus.Error(codes.Unavailable, "the stream was cut")

func (f *fake) BatchGetDocuments(req *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	defer f.stream()()
	n, err := f.begin(stream.Context(), "BatchGetDocuments", req)
	if err != nil {
		return err
	}
	cut := f.cutAt("BatchGetDocuments", n)
	for i, docName := range req.GetDocuments() {
		if i == cut {
			return cmp.Or(f.cutWith, errCut)
		}
		if f.between != nil {
			if err := f.between(stream.Context(), docName); err != nil {
				return err
			}
		}
		f.mu.Lock()
		doc := f.docs[docName]
		f.mu.Unlock()
		resp := &pb.BatchGetDocumentsResponse{Result: &pb.BatchGetDocumentsResponse_Missing{Missing: docName}}
		if doc != nil {
			resp.Result = &pb.BatchGetDocumentsResponse_Found{Found: masked(doc, req.GetMask().GetFieldPaths())}
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
	if len(req.GetDocuments()) == cut {
		return cmp.Or(f.cutWith, errCut)
	}
	return nil
}

func masked(doc *pb.Document, fields []string) *pb.Document {
	if fields == nil {
		return doc
	}
	doc = &pb.Document{Name: doc.Name, Fields: maps.Clone(doc.Fields), UpdateTime: doc.UpdateTime}
	maps.DeleteFunc(doc.Fields, func(field string, _ *pb.Value) bool { return !slices.Contains(fields, field) })
	return doc
}

func (f *fake) RunQuery(req *pb.RunQueryRequest, stream pb.Firestore_RunQueryServer) error {
	defer f.stream()()
	n, err := f.begin(stream.Context(), "RunQuery", req)
	if err != nil {
		return err
	}
	query := req.GetStructuredQuery()
	var fields []string
	for _, field := range query.GetSelect().GetFields() {
		fields = append(fields, field.GetFieldPath())
	}
	start, end := query.GetStartAt(), query.GetEndAt()
	from, to := start.GetValues()[0].GetReferenceValue(), end.GetValues()[0].GetReferenceValue()
	f.mu.Lock()
	var docs []*pb.Document
	for _, docName := range slices.Sorted(maps.Keys(f.docs)) {
		if (docName > from || docName == from && start.GetBefore()) && docName <= to && len(docs) < int(query.GetLimit().GetValue()) {
			docs = append(docs, masked(f.docs[docName], fields))
		}
	}
	f.mu.Unlock()
	// The service reports its progress with messages without a document.
	if err := stream.Send(&pb.RunQueryResponse{ReadTime: timestamppb.Now()}); err != nil {
		return err
	}
	cut := f.cutAt("RunQuery", n)
	for i, doc := range docs {
		if i == cut {
			return cmp.Or(f.cutWith, errCut)
		}
		if err := stream.Send(&pb.RunQueryResponse{Document: doc}); err != nil {
			return err
		}
	}
	if len(docs) == cut {
		return cmp.Or(f.cutWith, errCut)
	}
	return nil
}

// shortServer sends almost empty responses to writes, and to reads of documents by name.
type shortServer struct {
	pb.UnimplementedFirestoreServer
}

func newShortServer(t testing.TB) string {
	return serve(t, func(s *grpc.Server) { pb.RegisterFirestoreServer(s, shortServer{}) })
}

func (shortServer) Commit(context.Context, *pb.CommitRequest) (*pb.CommitResponse, error) {
	return &pb.CommitResponse{}, nil
}

func (shortServer) BatchWrite(context.Context, *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
	return &pb.BatchWriteResponse{}, nil
}

func (shortServer) BatchGetDocuments(_ *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	return stream.Send(&pb.BatchGetDocumentsResponse{ReadTime: timestamppb.Now()})
}
