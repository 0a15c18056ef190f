package firestorekv

import (
	"context"
	"fmt"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	admin "cloud.google.com/go/firestore/apiv1/admin"
	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/skykv/skykv/kv"
)

// EnsureWith sets up a collection for [New], and changes nothing that is set up already.
// The database must exist. EnsureWith writes the layout document through client, and
// then makes two settings through adminClient:
//
//   - a TTL policy on the field x with an expiration offset of one hour, so that
//     Firestore deletes expired documents, commonly within a day
//     (https://cloud.google.com/firestore/native/docs/ttl);
//   - exemptions of all fields from the automatic single-field indexes. skykv does not
//     use these indexes. They make writes slower and dearer, and limit their rate
//     (https://cloud.google.com/firestore/native/docs/query-data/index-overview).
//
// A store works without the settings. Expired entries then stay until they are deleted
// or replaced. The settings belong to the collection group, which is all collections
// with this ID anywhere in the database.
//
// EnsureWith waits until the settings are in effect, which takes Firestore minutes. Give
// ctx a generous deadline, or cancel it and call EnsureWith again later.
//
// EnsureWith returns the errors of New. [kv.ErrPermission] may be about the
// documents or about the settings. Emulators have no settings: EnsureWith writes the layout
// document, and returns an error with the gRPC code Unimplemented.
func EnsureWith(ctx context.Context, client *firestore.Client, adminClient *admin.FirestoreAdminClient, project, collection string, opts *Options) error {
	const op = "ensure"
	d, err := newDriver(op, client, project, collection, opts)
	if err != nil {
		return err
	}
	if adminClient == nil {
		return errInvalid(op, "the admin client is nil; want one from admin.NewFirestoreAdminClient")
	}
	// The layout first: a collection of another program must keep its settings.
	if err := d.checkLayout(ctx); err != nil {
		return opError(op, err)
	}
	if err := ensureSettings(ctx, adminClient, d.layout, gax.Backoff{Initial: time.Second, Max: time.Minute}); err != nil {
		if ctx.Err() != nil {
			return opError(op, fmt.Errorf("%w: %w", ctx.Err(), err))
		}
		return opError(op, &kv.Error{Kind: kindOf(code(err)), Err: err})
	}
	return nil
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

// ensureSettings starts all changes before it waits for the first.
func ensureSettings(ctx context.Context, client *admin.FirestoreAdminClient, l *layout, pauses gax.Backoff) error {
	var running []*admin.UpdateFieldOperation
	for i, field := range l.fields() {
		want := &adminpb.Field{Name: l.fieldName(field), IndexConfig: &adminpb.Field_IndexConfig{}} // no index
		have, err := client.GetField(ctx, &adminpb.GetFieldRequest{Name: want.GetName()})
		if err != nil && code(err) != codes.NotFound { // NotFound: the field has the default settings
			return err
		}
		update := &adminpb.UpdateFieldRequest{Field: want, UpdateMask: &fieldmaskpb.FieldMask{}}
		if !exempt(have.GetIndexConfig()) {
			update.UpdateMask.Paths = append(update.UpdateMask.Paths, "index_config")
		}
		if i == 0 && policyProblem(have.GetTtlConfig()) != "" {
			want.TtlConfig = &adminpb.Field_TtlConfig{ExpirationOffset: durationpb.New(kv.ExpiryGrace)}
			update.UpdateMask.Paths = append(update.UpdateMask.Paths, "ttl_config")
		}
		if len(update.UpdateMask.Paths) == 0 {
			continue
		}
		op, err := updateField(ctx, client, update, pauses)
		if err != nil {
			return err
		}
		running = append(running, op)
	}
	for _, op := range running {
		if _, err := op.Wait(ctx); err != nil {
			return err
		}
	}
	return waitForPolicy(ctx, client, l, pauses)
}

// updateField starts a change. Firestore refuses it as Aborted while it makes another
// change in the same database: "Please retry, underlying data changed".
func updateField(ctx context.Context, client *admin.FirestoreAdminClient, update *adminpb.UpdateFieldRequest, pauses gax.Backoff) (*admin.UpdateFieldOperation, error) {
	for attempt := 1; ; attempt++ {
		op, err := client.UpdateField(ctx, update)
		if err == nil || code(err) != codes.Aborted || attempt == maxAttempts {
			return op, err
		}
		if err := gax.Sleep(ctx, pauses.Pause()); err != nil {
			return nil, err
		}
	}
}

// exempt reports whether a field is exempt from indexes.
func exempt(have *adminpb.Field_IndexConfig) bool {
	return have != nil && len(have.GetIndexes()) == 0 && !have.GetUsesAncestorConfig() && !have.GetReverting()
}

// policyProblem returns why a TTL policy must be set, and "" for the right policy, also
// when Firestore is still creating it.
func policyProblem(have *adminpb.Field_TtlConfig) string {
	switch offset := have.GetExpirationOffset().AsDuration(); {
	case have == nil:
		return "there is no policy: expired entries stay, and cost, for ever"
	case offset != kv.ExpiryGrace:
		return fmt.Sprintf("the policy has an expiration offset of %s; want %s", offset, kv.ExpiryGrace)
	case have.GetState() == adminpb.Field_TtlConfig_NEEDS_REPAIR:
		return "the policy needs repair"
	}
	return ""
}

// waitForPolicy waits until the TTL policy is active, whoever set it.
func waitForPolicy(ctx context.Context, client *admin.FirestoreAdminClient, l *layout, pauses gax.Backoff) error {
	for {
		field, err := client.GetField(ctx, &adminpb.GetFieldRequest{Name: l.fieldName(l.fields()[0])})
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
