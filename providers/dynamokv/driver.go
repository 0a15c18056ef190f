package dynamokv

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// name is the provider's name in errors and versions.
const name = "dynamodb"

// yes is for requests, which want a pointer.
var yes = aws.Bool(true)

type driver struct {
	client  *dynamodb.Client // made by watched
	table   *string
	layout  *layout
	info    kv.Info
	timeout time.Duration // of a request whose context has no deadline
	alarms  sync.Pool     // of *alarm
	close   func()        // closes the connections that skykv opened, if it did

	// pause waits before request n (1, 2, …) for what the service left unprocessed, and
	// now tells how long that has gone on.
	pause func(ctx context.Context, n int) error
	now   func() time.Time
}

func (d *driver) Info() kv.Info { return d.info }

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	a := d.watch(ctx, req.Meter)
	defer a.end()
	out, err := d.client.GetItem(a, &dynamodb.GetItemInput{
		TableName: d.table, Key: d.layout.primaryKey(req.Key), ConsistentRead: yes,
		ProjectionExpression: d.layout.projection(req.WithValue),
	})
	switch {
	case err != nil:
		return kv.Found{}, a.failRead(err)
	case out.Item == nil && a.body.names("Item"):
		return kv.Found{}, errNoAnswer("its item is null")
	case out.Item == nil:
		return kv.Found{Record: kv.Record{Key: req.Key}}, nil
	case d.layout.keyOf(out.Item) != req.Key:
		return kv.Found{}, errNoAnswer("its item has another key")
	}
	rec, err := d.layout.decode(req.Key, out.Item, req.WithValue)
	return kv.Found{Record: rec, Exists: err == nil}, err
}

func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	expr, values, known := d.layout.condition(req.Condition, req.Now)
	if !known || req.Kind != kv.KindPut && req.Kind != kv.KindDelete {
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	}
	a := d.watch(ctx, req.Meter)
	defer a.end()
	if req.Kind == kv.KindDelete {
		_, err := d.client.DeleteItem(a, &dynamodb.DeleteItemInput{
			TableName:                           d.table,
			Key:                                 d.layout.primaryKey(req.Key),
			ConditionExpression:                 expr,
			ExpressionAttributeValues:           values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		if err != nil {
			return a.failCondition(req.Write, err)
		}
		return kv.Outcome{Done: true}, nil
	}
	a.records = 1
	_, err := d.client.PutItem(a, &dynamodb.PutItemInput{
		TableName:                           d.table,
		Item:                                d.layout.encode(req.Record),
		ConditionExpression:                 expr,
		ExpressionAttributeValues:           values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err != nil {
		return a.failCondition(req.Write, err)
	}
	return kv.Outcome{Done: true, Version: a.stored(req.Token)}, nil
}

// failCondition returns the outcome of a write that ended with err, which may say
// that its condition failed.
func (a *attempts) failCondition(w kv.Write, err error) (kv.Outcome, error) {
	failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	if !ok {
		return kv.Outcome{}, a.failWrite(err)
	}
	out := kv.Outcome{MayHaveApplied: a.mayHaveApplied(err)}
	foreign := func(err *kv.Error) (kv.Outcome, error) {
		e := *err
		e.MayHaveApplied = out.MayHaveApplied
		return kv.Outcome{}, &e
	}
	if failed.Item == nil {
		if w.Condition.Kind != kv.CondVersion { // all others hold for a key without an item
			return foreign(errNoItem)
		}
		return out, nil
	}
	if a.driver.layout.keyOf(failed.Item) != w.Key {
		return foreign(errNoAnswer("its item has another key"))
	}
	// The value came along, whether it is wanted or not. Without a condition, the
	// expression failed because the item is none of skykv's.
	rec, err := a.driver.layout.decode(w.Key, failed.Item, true)
	if err != nil {
		return foreign(err.(*kv.Error))
	}
	out.Exists, out.Found = true, rec
	return out, nil
}

func (d *driver) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnsupported}
}

func (d *driver) Close() error {
	if d.close != nil {
		d.close()
	}
	return nil
}
