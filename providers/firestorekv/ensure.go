package firestorekv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	admin "cloud.google.com/go/firestore/apiv1/admin"
	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// EnsureWith sets up a collection. It creates only what does not exist yet, and may be called
// again. The database must exist. EnsureWith writes the layout document through client, unless
// the layout is [provider.LayoutAlien], which has none. It then makes two settings through
// adminClient:
//
//   - a TTL policy on the field of the expiry with an expiration offset of one hour, so
//     that Firestore deletes expired documents, usually within a day
//     (https://cloud.google.com/firestore/native/docs/ttl);
//   - exemptions of all fields from the automatic single-field indexes. skykv does not
//     use these indexes. They make writes slower and more expensive, and limit their rate
//     (https://cloud.google.com/firestore/native/docs/query-data/index-overview).
//
// A store works without the settings. Without the TTL policy, expired entries remain until
// they are deleted or replaced. The settings belong to the collection group, which is all
// collections with this ID anywhere in the database.
//
// A database of the Enterprise edition has no automatic indexes, and refuses exemptions, so
// EnsureWith makes none in it.
//
// EnsureWith waits until the settings are in effect, which takes Firestore minutes. Use a
// late deadline, or cancel ctx and call EnsureWith again later.
//
// The errors are those of [New]. [kv.ErrPermission] may be about the documents or about the
// settings. [kv.ErrIncompatible] may also be about a TTL policy with a different offset,
// which Firestore does not change in place. The error then says what to do. An emulator has
// no settings: EnsureWith writes the layout document, and returns an error with the gRPC
// code Unimplemented.
func EnsureWith(ctx context.Context, client *firestore.Client, adminClient *admin.FirestoreAdminClient, project, collection string, opts *Options) error {
	const op = "ensure"
	d, err := newDriver(op, client, project, collection, opts)
	if err != nil {
		return err
	}
	if adminClient == nil {
		return errInvalid(op, "the admin client is nil; want one from admin.NewFirestoreAdminClient")
	}
	// Check the layout first: a collection of another program must keep its settings.
	d.claims = true
	if err := d.checkLayout(ctx); err != nil {
		return opError(op, err)
	}
	if err := ensureSettings(ctx, adminClient, d.layout, gax.Backoff{Initial: time.Second, Max: time.Minute}); err != nil {
		if ctx.Err() != nil {
			return opError(op, fmt.Errorf("%w: %w", ctx.Err(), err))
		}
		return opError(op, settingsError(err))
	}
	return nil
}

// settingsError returns the error of a request for settings. It is ErrNotProvisioned only if
// the database is missing.
func settingsError(err error) *kv.Error {
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return e
	}
	kind := kindOf(err)
	if code(err) == codes.FailedPrecondition { // another field has the policy, for example
		kind = nil
	}
	return &kv.Error{Kind: kind, Err: err}
}

func (c *Connection) ensure(ctx context.Context) error {
	adminClient, err := c.AdminClient(ctx)
	if err != nil {
		return err
	}
	defer adminClient.Close()
	err = EnsureWith(ctx, c.Client, adminClient, c.Project, c.Collection, &c.Options)
	if c.emulator() && code(err) == codes.Unimplemented {
		return nil // there is nothing to set
	}
	return err
}

// ensureSettings makes the missing settings. It changes several fields at once, but makes
// two changes of one field one after the other. If Firestore refuses only that change, for
// example because the edition of the database does not allow it, ensureSettings still makes the
// other changes.
func ensureSettings(ctx context.Context, client *admin.FirestoreAdminClient, l *layout, pauses gax.Backoff) error {
	changes, refused, err := missingSettings(ctx, client, l)
	if err != nil {
		return err
	}
	running := make(map[string]*admin.UpdateFieldOperation) // by the field's name
	wait := func(field string) {
		if op := running[field]; op != nil {
			_, err := op.Wait(ctx)
			refused = cmp.Or(refused, err)
		}
	}
	for _, change := range changes {
		field := change.GetField().GetName()
		wait(field)
		op, err := updateField(ctx, client, change, pauses)
		if c := code(err); err != nil && c != codes.InvalidArgument && c != codes.FailedPrecondition {
			return err // the other changes would fail too
		}
		refused = cmp.Or(refused, err)
		running[field] = op
	}
	for field := range running {
		wait(field)
	}
	if refused != nil {
		return refused
	}
	return waitForPolicy(ctx, client, l, pauses)
}

// missingSettings returns the changes that make the missing settings, one setting each. The
// TTL policy is the first change. The exemption of the same field is the last change, because
// it must wait for the policy. refused is the error of a policy that cannot be set.
func missingSettings(ctx context.Context, client *admin.FirestoreAdminClient, l *layout) (changes []*adminpb.UpdateFieldRequest, refused, err error) {
	enterprise := isEnterprise(ctx, client, l)
	request := func(field *adminpb.Field, path string) *adminpb.UpdateFieldRequest {
		return &adminpb.UpdateFieldRequest{Field: field, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}}}
	}
	fields := l.fields()
	for _, field := range append(fields[1:], fields[0]) {
		have, err := settingsOf(ctx, client, l, field)
		if err != nil {
			return nil, nil, err
		}
		name := l.fieldName(field)
		switch ttl := have.GetTtlConfig(); {
		case field != fields[0]:
		case otherOffset(ttl):
			refused = &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("%s; %s", offsetProblem(field, ttl), offsetFix(l))}
		case policyProblem(ttl) != "":
			policy := &adminpb.Field_TtlConfig{ExpirationOffset: durationpb.New(kv.ExpiryGrace)}
			changes = slices.Insert(changes, 0, request(&adminpb.Field{Name: name, TtlConfig: policy}, "ttl_config"))
		}
		if !enterprise && !exempt(have) {
			changes = append(changes, request(&adminpb.Field{Name: name, IndexConfig: &adminpb.Field_IndexConfig{}}, "index_config")) // an empty IndexConfig means no index
		}
	}
	return changes, refused, nil
}

// settingsOf returns the settings of a field.
func settingsOf(ctx context.Context, client *admin.FirestoreAdminClient, l *layout, field string) (*adminpb.Field, error) {
	have, err := client.GetField(ctx, &adminpb.GetFieldRequest{Name: l.fieldName(field)}, adminOptions)
	switch {
	case code(err) == codes.NotFound: // the field has the default settings
		return &adminpb.Field{IndexConfig: &adminpb.Field_IndexConfig{UsesAncestorConfig: true}}, nil
	case err != nil:
		return nil, err
	case have.GetName() != l.fieldName(field):
		return nil, errField
	}
	return have, nil
}

// errField is the error of a response about a field that was not requested.
var errField = status.Error(codes.Internal, "the response is not from the service: it is about another field")

// adminOptions limits the size of a response.
var adminOptions = gax.WithGRPCOptions(bounded...)

// isEnterprise reports whether the database is known to have the Enterprise edition. It
// returns false if the edition cannot be read: an account that may change settings need not
// have the permission to read the edition.
func isEnterprise(ctx context.Context, client *admin.FirestoreAdminClient, l *layout) bool {
	database, err := client.GetDatabase(ctx, &adminpb.GetDatabaseRequest{Name: l.database}, adminOptions)
	return err == nil && database.GetDatabaseEdition() == adminpb.Database_ENTERPRISE
}

// updateField starts a change. While another change runs in the same database, Firestore refuses
// the new change as Aborted ("Please retry, underlying data changed"). updateField then retries.
func updateField(ctx context.Context, client *admin.FirestoreAdminClient, update *adminpb.UpdateFieldRequest, pauses gax.Backoff) (*admin.UpdateFieldOperation, error) {
	for attempt := 1; ; attempt++ {
		op, err := client.UpdateField(ctx, update, adminOptions)
		if err == nil || code(err) != codes.Aborted || attempt == maxAttempts {
			return op, err
		}
		if err := gax.Sleep(ctx, pauses.Pause()); err != nil {
			return nil, err
		}
	}
}

// exempt reports whether a field has no indexes of its own or of the database's defaults, and will
// get none. A field without an index configuration, as
// in the Enterprise edition, is exempt.
func exempt(have *adminpb.Field) bool {
	indexes := have.GetIndexConfig()
	return len(indexes.GetIndexes()) == 0 && !indexes.GetUsesAncestorConfig() && !indexes.GetReverting()
}

// policyProblem returns why a TTL policy must be set. It returns "" if there is a policy
// that needs no repair, even if Firestore is still creating it.
func policyProblem(have *adminpb.Field_TtlConfig) string {
	switch {
	case have == nil:
		return "there is no policy: expired entries stay and cost money forever"
	case have.GetState() == adminpb.Field_TtlConfig_NEEDS_REPAIR:
		return "the policy needs repair"
	}
	return ""
}

// otherOffset reports whether there is a policy with a different offset. Firestore cannot
// change the offset, so somebody must remove the policy first.
func otherOffset(have *adminpb.Field_TtlConfig) bool {
	return have != nil && have.GetExpirationOffset().AsDuration() != kv.ExpiryGrace
}

func offsetProblem(field string, have *adminpb.Field_TtlConfig) string {
	return fmt.Sprintf("the TTL policy on field %s has an expiration offset of %s; want %s", field, have.GetExpirationOffset().AsDuration(), kv.ExpiryGrace)
}

// offsetFix says what to do about a policy with a different offset.
func offsetFix(l *layout) string {
	project, database := l.projectAndDatabase()
	return fmt.Sprintf("%s, after you have removed the policy, which Firestore cannot change in place: gcloud firestore fields ttls update %s --collection-group='%s' --database='%s' --project='%s' --disable-ttl",
		provider.Provision, l.fields()[0], l.collection, database, project)
}

// waitForPolicy waits until the TTL policy is active, even if another program set it.
func waitForPolicy(ctx context.Context, client *admin.FirestoreAdminClient, l *layout, pauses gax.Backoff) error {
	for {
		field, err := settingsOf(ctx, client, l, l.fields()[0])
		switch {
		case err != nil:
			return err
		case field.GetTtlConfig().GetState() == adminpb.Field_TtlConfig_ACTIVE:
			return nil
		case field.GetTtlConfig().GetState() != adminpb.Field_TtlConfig_CREATING:
			return fmt.Errorf("the TTL policy on field %q is %s", l.fields()[0], field.GetTtlConfig().GetState())
		}
		if err := gax.Sleep(ctx, pauses.Pause()); err != nil {
			return err
		}
	}
}
