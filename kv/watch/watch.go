package watch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/skykv/skykv/kv"
)

// Change is the latest state of a key that changed.
type Change struct {
	kv.Entry // only the Key is set when Deleted

	// Deleted: the entry was deleted or has expired.
	Deleted bool

	of *watcher
}

// Cursor returns a cursor for [From]. The cursor records all states that were yielded so far,
// including this change. Call Cursor in the body of the loop. It takes time, because it sorts
// all keys.
func (c Change) Cursor() []byte { return encodeCursor(c.of.prefix, c.of.yielded) }

// Option is an option of Watch: [From].
type Option func(*watcher)

// From makes Watch begin with all that has changed since Change.Cursor returned cursor, in
// this or another process, for the same prefix. With an empty cursor, Watch yields all
// entries. If the entries have moved to another kind of store, Watch yields all of them,
// because their versions have changed. It yields [kv.ErrInvalidCursor] if the cursor is
// damaged, or belongs to another prefix.
func From(cursor []byte) Option {
	cursor = slices.Clone(cursor)
	return func(w *watcher) { w.cursor = cursor }
}

// Watch yields the changes of the entries whose keys start with prefix, until ctx ends. The
// last error is the error of ctx. The empty prefix matches every key. The parameter every is
// the pause between two polls, at least a millisecond. Watch yields the changes of a poll in
// order of their keys, but deletions after the others. A key that changes while the poll runs
// may come out of order.
//
// If an error comes with a Change that has a Key, it concerns only that key: its entry was not
// written by skykv, or is damaged. Each poll yields this error again. An error with an empty Key
// says that the poll has missed changes, which a later poll yields. The loop may go on after
// both kinds of errors. Watch ends after [kv.ErrInvalidKey], [kv.ErrInvalidOption],
// [kv.ErrInvalidCursor] and [kv.ErrClosed].
func Watch(ctx context.Context, store *kv.Store, prefix string, every time.Duration, opts ...Option) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := &watcher{store: store, prefix: prefix, yield: yield}
		if err := w.begin(every, opts); err != nil {
			yield(Change{of: w}, err)
			return
		}
		for w.poll(ctx) {
			timer := time.NewTimer(every)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				yield(Change{of: w}, w.fail(nil, ctx.Err()))
				return
			}
		}
	}
}

// watcher is one loop of Watch.
type watcher struct {
	store  *kv.Store
	prefix string
	cursor []byte
	yield  func(Change, error) bool

	yielded map[string]state // by key, the last state that was yielded; without deleted keys
	polls   int              // number of polls so far
}

// state is the state of an entry that was yielded.
type state struct {
	mark mark
	seen int // number of the last poll that found the entry
}

// fail returns an error of this package, in the form of the store's errors.
func (w *watcher) fail(kind, err error) error {
	return &kv.Error{Op: "watch", Key: w.prefix, Provider: w.store.Info().Name, Kind: kind, Err: err}
}

func (w *watcher) begin(every time.Duration, opts []Option) error {
	for _, opt := range opts {
		if opt == nil {
			return w.fail(kv.ErrInvalidOption, errors.New("an option is nil"))
		}
		opt(w)
	}
	if every < time.Millisecond {
		return w.fail(kv.ErrInvalidOption, fmt.Errorf("the pause between polls is %s; want at least 1ms", every))
	}
	if err := kv.ValidatePrefix(w.prefix); err != nil {
		return err
	}
	var err error
	if w.yielded, err = decodeCursor(w.prefix, w.cursor); err != nil {
		return w.fail(kv.ErrInvalidCursor, err)
	}
	return nil
}

// batch is the number of changed keys that are read together.
const batch = 100

// poll yields what has changed, and reports whether the loop goes on.
func (w *watcher) poll(ctx context.Context) bool {
	w.polls++
	var changed []string
	for entry, err := range w.store.Scan(ctx, w.prefix, kv.KeysOnly()) {
		if err != nil && entry.Key == "" {
			return w.report(ctx, "", err)
		}
		known, ok := w.yielded[entry.Key]
		if ok {
			known.seen = w.polls
			w.yielded[entry.Key] = known
		}
		switch {
		case err != nil:
			if !w.report(ctx, entry.Key, err) {
				return false
			}
		case !ok || known.mark != markOf(entry.Version):
			if changed = append(changed, entry.Key); len(changed) == batch {
				if !w.read(ctx, changed) {
					return false
				}
				changed = nil
			}
		}
	}
	// Keys that the scan did not yield are gone, unless they were deleted and put again
	// during the scan. The method read finds out.
	var gone []string
	for key, known := range w.yielded {
		if known.seen != w.polls {
			gone = append(gone, key)
		}
	}
	slices.Sort(gone)
	if len(changed) > 0 && !w.read(ctx, changed) {
		return false
	}
	for keys := range slices.Chunk(gone, batch) {
		if !w.read(ctx, keys) {
			return false
		}
	}
	return true
}

// read reads the entries of keys that changed or are gone, and yields the states that were not
// yielded yet. It reports whether the loop goes on.
func (w *watcher) read(ctx context.Context, keys []string) bool {
	found, err := w.store.GetMany(ctx, keys)
	var unread map[string]error
	if batch, ok := errors.AsType[*kv.BatchError](err); ok {
		unread = batch.Failed
	} else if err != nil {
		return w.report(ctx, "", err)
	}
	for _, key := range keys {
		entry, exists := found[key]
		known, ok := w.yielded[key]
		switch failed := unread[key]; {
		case errors.Is(failed, kv.ErrIncompatible): // a scan without values does not always notice that
			delete(unread, key)
			if !w.report(ctx, key, failed) {
				return false
			}
			continue
		case failed != nil: // the next poll reads it
			continue
		case exists && ok && known.mark == markOf(entry.Version), !exists && !ok:
			continue
		case exists:
			w.yielded[key] = state{markOf(entry.Version), w.polls}
		default:
			entry.Key = key
			delete(w.yielded, key)
		}
		if !w.yield(Change{Entry: entry, Deleted: !exists, of: w}, nil) {
			return false
		}
	}
	return len(unread) == 0 || w.report(ctx, "", err)
}

// report yields an error, and reports whether the loop goes on.
func (w *watcher) report(ctx context.Context, key string, err error) bool {
	if ctx.Err() != nil {
		w.yield(Change{of: w}, w.fail(nil, ctx.Err()))
		return false
	}
	final := errors.Is(err, kv.ErrInvalidKey) || errors.Is(err, kv.ErrInvalidOption) || errors.Is(err, kv.ErrClosed)
	return w.yield(Change{Entry: kv.Entry{Key: key}, of: w}, err) && !final
}
