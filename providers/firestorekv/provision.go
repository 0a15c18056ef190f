package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"time"

	admin "cloud.google.com/go/firestore/apiv1/admin"
	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/skykv/skykv/kv"
)

// grace is how long after its expiry Firestore may delete a document: clocks that
// are apart by less cannot make it delete a live one.
const grace = time.Hour

// EnsureCollection sets up a collection for [New], and changes nothing in one that
// is set up already:
//
//   - a TTL policy on the field x with an expiration offset of one hour, so that
//     Firestore deletes what expired, commonly within a day
//     (https://cloud.google.com/firestore/native/docs/ttl);
//   - exemptions of v, x and t from the automatic single-field indexes, which
//     skykv does not use, and which would make writes slower and dearer and limit
//     their rate (https://cloud.google.com/firestore/native/docs/query-data/index-overview).
//
// A store works without either; expired entries then stay until they are deleted
// or replaced. The settings belong to the collection group: to the collections of
// that ID anywhere in the database.
//
// EnsureCollection waits until the settings are in effect, which takes Firestore
// minutes: give ctx a generous deadline, or cancel it and call again later. It
// needs the permissions datastore.indexes.get and datastore.indexes.update, and
// datastore.operations.get to wait. It returns [kv.ErrNotProvisioned] when the
// database, which it does not create, is missing. Emulators have no such settings:
// the error then holds the gRPC code Unimplemented.
func EnsureCollection(ctx context.Context, client *admin.FirestoreAdminClient, project, collection string, opts *Options) error {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Database == "" {
		o.Database = defaultDatabase
	}
	if err := checkIDs(project, collection, o.Database); err != nil {
		return ensureError(kv.ErrInvalidOption, err)
	}
	if client == nil {
		return ensureError(kv.ErrInvalidOption, errors.New("the client is nil; allowed is one of admin.NewFirestoreAdminClient"))
	}
	group := fmt.Sprintf("projects/%s/databases/%s/collectionGroups/%s", project, o.Database, collection)
	if err := ensureFields(ctx, client, group, gax.Backoff{Initial: time.Second, Max: time.Minute}); err != nil {
		if ctx.Err() != nil {
			return ensureError(nil, fmt.Errorf("%w: %w", ctx.Err(), err))
		}
		return ensureError(kind(code(err)), err)
	}
	return nil
}

func ensureError(kind, err error) error {
	return &kv.Error{Op: "ensure collection", Provider: name, Kind: kind, Err: err}
}

// ensureFields starts all changes before it waits for the first.
func ensureFields(ctx context.Context, client *admin.FirestoreAdminClient, group string, pauses gax.Backoff) error {
	var running []*admin.UpdateFieldOperation
	for _, want := range fields(group) {
		have, err := client.GetField(ctx, &adminpb.GetFieldRequest{Name: want.GetName()})
		if err != nil && code(err) != codes.NotFound { // no settings of its own, or no database
			return err
		}
		update := &adminpb.UpdateFieldRequest{Field: want, UpdateMask: &fieldmaskpb.FieldMask{}}
		if !sameIndexes(have.GetIndexConfig()) {
			update.UpdateMask.Paths = append(update.UpdateMask.Paths, "index_config")
		}
		if want.GetTtlConfig() != nil && !sameTTL(have.GetTtlConfig()) {
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
	return waitForTTL(ctx, client, group, pauses)
}

// updateField starts a change, which Firestore refuses as Aborted while it works on
// another one of the same database: "Please retry, underlying data changed".
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

// fields are the settings of the fields, as they should be.
func fields(group string) []*adminpb.Field {
	fields := make([]*adminpb.Field, 0, 3)
	for _, field := range []string{expiresField, valueField, tokenField} {
		fields = append(fields, &adminpb.Field{
			Name:        group + "/fields/" + field,
			IndexConfig: &adminpb.Field_IndexConfig{}, // none
		})
	}
	fields[0].TtlConfig = &adminpb.Field_TtlConfig{ExpirationOffset: durationpb.New(grace)}
	return fields
}

// sameIndexes reports whether a field is exempt from indexes.
func sameIndexes(have *adminpb.Field_IndexConfig) bool {
	return have != nil && len(have.GetIndexes()) == 0 && !have.GetUsesAncestorConfig() && !have.GetReverting()
}

// sameTTL reports whether a TTL policy is, or is about to be, the one that skykv
// needs. One that needs repair is to be set again.
func sameTTL(have *adminpb.Field_TtlConfig) bool {
	return have != nil && have.GetExpirationOffset().AsDuration() == grace &&
		have.GetState() != adminpb.Field_TtlConfig_NEEDS_REPAIR
}

// waitForTTL waits until the policy is active, also when somebody else set it.
func waitForTTL(ctx context.Context, client *admin.FirestoreAdminClient, group string, pauses gax.Backoff) error {
	for {
		field, err := client.GetField(ctx, &adminpb.GetFieldRequest{Name: group + "/fields/" + expiresField})
		switch {
		case err != nil:
			return err
		case field.GetTtlConfig().GetState() == adminpb.Field_TtlConfig_ACTIVE:
			return nil
		case field.GetTtlConfig().GetState() != adminpb.Field_TtlConfig_CREATING:
			return fmt.Errorf("the TTL policy on field %q is %s", expiresField, field.GetTtlConfig().GetState())
		}
		if err := gax.Sleep(ctx, pauses.Pause()); err != nil {
			return err
		}
	}
}
