package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/skykv/skykv/kv"
)

// FromStore returns a source that reads the entries of a store whose keys begin with prefix.
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

// ToStore returns a sink that writes entries to a store. Its method Parallel returns the
// argument parallel. An entry replaces an existing one with the same key. If ifNotExists is set,
// the sink skips such an entry instead.
func ToStore(store *kv.Store, parallel int, ifNotExists bool) Sink {
	return &storeSink{store, parallel, ifNotExists}
}

type storeSink struct {
	store       *kv.Store
	parallel    int
	ifNotExists bool
}

func (s *storeSink) Takes(entry kv.Entry) error {
	switch info := s.store.Info(); {
	case len(entry.Key) > info.MaxKeyLen:
		return &kv.Error{Kind: kv.ErrInvalidKey, Err: fmt.Errorf("the key has %d bytes; the store takes at most %d", len(entry.Key), info.MaxKeyLen)}
	case info.ReservedKey != nil && info.ReservedKey(entry.Key):
		return &kv.Error{Kind: kv.ErrInvalidKey, Err: fmt.Errorf("%s cannot store an entry under this key, whose name the service reserves", info.Name)}
	case len(entry.Value) > info.MaxValueLen:
		return &kv.Error{Kind: kv.ErrValueTooLarge, Err: fmt.Errorf("the value has %d bytes; the store takes at most %d%s", len(entry.Value), info.MaxValueLen, OrMore(s.store))}
	}
	return nil
}

// OrMore returns what to do so that a store opened by URL takes larger values, for the end of a
// message. It returns "" if the store's driver cannot hold them, as in the Alien platform's layout.
func OrMore(store *kv.Store) string {
	larger := store.With(kv.MaxValue(kv.MaxLargeValueLen)) // has the same Info if its driver cannot hold such values
	if larger.Info().MaxValueLen == store.Info().MaxValueLen {
		return ""
	}
	return fmt.Sprintf(", or add max-value=%d to the URL's parameters", kv.MaxLargeValueLen)
}

func (s *storeSink) Parallel() int { return s.parallel }

func (s *storeSink) Sync() error { return nil } // a store's writes are durable

func (s *storeSink) Write(ctx context.Context, entries []kv.Entry) (done Counts, none Mark, _ error) {
	// An entry that expires between this reading of the clock and the store's would
	// make the whole batch fail. So the store uses this reading.
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
	if !s.ifNotExists {
		done.Written = int64(len(items))
		_, err := store.PutMany(ctx, items)
		return done, none, err
	}
	for i := range items {
		items[i].IfNotExists = true
	}
	_, err := store.PutMany(ctx, items)
	failed := 0
	if batch, ok := err.(*kv.BatchError); ok {
		failed = len(batch.Failed)
		for key, err := range batch.Failed {
			if errors.Is(err, kv.ErrConditionFailed) {
				delete(batch.Failed, key)
			}
		}
		if len(batch.Failed) == 0 {
			err = nil
		}
	}
	done.Written = int64(len(items) - failed)
	done.Skipped = int64(failed)
	return done, none, err
}
