package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	apiv1 "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"gocloud.dev/docstore"
	"gocloud.dev/docstore/gcpfirestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/firestorekv"
)

const (
	firestoreProject  = "skykv-bench"
	firestoreDatabase = "projects/" + firestoreProject + "/databases/(default)"
	firestoreParent   = firestoreDatabase + "/documents/"
	firestoreDocs     = firestoreParent + "skykv/00" // the beginning of the names of skykv's documents
)

var firestoreWorks = []work{
	{name: "Get/service=firestore", turns: 40, ops: 20, open: firestoreOne(true, false)},
	{name: "Put/service=firestore", turns: 40, ops: 20, open: firestoreOne(false, false)},
	{name: "Get-with-deadline/service=firestore", turns: 40, ops: 20, open: firestoreOne(true, true)},
	{name: "Put-with-deadline/service=firestore", turns: 40, ops: 20, open: firestoreOne(false, true)},
	{name: "GetMany-1000/service=firestore/delay=5ms", turns: 1, ops: 1, open: firestoreGetMany},
}

// firestoreService imitates the service. It finds every document.
type firestoreService struct {
	pb.UnimplementedFirestoreServer
	delay    time.Duration
	now      *timestamppb.Timestamp
	fields   map[string]*pb.Value
	counters *counters
}

func serveFirestore(delay time.Duration) func(net.Listener) {
	server := grpc.NewServer()
	pb.RegisterFirestoreServer(server, firestoreService{
		delay: delay, now: timestamppb.New(time.Now().Truncate(time.Second)),
		fields: firestoreFields(oneValue, anyToken), counters: newCounters("0"),
	})
	return func(listener net.Listener) { _ = server.Serve(listener) }
}

func firestoreFields(value []byte, token string) map[string]*pb.Value {
	return map[string]*pb.Value{
		"v": {ValueType: &pb.Value_BytesValue{BytesValue: value}},
		"t": {ValueType: &pb.Value_StringValue{StringValue: token}},
	}
}

// updated returns the update time of a counter.
func (s firestoreService) updated(c counter) *timestamppb.Timestamp {
	return timestamppb.New(s.now.AsTime().Add(time.Duration(c.writes) * time.Microsecond))
}

func (s firestoreService) BatchGetDocuments(req *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	time.Sleep(s.delay)
	for _, name := range req.GetDocuments() {
		doc := &pb.Document{Name: name, Fields: s.fields, CreateTime: s.now, UpdateTime: s.now}
		switch {
		case strings.HasSuffix(name, "/skykv-layout"):
			doc.Fields = map[string]*pb.Value{
				"format": {ValueType: &pb.Value_IntegerValue{IntegerValue: 2}},
				"shards": {ValueType: &pb.Value_IntegerValue{IntegerValue: 1}},
			}
		case strings.HasPrefix(name, firestoreDocs+counterPrefix):
			c := s.counters.get(name)
			doc.Fields, doc.UpdateTime = firestoreFields([]byte(c.value), c.token), s.updated(c)
			doc.Fields["p"] = &pb.Value{ValueType: &pb.Value_StringValue{StringValue: c.predecessors}}
		case !strings.HasPrefix(name, firestoreDocs):
			doc.Fields = map[string]*pb.Value{"v": s.fields["v"]}
		}
		if err := stream.Send(&pb.BatchGetDocumentsResponse{Result: &pb.BatchGetDocumentsResponse_Found{Found: doc}, ReadTime: s.now}); err != nil {
			return err
		}
	}
	return nil
}

func (s firestoreService) Commit(_ context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
	time.Sleep(s.delay)
	answer := &pb.CommitResponse{CommitTime: s.now}
	for _, write := range req.GetWrites() {
		at := s.now
		if doc := write.GetUpdate(); strings.HasPrefix(doc.GetName(), firestoreDocs+counterPrefix) {
			fields, asked := doc.GetFields(), write.GetCurrentDocument().GetUpdateTime().AsTime()
			next := counter{value: string(fields["v"].GetBytesValue()), token: fields["t"].GetStringValue(), predecessors: fields["p"].GetStringValue()}
			now, done := s.counters.put(doc.GetName(), next, func(found counter) bool { return s.updated(found).AsTime().Equal(asked) })
			if !done {
				return nil, status.Error(codes.FailedPrecondition, "the stored version does not match the required base version")
			}
			at = s.updated(now)
		}
		answer.WriteResults = append(answer.WriteResults, &pb.WriteResult{UpdateTime: at})
	}
	return answer, nil
}

// owner has the credentials of an administrator of the emulator. The clients also send them to the
// benchmark's own server, which ignores them.
type owner struct{}

func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (owner) RequireTransportSecurity() bool { return false }

func firestoreOptions(b *bed, addr string) ([]option.ClientOption, error) {
	conn, err := grpc.NewClient("dns:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(owner{}))
	if err != nil {
		return nil, err
	}
	b.onClose(conn.Close)
	return []option.ClientOption{option.WithGRPCConn(conn)}, nil
}

// Google routes requests by these headers. Google's high-level client and skykv send them, so
// the contender "sdk" sends them too.
var (
	firestoreHeaders    = metadata.Pairs("google-cloud-resource-prefix", firestoreDatabase)
	firestoreGetHeaders = metadata.Join(firestoreHeaders,
		metadata.Pairs("x-goog-request-params", "project_id="+firestoreProject+"&database_id=%28default%29"))
)

func sdkFirestoreGet(ctx context.Context, client *apiv1.Client, key string) ([]byte, error) {
	stream, err := client.BatchGetDocuments(metadata.NewOutgoingContext(ctx, firestoreGetHeaders), &pb.BatchGetDocumentsRequest{
		Database: firestoreDatabase, Documents: []string{firestoreDocs + key},
	})
	if err != nil {
		return nil, err
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return nil, errors.New("the response goes on")
	}
	return answer.GetFound().GetFields()["v"].GetBytesValue(), nil
}

func sdkFirestorePut(ctx context.Context, client *apiv1.Client) error {
	_, err := client.Commit(metadata.NewOutgoingContext(ctx, firestoreHeaders), &pb.CommitRequest{
		Database: firestoreDatabase,
		Writes: []*pb.Write{{Operation: &pb.Write_Update{Update: &pb.Document{
			Name: firestoreDocs + oneKey, Fields: firestoreFields(oneValue, anyToken),
		}}}},
	})
	return err
}

// openFirestore opens a store, and a collection of docstore. They share one client of the
// SDK.
func openFirestore(b *bed, opts []option.ClientOption) (*apiv1.Client, *kv.Store, *docstore.Collection, error) {
	client, err := apiv1.NewClient(b.ctx, opts...)
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := firestorekv.New(b.ctx, client, firestoreProject, "skykv", &firestorekv.Options{Layout: provider.LayoutSkykv})
	if err != nil {
		return nil, nil, nil, err
	}
	b.onClose(store.Close)
	coll, err := gcpfirestore.OpenCollection(client, gcpfirestore.CollectionResourceID(firestoreProject, "peers"), "k", nil)
	if err == nil {
		b.onClose(coll.Close)
	}
	return client, store, coll, err
}

// firestoreOne measures single operations, one after another, on one connection. The store
// "sdk" is the SDK's apiv1 client, which makes the same calls as skykv. Most programs use
// the high-level client, which is "sdk-high-level". If deadline is true, the context of every
// operation has a deadline, which is an hour away.
func firestoreOne(get, deadline bool) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		s, err := b.start("firestore", 0)
		if err != nil {
			return nil, err
		}
		contenders, err := firestoreStores(b, s.addr, get)
		if err != nil || !deadline {
			return contenders, err
		}
		limited, cancel := context.WithTimeout(b.ctx, time.Hour)
		b.onClose(func() error { cancel(); return nil })
		for i, c := range contenders {
			contenders[i].do = func(_ context.Context, n int) error { return c.do(limited, n) }
		}
		return contenders, nil
	}
}

func firestoreStores(b *bed, addr string, get bool) ([]contender, error) {
	opts, err := firestoreOptions(b, addr)
	if err != nil {
		return nil, err
	}
	client, store, coll, err := openFirestore(b, opts)
	if err != nil {
		return nil, err
	}
	high, err := firestore.NewClient(b.ctx, firestoreProject, opts...)
	if err != nil {
		return nil, err
	}
	if !get {
		return []contender{
			{store: "sdk", do: each(func(ctx context.Context) error { return sdkFirestorePut(ctx, client) })},
			{store: "skykv", do: skykvPut(store)},
			{store: "docstore", do: docstorePut(coll)},
			{store: "sdk-high-level", do: each(func(ctx context.Context) error {
				_, err := high.Doc("peers/"+oneKey).Set(ctx, map[string]any{"v": oneValue})
				return err
			})},
		}, nil
	}
	return []contender{
		{store: "sdk", do: each(func(ctx context.Context) error {
			value, err := sdkFirestoreGet(ctx, client, oneKey)
			return checkLen(len(value), err)
		})},
		{store: "skykv", do: skykvGet(store)},
		{store: "docstore", do: docstoreGet(coll)},
		{store: "sdk-high-level", do: each(func(ctx context.Context) error {
			doc, err := high.Doc("peers/" + oneKey).Get(ctx)
			if err != nil {
				return err
			}
			value, err := doc.DataAt("v")
			if err != nil {
				return err
			}
			bytes, ok := value.([]byte)
			if !ok {
				return errors.New("the value is not bytes")
			}
			return checkLen(len(bytes), nil)
		})},
	}, nil
}

func firestoreGetMany(b *bed) ([]contender, error) {
	s, err := b.start("firestore", 5*time.Millisecond)
	if err != nil {
		return nil, err
	}
	opts, err := firestoreOptions(b, s.addr)
	if err != nil {
		return nil, err
	}
	client, store, coll, err := openFirestore(b, opts)
	if err != nil {
		return nil, err
	}
	keys := manyKeyNames()
	return []contender{
		loopOf(keys, func(ctx context.Context, key string) ([]byte, error) { return sdkFirestoreGet(ctx, client, key) }),
		{store: "skykv", do: skykvGetMany(store, keys)},
		{store: "docstore", do: docstoreGetMany(coll, keys)},
	}, nil
}
