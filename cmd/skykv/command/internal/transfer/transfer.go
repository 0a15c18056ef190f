// Package transfer copies entries with their exact expiries from a source to a sink. If the
// sink allows it, several batches are written at once. After any interruption, a transfer can
// continue from the state that was last saved. The package also compares stores.
package transfer

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// Position says how far a source was read: up to a key of a store, or up to an offset and
// line of a file.
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

// Source yields the entries after a position, and ends soon after ctx ends. As with
// [kv.Store.Scan], an error that comes with a Key is about that entry alone. Any other
// error ends the source.
type Source func(ctx context.Context, from Position) iter.Seq2[Record, error]

// Counts holds the numbers of entries by result.
type Counts struct {
	Written int64 `json:"written"`
	Skipped int64 `json:"skipped"` // the sink had them already
	Expired int64 `json:"expired"` // expired between reading and writing
	Failed  int64 `json:"failed"`  // could not be read

	Refused int64 `json:"refused"` // the sink cannot hold them
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
	// Takes returns nil if the sink can hold the entry. Otherwise its error says why not: the
	// key is too long or reserved, or the value is too large. Run does not write an entry that
	// the sink cannot hold.
	Takes(entry kv.Entry) error

	// Write writes a batch of entries with distinct keys. After an error, any of these
	// entries may have been written. Writing them again must do no harm. If the sink writes
	// lines, mark is the end of the batch in the output.
	Write(ctx context.Context, entries []kv.Entry) (done Counts, mark Mark, err error)

	// Sync makes all written entries durable.
	Sync() error

	// Parallel is the greatest number of concurrent calls of Write.
	Parallel() int
}

// State is the progress of a transfer. In a saved State, everything up to Position is
// durable.
type State struct {
	Position Position `json:"position"`
	Counts   Counts   `json:"counts"`
	Mark     Mark     `json:"mark,omitzero"`
}

// Config describes a transfer. Run calls Save, Progress and Failed from its own goroutine.
type Config struct {
	Source Source
	Sink   Sink
	From   State // where to continue, the zero State for a new transfer

	// Save, if not nil, saves the state. Run calls it after the first batch, then after a batch
	// whenever SaveEvery has passed since the last call, and at the end, even after an error of
	// the source or the sink. Before each call Run syncs the sink. If no batch has been handled,
	// Run does not call Save.
	Save      func(State) error
	SaveEvery time.Duration

	Progress func(State)                 // if not nil, called after every batch
	Failed   func(key string, err error) // called for every entry that cannot be read, or that the sink cannot hold
}

// A batch has at most batchEntries entries and about batchBytes bytes.
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

// len returns the number of entries of the batch, including those that will not be written.
func (b *batch) len() int { return len(b.entries) + len(b.failed) + len(b.refused) }

// Run transfers all entries that can be read and that the sink can hold. It returns its progress.
// If Run stops because ctx ended, the error wraps context.Cause(ctx). Otherwise it wraps the first
// error of the source, the sink or Save. If Save fails at the end, the error wraps that error too.
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

	// Any free worker gets the next batch. This goroutine receives the batches in order
	// and waits for each, so the state never skips a batch that is not complete.
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

// read reads the source and passes batches of its entries to the function send, until send
// returns false. A batch also names the entries that could not be read, and the entries that
// the sink refuses. Running batches have no key in common, because batches may end in any
// order, and the later of two entries with one key must win.
func read(ctx context.Context, source Source, takes func(kv.Entry) error, from Position, send func(*batch) bool) error {
	underWay := make(map[string]*batch)
	var sent []*batch // batches whose keys are in underWay, the oldest first
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
			flush() // the entries before the error can be written
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
