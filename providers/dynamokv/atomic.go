package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

const (
	// maxAtomicWrites is the service's limit of writes in a transaction:
	// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
	maxAtomicWrites = 100

	// The service remembers the token of a request for the time tokenLife, and accepts requests
	// that were signed up to five minutes ago. Calls are limited to atomicTimeout, so
	// that no attempt can arrive after the service has forgotten the token. On Linux that limit
	// does not include the time while the machine is suspended: see refused.
	atomicTimeout = 2 * time.Minute
	tokenLife     = 10 * time.Minute

	// conflictTries is the greatest number of requests for a transaction that conflicts with
	// others, or whose earlier attempt is under way. The SDK may make several attempts at each of
	// them.
	conflictTries = 20
)

// WriteAtomic sends the writes as one TransactWriteItems with its own request token. All
// attempts store the same record tokens, because the service recognises a repeated
// request only if its contents are the same.
func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	limit := atomicTimeout
	if _, has := ctx.Deadline(); !has {
		limit = min(limit, d.timeout)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, attempt.ErrStoreTimeout)
	defer cancel()
	began := d.now()
	mayHaveApplied := false
	for n := 1; ; n++ {
		items, unsupported := d.transactItems(req)
		if unsupported != nil {
			return kv.AtomicOutcome{}, unsupported
		}
		err := d.transact(ctx, req.Meter, req.Writes[0].Token, items)
		if err == nil {
			return atomicDone(req.Writes), nil
		}
		mayHaveApplied = mayHaveApplied || err.MayHaveApplied
		reasons := reasonsOf(err, len(items))
		decided, conflict := judgeReasons(reasons)
		// TransactionInProgressException means that an earlier attempt, whose response was
		// lost, is still under way. A later attempt receives the result of that attempt.
		conflict = conflict || isCode(err, "TransactionInProgressException")
		switch {
		case decided:
			return d.refused(ctx, req, reasons, mayHaveApplied, began)
		case !conflict || n == conflictTries:
			e := *err
			e.MayHaveApplied = mayHaveApplied
			if conflict {
				e.Kind = kv.ErrThrottled
			}
			return kv.AtomicOutcome{}, &e
		}
		if ended := d.pause(ctx, n); ended != nil {
			if context.Cause(ctx) == attempt.ErrStoreTimeout {
				ended = attempt.ErrStoreTimeout
			}
			return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrThrottled, MayHaveApplied: mayHaveApplied, Err: fmt.Errorf("%w; the last attempt ended with: %w", ended, err)}
		}
	}
}

// atomicDone returns the result of a transaction that was carried out.
func atomicDone(writes []kv.Write) kv.AtomicOutcome {
	out := kv.AtomicOutcome{Done: true, Versions: make([]string, len(writes))}
	for i, w := range writes {
		if w.Kind == kv.KindPut || w.Kind == kv.KindTouch {
			out.Versions[i] = w.Token
		}
	}
	return out
}

// transact sends one transaction.
func (d *driver) transact(ctx context.Context, meter *kv.Meter, token string, items []types.TransactWriteItem) *kv.Error {
	a := d.watchMany(ctx, meter, mostAtomic)
	defer a.end()
	_, err := d.client.TransactWriteItems(a, &dynamodb.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: &token})
	if err == nil {
		return nil
	}
	return a.failWrite(err)
}

// transactItems returns the writes in the service's form.
func (d *driver) transactItems(req kv.WriteManyRequest) ([]types.TransactWriteItem, *kv.Error) {
	const old = types.ReturnValuesOnConditionCheckFailureAllOld
	items := make([]types.TransactWriteItem, len(req.Writes))
	for i, w := range req.Writes {
		cond, known := d.layout.condition(w, req.Now)
		if !known {
			return nil, kv.UnsupportedWrite(w)
		}
		switch w.Kind {
		case kv.KindPut:
			items[i].Put = &types.Put{
				TableName: d.table, Item: d.layout.encode(w.Record),
				ConditionExpression: cond.expr, ExpressionAttributeNames: cond.names, ExpressionAttributeValues: cond.values, ReturnValuesOnConditionCheckFailure: old,
			}
		case kv.KindTouch:
			update := d.layout.touch(w.Record, &cond)
			items[i].Update = &types.Update{
				TableName: d.table, Key: d.layout.primaryKey(w.Key), UpdateExpression: update,
				ConditionExpression: cond.expr, ExpressionAttributeNames: cond.names, ExpressionAttributeValues: cond.values, ReturnValuesOnConditionCheckFailure: old,
			}
		case kv.KindDelete:
			items[i].Delete = &types.Delete{
				TableName: d.table, Key: d.layout.primaryKey(w.Key),
				ConditionExpression: cond.expr, ExpressionAttributeNames: cond.names, ExpressionAttributeValues: cond.values, ReturnValuesOnConditionCheckFailure: old,
			}
		case kv.KindCheck:
			items[i].ConditionCheck = &types.ConditionCheck{
				TableName: d.table, Key: d.layout.primaryKey(w.Key),
				ConditionExpression: cond.expr, ExpressionAttributeNames: cond.names, ExpressionAttributeValues: cond.values, ReturnValuesOnConditionCheckFailure: old,
			}
		}
	}
	return items, nil
}

// reasonsOf returns the reasons for the cancellation of a transaction, one for each of its n
// items. It returns nil if err does not have n reasons.
func reasonsOf(err error, n int) []types.CancellationReason {
	cancelled, ok := errors.AsType[*types.TransactionCanceledException](err)
	if !ok || len(cancelled.CancellationReasons) != n {
		return nil
	}
	return cancelled.CancellationReasons
}

const failedCondition = "ConditionalCheckFailed"

// judgeReasons examines the reasons for a cancellation. decided is true if a condition
// has failed. Otherwise, conflict is true if the only reasons are throttling and conflicts
// with other transactions.
func judgeReasons(reasons []types.CancellationReason) (decided, conflict bool) {
	conflict = len(reasons) > 0
	for _, reason := range reasons {
		switch aws.ToString(reason.Code) {
		case failedCondition:
			return true, false
		case "", "None", "TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError", "RequestLimitExceeded":
		default:
			conflict = false
		}
	}
	return false, conflict
}

// refused returns the result of a transaction with failed conditions. lost reports whether
// the response to an earlier attempt was lost. If so, that attempt may have been applied,
// or may still be applied, and refused calls fence to find out. If the machine was suspended since
// the call began, the service may have forgotten the token, and then accepts the fence even if that
// attempt was applied. The wall clock shows that.
func (d *driver) refused(ctx context.Context, req kv.WriteManyRequest, reasons []types.CancellationReason, lost bool, began time.Time) (kv.AtomicOutcome, error) {
	if lost {
		applied, known := d.fence(ctx, req)
		if known && applied {
			return atomicDone(req.Writes), nil
		}
		lost = !known || d.now().Round(0).Sub(began.Round(0)) >= tokenLife // Round removes the monotonic clock's reading
	}
	out := kv.AtomicOutcome{MayHaveApplied: lost, Found: make([]*kv.Found, len(reasons))}
	for i, reason := range reasons {
		if aws.ToString(reason.Code) != failedCondition {
			continue
		}
		w := req.Writes[i]
		found, err := d.layout.failed(w, reason.Item)
		if err != nil {
			e := *err
			e.Key, e.MayHaveApplied = w.Key, e.MayHaveApplied || lost
			return kv.AtomicOutcome{}, &e
		}
		out.Found[i] = &found
	}
	return out, nil
}

// fence sends a different transaction with the request token of a transaction whose result is
// unknown. If the service accepts the new transaction within tokenLife, the old one was not applied
// and never will be, because its token is used up. If the service says that the token belongs to another
// request, the old transaction was applied. After any other error, known is false.
func (d *driver) fence(ctx context.Context, req kv.WriteManyRequest) (applied, known bool) {
	err := d.transact(ctx, req.Meter, req.Writes[0].Token, []types.TransactWriteItem{{ConditionCheck: &types.ConditionCheck{
		TableName: d.table, Key: d.layout.primaryKey(req.Writes[0].Key), ConditionExpression: &exprTrue,
	}}})
	if err == nil {
		return false, true
	}
	mismatch := isCode(err, "IdempotentParameterMismatchException")
	return mismatch, mismatch
}
