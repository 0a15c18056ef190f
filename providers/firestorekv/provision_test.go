package firestorekv

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admin "cloud.google.com/go/firestore/apiv1/admin"
	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/skykv/skykv/kv"
)

// fakeAdmin is the admin API of one database: the emulator has none.
type fakeAdmin struct {
	adminpb.UnimplementedFirestoreAdminServer
	longrunningpb.UnimplementedOperationsServer

	mu      sync.Mutex
	fields  map[string]*adminpb.Field // those with settings of their own
	updates []*adminpb.UpdateFieldRequest
	polls   int
	busy    int            // how many changes are refused for another one
	fail    error          // of every call
	opError *status.Status // of every operation
}

const testGroup = testDatabase + "/collectionGroups/" + testCollection

func (f *fakeAdmin) start(t *testing.T) *admin.FirestoreAdminClient {
	t.Helper()
	if f.fields == nil {
		f.fields = make(map[string]*adminpb.Field)
	}
	addr := serve(t, func(s *grpc.Server) {
		adminpb.RegisterFirestoreAdminServer(s, f)
		longrunningpb.RegisterOperationsServer(s, f)
	})
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client, err := admin.NewFirestoreAdminClient(t.Context(), option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func (f *fakeAdmin) GetField(_ context.Context, req *adminpb.GetFieldRequest) (*adminpb.Field, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	field := f.fields[req.GetName()]
	if field == nil {
		return &adminpb.Field{Name: req.GetName(), IndexConfig: &adminpb.Field_IndexConfig{
			UsesAncestorConfig: true, Indexes: []*adminpb.Index{{}},
		}}, nil
	}
	answer := proto.CloneOf(field)
	if ttl := field.GetTtlConfig(); ttl.GetState() == adminpb.Field_TtlConfig_CREATING {
		ttl.State = adminpb.Field_TtlConfig_ACTIVE // by the next look
	}
	return answer, nil
}

func (f *fakeAdmin) UpdateField(_ context.Context, req *adminpb.UpdateFieldRequest) (*longrunningpb.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	if f.busy > 0 {
		f.busy--
		return nil, status.Error(codes.Aborted, "Please retry, underlying data changed")
	}
	f.updates = append(f.updates, req)
	field := f.fields[req.GetField().GetName()]
	if field == nil {
		field = &adminpb.Field{Name: req.GetField().GetName()}
		f.fields[field.Name] = field
	}
	for _, path := range req.GetUpdateMask().GetPaths() {
		switch path {
		case "index_config":
			field.IndexConfig = req.GetField().GetIndexConfig()
		case "ttl_config":
			field.TtlConfig = req.GetField().GetTtlConfig()
			field.TtlConfig.State = adminpb.Field_TtlConfig_CREATING
		default:
			return nil, status.Errorf(codes.InvalidArgument, "no such path: %s", path)
		}
	}
	return &longrunningpb.Operation{Name: field.Name}, nil // not done
}

func (f *fakeAdmin) GetOperation(_ context.Context, req *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.polls++
	op := &longrunningpb.Operation{Name: req.GetName(), Done: true}
	if f.opError != nil {
		op.Result = &longrunningpb.Operation_Error{Error: f.opError.Proto()}
		return op, nil
	}
	field, err := anypb.New(f.fields[req.GetName()])
	if err != nil {
		return nil, err
	}
	op.Result = &longrunningpb.Operation_Response{Response: field}
	return op, nil
}

// changed lists the changes asked for, such as "x index_config,ttl_config".
func (f *fakeAdmin) changed() (changes []string) {
	for _, update := range f.updates {
		name := update.GetField().GetName()
		changes = append(changes, name[strings.LastIndexByte(name, '/')+1:]+" "+strings.Join(update.GetUpdateMask().GetPaths(), ","))
	}
	slices.Sort(changes)
	return changes
}

// quick keeps the tests from waiting.
var quick = gax.Backoff{Initial: time.Microsecond}

func TestEnsureCollection(t *testing.T) {
	t.Parallel()
	f := &fakeAdmin{busy: 3} // as Firestore is with the change before
	client := f.start(t)
	if err := ensureFields(t.Context(), client, testGroup, quick); err != nil {
		t.Fatal(err)
	}
	if got, want := f.changed(), []string{"t index_config", "v index_config", "x index_config,ttl_config"}; !slices.Equal(got, want) {
		t.Errorf("changed %q, want %q", got, want)
	}
	if f.polls != 3 {
		t.Errorf("rule: EnsureCollection waits for what it started; %d operations were looked at, want 3", f.polls)
	}
	for _, field := range []string{"v", "x", "t"} {
		if config := f.fields[testGroup+"/fields/"+field].GetIndexConfig(); config == nil || len(config.GetIndexes()) > 0 {
			t.Errorf("rule: %s has no indexes; got %v", field, config)
		}
	}
	ttl := f.fields[testGroup+"/fields/x"].GetTtlConfig()
	if ttl.GetExpirationOffset().AsDuration() != time.Hour || ttl.GetState() != adminpb.Field_TtlConfig_ACTIVE {
		t.Errorf("rule: Firestore deletes an hour after the expiry, and EnsureCollection waits until it does; got %v", ttl)
	}
	f.updates = nil
	if err := EnsureCollection(t.Context(), client, testProject, testCollection, nil); err != nil {
		t.Fatal(err)
	}
	if f.updates != nil {
		t.Errorf("rule: what is set up already is not changed; changed %q", f.changed())
	}
}

// TestEnsureCollectionRepairs starts from settings that are not quite right.
func TestEnsureCollectionRepairs(t *testing.T) {
	t.Parallel()
	none := &adminpb.Field_IndexConfig{}
	hour := durationpb.New(time.Hour)
	tests := []struct {
		name string
		x    *adminpb.Field
		want []string
	}{
		{"no offset", &adminpb.Field{IndexConfig: none, TtlConfig: &adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE}}, []string{"x ttl_config"}},
		{"needs repair", &adminpb.Field{IndexConfig: none, TtlConfig: &adminpb.Field_TtlConfig{
			State: adminpb.Field_TtlConfig_NEEDS_REPAIR, ExpirationOffset: hour,
		}}, []string{"x ttl_config"}},
		{"being created by somebody else", &adminpb.Field{IndexConfig: none, TtlConfig: &adminpb.Field_TtlConfig{
			State: adminpb.Field_TtlConfig_CREATING, ExpirationOffset: hour,
		}}, nil},
		{"exempt by the database's default", &adminpb.Field{IndexConfig: &adminpb.Field_IndexConfig{UsesAncestorConfig: true}, TtlConfig: &adminpb.Field_TtlConfig{
			State: adminpb.Field_TtlConfig_ACTIVE, ExpirationOffset: hour,
		}}, []string{"x index_config"}},
		{"exemption being reverted", &adminpb.Field{IndexConfig: &adminpb.Field_IndexConfig{Reverting: true}, TtlConfig: &adminpb.Field_TtlConfig{
			State: adminpb.Field_TtlConfig_ACTIVE, ExpirationOffset: hour,
		}}, []string{"x index_config"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeAdmin{fields: map[string]*adminpb.Field{
				testGroup + "/fields/v": {IndexConfig: none},
				testGroup + "/fields/t": {IndexConfig: none},
			}}
			test.x.Name = testGroup + "/fields/x"
			f.fields[test.x.Name] = test.x
			if err := ensureFields(t.Context(), f.start(t), testGroup, quick); err != nil {
				t.Fatal(err)
			}
			if got := f.changed(); !slices.Equal(got, test.want) {
				t.Errorf("changed %q, want %q", got, test.want)
			}
			if got := f.fields[test.x.Name].GetTtlConfig().GetState(); got != adminpb.Field_TtlConfig_ACTIVE {
				t.Errorf("the policy is %v at the end", got)
			}
		})
	}
}

func TestEnsureCollectionFails(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]error{
		codes.PermissionDenied:  kv.ErrPermission,
		codes.NotFound:          kv.ErrNotProvisioned,
		codes.ResourceExhausted: kv.ErrThrottled,
		codes.Unimplemented:     nil,
	} {
		f := &fakeAdmin{fail: status.Error(code, "told to")}
		err := EnsureCollection(t.Context(), f.start(t), testProject, testCollection, nil)
		e, ok := errors.AsType[*kv.Error](err)
		if !ok || e.Kind != want || status.Code(e.Err) != code || e.Provider != name {
			t.Errorf("%s: %v, want kind %v", code, err, want)
		}
	}
	f := &fakeAdmin{busy: 100}
	if err := ensureFields(t.Context(), f.start(t), testGroup, quick); status.Code(err) != codes.Aborted || f.busy != 100-maxAttempts {
		t.Errorf("rule: retries are bounded; %d were made, and ended with %v", 100-f.busy, err)
	}
	f = &fakeAdmin{opError: status.New(codes.FailedPrecondition, "another field has the TTL policy")}
	if err := EnsureCollection(t.Context(), f.start(t), testProject, testCollection, nil); err == nil || !strings.Contains(err.Error(), "another field") {
		t.Errorf("a failed operation: %v, want its error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := EnsureCollection(ctx, new(fakeAdmin).start(t), testProject, testCollection, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
	if err := EnsureCollection(t.Context(), nil, testProject, testCollection, nil); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("without a client: %v, want ErrInvalidOption", err)
	}
	if err := EnsureCollection(t.Context(), f.start(t), testProject, "a/b", &Options{}); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("bad collection: %v, want ErrInvalidOption", err)
	}
}
