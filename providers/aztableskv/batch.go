package aztableskv

import (
	"context"
	"errors"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/parallel"
	"github.com/skykv/skykv/kv"
)

const (
	// maxTransaction is how many entities the service changes in one transaction.
	// A hundred of the longest entries stay below its other limit, 4 MiB.
	// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
	maxTransaction = 100

	// parallelTransactions and parallelSingles bound the requests that a batch has
	// under way at once: transactions, and requests in place of a failed one.
	parallelTransactions = 16
	parallelSingles      = 8

	// fewApplied is the number of operations in front of the one that made a
	// transaction fail from which on transactions are still worth while: where more
	// than one in so many fails, single requests are fewer. One absent key says
	// little of the others, so that it takes fewTries of them.
	fewApplied = 8
	fewTries   = 3
)

// WriteMany applies the writes of each partition in transactions. Deletions are
// kept apart from puts, since an absent key makes a transaction fail.
func (d *driver) WriteMany(ctx context.Context, writes []kv.Write) error {
	groups := make(map[[2]int][]kv.Write) // by shard, and whether they delete
	for _, w := range writes {
		group := [2]int{kv.Shard(w.Key, d.shards)}
		if w.Delete {
			group[1] = 1
		}
		groups[group] = append(groups[group], w)
	}
	var chunks [][]kv.Write
	for _, group := range groups {
		chunks = slices.AppendSeq(chunks, slices.Chunk(group, maxTransaction))
	}
	failures := make([]map[string]error, len(chunks))
	parallel.Do(len(chunks), parallelTransactions, func(i int) {
		t := &transaction{single: d.writeSingle}
		for _, w := range chunks[i] {
			t.add(d.partition(w.Key), w, "")
		}
		failures[i] = d.transact(ctx, t)
	})
	failed := make(map[string]error)
	for _, f := range failures {
		for key, err := range f {
			failed[key] = err
		}
	}
	if len(failed) > 0 {
		return &kv.BatchError{Failed: failed}
	}
	return nil
}

func (d *driver) writeSingle(ctx context.Context, w kv.Write, _ aztables.TransactionAction) error {
	var err error
	if w.Delete {
		_, err = d.Delete(ctx, w.Key, kv.Condition{})
	} else {
		_, err = d.Put(ctx, w.Record, kv.Condition{})
	}
	return err
}

// transaction is a list of writes to one partition, with what the SDK wants for
// each, and how to make one of them alone.
type transaction struct {
	writes  []kv.Write
	actions []aztables.TransactionAction
	single  func(context.Context, kv.Write, aztables.TransactionAction) error
}

// add appends a write: a deletion or, without an ETag, a put.
func (t *transaction) add(partition string, w kv.Write, etag string) {
	action := aztables.TransactionAction{ActionType: aztables.TransactionTypeInsertReplace}
	if w.Delete {
		action.ActionType, action.Entity = aztables.TransactionTypeDelete, encodeKey(partition, w.Key)
	} else {
		action.Entity = encode(partition, w.Record)
	}
	if etag != "" {
		match := azcore.ETag(etag)
		action.IfMatch = &match
	}
	t.writes, t.actions = append(t.writes, w), append(t.actions, action)
}

func (t *transaction) part(from, to int) *transaction {
	return &transaction{writes: t.writes[from:to], actions: t.actions[from:to], single: t.single}
}

// transact applies t, and returns the errors of the writes that failed by their
// keys. A transaction is applied as a whole or not at all; one that a single
// write makes fail is split, so that the others are applied.
func (d *driver) transact(ctx context.Context, t *transaction) map[string]error {
	failed := make(map[string]error)
	uncertain := false // an attempt to apply t may have succeeded after all
	tries := 0         // that applied few
	for len(t.writes) > 1 {
		if err := ctx.Err(); err != nil {
			failAll(failed, t, &kv.Error{Err: err, MayHaveApplied: uncertain})
			return failed
		}
		callCtx, call := d.watchWrite(ctx)
		err := d.submit(callCtx, t.actions)
		if err == nil {
			return failed
		}
		uncertain = uncertain || call.applied
		answer := answerOf(err)
		if !answer.faultOfOne() {
			e := call.failure(ctx, err)
			e.MayHaveApplied = uncertain || call.uncertain(err)
			failAll(failed, t, e)
			return failed
		}
		at := answer.index
		if at < 0 || at >= len(t.writes) {
			break
		}
		// done: it was to be deleted, and is not there.
		done := t.writes[at].Delete && t.actions[at].IfMatch == nil && absent(answer.code)
		if at < fewApplied {
			if tries++; !done || tries == fewTries {
				break
			}
		}
		// Those in front of it were fine.
		failed = merge(failed, d.transact(ctx, t.part(0, at)), uncertain)
		if !done {
			failed = merge(failed, singles(ctx, t.part(at, at+1)), uncertain)
		}
		t = t.part(at+1, len(t.writes))
	}
	return merge(failed, singles(ctx, t), uncertain)
}

// submit is SubmitTransaction, whose panic it makes an error: the client (v1.4.1)
// slices the first line out of an answer that was cut off before its end.
func (d *driver) submit(ctx context.Context, actions []aztables.TransactionAction) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the answer to a transaction cannot be read")
		}
	}()
	_, err = d.table.SubmitTransaction(ctx, actions, nil)
	return err
}

// faultOfOne reports whether the service refused a transaction for what is wrong
// with a single write, so that the others have a chance without it.
func (a answer) faultOfOne() bool {
	return a.status >= 400 && a.status < 500 && a.kind() == nil
}

// singles makes the writes of t one by one.
func singles(ctx context.Context, t *transaction) map[string]error {
	errs := make([]error, len(t.writes))
	parallel.Do(len(t.writes), parallelSingles, func(i int) {
		errs[i] = t.single(ctx, t.writes[i], t.actions[i])
	})
	failed := make(map[string]error)
	for i, err := range errs {
		if err != nil {
			failed[t.writes[i].Key] = err
		}
	}
	return failed
}

func failAll(failed map[string]error, t *transaction, err error) {
	for _, w := range t.writes {
		failed[w.Key] = err
	}
}

// merge adds errors to failed. When an earlier attempt at those writes may have
// been applied, none of them means that nothing was written.
func merge(failed, errs map[string]error, uncertain bool) map[string]error {
	for key, err := range errs {
		if e, ok := err.(*kv.Error); ok && uncertain && !e.MayHaveApplied {
			marked := *e
			marked.MayHaveApplied = true
			err = &marked
		}
		failed[key] = err
	}
	return failed
}
