package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// The layout record says how a table is to be read. It is an item of the same
// table, under a partition key value that is no shard's.
const (
	layoutPartition = "layout"
	layoutKey       = "skykv"
	attrFormat      = "format"
	attrShards      = "shards"

	// format is the version of the layout that doc.go describes.
	format = 1
)

func (d *driver) layout() item {
	return item{
		attrShard: text(layoutPartition), attrKey: text(layoutKey),
		attrFormat: number(format), attrShards: number(int64(len(d.partitions))),
	}
}

// checkLayout reads the layout record, creates it if there is none, and refuses
// any other.
func (d *driver) checkLayout(ctx context.Context) error {
	found, err := d.readLayout(ctx)
	if err != nil {
		return err
	}
	if found == nil {
		if found, err = d.createLayout(ctx); err != nil {
			return err
		}
	}
	return d.compareLayout(found)
}

// readLayout gives the layout record, nil if there is none.
func (d *driver) readLayout(ctx context.Context) (item, error) {
	a, watchedCtx := watch(ctx)
	out, err := d.client.GetItem(watchedCtx, &dynamodb.GetItemInput{
		TableName:      d.table,
		Key:            item{attrShard: text(layoutPartition), attrKey: text(layoutKey)},
		ConsistentRead: yes,
	}, watched...)
	if err != nil {
		return nil, d.failRead(ctx, a, err)
	}
	return out.Item, nil
}

// createLayout creates the layout record unless somebody was faster, and gives
// the one that there is then.
func (d *driver) createLayout(ctx context.Context) (item, error) {
	own := d.layout()
	expr := "attribute_not_exists(sk)"
	a, watchedCtx := watch(ctx)
	_, err := d.client.PutItem(watchedCtx, &dynamodb.PutItemInput{
		TableName: d.table, Item: own, ConditionExpression: &expr,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}, watched...)
	if err == nil {
		return own, nil
	}
	if failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		if failed.Item == nil {
			return nil, errNoItem
		}
		return failed.Item, nil
	}
	e := d.failRead(ctx, a, err)
	e.Err = fmt.Errorf("table %q has no layout record yet, and it cannot be created: %w", *d.table, e.Err)
	return nil, e
}

func (d *driver) compareLayout(found item) error {
	foundFormat, isFormat := found[attrFormat].(*types.AttributeValueMemberN)
	foundShards, isShards := found[attrShards].(*types.AttributeValueMemberN)
	switch {
	case !isFormat || !isShards:
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the item %q, %q of table %q is no layout record of skykv", layoutPartition, layoutKey, *d.table)}
	case foundFormat.Value != strconv.Itoa(format):
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q has format %s; this version of skykv knows format %d", *d.table, foundFormat.Value, format)}
	case foundShards.Value != strconv.Itoa(len(d.partitions)):
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q has %s shards, and was to be opened with %d; allowed is the number that it was created with", *d.table, foundShards.Value, len(d.partitions))}
	}
	return nil
}
