package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/testing/faults"
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
	os.Unsetenv(envEmulator) // it may be set for other programs
	emulator.Main(m)
}

func TestConformance(t *testing.T) { conform(t, "skykv", 1) }

func TestConformanceWithShards(t *testing.T) { conform(t, "skykv", 16) }

func conform(t *testing.T, layout string, shards int) {
	t.Helper()
	endpoint := emulator.Firestore(t)
	conformance.Run(t, conformance.Config{
		New: func(ctx context.Context) (*kv.Store, error) { return Open(ctx, emulatorURL(endpoint, layout, shards)) },
		Faulty: func(ctx context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			proxy, err := faults.NewGRPC(endpoint)
			if err != nil {
				return nil, err
			}
			t.Cleanup(proxy.Close)
			proxy.Use(faults.DecidedBy(decide))
			return Open(ctx, emulatorURL(proxy.Addr, layout, shards))
		},
	})
}

var (
	// testRun separates the runs on one emulator.
	testRun  = fmt.Sprintf("run-%d", time.Now().UnixNano())
	projects atomic.Int64
)

// emulatorURL returns the URL of a collection in a new project. In the emulator, every query
// reads all documents of the project, so each collection has its own project.
func emulatorURL(endpoint, layout string, shards int) string {
	return fmt.Sprintf("firestore://%s-%d/c?layout=%s&shards=%d&endpoint=%s", testRun, projects.Add(1), layout, shards, url.QueryEscape("http://"+endpoint))
}

// emulatorStore returns a store of a new collection in the emulator, and its driver.
func emulatorStore(t *testing.T, shards int) (*kv.Store, *driver) {
	t.Helper()
	c, err := Connect(t.Context(), emulatorURL(emulator.Firestore(t), "skykv", shards))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d, err := newDriver("open", c.Client, c.Project, c.Collection, &c.Options)
	if err != nil {
		t.Fatal(err)
	}
	store, err := d.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return store, d
}

func TestForeignDocumentsOnEmulator(t *testing.T) {
	t.Parallel()
	s, d := emulatorStore(t, 1)
	foreignDocuments(t, s, func(id string, fields map[string]*pb.Value) {
		doc := &pb.Document{Name: d.layout.parent + "/" + d.layout.collection + "/" + id, Fields: fields}
		_, err := d.client.Commit(t.Context(), &pb.CommitRequest{
			Database: d.layout.database,
			Writes:   []*pb.Write{{Operation: &pb.Write_Update{Update: doc}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestStoredDocument reads a document as another program does.
func TestStoredDocument(t *testing.T) {
	t.Parallel()
	s, d := emulatorStore(t, 1)
	expires := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	if _, err := s.Put(t.Context(), "__x__", []byte("value"), kv.ExpiresAt(expires)); err != nil {
		t.Fatal(err)
	}
	doc, err := d.client.GetDocument(t.Context(), &pb.GetDocumentRequest{Name: d.layout.parent + "/" + d.layout.collection + "/00__x__"})
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

// TestEnsureOnEmulator: the emulator has no settings, so the tests of settings use a fake
// server. If this test fails because the emulator has settings, those tests should use the
// emulator.
func TestEnsureOnEmulator(t *testing.T) {
	t.Parallel()
	storeURL := emulatorURL(emulator.Firestore(t), "skykv", 16)
	c, err := Connect(t.Context(), storeURL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	adminClient, err := c.AdminClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer adminClient.Close()
	err = EnsureWith(t.Context(), c.Client, adminClient, c.Project, c.Collection, &c.Options)
	if e, ok := errors.AsType[*kv.Error](err); !ok || e.Op != "ensure" || status.Code(e.Err) != codes.Unimplemented {
		t.Errorf("EnsureWith: %v, want Unimplemented", err)
	}
	if err := Ensure(t.Context(), storeURL); err != nil {
		t.Errorf("rule: Ensure by URL succeeds without settings where there are none; got %v", err)
	}
	doc, err := c.Client.GetDocument(t.Context(), &pb.GetDocumentRequest{
		Name: "projects/" + c.Project + "/databases/(default)/documents/c/skykv-layout",
	})
	fields := doc.GetFields()
	if err != nil || fields["format"].GetIntegerValue() != 2 || fields["shards"].GetIntegerValue() != 16 {
		t.Errorf("rule: Ensure writes the layout document; it is %v, %v", doc, err)
	}
}

// TestInspectOnEmulator inspects a collection in one state after another.
func TestInspectOnEmulator(t *testing.T) {
	t.Parallel()
	storeURL := emulatorURL(emulator.Firestore(t), "skykv", 16)
	common := []string{"ok reachable", "ok clock", "ok credentials accepted", "ok database answers", "ok fields an emulator has no"}
	wantChecks(t, storeURL, append(common, "warn layout no layout record")...)
	if err := Ensure(t.Context(), storeURL); err != nil {
		t.Fatal(err)
	}
	wantChecks(t, storeURL, append(common, "ok layout 16 shards")...)
	wantChecks(t, strings.Replace(storeURL, "shards=16", "shards=2", 1), append(common, "fail layout 16 shards; the URL says 2")...)
}
