package transfer

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// FromStore reads the entries of a store whose keys start with prefix.
func FromStore(store *kv.Store, prefix string) Source {
	return func(ctx context.Context, from Position) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			for entry, err := range store.Scan(ctx, prefix, kv.After(from.Key)) {
				if !yield(Record{entry, Position{Key: entry.Key}}, err) {
					return
				}
			}
		}
	}
}

// ToStore writes entries to a store, over what it holds, or, ifNotExists, only where
// it holds nothing. It has parallel batches under way at once.
func ToStore(store *kv.Store, parallel int, ifNotExists bool) Sink {
	return &storeSink{store, parallel, ifNotExists}
}

type storeSink struct {
	store       *kv.Store
	parallel    int
	ifNotExists bool
}

func (s *storeSink) Parallel() int { return s.parallel }

func (s *storeSink) Sync() error { return nil } // a store's writes are durable

func (s *storeSink) Write(ctx context.Context, entries []kv.Entry) (done Counts, none Mark, _ error) {
	// What expires between this look at the clock and the store's own would
	// refuse the whole batch: the store is to go by this look.
	now := time.Now()
	store := s.store.With(kv.Clock(func() time.Time { return now }))
	items := make([]kv.Item, 0, len(entries))
	for _, entry := range entries {
		if !entry.ExpiresAt.IsZero() && entry.ExpiresAt.UnixMilli() <= now.UnixMilli() {
			done.Expired++
			continue
		}
		items = append(items, kv.Item{Key: entry.Key, Value: entry.Value, ExpiresAt: entry.ExpiresAt})
	}
	if s.ifNotExists {
		written, err := putIfNotExists(ctx, store, items)
		done.Written, done.Skipped = written, int64(len(items))-written
		return done, none, err
	}
	done.Written = int64(len(items))
	return done, none, store.PutMany(ctx, items)
}

// putIfNotExists writes the items whose keys are absent, and counts them.
func putIfNotExists(ctx context.Context, store *kv.Store, items []kv.Item) (written int64, _ error) {
	const parallel = 16
	queue := make(chan kv.Item, len(items))
	for _, item := range items {
		queue <- item
	}
	close(queue)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range min(parallel, len(items)) {
		workers.Go(func() {
			for item := range queue {
				if ctx.Err() != nil {
					return
				}
				_, err := store.Put(ctx, item.Key, item.Value, kv.ExpiresAt(item.ExpiresAt), kv.IfNotExists())
				switch {
				case err == nil:
					mu.Lock()
					written++
					mu.Unlock()
				case !errors.Is(err, kv.ErrConditionFailed):
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return written, context.Cause(ctx)
}
