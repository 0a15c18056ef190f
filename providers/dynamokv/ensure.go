package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/skykv/skykv/internal/pages"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// EnsureWith creates everything that [New] needs and that does not exist yet: the table with
// skykv's primary key and on-demand billing, its TTL on the attribute "ttl", and the layout
// record. Several programs may call it at once, any number of times. EnsureWith waits until
// everything is ready or the context has ended. DynamoDB takes some seconds to create a table.
//
// EnsureWith returns kv.ErrIncompatible, and does not change the table, if the table has
// a different primary key, a TTL on a different attribute, a different layout or number
// of shards, or items of another program. Items in a table without a layout record belong
// to another program, unless the layout is [provider.LayoutAlien] and the items are the
// Alien platform's. EnsureWith makes no other settings, such as encryption, backups
// and tags. Other tools may make them, before or after.
//
// The other errors are those of [New].
func EnsureWith(ctx context.Context, client *dynamodb.Client, table string, opts *Options) error {
	const op = "ensure"
	d, err := newDriver(op, client, table, opts)
	if err != nil {
		return err
	}
	if err := d.ensure(ctx); err != nil {
		return opError(op, err)
	}
	return nil
}

func (d *driver) ensure(ctx context.Context) error {
	created, err := d.ensureTable(ctx)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		// Parts of the service may not know a new table yet.
		err := d.complete(ctx, created)
		if !errors.Is(err, kv.ErrNotProvisioned) || n == maxUnknown {
			return err
		}
		if failed := d.pause(ctx, n); failed != nil {
			return &kv.Error{Err: fmt.Errorf("%w while parts of the service did not know the table: %w", failed, err)}
		}
	}
}

// maxUnknown is the greatest number of calls of complete while the service says that the table
// does not exist, although ensureTable found it. The pauses between the calls take up to 46 s,
// and 23 s on average.
const maxUnknown = 16

// complete adds the TTL and the layout record to an active table, if they are missing.
func (d *driver) complete(ctx context.Context, created bool) error {
	described, err := d.describeTTL(ctx)
	if err != nil {
		return err
	}
	switchOn, err := d.checkTTL(described)
	if err != nil {
		return err
	}
	found, err := d.readLayout(ctx)
	if err == nil && found == nil && !created {
		found, err = d.checkOwner(ctx)
	}
	if err == nil && found != nil {
		err = d.layout.checkRecord(*d.table, found)
	}
	if err == nil && switchOn {
		err = d.switchOnTTL(ctx)
	}
	if err == nil && found == nil {
		if found, err = d.createLayout(ctx); err == nil {
			err = d.layout.checkRecord(*d.table, found)
		}
	}
	return err
}

// ensureTable creates the table if there is none, waits until it is active, and
// checks its primary key.
func (d *driver) ensureTable(ctx context.Context) (created bool, _ error) {
	for n := 1; ; n++ {
		described, err := d.describeTable(ctx)
		switch {
		case err != nil:
			return false, err
		case described != nil:
			if err := d.layout.checkTable(*d.table, described); err != nil {
				return false, err
			}
			ready, err := d.checkStatus(described)
			if ready || err != nil {
				return created, err
			}
		case !created: // after createTable succeeded, the table may take a moment to appear
			if created, err = d.createTable(ctx); err != nil {
				return false, err
			}
		}
		if err := d.pause(ctx, n); err != nil {
			return false, &kv.Error{Err: fmt.Errorf("%w while table %q was being created", err, *d.table)}
		}
	}
}

// describeTable returns the service's description of the table, or nil if there is no
// table.
func (d *driver) describeTable(ctx context.Context) (*types.TableDescription, error) {
	a := d.watch(ctx, nil)
	defer a.end()
	out, err := d.client.DescribeTable(a, &dynamodb.DescribeTableInput{TableName: d.table})
	if _, absent := errors.AsType[*types.ResourceNotFoundException](err); absent {
		return nil, nil
	}
	switch {
	case err != nil:
		return nil, a.failRead(err)
	case out.Table == nil || out.Table.TableStatus == "" || len(out.Table.KeySchema) == 0:
		return nil, errNoAnswer("it does not describe the table")
	}
	return out.Table, nil
}

// checkStatus reports whether the table can be used. It returns an error if the table
// will not become usable.
func (d *driver) checkStatus(described *types.TableDescription) (ready bool, _ error) {
	switch described.TableStatus {
	case types.TableStatusActive, types.TableStatusUpdating:
		return true, nil
	case types.TableStatusCreating:
		return false, nil
	}
	return false, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("table %q is in status %s", *d.table, described.TableStatus)}
}

// createTable creates the table. It returns false if the table already exists.
func (d *driver) createTable(ctx context.Context) (bool, error) {
	a := d.watch(ctx, nil)
	defer a.end()
	out, err := d.client.CreateTable(a, &dynamodb.CreateTableInput{
		TableName:            d.table,
		BillingMode:          types.BillingModePayPerRequest,
		KeySchema:            keySchema,
		AttributeDefinitions: keyAttributes,
	})
	if _, exists := errors.AsType[*types.ResourceInUseException](err); exists {
		return false, nil
	}
	switch {
	case err != nil:
		return false, a.failWrite(err)
	case out.TableDescription == nil:
		return false, errNoAnswerToWrite("it does not describe the table")
	}
	return true, nil
}

func (d *driver) describeTTL(ctx context.Context) (*types.TimeToLiveDescription, error) {
	a := d.watch(ctx, nil)
	defer a.end()
	out, err := d.client.DescribeTimeToLive(a, &dynamodb.DescribeTimeToLiveInput{TableName: d.table})
	switch {
	case err != nil:
		return nil, a.failRead(err)
	case out.TimeToLiveDescription == nil || out.TimeToLiveDescription.TimeToLiveStatus == "":
		return nil, errNoAnswer("it does not describe the TTL")
	}
	return out.TimeToLiveDescription, nil
}

// checkTTL reports whether the TTL is off and can be switched on. It returns an error if
// the TTL is on a different attribute, or is being switched off.
func (d *driver) checkTTL(described *types.TimeToLiveDescription) (off bool, _ error) {
	switch described.TimeToLiveStatus {
	case types.TimeToLiveStatusEnabled, types.TimeToLiveStatusEnabling:
		if attr := aws.ToString(described.AttributeName); attr != attrTTL {
			return false, &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the TTL of table %q is on attribute %q; want attribute %q", *d.table, attr, attrTTL)}
		}
		return false, nil
	case types.TimeToLiveStatusDisabling:
		return false, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the TTL of table %q is being switched off, which takes up to an hour; it can be switched on only after that", *d.table)}
	}
	return true, nil
}

func (d *driver) switchOnTTL(ctx context.Context) error {
	for n := 1; ; n++ {
		err := d.updateTTL(ctx)
		if err == nil {
			return nil
		}
		e := *err
		e.Err = fmt.Errorf("the TTL of table %q cannot be switched on: %w", *d.table, err.Err)
		if api, ok := errors.AsType[smithy.APIError](err); ok && strings.Contains(api.ErrorMessage(), "fixed interval") {
			// The message is "Time to live has been modified multiple times within a fixed interval".
			e.Kind = kv.ErrUnavailable
			e.Err = fmt.Errorf("the TTL of table %q was changed recently, and the service permits one change an hour; provision again later: %w", *d.table, err.Err)
		}
		// Another program may have switched the TTL on just now. The service reports this
		// as a ValidationException.
		described, failed := d.describeTTL(ctx)
		if failed != nil {
			return failed
		}
		if off, failed := d.checkTTL(described); failed != nil || !off {
			return failed
		}
		if _, busy := errors.AsType[*types.ResourceInUseException](err); !busy {
			return &e
		}
		if err := d.pause(ctx, n); err != nil {
			return &kv.Error{Err: fmt.Errorf("%w while table %q was busy: %w", err, *d.table, &e)}
		}
	}
}

func (d *driver) updateTTL(ctx context.Context) *kv.Error {
	a := d.watch(ctx, nil)
	defer a.end()
	out, err := d.client.UpdateTimeToLive(a, &dynamodb.UpdateTimeToLiveInput{
		TableName: d.table,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{
			AttributeName: aws.String(attrTTL), Enabled: yes,
		},
	})
	switch {
	case err != nil:
		return a.failWrite(err)
	case out.TimeToLiveSpecification == nil:
		return errNoAnswerToWrite("it does not describe the TTL")
	}
	return nil
}

// checkOwner examines a table that had no layout record. It returns an error if the table
// has items of another program: skykv stores no items before the layout record. It
// returns the record if another program has created it in the meantime, and nil if the
// table is empty or in the driver's layout.
func (d *driver) checkOwner(ctx context.Context) (item, error) {
	it, err := d.firstItem(ctx)
	if it == nil || err != nil || d.layout.owns(it) {
		return nil, err
	}
	found, err := d.readLayout(ctx)
	if err != nil || found != nil {
		return found, err
	}
	e := fmt.Errorf("table %q has items but no layout record of skykv: it belongs to another program", *d.table)
	if alienLayout.owns(it) {
		e = fmt.Errorf("%w, on the Alien platform; want layout=%s", e, provider.LayoutAlien)
	}
	return nil, &kv.Error{Kind: kv.ErrIncompatible, Err: e}
}

// firstItem returns the first item of the table, or nil if the table is empty.
func (d *driver) firstItem(ctx context.Context) (item, error) {
	in := &dynamodb.ScanInput{TableName: d.table, ConsistentRead: yes, Limit: aws.Int32(1)}
	var guard pages.Guard
	for {
		out, err := d.scanPage(ctx, in)
		switch {
		case err != nil:
			return nil, err
		case len(out.Items) > 0 && out.Items[0] == nil:
			return item{}, nil
		case len(out.Items) > 0:
			return out.Items[0], nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey // items may follow after an empty page
		if more, err := d.follows(ctx, &guard, 0, in.ExclusiveStartKey); !more {
			return nil, err
		}
	}
}

// scanPage makes one request for items of the whole table.
func (d *driver) scanPage(ctx context.Context, in *dynamodb.ScanInput) (*dynamodb.ScanOutput, error) {
	a := d.watchMany(ctx, nil, mostPage)
	defer a.end()
	out, err := d.client.Scan(a, in)
	switch {
	case err != nil:
		return nil, a.failRead(err)
	case out.Items == nil:
		return nil, errNoAnswer("it has no list of items")
	}
	return out, nil
}
