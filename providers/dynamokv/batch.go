package dynamokv

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/internal/parallel"
	"github.com/skykv/skykv/kv"
)

// The service's limits:
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
const (
	maxBatchGet   = 100
	maxBatchWrite = 25
)

const (
	// batchParallel bounds how many requests of one batch are under way at once.
	batchParallel = 8

	// maxPauses bounds how often in a row a request is made again of which the
	// service processes nothing.
	maxPauses = 10
)

// backoff waits a random time, up to 50 ms before request 1 and twice as long
// before each further one, but never longer than 5 s.
func backoff(ctx context.Context, n int) error {
	most := min(50*time.Millisecond<<min(n-1, 10), 5*time.Second)
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *driver) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	recs := make([]kv.Record, 0, len(keys))
	failed := make(map[string]error)
	var mu sync.Mutex
	chunks := slices.Collect(slices.Chunk(keys, maxBatchGet))
	parallel.Do(len(chunks), batchParallel, func(i int) {
		found, errs := d.getChunk(ctx, chunks[i])
		mu.Lock()
		defer mu.Unlock()
		recs = append(recs, found...)
		maps.Copy(failed, errs)
	})
	return recs, batchError(failed)
}

func (d *driver) WriteMany(ctx context.Context, writes []kv.Write) error {
	failed := make(map[string]error)
	var mu sync.Mutex
	chunks := slices.Collect(slices.Chunk(writes, maxBatchWrite))
	parallel.Do(len(chunks), batchParallel, func(i int) {
		errs := d.writeChunk(ctx, chunks[i])
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(failed, errs)
	})
	return batchError(failed)
}

func batchError(failed map[string]error) error {
	if len(failed) == 0 {
		return nil
	}
	return &kv.BatchError{Failed: failed}
}

// getChunk reads up to maxBatchGet keys.
func (d *driver) getChunk(ctx context.Context, keys []string) (recs []kv.Record, failed map[string]error) {
	recs = make([]kv.Record, 0, len(keys))
	failed = make(map[string]error)
	pending := make([]item, len(keys))
	for i, key := range keys {
		pending[i] = d.key(key)
	}
	for pauses := 0; ; {
		a, watchedCtx := watch(ctx)
		out, err := d.client.BatchGetItem(watchedCtx, &dynamodb.BatchGetItemInput{
			RequestItems: map[string]types.KeysAndAttributes{*d.table: {Keys: pending, ConsistentRead: yes}},
		}, watched...)
		if err != nil {
			failAll(failed, pending, d.failRead(ctx, a, err))
			return recs, failed
		}
		// There is but one table, which the service may call by another name.
		for _, items := range out.Responses {
			for _, it := range items {
				key := itemKey(it)
				if rec, err := decode(key, it, true); err == nil {
					recs = append(recs, rec)
				} else {
					failed[key] = err
				}
			}
		}
		var left []item
		for _, unprocessed := range out.UnprocessedKeys {
			left = append(left, unprocessed.Keys...)
		}
		if len(left) == 0 {
			return recs, failed
		}
		if err := d.waitFor(ctx, &pauses, len(left) < len(pending)); err != nil {
			failAll(failed, left, err)
			return recs, failed
		}
		pending = left
	}
}

func failAll(failed map[string]error, keys []item, err error) {
	for _, key := range keys {
		failed[itemKey(key)] = err
	}
}

// writeChunk applies up to maxBatchWrite writes.
func (d *driver) writeChunk(ctx context.Context, writes []kv.Write) (failed map[string]error) {
	failed = make(map[string]error)
	requests := make(map[string]types.WriteRequest, len(writes))
	for _, w := range writes {
		if w.Delete {
			requests[w.Key] = types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: d.key(w.Key)}}
		} else {
			requests[w.Key] = types.WriteRequest{PutRequest: &types.PutRequest{Item: d.item(w.Record)}}
		}
	}
	// uncertain: an attempt may have carried out writes that a later one reports
	// unprocessed. What is left of the requests was in all of them.
	uncertain := false
	fail := func(err *kv.Error) map[string]error {
		err.MayHaveApplied = err.MayHaveApplied || uncertain
		for key := range requests {
			failed[key] = err
		}
		return failed
	}
	attempt := 0 // all requests count on: each may be carried out late
	for pauses := 0; ; {
		a, watchedCtx := watch(ctx)
		a.number = attempt
		for _, r := range requests {
			if r.PutRequest != nil {
				a.records++
			}
		}
		out, err := d.client.BatchWriteItem(watchedCtx, &dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]types.WriteRequest{*d.table: slices.Collect(maps.Values(requests))},
		}, watched...)
		if err != nil {
			return fail(d.failWrite(ctx, a, err))
		}
		attempt, uncertain = a.number, uncertain || a.unknown
		left := make(map[string]types.WriteRequest)
		for _, unprocessed := range out.UnprocessedItems {
			for _, r := range unprocessed {
				// The service's copy only names the key: what is sent again is ours.
				key := writeKey(r)
				if own, ok := requests[key]; ok {
					left[key] = own
				}
			}
		}
		if len(left) == 0 {
			return failed
		}
		progress := len(left) < len(requests)
		requests = left
		if err := d.waitFor(ctx, &pauses, progress); err != nil {
			return fail(err)
		}
	}
}

func writeKey(r types.WriteRequest) string {
	switch {
	case r.PutRequest != nil:
		return itemKey(r.PutRequest.Item)
	case r.DeleteRequest != nil:
		return itemKey(r.DeleteRequest.Key)
	}
	return ""
}

// waitFor pauses before the next request for what was left unprocessed. pauses
// counts the pauses since the last progress.
func (d *driver) waitFor(ctx context.Context, pauses *int, progress bool) *kv.Error {
	if progress {
		*pauses = 0
	}
	if *pauses == maxPauses {
		return &kv.Error{Kind: kv.ErrThrottled, Err: fmt.Errorf("the service left the key unprocessed %d times in a row", maxPauses+1)}
	}
	*pauses++
	if err := d.pause(ctx, *pauses); err != nil {
		return &kv.Error{Kind: kv.ErrThrottled, Err: fmt.Errorf("%w, while the service left the key unprocessed", err)}
	}
	return nil
}
