package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	admin "cloud.google.com/go/firestore/apiv1/admin"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/faults"
	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/kv"
)

func TestMain(m *testing.M) {
	if os.Getenv(cannedEnv) != "" {
		if err := runCanned(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	emulator.Main(m)
}

func TestConformance(t *testing.T) {
	endpoint := emulator.Firestore(t)
	conformance.Run(t, conformance.Config{
		New: func(ctx context.Context) (*kv.Store, error) { return Open(ctx, emulatorURL(endpoint)) },
		Faulty: func(ctx context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			proxy, err := faults.NewGRPC(endpoint)
			if err != nil {
				return nil, err
			}
			t.Cleanup(proxy.Close)
			proxy.Use(faults.DecidedBy(decide))
			return Open(ctx, emulatorURL(proxy.Addr))
		},
	})
}

var (
	// testRun keeps apart the runs against one emulator.
	testRun     = fmt.Sprintf("run-%d", time.Now().UnixNano())
	collections atomic.Int64
)

// emulatorURL names a collection that nobody else uses.
func emulatorURL(endpoint string) string {
	return fmt.Sprintf("firestore://%s/c%d?endpoint=%s", testRun, collections.Add(1), url.QueryEscape("http://"+endpoint))
}

// emulatorStore gives a store of a new collection in the emulator, and its driver.
func emulatorStore(t *testing.T) (*kv.Store, *driver) {
	t.Helper()
	client, err := dial(t.Context(), "http://"+emulator.Firestore(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	collection := fmt.Sprintf("c%d", collections.Add(1))
	store, err := New(t.Context(), client, testRun, collection, nil)
	if err != nil {
		t.Fatal(err)
	}
	return store, newDriver(client, testRun, collection, Options{Timeout: defaultTimeout})
}

func TestForeignDocumentsOnEmulator(t *testing.T) {
	t.Parallel()
	s, d := emulatorStore(t)
	foreignDocuments(t, s, func(id string, fields map[string]*pb.Value) {
		doc := &pb.Document{Name: d.parent + "/" + d.collection + "/" + id, Fields: fields}
		_, err := d.client.Commit(t.Context(), &pb.CommitRequest{
			Database: d.database,
			Writes:   []*pb.Write{{Operation: &pb.Write_Update{Update: doc}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestStoredDocument reads what is stored as another program would.
func TestStoredDocument(t *testing.T) {
	t.Parallel()
	s, d := emulatorStore(t)
	expires := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	if _, err := s.Put(t.Context(), "__x__", []byte("value"), kv.ExpireAt(expires)); err != nil {
		t.Fatal(err)
	}
	doc, err := d.client.GetDocument(t.Context(), &pb.GetDocumentRequest{Name: d.parent + "/" + d.collection + "/k__x__"})
	if err != nil {
		t.Fatal(err)
	}
	fields := doc.GetFields()
	if len(fields) != 3 || string(fields["v"].GetBytesValue()) != "value" || len(fields["t"].GetStringValue()) != kv.TokenLen ||
		!fields["x"].GetTimestampValue().AsTime().Equal(expires) {
		t.Errorf("stored is %v, not what the package comment says", fields)
	}
	if doc.GetUpdateTime().GetNanos()%1000 != 0 {
		t.Errorf("rule: Firestore counts update times in microseconds; got %v", doc.GetUpdateTime())
	}
}

// TestEmulatorHasNoAdmin is why EnsureCollection is tested with a fake server. If
// it fails, the emulator has learned what the tests should use.
func TestEmulatorHasNoAdmin(t *testing.T) {
	t.Parallel()
	conn, err := grpc.NewClient("passthrough:///"+emulator.Firestore(t), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client, err := admin.NewFirestoreAdminClient(t.Context(), option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	err = EnsureCollection(t.Context(), client, testRun, "c", nil)
	if e, ok := errors.AsType[*kv.Error](err); !ok || status.Code(e.Err) != codes.Unimplemented {
		t.Errorf("got %v, want Unimplemented", err)
	}
}
