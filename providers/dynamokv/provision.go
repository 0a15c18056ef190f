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

// EnsureTable makes the table that [New] opens, as far as it is not there: with
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
func EnsureTable(ctx context.Context, client *dynamodb.Client, table string, opts *Options) error {
	d, err := newDriver(client, table, opts)
	if err == nil {
		err = d.ensure(ctx)
	}
	if err != nil {
		return opError("ensure table", err)
	}
	return nil
}

func (d *driver) ensure(ctx context.Context) error {
	created, err := d.ensureKeys(ctx)
	if err != nil {
		return err
	}
	switchOn, err := d.checkTTL(ctx)
	if err != nil {
		return err
	}
	found, err := d.readLayout(ctx)
	switch {
	case err != nil:
		return err
	case found != nil:
		err = d.compareLayout(found)
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

// ensureKeys creates the table if there is none, waits until it is active, and
// checks its primary key.
func (d *driver) ensureKeys(ctx context.Context) (created bool, _ error) {
	for n := 1; ; n++ {
		a, watchedCtx := watch(ctx)
		out, err := d.client.DescribeTable(watchedCtx, &dynamodb.DescribeTableInput{TableName: d.table}, watched...)
		if _, absent := errors.AsType[*types.ResourceNotFoundException](err); absent {
			// Once it is created, by whomever, it may take a moment to be seen.
			if !created {
				if created, err = d.createTable(ctx); err != nil {
					return false, err
				}
			}
		} else if err != nil {
			return false, d.failRead(ctx, a, err)
		} else {
			if err := d.checkKeys(out.Table); err != nil {
				return false, err
			}
			switch out.Table.TableStatus {
			case types.TableStatusActive, types.TableStatusUpdating:
				return created, nil
			case types.TableStatusCreating:
			default:
				return false, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("table %q is in status %s", *d.table, out.Table.TableStatus)}
			}
		}
		if err := d.pause(ctx, n); err != nil {
			return false, &kv.Error{Err: fmt.Errorf("%w, while table %q was being created", err, *d.table)}
		}
	}
}

// createTable reports whether it was the one to create the table.
func (d *driver) createTable(ctx context.Context) (bool, error) {
	a, watchedCtx := watch(ctx)
	_, err := d.client.CreateTable(watchedCtx, &dynamodb.CreateTableInput{
		TableName:   d.table,
		BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String(attrShard), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String(attrKey), KeyType: types.KeyTypeRange},
		},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String(attrShard), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String(attrKey), AttributeType: types.ScalarAttributeTypeS},
		},
	}, watched...)
	if _, exists := errors.AsType[*types.ResourceInUseException](err); exists {
		return false, nil
	}
	if err != nil {
		return false, d.failWrite(ctx, a, err)
	}
	return true, nil
}

func (d *driver) checkKeys(table *types.TableDescription) error {
	attrs := make(map[string]types.ScalarAttributeType)
	for _, def := range table.AttributeDefinitions {
		attrs[aws.ToString(def.AttributeName)] = def.AttributeType
	}
	text := ""
	for _, element := range table.KeySchema {
		attr := aws.ToString(element.AttributeName)
		text += fmt.Sprintf(" %s %s %s", element.KeyType, attr, attrs[attr])
	}
	if text != " HASH pk S RANGE sk S" {
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the primary key of table %q is%s; it must be HASH pk S RANGE sk S", *d.table, text)}
	}
	return nil
}

// checkTTL reports whether TTL is yet to be switched on.
func (d *driver) checkTTL(ctx context.Context) (bool, error) {
	a, watchedCtx := watch(ctx)
	out, err := d.client.DescribeTimeToLive(watchedCtx, &dynamodb.DescribeTimeToLiveInput{TableName: d.table}, watched...)
	if err != nil {
		return false, d.failRead(ctx, a, err)
	}
	ttl := out.TimeToLiveDescription
	if ttl == nil {
		return true, nil
	}
	switch ttl.TimeToLiveStatus {
	case types.TimeToLiveStatusEnabled, types.TimeToLiveStatusEnabling:
		if attr := aws.ToString(ttl.AttributeName); attr != attrTTL {
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
		a, watchedCtx := watch(ctx)
		_, err := d.client.UpdateTimeToLive(watchedCtx, &dynamodb.UpdateTimeToLiveInput{
			TableName: d.table,
			TimeToLiveSpecification: &types.TimeToLiveSpecification{
				AttributeName: aws.String(attrTTL), Enabled: yes,
			},
		}, watched...)
		if err == nil {
			return nil
		}
		e := d.failWrite(ctx, a, err)
		e.Err = fmt.Errorf("the TTL of table %q cannot be switched on: %w", *d.table, safe(err))
		// Somebody else may have switched it on just now, which is reported as a
		// ValidationException.
		if off, err := d.checkTTL(ctx); err != nil || !off {
			return err
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
	in := &dynamodb.ScanInput{TableName: d.table, ConsistentRead: yes, Limit: aws.Int32(1), Select: types.SelectCount}
	for {
		a, watchedCtx := watch(ctx)
		out, err := d.client.Scan(watchedCtx, in, watched...)
		if err != nil {
			return d.failRead(ctx, a, err)
		}
		if out.Count > 0 {
			break
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey // pages may be empty
	}
	found, err := d.readLayout(ctx)
	if err != nil {
		return err
	}
	if found != nil {
		return d.compareLayout(found)
	}
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q holds items but no layout record of skykv: it belongs to another program", *d.table)}
}
