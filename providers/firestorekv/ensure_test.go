package firestorekv

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admin "cloud.google.com/go/firestore/apiv1/admin"
	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
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
	"github.com/skykv/skykv/kv/provider"
)

// fakeAdmin is a service with the settings of one database. The emulator has no settings.
type fakeAdmin struct {
	adminpb.UnimplementedFirestoreAdminServer
	longrunningpb.UnimplementedOperationsServer

	mu      sync.Mutex
	fields  map[string]*adminpb.Field // the fields whose settings are not the default
	updates []*adminpb.UpdateFieldRequest
	polls   int
	busy    int            // number of changes to refuse because of another change
	fail    error          // if set, the error of every GetField, GetDatabase and UpdateField
	opError *status.Status // if set, the error of every long-running operation
	edition adminpb.Database_DatabaseEdition
	other   string // the name of the field in every response, if set

	noIndexes bool // exemptions are refused

	underWay map[string]bool // fields with running changes
	overlaps bool            // a change of a field began before the previous change of the field had ended
}

const testFields = testDatabase + "/collectionGroups/" + testCollection + "/fields/"

func (f *fakeAdmin) register(s *grpc.Server) {
	if f.fields == nil {
		f.fields = make(map[string]*adminpb.Field)
	}
	adminpb.RegisterFirestoreAdminServer(s, f)
	longrunningpb.RegisterOperationsServer(s, f)
}

func (f *fakeAdmin) start(t *testing.T) *admin.FirestoreAdminClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+serve(t, f.register), grpc.WithTransportCredentials(insecure.NewCredentials()))
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

// exemptField returns a field without indexes. The TTL policy may be nil.
func exemptField(ttl *adminpb.Field_TtlConfig) *adminpb.Field {
	return &adminpb.Field{IndexConfig: &adminpb.Field_IndexConfig{}, TtlConfig: ttl}
}

// activePolicy returns the policy that skykv sets.
func activePolicy() *adminpb.Field_TtlConfig {
	return &adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE, ExpirationOffset: durationpb.New(time.Hour)}
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
	answer.Name = cmp.Or(f.other, req.GetName())
	if ttl := field.GetTtlConfig(); ttl.GetState() == adminpb.Field_TtlConfig_CREATING {
		ttl.State = adminpb.Field_TtlConfig_ACTIVE // from the next read on
	}
	return answer, nil
}

func (f *fakeAdmin) GetDatabase(_ context.Context, req *adminpb.GetDatabaseRequest) (*adminpb.Database, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	if f.edition == adminpb.Database_DATABASE_EDITION_UNSPECIFIED {
		return nil, status.Error(codes.PermissionDenied, "datastore.databases.get")
	}
	return &adminpb.Database{Name: req.GetName(), DatabaseEdition: f.edition}, nil
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
	field := f.fields[req.GetField().GetName()]
	if field == nil {
		field = &adminpb.Field{Name: req.GetField().GetName()}
		f.fields[field.Name] = field
	}
	for _, path := range req.GetUpdateMask().GetPaths() {
		switch path {
		case "index_config":
			if f.noIndexes || f.edition == adminpb.Database_ENTERPRISE {
				return nil, status.Error(codes.InvalidArgument, "Single-field indexing modes cannot be updated in Enterprise edition databases.")
			}
			field.IndexConfig = req.GetField().GetIndexConfig()
		case "ttl_config":
			if old := field.GetTtlConfig(); old != nil && old.GetState() != adminpb.Field_TtlConfig_NEEDS_REPAIR {
				return nil, status.Error(codes.FailedPrecondition, "the field has a TTL policy")
			}
			field.TtlConfig = req.GetField().GetTtlConfig()
			field.TtlConfig.State = adminpb.Field_TtlConfig_CREATING
		default:
			return nil, status.Errorf(codes.InvalidArgument, "no such path: %s", path)
		}
	}
	f.updates = append(f.updates, req)
	if f.underWay == nil {
		f.underWay = make(map[string]bool)
	}
	f.overlaps = f.overlaps || f.underWay[req.GetField().GetName()]
	f.underWay[req.GetField().GetName()] = true
	return &longrunningpb.Operation{Name: req.GetField().GetName()}, nil // not done, so the client polls it
}

func (f *fakeAdmin) GetOperation(_ context.Context, req *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.polls++
	f.underWay[req.GetName()] = false
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

// changed returns the requested changes in order, such as "x index_config".
func (f *fakeAdmin) changed() (changes []string) {
	for _, update := range f.updates {
		name := update.GetField().GetName()
		changes = append(changes, name[strings.LastIndexByte(name, '/')+1:]+" "+strings.Join(update.GetUpdateMask().GetPaths(), ","))
	}
	slices.Sort(changes)
	return changes
}

// quick makes pauses short.
var quick = gax.Backoff{Initial: time.Microsecond}

func TestEnsureSettings(t *testing.T) {
	t.Parallel()
	f := &fakeAdmin{busy: 3} // like Firestore during another change
	client := f.start(t)
	if err := ensureSettings(t.Context(), client, testLayout(1), quick); err != nil {
		t.Fatal(err)
	}
	if got, want := f.changed(), []string{"p index_config", "t index_config", "v index_config", "x index_config", "x ttl_config"}; !slices.Equal(got, want) {
		t.Errorf("changed %q, want %q", got, want)
	}
	if f.polls != 5 {
		t.Errorf("rule: Ensure waits for the changes that it started; it looked at %d operations, want 5", f.polls)
	}
	if first := f.updates[0].GetUpdateMask().GetPaths()[0]; first != "ttl_config" {
		t.Errorf("rule: the TTL policy comes first; got %s", first)
	}
	if f.overlaps {
		t.Error("rule: a field is changed again only after its last change; two changes overlapped")
	}
	for _, field := range []string{"v", "x", "t", "p"} {
		if config := f.fields[testFields+field].GetIndexConfig(); config == nil || len(config.GetIndexes()) > 0 {
			t.Errorf("rule: %s has no indexes; got %v", field, config)
		}
	}
	ttl := f.fields[testFields+"x"].GetTtlConfig()
	if ttl.GetExpirationOffset().AsDuration() != time.Hour || ttl.GetState() != adminpb.Field_TtlConfig_ACTIVE {
		t.Errorf("rule: Firestore deletes an hour after the expiry, and Ensure waits until it does; got %v", ttl)
	}
	f.updates = nil
	if err := ensureSettings(t.Context(), client, testLayout(1), quick); err != nil {
		t.Fatal(err)
	}
	if f.updates != nil {
		t.Errorf("rule: Ensure does not change right settings; changed %q", f.changed())
	}
}

// TestEnsureSettingsRepairs starts with settings that are partly wrong.
func TestEnsureSettingsRepairs(t *testing.T) {
	t.Parallel()
	hour := durationpb.New(time.Hour)
	tests := []struct {
		name string
		x    *adminpb.Field
		want []string
	}{
		{"needs repair", exemptField(&adminpb.Field_TtlConfig{
			State: adminpb.Field_TtlConfig_NEEDS_REPAIR, ExpirationOffset: hour,
		}), []string{"x ttl_config"}},
		{"another program creates it", exemptField(&adminpb.Field_TtlConfig{
			State: adminpb.Field_TtlConfig_CREATING, ExpirationOffset: hour,
		}), nil},
		{"exempt by the database's default", &adminpb.Field{
			IndexConfig: &adminpb.Field_IndexConfig{UsesAncestorConfig: true}, TtlConfig: activePolicy(),
		}, []string{"x index_config"}},
		{"exemption being reverted", &adminpb.Field{
			IndexConfig: &adminpb.Field_IndexConfig{Reverting: true}, TtlConfig: activePolicy(),
		}, []string{"x index_config"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeAdmin{fields: map[string]*adminpb.Field{
				testFields + "x": test.x, testFields + "v": exemptField(nil), testFields + "t": exemptField(nil), testFields + "p": exemptField(nil),
			}}
			for name, field := range f.fields {
				field.Name = name
			}
			if err := ensureSettings(t.Context(), f.start(t), testLayout(1), quick); err != nil {
				t.Fatal(err)
			}
			if got := f.changed(); !slices.Equal(got, test.want) {
				t.Errorf("changed %q, want %q", got, test.want)
			}
			if got := test.x.GetTtlConfig().GetState(); got != adminpb.Field_TtlConfig_ACTIVE {
				t.Errorf("the policy is %v at the end", got)
			}
		})
	}
}

// TestEnterpriseEdition: Ensure makes no exemptions in the Enterprise edition, which has
// no automatic indexes and refuses exemptions.
func TestEnterpriseEdition(t *testing.T) {
	t.Parallel()
	bare := func() map[string]*adminpb.Field {
		fields := make(map[string]*adminpb.Field)
		for _, field := range testLayout(1).fields() {
			fields[testFields+field] = &adminpb.Field{}
		}
		return fields
	}
	for name, settings := range map[string]*fakeAdmin{
		"fields by default":                    {edition: adminpb.Database_ENTERPRISE},
		"fields without indexes":               {edition: adminpb.Database_ENTERPRISE, fields: bare()},
		"an edition that may not be looked at": {fields: bare()},
	} {
		if err := ensureSettings(t.Context(), settings.start(t), testLayout(1), quick); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := settings.changed(); !slices.Equal(got, []string{"x ttl_config"}) {
			t.Errorf("rule: nothing is exempted from indexes where there are none; with %s changed %q", name, got)
		}
	}
	settings := &fakeAdmin{noIndexes: true}
	err := ensureSettings(t.Context(), settings.start(t), testLayout(1), quick)
	if status.Code(err) != codes.InvalidArgument || settings.fields[testFields+"x"].GetTtlConfig().GetState() == adminpb.Field_TtlConfig_STATE_UNSPECIFIED {
		t.Errorf("rule: the TTL policy is made although the exemptions are refused; got %v and %v", err, settings.fields[testFields+"x"])
	}
}

// TestOtherOffset: Ensure refuses a policy with a different offset, because Firestore
// cannot change it.
func TestOtherOffset(t *testing.T) {
	t.Parallel()
	docs := new(fake)
	settings := &fakeAdmin{fields: map[string]*adminpb.Field{
		testFields + "x": {TtlConfig: &adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE}},
	}}
	storeURL := serveDatabase(t, docs, settings)
	err := Ensure(t.Context(), storeURL)
	const fix = "gcloud firestore fields ttls update x --collection-group='c' --database='(default)' --project='p' --disable-ttl"
	if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "offset of 0s; want 1h0m0s") || !strings.Contains(err.Error(), fix) {
		t.Errorf("rule: Ensure says what to do about another offset; got %v", err)
	}
	if got := settings.changed(); !slices.Equal(got, []string{"p index_config", "t index_config", "v index_config"}) {
		t.Errorf("rule: Ensure makes the settings that it can; changed %q", got)
	}
	settings.fields[testFields+"x"].TtlConfig = nil
	if err := Ensure(t.Context(), storeURL); err != nil {
		t.Errorf("rule: the error's advice helps; got %v", err)
	}
}

// TestEnsureSettingsIsBounded: ensureSettings ends even if another program changes
// settings all the time.
func TestEnsureSettingsIsBounded(t *testing.T) {
	t.Parallel()
	f := &fakeAdmin{busy: 100}
	if err := ensureSettings(t.Context(), f.start(t), testLayout(1), quick); status.Code(err) != codes.Aborted || f.busy != 100-maxAttempts {
		t.Errorf("rule: retries are bounded; %d were made, and ended with %v", 100-f.busy, err)
	}
}

// TestEnsure sets up a collection by URL.
func TestEnsure(t *testing.T) {
	t.Parallel()
	docs := new(fake)
	settings := &fakeAdmin{fields: map[string]*adminpb.Field{testFields + "x": exemptField(activePolicy())}}
	storeURL := serveDatabase(t, docs, settings) + "&shards=16"
	for range 2 {
		if err := Ensure(t.Context(), storeURL); err != nil {
			t.Fatal(err)
		}
		if got, want := settings.changed(), []string{"p index_config", "t index_config", "v index_config"}; !slices.Equal(got, want) {
			t.Errorf("rule: Ensure makes the settings that are missing, and no others; changed %q, want %q", got, want)
		}
	}
	if got := docs.ids(); !slices.Equal(got, []string{layoutID}) {
		t.Errorf("rule: Ensure writes the layout document alone; there are %q", got)
	}
	store, err := Open(t.Context(), storeURL)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if n := store.Info().Shards; n != 16 {
		t.Errorf("the store has %d shards, want 16", n)
	}
	if _, err := Open(t.Context(), strings.Replace(storeURL, "shards=16", "shards=1", 1)); !errors.Is(err, kv.ErrIncompatible) {
		t.Errorf("rule: Ensure fixes the number of shards; opened with another one: %v, want ErrIncompatible", err)
	}
}

// TestEnsureLayoutAlien: in layout alien, Ensure changes the settings of this layout's
// fields, and writes no layout document. It refuses a policy without the offset, because
// such a policy may remove documents before their grace is over.
func TestEnsureLayoutAlien(t *testing.T) {
	t.Parallel()
	settings, docs := new(fakeAdmin), new(fake)
	storeURL := serveDatabase(t, docs, settings) + "&layout=alien"
	for range 2 {
		if err := Ensure(t.Context(), storeURL); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"created_at index_config", "expires_at index_config", "expires_at ttl_config", "skykv_p index_config", "skykv_t index_config", "value index_config"}
	if got := settings.changed(); !slices.Equal(got, want) {
		t.Errorf("Ensure changed %q; want %q", got, want)
	}
	if got := docs.ids(); got != nil {
		t.Errorf("rule: layout alien has no layout document; there are %q", got)
	}
	settings.fields[testFields+"expires_at"] = exemptField(&adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE})
	err := Ensure(t.Context(), storeURL)
	if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "field expires_at has an expiration offset of 0s; want 1h0m0s") {
		t.Errorf("rule: Ensure refuses a policy without the grace; got %v", err)
	}
	found := false
	for check := range Inspect(t.Context(), storeURL) {
		found = found || check.Name == "ttl" && check.Status == provider.Warn && strings.Contains(check.Detail, "offset of 0s")
	}
	if !found {
		t.Error("rule: Inspect warns of a policy without the grace")
	}
}

// TestEnsureLeavesOthers: Ensure does not change the settings of another program's
// collection.
func TestEnsureLeavesOthers(t *testing.T) {
	t.Parallel()
	docs, settings := new(fake), new(fakeAdmin)
	storeURL := serveDatabase(t, docs, settings)
	docs.put(layoutID, map[string]*pb.Value{"name": {}})
	if err := Ensure(t.Context(), storeURL); !errors.Is(err, kv.ErrIncompatible) {
		t.Errorf("rule: a collection of another program is refused; got %v, want ErrIncompatible", err)
	}
	if settings.updates != nil {
		t.Errorf("rule: a refused collection is not changed; changed %q", settings.changed())
	}
}

func TestEnsureWithFails(t *testing.T) {
	t.Parallel()
	docs := new(fake)
	client := connect(t, docs.start(t))
	ensure := func(f *fakeAdmin) error {
		return EnsureWith(t.Context(), client, f.start(t), testProject, testCollection, nil)
	}
	for code, want := range map[codes.Code]error{
		codes.PermissionDenied:  kv.ErrPermission,
		codes.NotFound:          kv.ErrNotProvisioned,
		codes.ResourceExhausted: kv.ErrThrottled,
		codes.Unimplemented:     nil,
	} {
		err := ensure(&fakeAdmin{fail: status.Error(code, "told to")})
		e, ok := errors.AsType[*kv.Error](err)
		if !ok || e.Kind != want || status.Code(e.Err) != code || e.Provider != name || e.Op != "ensure" {
			t.Errorf("%s: %v, want kind %v", code, err, want)
		}
		if got := docs.ids(); !slices.Equal(got, []string{layoutID}) {
			t.Errorf("rule: the layout document does not depend on the settings; there are %q", got)
		}
	}
	f := &fakeAdmin{opError: status.New(codes.FailedPrecondition, "another field has the TTL policy")}
	for what, f := range map[string]*fakeAdmin{"operation": f, "call": {fail: status.Error(codes.FailedPrecondition, "another field has the TTL policy")}} {
		if err := ensure(f); err == nil || !strings.Contains(err.Error(), "another field") || errors.Is(err, kv.ErrNotProvisioned) {
			t.Errorf("rule: a setting that is refused is no missing database; a failed %s: %v, want its error", what, err)
		}
	}
	f = &fakeAdmin{other: testFields + "other", fields: map[string]*adminpb.Field{testFields + "x": exemptField(activePolicy())}}
	if err := ensure(f); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: a response about another field is ErrUnavailable; got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := EnsureWith(ctx, client, f.start(t), testProject, testCollection, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want context.Canceled", err)
	}
	docs.reset()
	for says, err := range map[string]error{
		"the client is nil":       EnsureWith(t.Context(), nil, f.start(t), testProject, testCollection, nil),
		"the admin client is nil": EnsureWith(t.Context(), client, nil, testProject, testCollection, nil),
		"the collection":          EnsureWith(t.Context(), client, f.start(t), testProject, "a/b", &Options{}),
		"the number of shards":    EnsureWith(t.Context(), client, f.start(t), testProject, testCollection, &Options{Shards: -1}),
	} {
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), says) {
			t.Errorf("rule: an invalid argument is ErrInvalidOption; got %v, want %q", err, says)
		}
	}
	if got := docs.count(); got != "" {
		t.Errorf("rule: arguments are checked before any I/O; made %s", got)
	}
}
