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

// name is the provider's name in errors and versions. The errors and versions of a store
// with layout alien have another name: see alienLayout.
const name = "dynamodb"

// yes points to true, because requests have pointers to booleans.
var yes = aws.Bool(true)

// consistent returns the field ConsistentRead of a request. A strongly consistent read
// costs twice as much as an eventually consistent one, which is the default.
func consistent(stale bool) *bool {
	if stale {
		return nil
	}
	return yes
}

type driver struct {
	client  *dynamodb.Client // made by the function watched
	table   *string
	layout  *layout
	claims  bool // opening may write the layout record
	info    kv.Info
	timeout time.Duration // of a request whose context has no deadline
	alarms  sync.Pool     // of *alarm
	close   func()        // closes the connections that skykv opened; nil if the program made the client

	// pause makes the n-th pause (1, 2, …) of a call that repeats a request. now is the
	// clock that limits how long a batch goes on without progress.
	pause func(ctx context.Context, n int) error
	now   func() time.Time
}

func (d *driver) Info() kv.Info { return d.info }

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	a := d.watch(ctx, req.Meter)
	defer a.end()
	a.prompt = req.Prompt
	projection, names := d.layout.projection(req.WithValue)
	out, err := d.client.GetItem(a, &dynamodb.GetItemInput{
		TableName: d.table, Key: d.layout.primaryKey(req.Key), ConsistentRead: consistent(req.Stale),
		ProjectionExpression: projection, ExpressionAttributeNames: names,
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
	cond, known := d.layout.condition(req.Write, req.Now)
	if !known || req.Kind == kv.KindCheck {
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	}
	a := d.watch(ctx, req.Meter)
	defer a.end()
	a.prompt = req.Prompt
	var err error
	switch req.Kind {
	case kv.KindPut:
		a.records = 1
		_, err = d.client.PutItem(a, &dynamodb.PutItemInput{
			TableName:                           d.table,
			Item:                                d.layout.encode(req.Record),
			ConditionExpression:                 cond.expr,
			ExpressionAttributeNames:            cond.names,
			ExpressionAttributeValues:           cond.values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
	case kv.KindTouch:
		a.records = 1
		update := d.layout.touch(req.Record, &cond)
		_, err = d.client.UpdateItem(a, &dynamodb.UpdateItemInput{
			TableName:                           d.table,
			Key:                                 d.layout.primaryKey(req.Key),
			UpdateExpression:                    update,
			ConditionExpression:                 cond.expr,
			ExpressionAttributeNames:            cond.names,
			ExpressionAttributeValues:           cond.values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
	case kv.KindDelete:
		_, err = d.client.DeleteItem(a, &dynamodb.DeleteItemInput{
			TableName:                           d.table,
			Key:                                 d.layout.primaryKey(req.Key),
			ConditionExpression:                 cond.expr,
			ExpressionAttributeNames:            cond.names,
			ExpressionAttributeValues:           cond.values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
	}
	switch {
	case err != nil:
		return a.failCondition(req.Write, err)
	case req.Kind == kv.KindDelete:
		return kv.Outcome{Done: true}, nil
	}
	return kv.Outcome{Done: true, Version: a.stored(req.Token)}, nil
}

// failCondition returns the result of a write whose request failed with err. If err says
// that the condition failed, the result has the record that made it fail.
func (a *attempts) failCondition(w kv.Write, err error) (kv.Outcome, error) {
	failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	if !ok {
		return kv.Outcome{}, a.failWrite(err)
	}
	out := kv.Outcome{MayHaveApplied: a.mayHaveApplied(err)}
	found, foreign := a.driver.layout.failed(w, failed.Item)
	if foreign != nil {
		e := *foreign
		e.MayHaveApplied = e.MayHaveApplied || out.MayHaveApplied
		return kv.Outcome{}, &e
	}
	out.Exists, out.Found = found.Exists, found.Record
	return out, nil
}

func (d *driver) Close() error {
	if d.close != nil {
		d.close()
	}
	return nil
}
