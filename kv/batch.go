package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// deleteGroup is how many keys DeletePrefix gathers before it deletes them: a
// multiple of every service's batch size.
const deleteGroup = 500

// GetMany reads the entries under keys, in any number and with duplicates. Keys
// that are absent or expired are missing from the result, which is never nil.
// One invalid key refuses the whole batch. When some keys cannot be read, the
// result holds the others and the error is a *[BatchError].
func (s *Store) GetMany(ctx context.Context, keys []string) (map[string]Entry, error) {
	const op = "get many"
	distinct, err := s.distinct(op, keys)
	if err != nil {
		return map[string]Entry{}, err
	}
	entries := make(map[string]Entry, len(distinct))
	if err := s.begin(ctx); err != nil {
		return entries, s.fail(op, "", err)
	}
	if len(distinct) == 0 {
		return entries, nil
	}
	now := s.now().UnixMilli()
	recs, failed := s.driver.GetMany(ctx, distinct)
	for _, rec := range recs {
		// What was read is marked as read by its key, expired or not.
		entries[rec.Key] = s.entry(rec, true)
	}
	if failed != nil {
		failed = s.failBatch(op, failed, func(yield func(string) bool) {
			for _, key := range distinct {
				if _, read := entries[key]; !read && !yield(key) {
					return
				}
			}
		}, s.fail)
	}
	for _, rec := range recs {
		if expired(rec.Expires, now) {
			delete(entries, rec.Key)
		}
	}
	return entries, failed
}

// PutMany stores items, in any number, without conditions and without
// atomicity; of items with the same key the last one wins. One invalid item
// refuses the whole batch. When some items cannot be stored, the error is a
// *[BatchError], whose errors match ErrIndeterminate as those of Put do.
func (s *Store) PutMany(ctx context.Context, items []Item) error {
	const op = "put many"
	now := s.now()
	writes := make([]Write, 0, len(items))
	index := make(map[string]int, len(items))
	for i, item := range items {
		expires, err := s.checkItem(item, now)
		if err != nil {
			return s.fail(op, item.Key, atIndex(err, i))
		}
		w := Write{Record: Record{Key: item.Key, Value: notNil(item.Value), Expires: expires, Token: newToken()}}
		if at, twice := index[item.Key]; twice {
			writes[at] = w
			continue
		}
		index[item.Key] = len(writes)
		writes = append(writes, w)
	}
	return s.writeMany(ctx, op, writes)
}

// checkItem validates one item of a batch and gives its expiry.
func (s *Store) checkItem(item Item, now time.Time) (expires int64, err *Error) {
	if err := checkKey(item.Key, s.info.MaxKeyLen); err != nil {
		return 0, err
	}
	if err := checkValue(item.Value, s.info.MaxValueLen); err != nil {
		return 0, err
	}
	switch {
	case item.TTL != 0 && !item.ExpiresAt.IsZero():
		return 0, &Error{Kind: ErrInvalidOption, Err: errors.New("allowed is one of TTL and ExpiresAt")}
	case item.TTL != 0:
		return checkTTL(item.TTL, now)
	case !item.ExpiresAt.IsZero():
		return checkInstant(item.ExpiresAt, now.UnixMilli())
	}
	return 0, nil
}

// DeleteMany removes the entries under keys, in any number and with duplicates,
// without atomicity; absent keys are no error. One invalid key refuses the whole
// batch. When some keys cannot be deleted, the error is a *[BatchError], whose
// errors match ErrIndeterminate as those of Delete do.
func (s *Store) DeleteMany(ctx context.Context, keys []string) error {
	const op = "delete many"
	distinct, err := s.distinct(op, keys)
	if err != nil {
		return err
	}
	return s.writeMany(ctx, op, deletes(distinct))
}

// DeletePrefix removes every entry whose key starts with prefix, and returns how
// many live ones it removed; entries created meanwhile may remain. The empty
// prefix is refused with ErrInvalidKey. Records in the way that skykv did not
// write are left alone and named in a *[BatchError] at the end; any other
// failure stops it, with the number of those that are certain to be removed.
func (s *Store) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	const op = "delete prefix"
	if prefix == "" {
		return 0, s.fail(op, "", &Error{Kind: ErrInvalidKey, Err: errors.New("the prefix is empty, which would delete everything; allowed is a prefix of at least one byte")})
	}
	if err := checkPrefix(prefix, s.info.MaxKeyLen); err != nil {
		return 0, s.fail(op, prefix, err)
	}
	if err := s.begin(ctx); err != nil {
		return 0, s.fail(op, prefix, err)
	}
	removed := 0
	foreign := make(map[string]error)
	group, live := make([]string, 0, deleteGroup), make([]string, 0, deleteGroup)
	flush := func() error {
		err := s.writeMany(ctx, op, deletes(group))
		batch, partial := err.(*BatchError)
		for _, key := range live {
			if err == nil || partial && batch.Failed[key] == nil {
				removed++
			}
		}
		group, live = group[:0], live[:0]
		return err
	}
	// The expired are removed as well: they are under the prefix until the service
	// gets to them.
	for rec, err := range s.records(ctx, scanRange(prefix, ""), 0, nil) {
		if err != nil {
			if rec.Key == "" {
				return removed, s.fail(op, prefix, err)
			}
			foreign[rec.Key] = s.fail(op, rec.Key, err)
			continue
		}
		group = append(group, rec.Key)
		if !expired(rec.Expires, s.now().UnixMilli()) {
			live = append(live, rec.Key)
		}
		if len(group) == deleteGroup {
			if err := flush(); err != nil {
				return removed, err
			}
		}
	}
	if err := flush(); err != nil {
		return removed, err
	}
	if len(foreign) > 0 {
		return removed, &BatchError{Failed: foreign}
	}
	return removed, nil
}

// distinct validates the keys of a batch and drops the duplicates.
func (s *Store) distinct(op string, keys []string) ([]string, error) {
	seen := make(map[string]struct{}, len(keys))
	distinct := make([]string, 0, len(keys))
	for i, key := range keys {
		if err := checkKey(key, s.info.MaxKeyLen); err != nil {
			return nil, s.fail(op, key, atIndex(err, i))
		}
		if _, twice := seen[key]; !twice {
			seen[key] = struct{}{}
			distinct = append(distinct, key)
		}
	}
	return distinct, nil
}

func deletes(keys []string) []Write {
	writes := make([]Write, len(keys))
	for i, key := range keys {
		writes[i] = Write{Record: Record{Key: key}, Delete: true}
	}
	return writes
}

func (s *Store) writeMany(ctx context.Context, op string, writes []Write) error {
	if err := s.begin(ctx); err != nil {
		return s.fail(op, "", err)
	}
	if len(writes) == 0 {
		return nil
	}
	err := s.driver.WriteMany(ctx, writes)
	if err == nil {
		return nil
	}
	return s.failBatch(op, err, func(yield func(string) bool) {
		for _, w := range writes {
			if !yield(w.Key) {
				return
			}
		}
	}, func(op, key string, err error) error { return s.failWrite(op, key, false, err) })
}

// failBatch completes the error of a driver's batch: a *BatchError names the
// keys, any other stands for all of keys.
func (s *Store) failBatch(op string, err error, keys iter.Seq[string], fail func(op, key string, err error) error) error {
	failed := make(map[string]error)
	if batch, ok := errors.AsType[*BatchError](err); ok {
		for key, err := range batch.Failed {
			failed[key] = fail(op, key, err)
		}
	} else {
		for key := range keys {
			failed[key] = fail(op, key, err)
		}
	}
	return &BatchError{Failed: failed}
}

// atIndex says which element of a batch an error is about.
func atIndex(e *Error, i int) *Error {
	e.Err = fmt.Errorf("element %d of the batch: %w", i, e.Err)
	return e
}

// each calls f for 0 to n-1, at most parallel at once, and gives the errors.
func each(n, parallel int, f func(int) error) []error {
	errs := make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, max(parallel, 1)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				errs[i] = f(i)
			}
		})
	}
	wg.Wait()
	return errs
}

// batchError collects the errors that are not nil.
func batchError(errs []error, key func(int) string) error {
	var failed map[string]error
	for i, err := range errs {
		if err != nil {
			if failed == nil {
				failed = make(map[string]error)
			}
			failed[key(i)] = err
		}
	}
	if failed == nil {
		return nil
	}
	return &BatchError{Failed: failed}
}
