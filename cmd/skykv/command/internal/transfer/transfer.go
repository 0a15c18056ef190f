// Package transfer moves entries from a source to a sink: in batches, several at
// once, with their exact expiries, and so that it can be continued after any
// interruption from the state that it last saved.
package transfer

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// Position says how far a source was read. A store's is the last key, a file's
// the bytes and lines read.
type Position struct {
	Key    string `json:"key,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Line   int64  `json:"line,omitempty"`
}

// Record is an entry, and the position after it.
type Record struct {
	kv.Entry
	Next Position
}

// Source yields the entries after a position, and ends soon when ctx does. As in
// [kv.Store.Scan], an error beside a Key concerns that entry alone, any other ends
// the source.
type Source func(ctx context.Context, from Position) iter.Seq2[Record, error]

// Counts says what became of entries.
type Counts struct {
	Written int64 `json:"written"`
	Skipped int64 `json:"skipped"` // the sink had them already
	Expired int64 `json:"expired"` // between reading and writing
	Failed  int64 `json:"failed"`  // could not be read

	Refused int64 `json:"refused"` // by the sink, which cannot hold them
}

// Done is the number of entries that are dealt with.
func (c Counts) Done() int64 { return c.Written + c.Skipped + c.Expired + c.Failed + c.Refused }

func (c *Counts) add(d Counts) {
	c.Written += d.Written
	c.Skipped += d.Skipped
	c.Expired += d.Expired
	c.Failed += d.Failed
	c.Refused += d.Refused
}

// Sink takes entries.
type Sink interface {
	// Takes returns why the sink cannot hold an entry, which is too large or under a reserved
	// key, or nil. Such an entry is not written.
	Takes(entry kv.Entry) error

	// Write takes a batch of entries with distinct keys. With an error, any of
	// them may have been written; writing them again must do no harm. The mark
	// says where the batch ends, in a sink of lines.
	Write(ctx context.Context, entries []kv.Entry) (done Counts, mark Mark, err error)

	// Sync makes durable all that was written.
	Sync() error

	// Parallel is how many calls of Write there may be at once.
	Parallel() int
}

// State is how far a transfer has come: everything up to Position is durable.
type State struct {
	Position Position `json:"position"`
	Counts   Counts   `json:"counts"`
	Mark     Mark     `json:"mark,omitzero"`
}

// Config describes a transfer. All functions are called by Run's goroutine.
type Config struct {
	Source Source
	Sink   Sink
	From   State // where to go on, the zero State for a new transfer

	// Save, when set, is called with the sink synced, after the first batch, every
	// SaveEvery and at the end, also at one by an error.
	Save      func(State) error
	SaveEvery time.Duration

	Progress func(State)                 // when set, called after every batch
	Failed   func(key string, err error) // called for every entry that cannot be read, or that the sink cannot hold
}

// A batch has at most this many entries and about so many bytes.
const (
	batchEntries = 500
	batchBytes   = 1 << 20
)

type batch struct {
	entries []kv.Entry
	failed  map[string]error // entries that could not be read
	refused map[string]error // entries that the sink does not take
	next    Position
	size    int

	done   chan struct{} // closed when what follows is set
	counts Counts
	mark   Mark
	err    error
}

// len is the number of entries that the batch deals with.
func (b *batch) len() int { return len(b.entries) + len(b.failed) + len(b.refused) }

// Run transfers all there is. It returns how far it came, the cause of ctx's end
// if that ended it, and else the first error, of the source or of the sink.
func Run(ctx context.Context, c Config) (State, error) {
	state := c.From
	var saved time.Time
	save := func() error {
		if c.Save == nil || state == c.From {
			return nil
		}
		if err := c.Sink.Sync(); err != nil {
			return err
		}
		return c.Save(state)
	}
	// Cancelled before anybody waits for the workers.
	running, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()

	// Batches go to whichever worker is free, and in order to this goroutine: the
	// state only ever moves over batches that are complete without a gap.
	parallel := c.Sink.Parallel()
	queue, ordered := make(chan *batch), make(chan *batch, 2*parallel)
	for range parallel {
		workers.Go(func() {
			for b := range queue {
				if len(b.entries) > 0 {
					b.counts, b.mark, b.err = c.Sink.Write(running, b.entries)
				}
				b.counts.Failed += int64(len(b.failed))
				b.counts.Refused += int64(len(b.refused))
				close(b.done)
			}
		})
	}
	var readErr error
	workers.Go(func() {
		defer close(ordered)
		defer close(queue)
		readErr = read(running, c.Source, c.Sink.Takes, c.From.Position, func(b *batch) bool {
			select {
			case ordered <- b:
			case <-running.Done():
				return false
			}
			select {
			case queue <- b:
				return true
			case <-running.Done():
				b.err = running.Err()
				close(b.done)
				return false
			}
		})
	})

	next := func() *batch {
		select {
		case b := <-ordered:
			return b
		case <-ctx.Done():
			return nil
		}
	}
	for b := next(); b != nil; b = next() {
		<-b.done
		if b.err != nil {
			cancel()
			if ctx.Err() != nil {
				break
			}
			return state, errors.Join(b.err, save())
		}
		for _, failed := range []map[string]error{b.failed, b.refused} {
			for key, err := range failed {
				c.Failed(key, err)
			}
		}
		state.Position = b.next
		state.Counts.add(b.counts)
		if len(b.entries) > 0 {
			state.Mark = b.mark
		}
		if c.Progress != nil {
			c.Progress(state)
		}
		if time.Since(saved) >= c.SaveEvery {
			if err := save(); err != nil {
				return state, err
			}
			saved = time.Now()
		}
	}
	if ctx.Err() != nil {
		return state, errors.Join(context.Cause(ctx), save())
	}
	return state, errors.Join(readErr, save())
}

// read makes batches of the entries that takes permits, and hands them to send, until that
// returns false. No key is in two batches that are under way: the later one must win.
func read(ctx context.Context, source Source, takes func(kv.Entry) error, from Position, send func(*batch) bool) error {
	underWay := make(map[string]*batch)
	var sent []*batch // whose keys are in underWay, in order
	current := &batch{done: make(chan struct{})}
	flush := func() bool {
		if current.len() == 0 {
			return true
		}
		for len(sent) > 0 && isClosed(sent[0].done) {
			forget(underWay, sent[0])
			sent = sent[1:]
		}
		sent = append(sent, current)
		b := current
		current = &batch{done: make(chan struct{}), next: b.next}
		return send(b)
	}
	current.next = from
	for rec, err := range source(ctx, from) {
		switch {
		case err != nil && rec.Key == "":
			flush() // what came before it is good
			return err
		case err != nil:
			if current.failed == nil {
				current.failed = make(map[string]error)
			}
			current.failed[rec.Key] = err
		case takes(rec.Entry) != nil:
			if current.refused == nil {
				current.refused = make(map[string]error)
			}
			current.refused[rec.Key] = takes(rec.Entry)
		default:
			if twin := underWay[rec.Key]; twin != nil {
				if twin == current && !flush() || !wait(ctx, twin) {
					return ctx.Err()
				}
			}
			underWay[rec.Key] = current
			current.entries = append(current.entries, rec.Entry)
			current.size += len(rec.Key) + len(rec.Value)
		}
		current.next = rec.Next
		if current.len() >= batchEntries || current.size >= batchBytes {
			if !flush() {
				return ctx.Err()
			}
		}
	}
	flush()
	return ctx.Err()
}

func forget(underWay map[string]*batch, b *batch) {
	for _, entry := range b.entries {
		if underWay[entry.Key] == b {
			delete(underWay, entry.Key)
		}
	}
}

func isClosed(done chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func wait(ctx context.Context, b *batch) bool {
	select {
	case <-b.done:
		return true
	case <-ctx.Done():
		return false
	}
}
