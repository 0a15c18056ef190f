package kv

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"strings"
	"sync"
	"sync/atomic"
)

// scanPage is how many records a scan without a limit asks each shard for at a
// time. A shard that reads ahead hands them over in scanParts parts, and asks for
// the next page while about a page, or scanBytes of values, waits to be merged:
// two pages a shard are in memory at once. Of values that are larger than a part's
// share of scanBytes, one waits.
const (
	scanPage  = 640
	scanBytes = 1 << 20
	scanParts = 8

	// largeFetches is how many shards are read at once from the first large value on. A
	// client holds a page several times over while it decodes it.
	largeFetches = 4
)

// Scan yields the live entries whose keys start with prefix, in ascending byte
// order of the key; the empty prefix stands for all. It fetches as the loop goes
// on, and stops fetching when the loop ends. Entries that live throughout the
// scan are yielded exactly once, others may or may not be: a scan is no snapshot.
// The loop's body may use the store.
//
// An error beside an Entry with a Key concerns that entry alone (skykv did not
// write it, so it matches ErrIncompatible), and the loop may go on. An error
// beside an empty Key ends the scan; After continues it after the last key.
func (s *Store) Scan(ctx context.Context, prefix string, opts ...ScanOption) iter.Seq2[Entry, error] {
	const op = "scan"
	return func(yield func(Entry, error) bool) {
		plan, err := planScan(s.info.MaxKeyLen, opts)
		if err == nil {
			err = checkPrefix(prefix, s.info.MaxKeyLen)
		}
		var c call
		if err == nil {
			c, err = s.begin(ctx)
		}
		if err != nil {
			yield(Entry{}, s.fail(op, prefix, err))
			return
		}
		defer c.end()
		req := s.scanRequest(prefix, plan)
		req.Stale = s.stale
		req.Now = s.now().UnixMilli()
		count := 0
		for rec, err := range s.records(c.ctx, req, plan.limit, nil) {
			switch {
			case err == nil && s.life.closed.Load():
				yield(Entry{}, s.fail(op, prefix, &Error{Kind: ErrClosed}))
				return
			case err != nil && rec.Key != "":
				if !yield(Entry{Key: rec.Key}, s.fail(op, rec.Key, c.explain(err))) {
					return
				}
				continue
			case err != nil:
				yield(Entry{}, s.fail(op, prefix, c.explain(err)))
				return
			case expired(rec.Expires, s.now().UnixMilli()):
				continue
			}
			count++
			if !yield(s.entry(rec, plan.withValue), nil) || count == plan.limit {
				return
			}
		}
	}
}

// ScanPage returns the first limit entries of a [Store.Scan] after cursor: the
// Next of the page before, or nothing for the first page. A page is shorter than
// limit only when the scan ended, and Page.Next is empty exactly then.
//
// On an error the page holds the entries read so far and Next the position
// reached, from which the scan can be tried again. Where an entry that skykv did not
// write ends the page, Next is the position after that entry.
func (s *Store) ScanPage(ctx context.Context, prefix string, limit int, cursor string, opts ...PageOption) (Page, error) {
	const op = "scan"
	page := Page{Next: cursor}
	plan, err := planScan(s.info.MaxKeyLen, opts)
	if err == nil && limit < 1 {
		err = errLimit(limit)
	}
	if err == nil {
		err = checkPrefix(prefix, s.info.MaxKeyLen)
	}
	var position string
	if err == nil {
		position, err = cursorKey(prefix, cursor)
	}
	var c call
	if err == nil {
		c, err = s.begin(ctx)
	}
	if err != nil {
		return page, s.fail(op, prefix, err)
	}
	defer c.end()
	plan.after = max(position, plan.after)
	req := s.scanRequest(prefix, plan)
	req.Stale = s.stale
	req.Now = s.now().UnixMilli()
	page.Entries = make([]Entry, 0, min(limit, scanPage))
	// One live record more than limit, whichever it is, tells that the scan goes on.
	full := false
	for rec, err := range s.records(c.ctx, req, limit, &full) {
		gone := err == nil && expired(rec.Expires, s.now().UnixMilli())
		switch {
		case full && rec.Key != "" && (err == nil || rec.Key != position):
			if !gone {
				page.Next = cursorAfter(prefix, position)
				return page, nil
			}
			continue
		case rec.Key != "":
			position = rec.Key
		}
		if err != nil {
			if position != "" {
				page.Next = cursorAfter(prefix, position)
			}
			return page, s.fail(op, cmp.Or(rec.Key, prefix), c.explain(err))
		}
		if !gone {
			page.Entries = append(page.Entries, s.entry(rec, plan.withValue))
			full = len(page.Entries) == limit
		}
	}
	page.Next = ""
	return page, nil
}

// scanRequest asks for the keys that start with prefix, within the bounds of a plan, of
// the shard that has them all or else of the first one.
func (s *Store) scanRequest(prefix string, plan scanPlan) ScanRequest {
	req := ScanRequest{From: max(prefix, firstKey, plan.from), To: prefix + afterKeys, WithValue: plan.withValue, MaxValueLen: s.info.MaxValueLen}
	if plan.after != "" {
		// The next key there can be: after with the lowest byte added.
		req.From = max(req.From, plan.after+firstKey)
	}
	if plan.before != "" {
		req.To = min(req.To, lastBefore(plan.before))
	}
	if s.info.ShardOfPrefix != nil {
		req.Shard, req.Alone = s.info.ShardOfPrefix(prefix)
	} else {
		req.Alone = s.info.Shards == 1
	}
	return req
}

// lastBefore returns a text that is below key, and not below any key that is.
func lastBefore(key string) string {
	i := len(key) - 1
	if at := strings.IndexByte(KeyAlphabet, key[i]); at > 0 {
		return key[:i] + KeyAlphabet[at-1:at] + afterKeys
	}
	return key[:i] // what is longer is not below key
}

// records yields the records that req asks for, from all shards unless it is for one
// alone, merged in order of their keys. It reads about want of them, the shards at
// once; with want 0, all, reading ahead. Errors are as those of [Driver].Scan.
//
// Once the loop has set *full, the order of what follows no longer matters to
// it, and what was read already comes before anything that must be fetched.
func (s *Store) records(ctx context.Context, req ScanRequest, want int, full *bool) iter.Seq2[Record, error] {
	if req.From > req.To {
		return func(func(Record, error) bool) {}
	}
	n := s.info.Shards
	if req.Alone {
		n = 1
	}
	mean := float64(want) / float64(n)
	// Keys are spread at random: with three standard deviations on top of the
	// mean, few shards run dry before want records are together.
	share := mean + 3*math.Sqrt(mean)
	ahead := want == 0 || share > scanPage
	req.Limit = scanPage
	switch {
	case n == 1 && full != nil:
		req.Limit = min(want, scanPage-1) + 1
	case n == 1 && want > 0:
		req.Limit = min(want, scanPage)
	}
	if n == 1 {
		return s.shard(ctx, req)
	}
	return func(yield func(Record, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer cancel()
		shards := make([]*shardReader, n)
		turns := &turns{slots: make(chan struct{}, largeFetches)}
		for i := range shards {
			req := req
			req.Shard = i
			waiting, part := scanParts, scanPage/scanParts
			if !ahead { // the shares are whole numbers that add up to n of them
				req.Limit = max(1, int(share*float64(i+1))-int(share*float64(i)))
				waiting, part = 1, req.Limit
			}
			shards[i] = &shardReader{ahead: ahead, parts: make(chan shardPart, waiting), more: make(chan struct{}), taken: make(chan struct{}, 1), turns: turns}
			reading.Go(func() { shards[i].read(ctx, s.shard(ctx, req), part) })
		}
		merge(ctx, shards, full, yield)
	}
}

// shard yields what the driver finds in one shard, and believes no answer that cannot
// be right: keys that are not in the range or not in order end it, or the merge would
// lose entries and a scan might never end. What is under a name that is no key is not a
// store's, and is passed over. A key that is in another shard than its own is an error
// beside that key, since gets do not find it there.
func (s *Store) shard(ctx context.Context, req ScanRequest) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		last := ""
		for rec, err := range s.driver.Scan(ctx, req) {
			switch {
			case rec.Key == "" && err != nil:
				yield(Record{}, err)
				return
			case rec.Key <= last || rec.Key < req.From || rec.Key > req.To:
				yield(Record{}, &Error{Kind: ErrUnavailable, Err: errors.New("the service's answer is not in order of the keys, or has keys that were not asked for")})
				return
			}
			last = rec.Key
			if s.checkKey(rec.Key) != nil {
				continue
			}
			if s.info.Shard != nil && s.info.Shard(rec.Key) != req.Shard {
				rec, err = Record{Key: rec.Key}, &Error{Kind: ErrIncompatible, Err: errors.New("skykv did not write this record: it is in another shard than its key belongs to")}
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

// merge yields the records of shards in ascending order of their keys, until
// *full is set. It ends where a shard has failed: a record of another one must
// not overtake those that could not be read.
func merge(ctx context.Context, shards []*shardReader, full *bool, yield func(Record, error) bool) {
	heap := make([]*shardReader, 0, len(shards)) // by the shards' next keys
	empty := shards
	for len(empty) > 0 {
		for _, shard := range empty {
			if shard.fill(ctx) {
				heap = append(heap, shard)
			} else if shard.err != nil {
				yield(Record{}, shard.err)
				return
			}
		}
		empty = nil
		for i := len(heap)/2 - 1; i >= 0; i-- {
			siftDown(heap, i)
		}
		for len(heap) > 0 {
			first := heap[0]
			next := first.part[first.at]
			first.part[first.at] = shardRecord{} // for the garbage collector
			if !yield(next.Record, next.err) {
				return
			}
			if first.at++; first.at == len(first.part) {
				empty = append(empty, first)
				heap[0] = heap[len(heap)-1]
				heap = heap[:len(heap)-1]
				if full == nil || !*full {
					break
				}
			}
			siftDown(heap, 0)
		}
	}
}

// siftDown restores the heap below i.
func siftDown(heap []*shardReader, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(heap); child++ {
			if heap[child].before(heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		heap[i], heap[least] = heap[least], heap[i]
		i = least
	}
}

// shardReader hands the records of one shard from the goroutine that reads them
// to the one that merges them, a part of a page at a time.
type shardReader struct {
	ahead bool // read the next part before it is asked for
	parts chan shardPart
	more  chan struct{} // asks for the next part, unless ahead

	waiting atomic.Int64  // how many parts there are
	taken   chan struct{} // tells that there is one less
	turns   *turns

	// What follows is the merging side's.
	part  []shardRecord
	at    int // the next record of part
	begun bool
	ended bool
	err   error // why the shard ended early
}

// turns bounds how many shards of a scan are read at once, from when it is needed.
type turns struct {
	needed atomic.Bool
	slots  chan struct{}
}

// begin waits for a turn, if one is needed, and reports whether there is one to end.
func (t *turns) begin(ctx context.Context) bool {
	if !t.needed.Load() {
		return false
	}
	select {
	case t.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// end ends a turn if it is mine.
func (t *turns) end(mine bool) {
	if mine {
		<-t.slots
	}
}

type shardRecord struct {
	Record
	err error // about this record alone
}

type shardPart struct {
	records []shardRecord
	bytes   int // of the values
	last    bool
	err     error // why it is the last
}

// read sends the records in parts of size, or of their share of scanBytes, until
// their end, an error or the end of ctx.
func (r *shardReader) read(ctx context.Context, records iter.Seq2[Record, error], size int) {
	var part []shardRecord
	bytes, mine := 0, false // whether it is the shard's turn
	defer func() { r.turns.end(mine) }()
	for rec, err := range records {
		if err != nil && rec.Key == "" {
			r.send(ctx, shardPart{records: part, bytes: bytes, last: true, err: err})
			return
		}
		part = append(part, shardRecord{rec, err})
		bytes += len(rec.Value)
		if len(part) == size || bytes >= scanBytes/cap(r.parts) {
			if r.isLarge(bytes) {
				r.turns.needed.Store(true)
			}
			r.turns.end(mine)
			if mine = false; !r.send(ctx, shardPart{records: part, bytes: bytes}) || !r.wait(ctx) {
				return
			}
			mine = r.turns.begin(ctx)
			part, bytes = make([]shardRecord, 0, len(part)), 0
		}
	}
	r.send(ctx, shardPart{records: part, bytes: bytes, last: true})
}

// isLarge reports whether a part has a large value: more than twice its share of scanBytes.
func (r *shardReader) isLarge(bytes int) bool { return bytes > 2*scanBytes/cap(r.parts) }

// send hands a part over. One with a large value waits until no other part does.
func (r *shardReader) send(ctx context.Context, part shardPart) bool {
	for r.waiting.Load() > 0 && r.isLarge(part.bytes) {
		select {
		case <-r.taken:
		case <-ctx.Done():
			return false
		}
	}
	r.waiting.Add(1)
	select {
	case r.parts <- part:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait returns when the next part is wanted, or false when none is any more.
func (r *shardReader) wait(ctx context.Context) bool {
	if r.ahead {
		return true
	}
	select {
	case <-r.more:
		return true
	case <-ctx.Done():
		return false
	}
}

// fill gets the next part, and reports whether it has a record. Without one the
// shard has ended, by err if that is set.
func (r *shardReader) fill(ctx context.Context) bool {
	r.part, r.at = nil, 0
	for len(r.part) == 0 && !r.ended {
		if r.begun && !r.ahead {
			select {
			case r.more <- struct{}{}:
			case <-ctx.Done():
			}
		}
		r.begun = true
		select {
		case part := <-r.parts:
			r.part, r.ended, r.err = part.records, part.last, part.err
			r.waiting.Add(-1)
			select {
			case r.taken <- struct{}{}:
			default:
			}
		case <-ctx.Done():
			r.ended, r.err = true, ctx.Err()
		}
	}
	return len(r.part) > 0
}

// before reports whether r's next record comes before that of another shard. Of one
// key, the record that is in its own shard comes before an error about another one.
func (r *shardReader) before(other *shardReader) bool {
	a, b := &r.part[r.at], &other.part[other.at]
	return a.Key < b.Key || a.Key == b.Key && a.err == nil && b.err != nil
}
