package aztableskv

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/internal/parallel"
	"github.com/skykv/skykv/kv"
)

const (
	// maxTransaction is the greatest number of entities in a transaction. transactionBytes
	// is the greatest size of the transaction's request.
	// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
	maxTransaction   = 100
	transactionBytes = 4 << 20

	// operationBytes is an upper limit of the size of an operation, not counting its entity
	// and the key in its URL.
	operationBytes = 1 << 10

	// parallelTransactions is the number of transactions of a batch that run at once.
	// parallelSingles is the number of single requests that run at once in place of a
	// transaction.
	parallelTransactions = 16
	parallelSingles      = 8

	// A transaction that fails is split at the write that made it fail. The split is poor if
	// fewer than fewApplied writes come before that write. After fewTries poor splits, many
	// of the remaining writes probably fail too. They are then sent as single requests,
	// because further transactions would take more requests.
	fewApplied = 8
	fewTries   = 3
)

// WriteMany carries out the writes of each partition in transactions. It puts deletions
// without a condition, puts without a condition, and writes with a condition into separate
// transactions, because an absent key or a failed condition makes a whole transaction fail.
func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	type group struct {
		shard       int
		kind        kv.WriteKind
		conditional bool
	}
	results := make([]kv.WriteResult, len(req.Writes))
	open := make(map[group]*transaction)
	var transactions []*transaction
	begin := func() *transaction {
		t := &transaction{req: kv.WriteManyRequest{Now: req.Now, Meter: req.Meter}}
		transactions = append(transactions, t)
		return t
	}
	for i, w := range req.Writes {
		if touchesLive(w) { // a transaction cannot contain this touch, because it takes a read first
			begin().add(i, w, aztables.TransactionAction{})
			continue
		}
		action, err := d.layout.action(w, req.Now)
		if err != nil {
			results[i].Err = err
			continue
		}
		if action.ActionType == aztables.TransactionTypeDelete {
			action.Entity = d.layout.encodeKey(w.Key)
		}
		g := group{shard: d.layout.shard(w.Key), kind: w.Kind}
		if w.Condition.Kind != kv.CondNone {
			g = group{shard: g.shard, conditional: true}
		}
		t := open[g]
		if t == nil || len(t.actions) == maxTransaction || t.bytes+sizeOf(w, action) > transactionBytes {
			t = begin()
			open[g] = t
		}
		t.add(i, w, action)
	}
	parallel.Do(len(transactions), parallelTransactions, func(i int) {
		t := transactions[i]
		for n, result := range d.transact(ctx, t) {
			results[t.at[n]] = result
		}
	})
	return results
}

// transaction is a list of writes to one partition, with the SDK's action for each.
type transaction struct {
	at      []int // the index of each write in the batch
	req     kv.WriteManyRequest
	actions []aztables.TransactionAction
	bytes   int // upper limit of the size of the request
}

// sizeOf returns an upper limit of the number of bytes that one write takes in the request
// of a transaction.
func sizeOf(w kv.Write, action aztables.TransactionAction) int {
	const escaped = len("%3A")
	return operationBytes + escaped*len(w.Key) + len(action.Entity)
}

// add adds the write w. The argument at is the index of w in the batch.
func (t *transaction) add(at int, w kv.Write, action aztables.TransactionAction) {
	t.at, t.actions, t.req.Writes = append(t.at, at), append(t.actions, action), append(t.req.Writes, w)
	t.bytes += sizeOf(w, action)
}

func (t *transaction) part(from, to int) *transaction {
	part := &transaction{at: t.at[from:to], req: t.req, actions: t.actions[from:to]}
	part.req.Writes = t.req.Writes[from:to]
	return part
}

// transact carries out t, and returns the results of its writes in their order. The service
// carries out a transaction as a whole or not at all. If one write makes the transaction
// fail, transact splits it, so that the other writes are carried out.
func (d *driver) transact(ctx context.Context, t *transaction) []kv.WriteResult {
	results := make([]kv.WriteResult, 0, len(t.actions))
	mayHaveApplied := false // whether an attempt at the remaining writes may have been applied
	tries := 0              // number of transactions that failed at an early write
	for len(t.actions) > 1 {
		if err := ctx.Err(); err != nil {
			return append(results, t.fail(&kv.Error{Err: err, MayHaveApplied: mayHaveApplied})...)
		}
		callCtx, call := d.watchWrite(attempt.With(ctx, attempt.Many), t.req.Meter)
		call.transaction = true
		err := call.end(d.submit(callCtx, call, t.actions))
		if err == nil {
			for _, etag := range call.answer.etags {
				results = append(results, kv.WriteResult{Outcome: kv.Outcome{Done: true, Version: etag}})
			}
			return results
		}
		mayHaveApplied = mayHaveApplied || call.mayHaveApplied(err)
		answer := answerOf(err)
		if !answer.faultOfOne() {
			e := call.failWrite(err)
			e.MayHaveApplied = mayHaveApplied
			return append(results, t.fail(e)...)
		}
		at := call.answer.index
		if at < 0 || at >= len(t.actions) {
			break
		}
		if at < fewApplied {
			if tries++; tries == fewTries {
				break
			}
		}
		// The service found nothing wrong with the writes before the one that failed.
		results = append(results, after(mayHaveApplied, d.transact(ctx, t.part(0, at)))...)
		if result, ok := d.refusal(ctx, t.req.One(at), answer.code, mayHaveApplied); ok {
			results = append(results, result)
		} else {
			results = append(results, after(mayHaveApplied, d.singles(ctx, t.part(at, at+1)))...)
		}
		t = t.part(at+1, len(t.actions))
	}
	return append(results, after(mayHaveApplied, d.singles(ctx, t))...)
}

// submit sends a transaction, and stores the service's answer in call.answer. If the response
// to a failed transaction is truncated, the SDK (v1.4.1) may report a success, or panic. In
// both cases, submit returns an error.
func (d *driver) submit(ctx context.Context, call *attempts, actions []aztables.TransactionAction) (err error) {
	defer func() {
		if recover() != nil {
			err = errUnreadable
		}
	}()
	if _, err = d.table.SubmitTransaction(ctx, actions, nil); err != nil {
		return call.answer.complete(err)
	}
	if !call.answer.carriedOut(actions) {
		return errUnreadable
	}
	return nil
}

// singles carries out the writes of t with single requests.
func (d *driver) singles(ctx context.Context, t *transaction) []kv.WriteResult {
	return kv.WriteEach(ctx, d, t.req, parallelSingles)
}

// fail returns a result with err for every write of t.
func (t *transaction) fail(err error) []kv.WriteResult {
	results := make([]kv.WriteResult, len(t.actions))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// The function after returns its argument results. If mayHaveApplied is true, an earlier
// attempt at these writes may have been applied, and the function sets MayHaveApplied in every
// result that is not Done.
func after(mayHaveApplied bool, results []kv.WriteResult) []kv.WriteResult {
	for i := range results {
		r := &results[i]
		if r.Err != nil {
			r.Err = withMayHaveApplied(r.Err, mayHaveApplied)
		} else if !r.Done {
			r.MayHaveApplied = r.MayHaveApplied || mayHaveApplied
		}
	}
	return results
}

// withMayHaveApplied returns err as a *kv.Error. If mayHaveApplied is true, an earlier
// attempt at the write may have been applied, and the *kv.Error says so.
func withMayHaveApplied(err error, mayHaveApplied bool) *kv.Error {
	e := kv.Error{Err: err}
	if own, ok := err.(*kv.Error); ok {
		e = *own
	}
	e.MayHaveApplied = e.MayHaveApplied || mayHaveApplied
	return &e
}
