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

// scanPage is the number of records that a scan without a limit requests from a shard
// at a time. A scan of several shards reads each shard in a goroutine (shardReader.read), and
// merges the records. If the scan reads ahead, this goroutine divides each page into scanParts
// parts. It requests the next page while about one page, or scanBytes of values, waits to be
// merged. So at most two pages of a shard are in memory. A part with a large value (see
// isLarge) is sent to the merge only when no other part of its shard waits.
const (
	scanPage  = 640
	scanBytes = 1 << 20
	scanParts = 8

	// largeFetches is the greatest number of shards that are read at the same time after the
	// first large value. It limits memory, because an SDK holds several copies of a page
	// while it decodes the page.
	largeFetches = 4
)

// Scan yields the live entries whose keys start with prefix, in ascending byte order
// of the key. The empty prefix matches every key. Scan fetches as the loop goes on,
// and stops when the loop ends. It yields each entry that lives throughout the scan
// exactly once. Entries that are written or expire meanwhile may or may not be
// yielded: a scan is not a snapshot. The loop's body may use the store.
//
// An error with an Entry that has a Key is about that entry alone. It matches
// ErrIncompatible, because skykv did not write the entry or the entry is damaged. The
// loop may go on. An error with an empty Key ends the scan. A new scan with [After] can
// continue after the last key.
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
			yield(Entry{}, s.fail(op, cmp.Or(err.Key, prefix), err))
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

// ScanPage returns the next entries of a [Store.Scan] after cursor, at most limit of them.
// The cursor is the Next of the previous page, or empty for the first page. If ScanPage
// returns no error, Page.Next is empty if and only if no entries follow. Only the last page
// can then have fewer entries than limit.
//
// On an error, the page holds the entries that were read so far, and Next is the position
// after them, so that the program can try again from there. If an entry that skykv did not
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
		return page, s.fail(op, cmp.Or(err.Key, prefix), err)
	}
	defer c.end()
	plan.after = max(position, plan.after)
	req := s.scanRequest(prefix, plan)
	req.Stale = s.stale
	req.Now = s.now().UnixMilli()
	page.Entries = make([]Entry, 0, min(limit, scanPage))
	// When the page is full, one more record that has not expired or cannot be read shows
	// that entries follow. The key of this record does not matter.
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

// scanRequest returns the request for the keys that start with prefix, within the bounds
// of a plan. If one shard has all these keys, the request is for that shard alone.
func (s *Store) scanRequest(prefix string, plan scanPlan) ScanRequest {
	req := ScanRequest{From: max(prefix, firstKey, plan.from), To: prefix + afterKeys, WithValue: plan.withValue, MaxValueLen: s.info.MaxValueLen}
	if plan.after != "" {
		// The lowest key after plan.after is plan.after followed by the lowest byte.
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

// lastBefore returns a string that is less than key. Every legal key that is less than key
// is at most that string.
func lastBefore(key string) string {
	i := len(key) - 1
	if at := strings.IndexByte(KeyAlphabet, key[i]); at > 0 {
		return key[:i] + KeyAlphabet[at-1:at] + afterKeys
	}
	return key[:i] // keys that begin with these bytes, and are longer, are not less than key
}

// records yields the records of req in ascending order of their keys. It reads one shard
// if req is for that shard alone, and otherwise all shards at once. want is about the number
// of records that the loop will take, or 0 if it will take all of them. Errors are as in
// [Driver].Scan.
//
// When the loop has set *full, the loop no longer depends on the order. records then yields the
// records that were already read before it fetches others.
func (s *Store) records(ctx context.Context, req ScanRequest, want int, full *bool) iter.Seq2[Record, error] {
	if req.From > req.To {
		return func(func(Record, error) bool) {}
	}
	n := s.info.Shards
	if req.Alone {
		n = 1
	}
	mean := float64(want) / float64(n)
	// Keys are spread over the shards at random. If each shard fetches three standard
	// deviations more than the mean, few shards run out before there are want records.
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
			if !ahead { // rounded so that the limits of all shards add up to n*share
				req.Limit = max(1, int(share*float64(i+1))-int(share*float64(i)))
				waiting, part = 1, req.Limit
			}
			shards[i] = &shardReader{ahead: ahead, parts: make(chan shardPart, waiting), more: make(chan struct{}), taken: make(chan struct{}, 1), turns: turns}
			reading.Go(func() { shards[i].read(ctx, s.shard(ctx, req), part) })
		}
		merge(ctx, shards, full, yield)
	}
}

// shard yields the driver's records of one shard, and checks them. A key outside the
// range or out of order ends the scan with an error. Otherwise the merge would lose
// entries, and a scan might never end. shard skips names that are not legal keys or are
// reserved, because no store wrote them. For a key that belongs to another shard, it yields an
// error with that key, because gets do not find the record.
func (s *Store) shard(ctx context.Context, req ScanRequest) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		last := ""
		for rec, err := range s.driver.Scan(ctx, req) {
			switch {
			case rec.Key == "" && err != nil:
				yield(Record{}, err)
				return
			case rec.Key <= last || rec.Key < req.From || rec.Key > req.To:
				yield(Record{}, errDisorder())
				return
			}
			last = rec.Key
			if s.checkKey(rec.Key) != nil {
				continue
			}
			if s.info.Shard != nil && s.info.Shard(rec.Key) != req.Shard {
				rec, err = Record{Key: rec.Key}, &Error{Kind: ErrIncompatible, Err: errors.New("skykv did not write this record: its key belongs to another shard")}
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func errDisorder() *Error {
	return &Error{Kind: ErrUnavailable, Err: errors.New("the service returned records that are not in order of their keys, or that are outside the range")}
}

// merge yields the records of the shards, in ascending order of their keys as long as
// *full is not set. If a shard fails, merge yields its error and ends, because the next records
// of other shards may have higher keys than the records that could not be read.
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

// siftDown restores the heap order below i.
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

// shardReader passes the records of one shard, part by part, from the goroutine that
// reads them to the goroutine that merges them.
type shardReader struct {
	ahead bool // read the next part before the merge needs it
	parts chan shardPart
	more  chan struct{} // requests the next part, unless ahead

	waiting atomic.Int64  // number of parts in parts
	taken   chan struct{} // signals that a part was received
	turns   *turns

	// The merging goroutine owns the following fields.
	part  []shardRecord
	at    int // the next record of part
	begun bool
	ended bool
	err   error // the error that ended the shard, if any
}

// turns limits the number of shards of a scan that are read at once. There is no limit until
// a reader finds the first large value and sets needed.
type turns struct {
	needed atomic.Bool
	slots  chan struct{}
}

// begin waits for a turn if the field needed is set. It reports whether the caller now has a
// turn. The caller passes that result to end.
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

// end ends a turn if the caller has one.
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
	err     error // the error that ended the shard, if any
}

// read sends the records in parts, until the records end, the scan fails or ctx ends. The
// argument size is the number of records of a part. A part has fewer records if their values
// reach the part's share of scanBytes, or if it is the last part.
func (r *shardReader) read(ctx context.Context, records iter.Seq2[Record, error], size int) {
	var part []shardRecord
	bytes, mine := 0, false // mine: this shard has a turn
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

// isLarge reports whether a part of this many bytes has a large value. A part is complete
// when it reaches its share of scanBytes, so only a value that is larger than the share
// can make the part longer than two shares.
func (r *shardReader) isLarge(bytes int) bool { return bytes > 2*scanBytes/cap(r.parts) }

// send sends a part, and reports whether it could do so before ctx ended. It sends a part
// with a large value only when no other part waits.
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

// wait waits until the next part is wanted. It returns false when the scan has ended.
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

// fill receives the next part that has records, and reports whether there is one. If not,
// the shard has ended, and r.err is the error that ended it, if any.
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

// The method before reports whether r's next record comes before the next record of other. If
// both have the same key, one of them is in the wrong shard: its error comes after the record.
func (r *shardReader) before(other *shardReader) bool {
	a, b := &r.part[r.at], &other.part[other.at]
	return a.Key < b.Key || a.Key == b.Key && a.err == nil && b.err != nil
}
