package firestorekv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/skykv/skykv/kv"
)

// The benchmarks compare the store with the apiv1 client, which makes the same calls with the
// same headers on the same connection. The server runs in another process, so that its
// allocations are not counted. That process runs the test binary too: see runCanned.

const benchKey = "user:0123456789"

var benchValue = bytes.Repeat([]byte("v"), 1024)

// cannedServer sends the same response to every request.
type cannedServer struct {
	pb.UnimplementedFirestoreServer
	found  *pb.BatchGetDocumentsResponse
	commit *pb.CommitResponse
}

func (s cannedServer) BatchGetDocuments(_ *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	return stream.Send(s.found)
}

func (s cannedServer) Commit(context.Context, *pb.CommitRequest) (*pb.CommitResponse, error) {
	return s.commit, nil
}

// runCanned runs a canned server. It prints the server's address, and serves until the
// standard input ends.
func runCanned() error {
	now := timestamppb.Now()
	doc := testLayout(1).encode(kv.Record{Key: benchKey, Value: benchValue, Token: testToken}, testNow).Update
	doc.CreateTime, doc.UpdateTime = now, now
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pb.RegisterFirestoreServer(server, cannedServer{
		found:  &pb.BatchGetDocumentsResponse{Result: &pb.BatchGetDocumentsResponse_Found{Found: doc}, ReadTime: now},
		commit: &pb.CommitResponse{WriteResults: []*pb.WriteResult{{UpdateTime: now}}, CommitTime: now},
	})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	fmt.Println(listener.Addr())
	return server.Serve(listener)
}

// canned runs a canned server in another process, and returns the server's address.
func canned(b testing.TB) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), cannedEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// cannedEnv is the environment variable that makes the test binary run runCanned.
const cannedEnv = "SKYKV_FIRESTOREKV_CANNED"

// operation is one operation, by skykv and by the SDK alone.
type operation struct {
	name  string
	skykv func(context.Context, *kv.Store) error
	sdk   func(context.Context, *driver) error
}

var get = operation{"Get", func(ctx context.Context, store *kv.Store) error {
	entry, err := store.Get(ctx, benchKey)
	if len(entry.Value) != len(benchValue) {
		return errors.Join(err, errBenchValue)
	}
	return err
}, func(ctx context.Context, d *driver) error {
	value, err := rawGet(ctx, d.client, d)
	if len(value) != len(benchValue) {
		return errors.Join(err, errBenchValue)
	}
	return err
}}

var put = operation{"Put", func(ctx context.Context, store *kv.Store) error {
	_, err := store.Put(ctx, benchKey, benchValue)
	return err
}, func(ctx context.Context, d *driver) error {
	_, err := rawPut(ctx, d.client, d, testToken)
	return err
}}

var errBenchValue = errors.New("the value is not what the server sent")

func BenchmarkGet(b *testing.B) { get.bench(b) }
func BenchmarkPut(b *testing.B) { put.bench(b) }

// The method both returns two functions that do the operation through one connection, by skykv
// and by the SDK alone. It first calls them many times, so that the window sizes of the
// connection no longer change.
func (o operation) both(t testing.TB) (skykv, sdk func(context.Context) error) {
	d := driverOver(t, connect(t, canned(t)), nil)
	store := kv.New(d)
	skykv = func(ctx context.Context) error { return o.skykv(ctx, store) }
	sdk = func(ctx context.Context) error { return o.sdk(ctx, d) }
	for range 1000 {
		if err := errors.Join(skykv(t.Context()), sdk(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	return skykv, sdk
}

// bench runs the two calls with a deadline in the context, as servers do, and without one.
// Without a deadline in the context, skykv sets its own. The SDK's client does so only for Put.
func (o operation) bench(b *testing.B) {
	skykv, sdk := o.both(b)
	limited, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	for _, run := range []struct {
		name string
		ctx  context.Context
		do   func(context.Context) error
	}{
		{"deadline/sdk", limited, sdk}, {"deadline/skykv", limited, skykv},
		{"none/sdk", b.Context(), sdk}, {"none/skykv", b.Context(), skykv},
	} {
		b.Run(run.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := run.do(run.ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The headers that the driver sends, in the form in which a program sends them.
var (
	database    = "projects/" + testProject + "/databases/(default)"
	putMetadata = metadata.Pairs("google-cloud-resource-prefix", database)
	getMetadata = metadata.Join(putMetadata, metadata.Pairs("x-goog-request-params", "project_id="+testProject+"&database_id=%28default%29"))
)

func rawGet(ctx context.Context, client *firestore.Client, d *driver) ([]byte, error) {
	stream, err := client.BatchGetDocuments(metadata.NewOutgoingContext(ctx, getMetadata), &pb.BatchGetDocumentsRequest{
		Database:  d.layout.database,
		Documents: []string{d.layout.docName(benchKey)},
	})
	if err != nil {
		return nil, err
	}
	resp, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return nil, err
	}
	if resp.GetFound() == nil {
		return nil, errors.New("not found")
	}
	return resp.GetFound().GetFields()["v"].GetBytesValue(), nil
}

func rawPut(ctx context.Context, client *firestore.Client, d *driver, token string) (*timestamppb.Timestamp, error) {
	resp, err := client.Commit(metadata.NewOutgoingContext(ctx, putMetadata), &pb.CommitRequest{
		Database: d.layout.database,
		Writes: []*pb.Write{{Operation: &pb.Write_Update{Update: &pb.Document{
			Name: d.layout.docName(benchKey),
			Fields: map[string]*pb.Value{
				"v": {ValueType: &pb.Value_BytesValue{BytesValue: benchValue}},
				"t": {ValueType: &pb.Value_StringValue{StringValue: token}},
			},
		}}}},
	})
	if err != nil {
		return nil, err
	}
	return resp.GetWriteResults()[0].GetUpdateTime(), nil
}
