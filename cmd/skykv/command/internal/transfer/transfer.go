// Package transfer moves entries from a source to a sink: in batches, several at
// once, with their exact expiries. After any interruption it can continue from the
// state that it last saved.
package transfer

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// Position says how far a source was read: the last key of a store, or the bytes and
// lines read of a file.
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

// Source yields the entries after a position, and ends soon after ctx ends. As in
// [kv.Store.Scan], an error with a Key is about that entry alone, and any other error
// ends the source.
type Source func(ctx context.Context, from Position) iter.Seq2[Record, error]

// Counts has the numbers of entries by result.
type Counts struct {
	Written int64 `json:"written"`
	Skipped int64 `json:"skipped"` // the sink had them already
	Expired int64 `json:"expired"` // expired between reading and writing
	Failed  int64 `json:"failed"`  // could not be read

	Refused int64 `json:"refused"` // by the sink, which cannot hold them
}

// Done is the number of entries that were handled.
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

	// Write writes a batch of entries with distinct keys. After an error, any of them
	// may have been written; writing them again must do no harm. For a sink of lines,
	// the mark is the end of the batch.
	Write(ctx context.Context, entries []kv.Entry) (done Counts, mark Mark, err error)

	// Sync makes all written entries durable.
	Sync() error

	// Parallel is the greatest number of concurrent calls of Write.
	Parallel() int
}

// State is the progress of a transfer: everything up to Position is durable.
type State struct {
	Position Position `json:"position"`
	Counts   Counts   `json:"counts"`
	Mark     Mark     `json:"mark,omitzero"`
}

// Config describes a transfer. Run calls all functions in its own goroutine.
type Config struct {
	Source Source
	Sink   Sink
	From   State // where to continue, the zero State for a new transfer

	// Save, when set, is called with the sink synced, after the first batch, every
	// SaveEvery, and at the end, also after an error.
	Save      func(State) error
	SaveEvery time.Duration

	Progress func(State)                 // when set, called after every batch
	Failed   func(key string, err error) // called for every entry that cannot be read, or that the sink cannot hold
}

// A batch has at most this many entries and about that many bytes.
const (
	batchEntries = 500
	batchBytes   = 1 << 20
)

type batch struct {
	entries []kv.Entry
	failed  map[string]error // entries that could not be read
	refused map[string]error // entries that the sink cannot hold
	next    Position
	size    int

	done   chan struct{} // closed when the following fields are set
	counts Counts
	mark   Mark
	err    error
}

// len is the number of entries of the batch.
func (b *batch) len() int { return len(b.entries) + len(b.failed) + len(b.refused) }

// Run transfers all entries. It returns its progress, and the cause of ctx's end if
// that ended it, or else the first error of the source or the sink.
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
	// The deferred calls cancel this context before they wait for the workers.
	running, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()

	// Any free worker gets the next batch. This goroutine gets the batches in order,
	// so the state only moves over complete batches without a gap.
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

// read makes batches of the entries that takes permits, and passes them to send until
// that returns false. No key is in two running batches, because the later entry must
// win.
func read(ctx context.Context, source Source, takes func(kv.Entry) error, from Position, send func(*batch) bool) error {
	underWay := make(map[string]*batch)
	var sent []*batch // batches whose keys are in underWay, in order
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
			flush() // the entries before it are good
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
