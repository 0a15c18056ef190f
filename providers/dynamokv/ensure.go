package dynamokv

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// EnsureWith creates the table that [New] opens, as far as it is not there: with
// skykv's primary key and on-demand billing, ready for use, its TTL switched on
// for the attribute "ttl", and with a layout record. It may be called any number
// of times, by several programs at once, and returns when all that is done or
// the context has ended; a new table takes DynamoDB some seconds.
//
// A table with another primary key, with a TTL on another attribute, with other
// shards, or with items but without a layout record, which therefore belongs to
// somebody else, is kv.ErrIncompatible and left as it is. All other settings,
// such as encryption, backups and tags, are for other tools, before or after.
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
	described, err := d.describeTTL(ctx)
	if err != nil {
		return err
	}
	switchOn, err := d.checkTTL(described)
	if err != nil {
		return err
	}
	found, err := d.readLayout(ctx)
	switch {
	case err != nil:
		return err
	case found != nil:
		err = d.layout.checkRecord(*d.table, found)
	case !created:
		err = d.checkOwner(ctx)
	}
	if err != nil {
		return err
	}
	if switchOn {
		if err := d.switchOnTTL(ctx); err != nil {
			return err
		}
	}
	return d.checkLayout(ctx)
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
		case !created: // once it is created, by whomever, it may take a moment to be seen
			if created, err = d.createTable(ctx); err != nil {
				return false, err
			}
		}
		if err := d.pause(ctx, n); err != nil {
			return false, &kv.Error{Err: fmt.Errorf("%w, while table %q was being created", err, *d.table)}
		}
	}
}

// describeTable returns what the service says of the table, nil if there is none.
func (d *driver) describeTable(ctx context.Context) (*types.TableDescription, error) {
	ctx, a := d.watch(ctx, nil)
	out, err := d.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: d.table}, watched...)
	if _, absent := errors.AsType[*types.ResourceNotFoundException](err); absent {
		return nil, nil
	}
	if err != nil {
		return nil, a.failRead(ctx, err)
	}
	return out.Table, nil
}

// checkStatus reports whether the table can be used. It returns an error for one that
// is not going to be usable by itself.
func (d *driver) checkStatus(described *types.TableDescription) (ready bool, _ error) {
	switch described.TableStatus {
	case types.TableStatusActive, types.TableStatusUpdating:
		return true, nil
	case types.TableStatusCreating:
		return false, nil
	}
	return false, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("table %q is in status %s", *d.table, described.TableStatus)}
}

// createTable reports whether it was the one to create the table.
func (d *driver) createTable(ctx context.Context) (bool, error) {
	ctx, a := d.watch(ctx, nil)
	_, err := d.client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:            d.table,
		BillingMode:          types.BillingModePayPerRequest,
		KeySchema:            keySchema,
		AttributeDefinitions: keyAttributes,
	}, watched...)
	if _, exists := errors.AsType[*types.ResourceInUseException](err); exists {
		return false, nil
	}
	if err != nil {
		return false, a.failWrite(ctx, err)
	}
	return true, nil
}

func (d *driver) describeTTL(ctx context.Context) (*types.TimeToLiveDescription, error) {
	ctx, a := d.watch(ctx, nil)
	out, err := d.client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: d.table}, watched...)
	if err != nil {
		return nil, a.failRead(ctx, err)
	}
	return out.TimeToLiveDescription, nil
}

// checkTTL reports whether the TTL is off and can be switched on. It returns an error
// where it is not as it must be and cannot be switched on either.
func (d *driver) checkTTL(described *types.TimeToLiveDescription) (off bool, _ error) {
	if described == nil {
		return true, nil
	}
	switch described.TimeToLiveStatus {
	case types.TimeToLiveStatusEnabled, types.TimeToLiveStatusEnabling:
		if attr := aws.ToString(described.AttributeName); attr != attrTTL {
			return false, &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the TTL of table %q is on attribute %q; it must be on %q", *d.table, attr, attrTTL)}
		}
		return false, nil
	case types.TimeToLiveStatusDisabling:
		return false, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the TTL of table %q is being switched off, which takes up to an hour; only then can it be switched on", *d.table)}
	}
	return true, nil
}

func (d *driver) switchOnTTL(ctx context.Context) error {
	for n := 1; ; n++ {
		watchedCtx, a := d.watch(ctx, nil)
		_, err := d.client.UpdateTimeToLive(watchedCtx, &dynamodb.UpdateTimeToLiveInput{
			TableName: d.table,
			TimeToLiveSpecification: &types.TimeToLiveSpecification{
				AttributeName: aws.String(attrTTL), Enabled: yes,
			},
		}, watched...)
		if err == nil {
			return nil
		}
		e := a.failWrite(ctx, err)
		e.Err = fmt.Errorf("the TTL of table %q cannot be switched on: %w", *d.table, safe(err))
		// Somebody else may have switched it on just now, which is reported as a
		// ValidationException.
		described, failed := d.describeTTL(ctx)
		if failed != nil {
			return failed
		}
		if off, failed := d.checkTTL(described); failed != nil || !off {
			return failed
		}
		if _, busy := errors.AsType[*types.ResourceInUseException](err); !busy {
			return e
		}
		if err := d.pause(ctx, n); err != nil {
			return &kv.Error{Err: fmt.Errorf("%w, while table %q was busy: %w", err, *d.table, e)}
		}
	}
}

// checkOwner refuses a table that holds items and, even then, no layout record:
// skykv stores nothing before that record.
func (d *driver) checkOwner(ctx context.Context) error {
	if empty, err := d.isEmpty(ctx); empty || err != nil {
		return err
	}
	found, err := d.readLayout(ctx)
	if err != nil {
		return err
	}
	if found != nil {
		return d.layout.checkRecord(*d.table, found)
	}
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q holds items but no layout record of skykv: it belongs to another program", *d.table)}
}

func (d *driver) isEmpty(ctx context.Context) (bool, error) {
	in := &dynamodb.ScanInput{TableName: d.table, ConsistentRead: yes, Limit: aws.Int32(1), Select: types.SelectCount}
	for {
		ctx, a := d.watch(ctx, nil)
		out, err := d.client.Scan(ctx, in, watched...)
		switch {
		case err != nil:
			return false, a.failRead(ctx, err)
		case out.Count > 0:
			return false, nil
		case len(out.LastEvaluatedKey) == 0:
			return true, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey // pages may be empty
	}
}
