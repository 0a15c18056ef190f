package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // gRPC decompresses responses in programs that link it
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// hostile is a Firestore service that responds as its functions say.
type hostile struct {
	pb.UnimplementedFirestoreServer
	get    func(*pb.BatchGetDocumentsRequest, grpc.ServerStreamingServer[pb.BatchGetDocumentsResponse]) error
	query  func(*pb.RunQueryRequest, grpc.ServerStreamingServer[pb.RunQueryResponse]) error
	commit func(*pb.CommitRequest) *pb.CommitResponse
	batch  func(*pb.BatchWriteRequest) *pb.BatchWriteResponse
	calls  atomic.Int32
}

func (h *hostile) BatchGetDocuments(req *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	h.calls.Add(1)
	return h.get(req, stream)
}

func (h *hostile) RunQuery(req *pb.RunQueryRequest, stream pb.Firestore_RunQueryServer) error {
	h.calls.Add(1)
	return h.query(req, stream)
}

func (h *hostile) Commit(_ context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
	h.calls.Add(1)
	return h.commit(req), nil
}

func (h *hostile) BatchWrite(_ context.Context, req *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
	h.calls.Add(1)
	return h.batch(req), nil
}

func (h *hostile) driver(t testing.TB, shards int) *driver {
	t.Helper()
	return h.driverWith(t, &Options{Shards: shards})
}

func (h *hostile) driverWith(t testing.TB, opts *Options) *driver {
	t.Helper()
	addr := serve(t, func(s *grpc.Server) { pb.RegisterFirestoreServer(s, h) })
	return driverOver(t, connect(t, addr), opts)
}

// documentOf returns a document as skykv stores it for a key.
func documentOf(key string) *pb.Document {
	doc := testLayout(1).encode(kv.Record{Key: key, Value: []byte("value"), Token: testToken}, testNow).Update
	doc.UpdateTime = timestamppb.New(time.UnixMicro(1_700_000_000_000_000))
	return doc
}

// renamed returns a document of skykv under another name.
func renamed(docName string) *pb.Document {
	doc := documentOf("a")
	doc.Name = docName
	return doc
}

func updated(at *timestamppb.Timestamp) *pb.Document {
	doc := documentOf("a")
	doc.UpdateTime = at
	return doc
}

// falseDocuments has documents that cannot be right in the response to a request for key "a".
var falseDocuments = map[string]*pb.Document{
	"an empty document":               {},
	"the document of another key":     documentOf("b"),
	"a document of a collection":      renamed(testDatabase + "/documents/other/00a"),
	"a document of a sub-collection":  renamed(testDatabase + "/documents/c/00a/c/00a"),
	"a document of another database":  renamed("projects/p/databases/other/documents/c/00a"),
	"a document without a name":       renamed(""),
	"a document without a version":    updated(nil),
	"a document of no time":           updated(&timestamppb.Timestamp{}),
	"a document of a time before all": updated(&timestamppb.Timestamp{Seconds: -1}),
	"a document of a time after all":  updated(&timestamppb.Timestamp{Seconds: 1 << 62}),
	"a document of an illegal time":   updated(&timestamppb.Timestamp{Seconds: 1, Nanos: 1 << 30}),
	"a document of 3 MiB":             largeDocument(),
}

func largeDocument() *pb.Document {
	doc := documentOf("a")
	doc.Fields[valueField] = &pb.Value{ValueType: &pb.Value_BytesValue{BytesValue: make([]byte, 3<<20)}}
	return doc
}

type gets = func(*pb.BatchGetDocumentsRequest, grpc.ServerStreamingServer[pb.BatchGetDocumentsResponse]) error

func found(doc *pb.Document) *pb.BatchGetDocumentsResponse {
	return &pb.BatchGetDocumentsResponse{Result: &pb.BatchGetDocumentsResponse_Found{Found: doc}}
}

func missing(docName string) *pb.BatchGetDocumentsResponse {
	return &pb.BatchGetDocumentsResponse{Result: &pb.BatchGetDocumentsResponse_Missing{Missing: docName}}
}

// answers returns a function that responds with these messages.
func answers[M any, R any](messages ...*M) func(R, grpc.ServerStreamingServer[M]) error {
	return func(_ R, stream grpc.ServerStreamingServer[M]) error {
		for _, m := range messages {
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		return nil
	}
}

// endless returns a function that sends a message again and again until the client ends the
// stream.
func endless[M any, R any](message *M) func(R, grpc.ServerStreamingServer[M]) error {
	return func(_ R, stream grpc.ServerStreamingServer[M]) error {
		for {
			if err := stream.Send(message); err != nil {
				return err
			}
		}
	}
}

// TestFalseAnswersToReads: after a response that the service cannot have sent, a read soon
// returns ErrUnavailable. It never reports a missing entry.
func TestFalseAnswersToReads(t *testing.T) {
	t.Parallel()
	cases := map[string]gets{
		"nothing":                    answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](),
		"an empty message":           answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](&pb.BatchGetDocumentsResponse{}),
		"another document, missing":  answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](missing(testDatabase + "/documents/c/00b")),
		"no document, missing":       answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](missing("")),
		"endless progress":           endless[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](&pb.BatchGetDocumentsResponse{ReadTime: timestamppb.Now()}),
		"endless documents":          endless[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](found(documentOf("b"))),
		"a bomb of compressed zeros": compressed(found(largeDocument())),
	}
	for name, doc := range falseDocuments {
		cases[name] = answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](found(doc))
	}
	for name, get := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hostile{get: get}
			d := h.driver(t, 1)
			s := kv.New(d)
			ops := map[string]func() error{
				"Get":     func() error { _, err := s.Get(t.Context(), "a"); return err },
				"Exists":  func() error { _, err := s.Exists(t.Context(), "a"); return err },
				"GetMany": func() error { _, err := s.GetMany(t.Context(), []string{"a"}); return err },
				"open":    func() error { _, err := d.open(t.Context()); return err },
			}
			for op, do := range ops {
				h.calls.Store(0)
				began := time.Now()
				if err := do(); !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrNotFound) || errors.Is(err, kv.ErrThrottled) {
					t.Errorf("rule: a response that the service cannot have sent is ErrUnavailable; %s: %v", op, err)
				}
				if n := h.calls.Load(); n != maxAttempts {
					t.Errorf("rule: after a false response the request is repeated a few times; %s made %d requests in %s", op, n, time.Since(began))
				}
			}
		})
	}
}

// TestFalseAnswersInLayoutAlien: a document with a different ID is not a valid response. For a
// document that is not an entry of the layout, the error is ErrIncompatible. Scans skip IDs
// that are not keys.
func TestFalseAnswersInLayoutAlien(t *testing.T) {
	t.Parallel()
	at := timestamppb.New(time.UnixMicro(1_700_000_000_000_000))
	doc := func(id string, change func(fields map[string]*pb.Value)) *pb.Document {
		d := testAlienLayout().encode(kv.Record{Key: id, Value: []byte("value"), Token: testToken}, testNow).Update
		if d.UpdateTime = at; change != nil {
			change(d.Fields)
		}
		return d
	}
	own := testLayout(1).encode(kv.Record{Key: "a", Value: []byte("value"), Token: testToken}, testNow).Update
	own.Name, own.UpdateTime = testAlienLayout().docName("a"), at
	for name, test := range map[string]struct {
		doc  *pb.Document
		get  error // of a Get of key "a"
		scan error // the last error of a scan
		keys string
	}{
		"the entry":                      {doc("a", nil), nil, nil, "a"},
		"another entry":                  {doc("b", nil), kv.ErrUnavailable, nil, "b"},
		"a reserved ID":                  {doc("__x__", nil), kv.ErrUnavailable, nil, ""},
		"an ID that is no key":           {doc("a b", nil), kv.ErrUnavailable, nil, ""},
		"an ID before all keys":          {doc("+", nil), kv.ErrUnavailable, kv.ErrUnavailable, ""},
		"a document of a sub-collection": {doc("a/c/a", nil), kv.ErrUnavailable, kv.ErrUnavailable, ""},
		"no ID":                          {doc("", nil), kv.ErrUnavailable, kv.ErrUnavailable, ""},
		"a document of skykv's layout":   {own, kv.ErrIncompatible, kv.ErrIncompatible, ""},
		"a value that is no base64":      {doc("a", func(f map[string]*pb.Value) { f["value"] = textOf("?") }), kv.ErrIncompatible, kv.ErrIncompatible, ""},
		"no created_at":                  {doc("a", func(f map[string]*pb.Value) { delete(f, "created_at") }), kv.ErrIncompatible, kv.ErrIncompatible, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hostile{
				get:   answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](found(test.doc)),
				query: answers[pb.RunQueryResponse, *pb.RunQueryRequest](&pb.RunQueryResponse{Document: test.doc}),
			}
			s := kv.New(h.driverWith(t, &Options{Layout: provider.LayoutAlien}))
			if _, err := s.Get(t.Context(), "a"); !errors.Is(err, test.get) || err != nil && test.get == nil {
				t.Errorf("Get: %v; want %v", err, test.get)
			}
			keys, errs := keysOf(t.Context(), s, "")
			if strings.Join(keys, " ") != test.keys || (errs != nil) != (test.scan != nil) || test.scan != nil && !errors.Is(errs[len(errs)-1], test.scan) {
				t.Errorf("a scan yields %q, %v; want %q, %v", keys, errs, test.keys, test.scan)
			}
		})
	}
	// New checks its responses too.
	h := &hostile{
		get:   answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](missing(testAlienLayout().recordName())),
		query: answers[pb.RunQueryResponse, *pb.RunQueryRequest](&pb.RunQueryResponse{Document: renamed(testDatabase + "/documents/other/a")}),
	}
	if _, err := h.driverWith(t, &Options{Layout: provider.LayoutAlien}).open(t.Context()); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: opening believes no document of another collection; got %v", err)
	}
}

// compressed returns a function that sends a message compressed with gzip.
func compressed(message *pb.BatchGetDocumentsResponse) gets {
	return func(_ *pb.BatchGetDocumentsRequest, stream grpc.ServerStreamingServer[pb.BatchGetDocumentsResponse]) error {
		if err := grpc.SetSendCompressor(stream.Context(), "gzip"); err != nil {
			panic(err) // without compression, the test could not fail
		}
		return stream.Send(message)
	}
}

// TestStreamsThatGoOn: if a stream goes on after the response is complete, the read succeeds
// and ends the stream.
func TestStreamsThatGoOn(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 10)
	h := &hostile{get: func(req *pb.BatchGetDocumentsRequest, stream grpc.ServerStreamingServer[pb.BatchGetDocumentsResponse]) (err error) {
		for err == nil {
			err = stream.Send(found(documentOf("a")))
		}
		ended <- err
		return err
	}}
	s := kv.New(h.driver(t, 1))
	if entry, err := s.Get(t.Context(), "a"); err != nil || string(entry.Value) != "value" {
		t.Errorf("got %v, %v; want the entry", entry, err)
	}
	soon(t, ended, "a stream that goes on is ended")
	if entries, err := s.GetMany(t.Context(), []string{"a"}); err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v; want the entry", entries, err)
	}
	soon(t, ended, "a stream that goes on is ended")
}

// TestFalseAnswersOfBatches: after a false response, the keys without a result are requested
// again.
func TestFalseAnswersOfBatches(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]*pb.BatchGetDocumentsResponse{
		"the same document again": found(documentOf("a")),
		"the same as missing":     missing(testLayout(1).docName("a")),
		"another document":        found(documentOf("z")),
		"an empty document":       found(&pb.Document{}),
	} {
		h := new(hostile)
		h.get = func(req *pb.BatchGetDocumentsRequest, stream grpc.ServerStreamingServer[pb.BatchGetDocumentsResponse]) error {
			if h.calls.Load() > 1 {
				for _, docName := range req.GetDocuments() {
					if err := stream.Send(missing(docName)); err != nil {
						return err
					}
				}
				return nil
			}
			return answers[pb.BatchGetDocumentsResponse, *pb.BatchGetDocumentsRequest](found(documentOf("a")), after, missing(testLayout(1).docName("b")))(req, stream)
		}
		keys, got, failed := getMany(t.Context(), h.driver(t, 1), kv.GetManyRequest{Keys: []string{"a", "b", "c"}, WithValue: true})
		slices.Sort(keys)
		if !slices.Equal(keys, []string{"a", "b", "c"}) || len(failed) != 0 || !got["a"].Exists || got["b"].Exists || got["c"].Exists || h.calls.Load() != 2 {
			t.Errorf("rule: every key is yielded once, from the first response that can be right; after %s: %q, %+v, %v in %d requests", name, keys, got, failed, h.calls.Load())
		}
	}
}

type queries = func(*pb.RunQueryRequest, grpc.ServerStreamingServer[pb.RunQueryResponse]) error

// TestFalseAnswersToScans: a scan ends with an error if a document is not in its range or
// order.
func TestFalseAnswersToScans(t *testing.T) {
	t.Parallel()
	docs := func(docs ...*pb.Document) queries {
		var messages []*pb.RunQueryResponse
		for _, doc := range docs {
			messages = append(messages, &pb.RunQueryResponse{Document: doc})
		}
		return answers[pb.RunQueryResponse, *pb.RunQueryRequest](messages...)
	}
	id := func(id string) *pb.Document { return renamed(testDatabase + "/documents/c/" + id) }
	cases := map[string]struct {
		query queries
		keys  string // the keys before the error
	}{
		"in descending order":          {docs(documentOf("b"), documentOf("a")), "b"},
		"one document twice":           {docs(documentOf("a"), documentOf("a")), "a"},
		"one document before the scan": {docs(id("00+")), ""},
		"one document after the scan":  {docs(documentOf("a"), id("00\x7f")), "a"},
		"the layout document":          {docs(id(layoutID)), ""},
		"another shard's":              {docs(id("01a")), ""},
		"no key":                       {docs(id("00")), ""},
		"no keys, in descending order": {docs(id("00a c"), id("00a b")), ""},
		"endless progress":             {endless[pb.RunQueryResponse, *pb.RunQueryRequest](&pb.RunQueryResponse{ReadTime: timestamppb.Now()}), ""},
		"endless documents":            {endless[pb.RunQueryResponse, *pb.RunQueryRequest](&pb.RunQueryResponse{Document: documentOf("a")}), "a"},
		"endless empty documents":      {endless[pb.RunQueryResponse, *pb.RunQueryRequest](&pb.RunQueryResponse{Document: &pb.Document{}}), ""},
		"endless keys":                 {endlessKeys, ""},
	}
	for name, doc := range falseDocuments {
		if name != "the document of another key" { // a scan may find the document of key "b"
			cases[name] = struct {
				query queries
				keys  string
			}{docs(doc), ""}
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hostile{query: c.query}
			keys, errs := keysOf(t.Context(), kv.New(h.driver(t, 1)), "")
			if name == "endless keys" {
				keys = nil // the scan may have yielded a page of keys or more
			}
			if len(errs) != 1 || !errors.Is(errs[0], kv.ErrUnavailable) || strings.Join(keys, " ") != c.keys {
				t.Errorf("rule: a scan whose response cannot be right ends with ErrUnavailable; got %q, %v", keys, errs)
			}
			if n := h.calls.Load(); n > 3*maxAttempts {
				t.Errorf("rule: after a false response the request is repeated a few times; %d requests were made", n)
			}
		})
	}
}

// endlessKeys sends documents in order without end, regardless of the query's limit.
func endlessKeys(req *pb.RunQueryRequest, stream grpc.ServerStreamingServer[pb.RunQueryResponse]) error {
	start := req.GetStructuredQuery().GetStartAt()
	if !start.GetBefore() { // the second page has a key that is before its range
		return answers[pb.RunQueryResponse, *pb.RunQueryRequest](&pb.RunQueryResponse{Document: documentOf("0")})(req, stream)
	}
	for i := 0; ; i++ {
		if err := stream.Send(&pb.RunQueryResponse{Document: documentOf(fmt.Sprintf("%09d", i))}); err != nil {
			return err
		}
	}
}

// TestPagesHaveALimit: a page has at most as many documents as were requested.
func TestPagesHaveALimit(t *testing.T) {
	t.Parallel()
	h := &hostile{query: endlessKeys}
	d := h.driver(t, 1)
	query := d.layout.query(kv.ScanRequest{From: "-", To: "~"})
	query.Limit = wrapperspb.Int32(7)
	p, err := d.page(t.Context(), query, pageBytes, nil)
	if len(p.docs) != 7 || err != nil || p.last {
		t.Errorf("rule: a page has at most as many documents as requested, and the scan goes on; got %d, %v, last=%t", len(p.docs), err, p.last)
	}
}

// TestMisplacedDocuments: scans skip names that are not keys. For a key in the wrong shard,
// they return an error.
func TestMisplacedDocuments(t *testing.T) {
	t.Parallel()
	const shards = 2
	l := testLayout(shards)
	own := l.shard("m")
	h := &hostile{query: func(req *pb.RunQueryRequest, stream grpc.ServerStreamingServer[pb.RunQueryResponse]) error {
		prefix := l.prefixes[own]
		if !strings.HasPrefix(req.GetStructuredQuery().GetStartAt().GetValues()[0].GetReferenceValue(), prefix) {
			prefix = l.prefixes[1-own]
		}
		return answers[pb.RunQueryResponse, *pb.RunQueryRequest](
			&pb.RunQueryResponse{Document: renamed(prefix + "a\x1b[31m")}, // no key
			&pb.RunQueryResponse{Document: renamed(prefix + "m")},
			&pb.RunQueryResponse{Document: renamed(prefix + "m\n")}, // no key
		)(req, stream)
	}}
	keys, errs := keysOf(t.Context(), kv.New(h.driver(t, shards)), "")
	if !slices.Equal(keys, []string{"m"}) || len(errs) != 1 || !errors.Is(errs[0], kv.ErrIncompatible) || !strings.Contains(errs[0].Error(), `"m"`) {
		t.Errorf("rule: a document in the wrong shard is ErrIncompatible, and names that are not keys are skipped; got %q, %v", keys, errs)
	}
}

// TestFalseAnswersToWrites: a write succeeds only if its result says so.
func TestFalseAnswersToWrites(t *testing.T) {
	t.Parallel()
	good := &pb.WriteResult{UpdateTime: timestamppb.New(time.UnixMicro(1))}
	results := map[string][]*pb.WriteResult{
		"no result":        nil,
		"two results":      {good, good},
		"an empty result":  {{}},
		"no time":          {{UpdateTime: &timestamppb.Timestamp{}}},
		"time before all":  {{UpdateTime: &timestamppb.Timestamp{Seconds: -5}}},
		"an illegal time":  {{UpdateTime: &timestamppb.Timestamp{Seconds: 5, Nanos: -1}}},
		"time after all":   {{UpdateTime: &timestamppb.Timestamp{Seconds: 1 << 60}}},
		"a status is gone": {good}, // only the response to a batch has statuses
		"a status more":    {good},
	}
	for name, results := range results {
		h := new(hostile)
		h.commit = func(*pb.CommitRequest) *pb.CommitResponse { return &pb.CommitResponse{WriteResults: results} }
		h.batch = func(req *pb.BatchWriteRequest) *pb.BatchWriteResponse {
			resp := &pb.BatchWriteResponse{WriteResults: results}
			switch name {
			case "a status is gone":
			case "a status more":
				resp.Status = append(resp.Status, &rpcstatus.Status{}, &rpcstatus.Status{})
			default:
				resp.Status = append(resp.Status, &rpcstatus.Status{})
			}
			return resp
		}
		s := kv.New(h.driver(t, 1))
		ofBatch := strings.HasPrefix(name, "a status")
		ofPut := len(results) == 1 && !ofBatch
		check := func(op string, err error, isPut, isBatch bool) {
			t.Helper()
			if ofPut && !isPut || ofBatch && !isBatch { // a deletion has no update time, and a single write has no status
				if err != nil {
					t.Errorf("%s, %s: %v", name, op, err)
				}
			} else if !errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("rule: a write whose response cannot be right is ErrIndeterminate and ErrUnavailable; %s, %s: %v", name, op, err)
			}
			if n := h.calls.Swap(0); n > maxAttempts {
				t.Errorf("%s, %s made %d requests", name, op, n)
			}
		}
		_, err := s.Put(t.Context(), "a", nil)
		check("Put", err, true, false)
		check("Delete", s.Delete(t.Context(), "a"), false, false)
		_, err = s.PutMany(t.Context(), []kv.Item{{Key: "a"}})
		check("PutMany", err, true, true)
		check("DeleteMany", s.DeleteMany(t.Context(), []string{"a"}), false, true)
	}
}

// cutOff ends the running attempts, as their timers would.
func cutOff(d *driver) {
	d.underWay.mu.Lock()
	defer d.underWay.mu.Unlock()
	for a := range d.underWay.all {
		a.mu.Lock()
		if a.until.IsZero() {
			a.limit = 0
		}
		a.until = time.Now()
		a.mu.Unlock()
		a.expire()
	}
}

// TestLateAnswers: an attempt that hangs is cut off, and the call makes another one. The
// attempt that was cut off may have been applied.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	ops := map[string]func(context.Context, *kv.Store, kv.Version) error{
		"Get": func(ctx context.Context, s *kv.Store, _ kv.Version) error { _, err := s.Get(ctx, "a"); return err },
		"GetMany": func(ctx context.Context, s *kv.Store, _ kv.Version) error {
			_, err := s.GetMany(ctx, []string{"a"})
			return err
		},
		"Scan": func(ctx context.Context, s *kv.Store, _ kv.Version) error {
			_, errs := keysOf(ctx, s, "")
			return errors.Join(errs...)
		},
		"Put": func(ctx context.Context, s *kv.Store, _ kv.Version) error { _, err := s.Put(ctx, "a", nil); return err },
		"Put if not exists": func(ctx context.Context, s *kv.Store, _ kv.Version) error {
			_, err := s.Put(ctx, "b", nil, kv.IfNotExists())
			return err
		},
		"PutMany": func(ctx context.Context, s *kv.Store, _ kv.Version) error {
			_, err := s.PutMany(ctx, []kv.Item{{Key: "a"}})
			return err
		},
		"Delete if version": func(ctx context.Context, s *kv.Store, v kv.Version) error { return s.Delete(ctx, "a", kv.IfVersion(v)) },
	}
	for _, limited := range []bool{false, true} {
		for op, do := range ops {
			for _, always := range []bool{false, true} {
				f := new(fake)
				d := driverAt(t, f.start(t))
				d.timeout = 10 * time.Minute
				s := kv.New(d)
				version, err := s.Put(t.Context(), "a", nil)
				if err != nil {
					t.Fatal(err)
				}
				f.reset()
				late := func(ctx context.Context, method string, n int) error {
					if n > 0 && !always {
						return nil
					}
					cutOff(d)
					return hang(ctx, method, n)
				}
				f.refuse, f.lose = late, nil
				if !strings.HasPrefix(op, "Get") && op != "Scan" { // a write is carried out before it hangs
					f.refuse, f.lose = nil, late
				}
				if always {
					f.refuse, f.lose = late, nil
				}
				ctx := t.Context()
				if limited {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Hour)
					defer cancel()
				}
				err = do(ctx, s, version)
				write := !strings.HasPrefix(op, "Get") && op != "Scan"
				switch {
				case always:
					if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrIndeterminate) != write {
						t.Errorf("rule: if every attempt is cut off, a call is ErrUnavailable, and a write also ErrIndeterminate; %s: %v", op, err)
					}
					if got := f.count(); !strings.HasPrefix(got, fmt.Sprintf("%d ", maxAttempts)) {
						t.Errorf("%s made %s, want %d attempts", op, got, maxAttempts)
					}
				case op == "Delete if version":
					if !errors.Is(err, kv.ErrIndeterminate) {
						t.Errorf("rule: an attempt that was cut off may have been applied; %s: %v, want ErrIndeterminate", op, err)
					}
				case err != nil:
					t.Errorf("rule: an attempt that hangs leaves time for another one; %s: %v", op, err)
				}
			}
		}
	}
}

// TestAttemptsHaveALimit: the limit of an attempt is a third of the remaining time, but at
// least a second.
func TestAttemptsHaveALimit(t *testing.T) {
	t.Parallel()
	f := &fake{refuse: func(ctx context.Context, method string, n int) error {
		if n == 0 {
			return hang(ctx, method, n)
		}
		return nil
	}}
	d := driverAt(t, f.start(t))
	for name, timeout := range map[string]time.Duration{"the caller's deadline": time.Minute, "the store's timeout": 3 * time.Second} {
		f.reset()
		d.timeout = timeout
		ctx := t.Context()
		if timeout == time.Minute {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
		}
		began := time.Now()
		found, err := d.Get(ctx, kv.GetRequest{Key: "a"})
		if err != nil || found.Exists {
			t.Errorf("rule: an attempt that hangs does not use up %s; got %v after %s", name, err, time.Since(began))
		}
		if got := f.count(); got != "2 BatchGetDocuments" {
			t.Errorf("with %s of 3 s made %s", name, got)
		}
	}
}

// TestProjectNumber: New refuses a project's number. Firestore accepts it, but responds with
// the ID.
func TestProjectNumber(t *testing.T) {
	t.Parallel()
	for _, exists := range []bool{false, true} {
		h := &hostile{get: func(req *pb.BatchGetDocumentsRequest, stream grpc.ServerStreamingServer[pb.BatchGetDocumentsResponse]) error {
			docName := strings.Replace(req.GetDocuments()[0], "projects/123456789/", "projects/my-project/", 1)
			if exists {
				return stream.Send(found(renamed(docName)))
			}
			return stream.Send(missing(docName))
		}}
		addr := serve(t, func(s *grpc.Server) { pb.RegisterFirestoreServer(s, h) })
		_, err := New(t.Context(), connect(t, addr), "123456789", "c", nil)
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), `Firestore calls the project "my-project"`) {
			t.Errorf("rule: a project is named by its ID; by its number: %v", err)
		}
		if n := h.calls.Load(); n != 1 {
			t.Errorf("made %d requests, want 1", n)
		}
	}
}
