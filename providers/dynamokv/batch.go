package dynamokv

import (
	"context"
	"errors"
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

	// The service ends the response to a batch of reads at 16 MB, and leaves the other keys
	// unprocessed. After such a response the driver requests these keys again without a
	// pause. A response with at least fullBatch bytes of values counts as such a response,
	// because it may have no room for another large value.
	fullBatch = 16_000_000 - kv.MaxLargeValueLen - kv.MaxKeyLen

	// writeBytes is the greatest number of bytes of values in a batch of writes.
	// The service's limit is 16 MB, but smaller requests return sooner, and several
	// run at once.
	writeBytes = 4 << 20
)

const (
	// batchParallel is the greatest number of batch requests of one call that run at
	// once. singleParallel is the same limit for single writes.
	batchParallel  = 8
	singleParallel = 16
)

// backoff makes the n-th pause of a call. It waits a random time: up to 50 ms the first
// time, and each further time up to twice as long, but never longer than 5 s.
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

// standstill shows how long the service has processed nothing of a batch. It has the time
// of the last progress, and the number of pauses since then.
type standstill struct {
	pauses int
	since  time.Time
}

// errUnprocessed is the reason to send the rest of a batch again if the service returned
// unprocessed keys and no error.
var errUnprocessed = errors.New("the service left the key unprocessed")

// waitFor pauses before the rest of a batch is sent again. progress says whether the last
// request processed a part of the batch. The error why says why it did not process the rest.
// waitFor returns an error if the context ends. If the context has no deadline, it also returns
// an error after the store's timeout without progress.
func (d *driver) waitFor(ctx context.Context, s *standstill, progress bool, why error) *kv.Error {
	if progress || s.pauses == 0 {
		*s = standstill{since: d.now()}
	}
	if _, has := ctx.Deadline(); !has && d.now().Sub(s.since) >= d.timeout {
		return &kv.Error{Kind: kv.ErrThrottled, Err: fmt.Errorf("nothing of the batch was processed for %s: %w", d.timeout, why)}
	}
	s.pauses++
	if err := d.pause(ctx, s.pauses); err != nil {
		return &kv.Error{Kind: kv.ErrThrottled, Err: fmt.Errorf("%w before the batch was sent again: %w", err, why)}
	}
	return nil
}

// unprocessed returns a reason for waitFor if err means that the service throttled a whole batch.
// It returns nil for any other error, and if the request's context has ended. If the service
// cannot process any part of a batch, it returns an error instead of a list of unprocessed keys.
func (a *attempts) unprocessed(err error) error {
	if a.Err() == nil && kindOf(err) == kv.ErrThrottled {
		return safe(err)
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

// manyReader reads the chunks of one GetMany in parallel.
type manyReader struct {
	driver *driver
	req    kv.GetManyRequest

	// slots has one element for each running request. A chunk that pauses has none, so
	// throttled keys do not delay the others.
	slots   chan struct{}
	replies chan []reply  // each key is in exactly one element
	stop    chan struct{} // closed when no more replies are wanted
}

// reply is the result that GetMany yields for one key.
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

// readChunk reads up to maxBatchGet keys. The caller has acquired a slot for it.
func (r *manyReader) readChunk(ctx context.Context, keys []string) {
	var still standstill
	for {
		replies, left, why := r.driver.getChunk(ctx, r.req, keys)
		r.send(replies) // before the slot is free: while the loop's body is slow, at most batchParallel chunks hold values
		<-r.slots
		if len(left) == 0 {
			return
		}
		if isFull(replies) {
			still = standstill{}
		} else if err := r.driver.waitFor(ctx, &still, len(left) < len(keys), why); err != nil {
			r.send(failAll(left, err))
			return
		}
		if keys = left; !r.acquire() {
			return
		}
	}
}

// isFull reports whether a response may have no room for another value.
func isFull(replies []reply) bool {
	bytes := 0
	for _, r := range replies {
		bytes += len(r.found.Value)
	}
	return bytes >= fullBatch
}

// getChunk makes one request for up to maxBatchGet keys. It returns the replies and
// the keys that the service left unprocessed, with the reason.
func (d *driver) getChunk(ctx context.Context, req kv.GetManyRequest, keys []string) (replies []reply, left []string, why error) {
	asked := make([]item, len(keys))
	open := make(map[string]bool, len(keys)) // whether a key has no reply yet
	for i, key := range keys {
		asked[i] = d.layout.primaryKey(key)
		open[key] = true
	}
	projection, names := d.layout.projection(req.WithValue)
	a := d.watchMany(ctx, req.Meter, mostBatch)
	defer a.end()
	out, err := d.client.BatchGetItem(a, &dynamodb.BatchGetItemInput{
		RequestItems: map[string]types.KeysAndAttributes{*d.table: {
			Keys: asked, ConsistentRead: consistent(req.Stale),
			ProjectionExpression: projection, ExpressionAttributeNames: names,
		}},
	})
	if err != nil {
		if why := a.unprocessed(err); why != nil {
			return nil, keys, why
		}
		return failAll(keys, a.failRead(err)), nil, nil
	}
	refuse := func(why string) ([]reply, []string, error) { return failAll(keys, errNoAnswer(why)), nil, nil }
	take := func(key string) bool {
		wanted := open[key]
		if wanted {
			open[key] = false
		}
		return wanted
	}
	replies = make([]reply, 0, len(keys))
	listed := false
	// There is only one table. The service may use a different name for it.
	for _, items := range out.Responses {
		listed = listed || items != nil
		for _, it := range items {
			key := d.layout.keyOf(it)
			if key == "" {
				return refuse("it has an item without a key")
			}
			if _, known := open[key]; !known { // it may be there instead of a requested item, whose key would then seem absent
				return refuse("it has an item that was not requested")
			}
			if take(key) {
				rec, err := d.layout.decode(key, it, req.WithValue)
				rec.Key = key
				replies = append(replies, reply{kv.Found{Record: rec, Exists: err == nil}, err})
			}
		}
	}
	if out.UnprocessedKeys == nil { // it is empty if the service processed all keys
		return refuse("it has no list of unprocessed keys")
	}
	for _, unprocessed := range out.UnprocessedKeys {
		if unprocessed.Keys == nil {
			return refuse("it has no list of unprocessed keys")
		}
		for _, it := range unprocessed.Keys {
			key := d.layout.keyOf(it)
			if _, known := open[key]; !known {
				return refuse("it leaves a key unprocessed that was not requested")
			}
			if take(key) {
				left = append(left, key)
			}
		}
	}
	for key, absent := range open {
		if absent {
			replies = append(replies, reply{found: kv.Found{Record: kv.Record{Key: key}}})
		}
	}
	if !listed && len(left) < len(keys) {
		return refuse("it has no list of items")
	}
	return replies, left, errUnprocessed
}

func failAll(keys []string, err error) []reply {
	replies := make([]reply, len(keys))
	for i, key := range keys {
		replies[i] = reply{kv.Found{Record: kv.Record{Key: key}}, err}
	}
	return replies
}

// WriteMany makes a separate request for each write with a condition, because the
// service's batches take no conditions.
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
	chunks := chunksOf(req, plain)
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

// chunksOf divides unconditional writes into chunks, one for each request. plain has the
// indexes of these writes.
func chunksOf(req kv.WriteManyRequest, plain []int) (chunks [][]int) {
	begin, bytes := 0, 0
	for n, i := range plain {
		size := len(req.Writes[i].Value)
		if n > begin && (n-begin == maxBatchWrite || bytes+size > writeBytes) {
			chunks = append(chunks, plain[begin:n])
			begin, bytes = n, 0
		}
		bytes += size
	}
	if begin < len(plain) {
		chunks = append(chunks, plain[begin:])
	}
	return chunks
}

// writeChunk carries out up to maxBatchWrite writes without conditions, and sets their
// results.
func (d *driver) writeChunk(ctx context.Context, req kv.WriteManyRequest, pending []int, results []kv.WriteResult) {
	requests := make(map[int]types.WriteRequest, len(pending))
	for _, i := range pending {
		if w := req.Writes[i]; w.Kind == kv.KindDelete {
			requests[i] = types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: d.layout.primaryKey(w.Key)}}
		} else {
			requests[i] = types.WriteRequest{PutRequest: &types.PutRequest{Item: d.layout.encode(w.Record)}}
		}
	}
	// An attempt whose response was lost may have carried out writes that a later attempt
	// reports as unprocessed. mayHaveApplied is true after such an attempt. It is true for
	// all pending writes, because each of them was in every request so far.
	mayHaveApplied := false
	fail := func(e *kv.Error) {
		e.MayHaveApplied = e.MayHaveApplied || mayHaveApplied
		for _, i := range pending {
			results[i].Err = e
		}
	}
	// attempt is the number of the next attempt, counted over all requests of the chunk. The
	// service may apply any attempt late, so each attempt needs its own tokens.
	attempt := 0
	var still standstill
	for {
		a := d.watchMany(ctx, req.Meter, mostBatch)
		a.number = attempt
		batch := make([]types.WriteRequest, 0, len(pending))
		for _, i := range pending {
			batch = append(batch, requests[i])
			if req.Writes[i].Kind == kv.KindPut {
				a.records++
			}
		}
		back, err := d.sendChunk(a, batch)
		a.end()
		if err != nil {
			fail(err)
			return
		}
		attempt, mayHaveApplied = a.number, mayHaveApplied || a.mayHaveApplied(nil)
		var left []int
		for _, i := range pending {
			w := req.Writes[i]
			if back.keys[w.Key] {
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
		if err := d.waitFor(ctx, &still, progress, back.why); err != nil {
			fail(err)
			return
		}
	}
}

// unprocessed has the keys of the writes that the service left unprocessed, and the
// reason.
type unprocessed struct {
	keys map[string]bool
	why  error
}

// sendChunk makes one request for a batch of writes.
func (d *driver) sendChunk(a *attempts, batch []types.WriteRequest) (unprocessed, *kv.Error) {
	out, err := d.client.BatchWriteItem(a, &dynamodb.BatchWriteItemInput{
		RequestItems: map[string][]types.WriteRequest{*d.table: batch},
	})
	sent := make(map[string]bool, len(batch))
	for _, r := range batch {
		sent[d.keyOfWrite(r)] = true
	}
	if err != nil {
		if why := a.unprocessed(err); why != nil {
			return unprocessed{sent, why}, nil
		}
		return unprocessed{}, a.failWrite(err)
	}
	if out.UnprocessedItems == nil { // it is empty if the service processed all writes
		return unprocessed{}, errNoAnswerToWrite("it has no list of unprocessed writes")
	}
	keys := make(map[string]bool)
	for _, writes := range out.UnprocessedItems {
		if writes == nil {
			return unprocessed{}, errNoAnswerToWrite("it has no list of unprocessed writes")
		}
		for _, r := range writes {
			key := d.keyOfWrite(r)
			if !sent[key] {
				return unprocessed{}, errNoAnswerToWrite("it leaves a write unprocessed that was not requested")
			}
			keys[key] = true
		}
	}
	return unprocessed{keys, errUnprocessed}, nil
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
