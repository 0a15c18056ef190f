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

// Cursor returns a cursor of what was yielded so far, including this change, for [From]. Call
// it in the body of the loop. It sorts all keys.
func (c Change) Cursor() []byte { return encodeCursor(c.of.prefix, c.of.yielded) }

// Option is an option of Watch: [From].
type Option func(*watcher)

// From begins with what has changed since Change.Cursor returned cursor, in the same or
// another process, for the same prefix. The empty cursor means the beginning. If the entries
// have moved to another kind of store, all of them have changed. Watch yields
// [kv.ErrInvalidCursor] when the cursor is damaged, or belongs to another prefix.
func From(cursor []byte) Option {
	return func(w *watcher) { w.cursor = slices.Clone(cursor) }
}

// Watch yields the changes of the entries whose keys start with prefix, until ctx ends. The
// last error is the error of ctx. The empty prefix matches every key. Between two polls it
// waits for the duration every, at least a millisecond. It yields the changes of a poll in
// order of their keys, deletions after the others.
//
// An error with a Change that has a Key is about that key alone, which skykv did not write.
// Each poll yields it again. An error with an empty Key says that the poll has missed
// something, which the next poll yields. The loop may go on after both. It ends after
// [kv.ErrInvalidKey], [kv.ErrInvalidOption], [kv.ErrInvalidCursor] and [kv.ErrClosed].
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

	yielded map[string]state // by key, what the loop knows
	polls   int
}

// state is the state of an entry that was yielded.
type state struct {
	mark mark
	seen int // the last poll that saw the entry
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
	// Keys that the scan did not see are gone, unless they were deleted and put again
	// meanwhile.
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

// read reads keys that changed, and yields the states that the loop does not know. It reports
// whether the loop goes on.
func (w *watcher) read(ctx context.Context, keys []string) bool {
	found, err := w.store.GetMany(ctx, keys)
	unread, some := errors.AsType[*kv.BatchError](err)
	if err != nil && !some {
		return w.report(ctx, "", err)
	}
	for _, key := range keys {
		if some && unread.Failed[key] != nil {
			continue // the next poll reads it
		}
		entry, exists := found[key]
		known, ok := w.yielded[key]
		switch {
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
	return !some || w.report(ctx, "", err)
}

// report yields an error, and reports whether the loop goes on.
func (w *watcher) report(ctx context.Context, key string, err error) bool {
	if ctx.Err() != nil {
		w.yield(Change{of: w}, w.fail(nil, ctx.Err()))
		return false
	}
	final := errors.Is(err, kv.ErrInvalidKey) || errors.Is(err, kv.ErrClosed)
	return w.yield(Change{Entry: kv.Entry{Key: key}, of: w}, err) && !final
}
