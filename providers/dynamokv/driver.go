package dynamokv

import (
	"context"
	"errors"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// name is the provider's name in errors and versions.
const name = "dynamodb"

type driver struct {
	client     *dynamodb.Client
	table      *string
	partitions []types.AttributeValue // the values of pk, by shard
	close      func()                 // closes the connections that skykv opened, if it did

	// pause waits before request n (1, 2, …) for what the service left unprocessed.
	pause func(ctx context.Context, n int) error
}

func (d *driver) Info() kv.Info { return kv.Info{Name: name, Shards: len(d.partitions)} }

func (d *driver) Get(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
	in := &dynamodb.GetItemInput{TableName: d.table, Key: d.key(key), ConsistentRead: yes}
	if !withValue {
		in.ProjectionExpression = &exprMetadata
	}
	a, watchedCtx := watch(ctx)
	out, err := d.client.GetItem(watchedCtx, in, watched...)
	if err != nil {
		return kv.Record{}, false, d.failRead(ctx, a, err)
	}
	if out.Item == nil {
		return kv.Record{}, false, nil
	}
	rec, err := decode(key, out.Item, withValue)
	return rec, err == nil, err
}

func (d *driver) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	expr, values := condition(cond)
	a, watchedCtx := watch(ctx)
	a.records = 1
	_, err := d.client.PutItem(watchedCtx, &dynamodb.PutItemInput{
		TableName:                           d.table,
		Item:                                d.item(rec),
		ConditionExpression:                 expr,
		ExpressionAttributeValues:           values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}, watched...)
	if err != nil {
		return d.conditionFailed(ctx, a, rec.Key, cond, err)
	}
	return kv.Outcome{Done: true, Version: a.stored(rec.Token)}, nil
}

func (d *driver) Delete(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	expr, values := condition(cond)
	a, watchedCtx := watch(ctx)
	_, err := d.client.DeleteItem(watchedCtx, &dynamodb.DeleteItemInput{
		TableName:                           d.table,
		Key:                                 d.key(key),
		ConditionExpression:                 expr,
		ExpressionAttributeValues:           values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}, watched...)
	if err != nil {
		return d.conditionFailed(ctx, a, key, cond, err)
	}
	return kv.Outcome{Done: true}, nil
}

// conditionFailed gives the outcome of a write that ended with err.
func (d *driver) conditionFailed(ctx context.Context, a *attempts, key string, cond kv.Condition, err error) (kv.Outcome, error) {
	failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	if !ok {
		return kv.Outcome{}, d.failWrite(ctx, a, err)
	}
	out := kv.Outcome{Retried: a.uncertain()}
	if failed.Item == nil {
		if cond.Version != "" {
			return out, nil
		}
		// All other conditions hold for a key without an item.
		e := *errNoItem
		e.MayHaveApplied = a.uncertain()
		return kv.Outcome{}, &e
	}
	// The value came along, whether it is wanted or not. Without a condition, the
	// expression failed because the item is none of skykv's.
	out.Exists = true
	if out.Found, err = decode(key, failed.Item, true); err != nil {
		e := *err.(*kv.Error)
		e.MayHaveApplied = a.uncertain()
		return kv.Outcome{}, &e
	}
	return out, nil
}

// maxPage bounds how far the pages of a scan grow, in items. The service ends
// every page at 1 MiB.
const maxPage = 1000

func (d *driver) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		in := &dynamodb.QueryInput{
			TableName:              d.table,
			KeyConditionExpression: &exprRange,
			ExpressionAttributeValues: item{
				":p": d.partitions[r.Shard], ":from": text(r.From), ":to": text(r.To),
			},
			ConsistentRead: yes,
			Limit:          aws.Int32(int32(min(r.Limit, maxPage))),
		}
		if r.Now != 0 {
			in.FilterExpression = &exprLive
			in.ExpressionAttributeValues[":now"] = number(r.Now)
			in.ExpressionAttributeValues[":n"] = typeN
		}
		if !r.WithValue {
			in.ProjectionExpression = &exprMetadata
		}
		for {
			a, watchedCtx := watch(ctx)
			out, err := d.client.Query(watchedCtx, in, watched...)
			if err != nil {
				yield(kv.Record{}, d.failRead(ctx, a, err))
				return
			}
			for i, it := range out.Items {
				key := itemKey(it)
				rec, err := decode(key, it, r.WithValue)
				out.Items[i] = nil // the loop's body may take its time, the memory is needed
				if err != nil {
					rec.Key = key
				}
				if !yield(rec, err) {
					return
				}
			}
			if len(out.LastEvaluatedKey) == 0 {
				return
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
			if len(out.Items) == 0 {
				// A run of expired items: cross it in longer steps.
				*in.Limit = min(*in.Limit*2, maxPage)
			}
		}
	}
}

func (d *driver) Close() error {
	if d.close != nil {
		d.close()
	}
	return nil
}
