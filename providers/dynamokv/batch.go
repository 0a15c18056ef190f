package dynamokv

import (
	"context"
	"fmt"
	"iter"
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
	// batchParallel bounds how many batches of one call are under way at once, and
	// singleParallel how many single writes.
	batchParallel  = 8
	singleParallel = 16

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

func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		r := &manyReader{
			driver: d, req: req,
			slots:   make(chan struct{}, batchParallel),
			replies: make(chan []reply),
			stop:    make(chan struct{}),
		}
		var reading sync.WaitGroup
		defer reading.Wait()
		defer cancel()
		defer close(r.stop)
		reading.Go(func() {
			for keys := range slices.Chunk(req.Keys, maxBatchGet) {
				if !r.acquire() {
					return
				}
				reading.Go(func() { r.readChunk(ctx, keys) })
			}
		})
		for left := len(req.Keys); left > 0; {
			replies := <-r.replies
			left -= len(replies)
			for _, r := range replies {
				if !yield(r.found, r.err) {
					return
				}
			}
		}
	}
}

// manyReader reads the chunks of one GetMany side by side.
type manyReader struct {
	driver *driver
	req    kv.GetManyRequest

	// slots bounds the requests under way. A chunk that pauses takes none, so that
	// throttled keys do not hold up the others.
	slots   chan struct{}
	replies chan []reply  // each key is in one of them
	stop    chan struct{} // closed when no answer is wanted any more
}

// reply is what GetMany yields of one key.
type reply struct {
	found kv.Found
	err   error
}

func (r *manyReader) acquire() bool {
	select {
	case r.slots <- struct{}{}:
		return true
	case <-r.stop:
		return false
	}
}

func (r *manyReader) send(replies []reply) {
	if len(replies) == 0 {
		return
	}
	select {
	case r.replies <- replies:
	case <-r.stop:
	}
}

// readChunk reads up to maxBatchGet keys. It begins with a slot.
func (r *manyReader) readChunk(ctx context.Context, keys []string) {
	for pauses := 0; ; {
		replies, left := r.driver.getChunk(ctx, r.req, keys)
		r.send(replies) // with the slot: what waits for the loop's body is bounded as well
		<-r.slots
		if len(left) == 0 {
			return
		}
		if err := r.driver.waitFor(ctx, &pauses, len(left) < len(keys)); err != nil {
			r.send(failAll(left, err))
			return
		}
		if keys = left; !r.acquire() {
			return
		}
	}
}

// getChunk makes one request for up to maxBatchGet keys. It returns the replies and
// the keys that the service left unprocessed.
func (d *driver) getChunk(ctx context.Context, req kv.GetManyRequest, keys []string) (replies []reply, left []string) {
	asked := make([]item, len(keys))
	open := make(map[string]struct{}, len(keys)) // the keys without an answer
	for i, key := range keys {
		asked[i] = d.layout.primaryKey(key)
		open[key] = struct{}{}
	}
	ctx, a := d.watch(ctx, req.Meter)
	out, err := d.client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{
		RequestItems: map[string]types.KeysAndAttributes{*d.table: {
			Keys: asked, ConsistentRead: yes, ProjectionExpression: d.layout.projection(req.WithValue),
		}},
	}, watched...)
	if err != nil {
		return failAll(keys, a.failRead(ctx, err)), nil
	}
	take := func(it item) (key string, ok bool) {
		key = d.layout.keyOf(it)
		_, ok = open[key]
		delete(open, key)
		return key, ok
	}
	replies = make([]reply, 0, len(keys))
	// There is but one table, which the service may call by another name.
	for _, items := range out.Responses {
		for _, it := range items {
			if key, ok := take(it); ok {
				rec, err := d.layout.decode(key, it, req.WithValue)
				rec.Key = key
				replies = append(replies, reply{kv.Found{Record: rec, Exists: err == nil}, err})
			}
		}
	}
	for _, unprocessed := range out.UnprocessedKeys {
		for _, it := range unprocessed.Keys {
			if key, ok := take(it); ok {
				left = append(left, key)
			}
		}
	}
	for key := range open {
		replies = append(replies, reply{found: kv.Found{Record: kv.Record{Key: key}}})
	}
	return replies, left
}

func failAll(keys []string, err error) []reply {
	replies := make([]reply, len(keys))
	for i, key := range keys {
		replies[i] = reply{kv.Found{Record: kv.Record{Key: key}}, err}
	}
	return replies
}

// WriteMany makes a request of its own for each write with a condition, since the
// service's batches take none.
func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := make([]kv.WriteResult, len(req.Writes))
	var plain, single []int
	for i, w := range req.Writes {
		if w.Condition.Kind == kv.CondNone && (w.Kind == kv.KindPut || w.Kind == kv.KindDelete) {
			plain = append(plain, i)
		} else {
			single = append(single, i)
		}
	}
	chunks := slices.Collect(slices.Chunk(plain, maxBatchWrite))
	var writing sync.WaitGroup
	writing.Go(func() {
		parallel.Do(len(chunks), batchParallel, func(n int) { d.writeChunk(ctx, req, chunks[n], results) })
	})
	parallel.Do(len(single), singleParallel, func(n int) {
		i := single[n]
		results[i].Outcome, results[i].Err = d.Write(ctx, req.One(i))
	})
	writing.Wait()
	return results
}

// writeChunk carries out up to maxBatchWrite of the writes, without conditions, and
// sets their results.
func (d *driver) writeChunk(ctx context.Context, req kv.WriteManyRequest, pending []int, results []kv.WriteResult) {
	requests := make(map[int]types.WriteRequest, len(pending))
	for _, i := range pending {
		if w := req.Writes[i]; w.Kind == kv.KindDelete {
			requests[i] = types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: d.layout.primaryKey(w.Key)}}
		} else {
			requests[i] = types.WriteRequest{PutRequest: &types.PutRequest{Item: d.layout.encode(w.Record)}}
		}
	}
	// mayHaveApplied: an attempt may have carried out writes that a later one reports
	// unprocessed. What is left of the requests was in all of them.
	mayHaveApplied := false
	fail := func(e *kv.Error) {
		e.MayHaveApplied = e.MayHaveApplied || mayHaveApplied
		for _, i := range pending {
			results[i].Err = e
		}
	}
	attempt := 0 // all requests count on: each may be carried out late
	for pauses := 0; ; {
		ctx, a := d.watch(ctx, req.Meter)
		a.number = attempt
		batch := make([]types.WriteRequest, 0, len(pending))
		for _, i := range pending {
			batch = append(batch, requests[i])
			if req.Writes[i].Kind == kv.KindPut {
				a.records++
			}
		}
		out, err := d.client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]types.WriteRequest{*d.table: batch},
		}, watched...)
		if err != nil {
			fail(a.failWrite(ctx, err))
			return
		}
		attempt, mayHaveApplied = a.number, mayHaveApplied || a.mayHaveApplied(nil)
		unprocessed := make(map[string]struct{})
		for _, writes := range out.UnprocessedItems {
			for _, r := range writes {
				unprocessed[d.keyOfWrite(r)] = struct{}{}
			}
		}
		var left []int
		for _, i := range pending {
			w := req.Writes[i]
			if _, again := unprocessed[w.Key]; again {
				left = append(left, i)
				continue
			}
			results[i].Done = true
			if w.Kind == kv.KindPut {
				results[i].Version = a.stored(w.Token)
			}
		}
		if len(left) == 0 {
			return
		}
		progress := len(left) < len(pending)
		pending = left
		if err := d.waitFor(ctx, &pauses, progress); err != nil {
			fail(err)
			return
		}
	}
}

func (d *driver) keyOfWrite(r types.WriteRequest) string {
	switch {
	case r.PutRequest != nil:
		return d.layout.keyOf(r.PutRequest.Item)
	case r.DeleteRequest != nil:
		return d.layout.keyOf(r.DeleteRequest.Key)
	}
	return ""
}
