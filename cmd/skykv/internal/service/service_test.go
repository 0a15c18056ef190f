package service

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestClock(t *testing.T) {
	t.Parallel()
	begun := time.Date(2027, 1, 31, 12, 0, 0, 500e6, time.UTC)
	for _, c := range []struct {
		there time.Time // as the header says it, in whole seconds
		took  time.Duration
		want  Status
		says  string
	}{
		{begun.Truncate(time.Second), 0, OK, "agrees"},
		{begun.Truncate(time.Second).Add(time.Second), 600 * time.Millisecond, OK, "agrees"},
		{begun.Truncate(time.Second).Add(-time.Second), 0, OK, "500ms ahead of"},
		{begun.Truncate(time.Second).Add(-4 * time.Second), 0, Warn, "3.5s ahead of"},
		{begun.Truncate(time.Second).Add(4 * time.Second), 100 * time.Millisecond, Warn, "3.4s behind"},
		{begun.Add(-time.Hour), 0, Fail, "ahead of"},
		{begun.Add(time.Hour), time.Second, Fail, "behind"},
	} {
		got := clock(c.there, begun, c.took)
		if got.Status != c.want || !strings.Contains(got.Detail, c.says) || (got.Status == OK) != (got.Fix == "") {
			t.Errorf("a service at %s, this host at %s, after %s: %+v; want %s and %q", c.there, begun, c.took, got, c.want, c.says)
		}
	}
}

func TestDynamoDBTTL(t *testing.T) {
	t.Parallel()
	off := Check{Name: "ttl", Status: Warn, Step: "switch it on"}
	for _, c := range []struct {
		ttl  *types.TimeToLiveDescription
		want Status
		step bool
	}{
		{nil, Warn, true},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusDisabled}, Warn, true},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusEnabled, AttributeName: aws.String("ttl")}, OK, false},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusEnabling, AttributeName: aws.String("ttl")}, OK, false},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusEnabled, AttributeName: aws.String("x")}, Fail, false},
		{&types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusDisabling, AttributeName: aws.String("ttl")}, Warn, false},
	} {
		if got := checkTTL(c.ttl, off); got.Status != c.want || (got.Step != "") != c.step {
			t.Errorf("a TTL of %+v is %+v; want %s, with a step: %t", c.ttl, got, c.want, c.step)
		}
	}
}

// A user who may read entries, and not look at settings, has a store that works.
func TestDynamoDBWithoutControlPlane(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		switch op {
		case "GetItem":
			fmt.Fprint(w, `{"Item":{"format":{"N":"1"},"shards":{"N":"16"}}}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"com.amazon.coral.service#AccessDeniedException","message":"not allowed"}`)
		}
	}))
	defer server.Close()
	s, err := New(t.Context(), "dynamodb://cache?region=us-east-1&endpoint="+url.QueryEscape(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want(t, s.Settings(t.Context()), "warn table dynamodb:DescribeTable", "warn ttl dynamodb:DescribeTimeToLive", "ok layout 16 shards")
}

// firestoreServer is a database with settings, which the emulator has not.
type firestoreServer struct {
	adminpb.UnimplementedFirestoreAdminServer
	firestorepb.UnimplementedFirestoreServer
	fields map[string]*adminpb.Field
	denied bool
	layout bool
}

func (s *firestoreServer) GetField(_ context.Context, req *adminpb.GetFieldRequest) (*adminpb.Field, error) {
	if s.denied {
		return nil, status.Error(codes.PermissionDenied, "not allowed")
	}
	name := req.GetName()[strings.LastIndex(req.GetName(), "/")+1:]
	if f := s.fields[name]; f != nil {
		return f, nil
	}
	return nil, status.Error(codes.NotFound, "no field")
}

func (s *firestoreServer) BatchGetDocuments(req *firestorepb.BatchGetDocumentsRequest, stream firestorepb.Firestore_BatchGetDocumentsServer) error {
	resp := &firestorepb.BatchGetDocumentsResponse{Result: &firestorepb.BatchGetDocumentsResponse_Missing{Missing: req.GetDocuments()[0]}}
	if s.layout {
		resp.Result = &firestorepb.BatchGetDocumentsResponse_Found{Found: &firestorepb.Document{
			Name: req.GetDocuments()[0], Fields: map[string]*firestorepb.Value{"format": {ValueType: &firestorepb.Value_IntegerValue{IntegerValue: 1}}},
		}}
	}
	return stream.Send(resp)
}

func TestFirestoreSettings(t *testing.T) {
	t.Parallel()
	exempt := func(ttl *adminpb.Field_TtlConfig) *adminpb.Field {
		return &adminpb.Field{IndexConfig: &adminpb.Field_IndexConfig{}, TtlConfig: ttl}
	}
	for name, c := range map[string]struct {
		server *firestoreServer
		want   []string
	}{
		"nothing set": {&firestoreServer{}, []string{"ok credentials accepted", "ok database", "warn ttl no policy", "warn index x", "warn index v", "warn index t", "warn layout"}},
		"all set": {&firestoreServer{layout: true, fields: map[string]*adminpb.Field{
			"x": exempt(&adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE, ExpirationOffset: durationpb.New(time.Hour)}), "v": exempt(nil), "t": exempt(nil),
		}}, []string{"ok credentials accepted", "ok database", "ok ttl active", "ok index x", "ok index v", "ok index t", "ok layout"}},
		"half set": {&firestoreServer{layout: true, fields: map[string]*adminpb.Field{
			"x": exempt(&adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE}),
			"v": {IndexConfig: &adminpb.Field_IndexConfig{UsesAncestorConfig: true}},
		}}, []string{"ok credentials accepted", "ok database", "warn ttl offset of 0s", "ok index x", "warn index v", "warn index t", "ok layout"}},
		"denied": {&firestoreServer{layout: true, denied: true}, []string{"ok credentials accepted", "ok database", "warn fields cannot be looked at", "ok layout"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer()
			adminpb.RegisterFirestoreAdminServer(server, c.server)
			firestorepb.RegisterFirestoreServer(server, c.server)
			go server.Serve(listener)
			t.Cleanup(server.Stop)
			s, err := New(t.Context(), "firestore://project/cache?endpoint="+url.QueryEscape("http://"+listener.Addr().String()))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want(t, s.Settings(t.Context()), c.want...)
		})
	}
}

// want checks checks against lines of a status, a name and words of the detail.
// What provision can fix says so, and so does every warning or failure.
func want(t *testing.T, checks []Check, lines ...string) {
	t.Helper()
	got := slices.Collect(func(yield func(string) bool) {
		for _, c := range checks {
			if !yield(fmt.Sprintf("%s %s %s", c.Status, c.Name, c.Detail)) {
				return
			}
		}
	})
	ok := len(got) == len(lines)
	for i := 0; ok && i < len(lines); i++ {
		status, rest, _ := strings.Cut(lines[i], " ")
		c := checks[i]
		ok = string(c.Status) == status && (strings.HasPrefix(rest, c.Name) && strings.Contains(c.Detail, strings.TrimSpace(strings.TrimPrefix(rest, c.Name)))) &&
			(c.Status == OK) == (c.Fix == "")
	}
	if !ok {
		t.Errorf("the checks are\n%s\nwant\n%s, and a fix for all but ok", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func TestTerraform(t *testing.T) {
	t.Parallel()
	for url, says := range map[string][]string{
		"dynamodb://cache?region=eu-central-1&endpoint=http://localhost:1":  {`name         = "cache"`, `region = "eu-central-1"`, `attribute_name = "ttl"`, `range_key    = "sk"`},
		"firestore://project/cache?database=db&endpoint=http://localhost:1": {`collection = "cache"`, `database   = "db"`, `expiration_offset = "3600s"`, `toset(["v", "t"])`},
		"aztables://devstoreaccount1/cache":                                 {`name                 = "cache"`, `storage_account_name = "devstoreaccount1"`},
	} {
		s, err := New(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		text, err := s.Terraform()
		if err != nil || strings.Count(text, "{") != strings.Count(text, "}") {
			t.Errorf("%s: %v\n%s", url, err, text)
		}
		for _, want := range says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the text does not hold %q:\n%s", url, want, text)
			}
		}
	}
}
