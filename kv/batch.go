package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// deleteGroup is the number of keys that DeletePrefix deletes at once, enough for several requests to any
// service.
const deleteGroup = 500

// GetMany reads the entries under keys, which may be any number and contain duplicates. The result is never
// nil. It has no entry for a key that is absent or whose entry has expired. One invalid key makes the whole
// call fail. If some keys cannot be read, the result has the entries of the others, and the error is a
// *[BatchError].
func (s *Store) GetMany(ctx context.Context, keys []string) (map[string]Entry, error) {
	const op = "get many"
	distinct, err := s.distinct(op, keys)
	if err != nil {
		return map[string]Entry{}, err
	}
	entries := make(map[string]Entry, len(distinct))
	c, refused := s.begin(ctx)
	if refused != nil {
		return entries, s.fail(op, "", refused)
	}
	defer c.end()
	if len(distinct) == 0 {
		return entries, nil
	}
	now := s.now().UnixMilli()
	pending := make(map[string]struct{}, len(distinct))
	for _, key := range distinct {
		pending[key] = struct{}{}
	}
	failed := make(map[string]error)
	var broken error = &Error{Kind: ErrUnavailable, Err: errors.New("the driver did not report what is under the key")}
	for found, err := range s.driver.GetMany(c.ctx, GetManyRequest{Keys: distinct, WithValue: true, Stale: s.stale}) {
		if err != nil && found.Key == "" {
			broken = err
			break
		}
		delete(pending, found.Key)
		switch {
		case err != nil:
			failed[found.Key] = s.fail(op, found.Key, c.explain(err))
		case found.Exists && !expired(found.Expires, now):
			entries[found.Key] = s.entry(found.Record, true)
		}
	}
	for key := range pending {
		failed[key] = s.fail(op, key, c.explain(broken))
	}
	return entries, batchError(failed)
}

// PutMany stores any number of items, each by itself. If several items have the same key, only the last one is
// stored, and none of them may have a condition. One invalid item makes the whole call fail. PutMany returns a
// map from keys to the versions of the entries that it stored. The map is never nil.
//
// If some items cannot be stored, the map has the versions of the others, and the error is a *[BatchError]. For
// each of these items, the BatchError has the error that [Store.Put] would return, such as ErrConditionFailed for
// a condition that does not hold, or ErrIndeterminate if it is unknown whether the item was stored.
func (s *Store) PutMany(ctx context.Context, items []Item) (map[string]Version, error) {
	const op = "put many"
	now := s.now()
	writes := make([]Write, 0, len(items))
	index := make(map[string]int, len(items))
	failed := make(map[string]error) // by key, the errors of items with an old version
	for i, item := range items {
		w, err := s.planItem(item, now)
		at, twice := index[item.Key]
		if (err == nil || err.Kind == ErrConditionFailed) && twice && (w.Condition.Kind != CondNone || writes[at].Condition.Kind != CondNone) {
			err = &Error{Kind: ErrInvalidOption, Err: errors.New("several items have this key and one has a condition; want one item")}
		}
		switch {
		case err != nil && err.Kind == ErrConditionFailed:
			failed[item.Key] = s.fail(op, item.Key, err)
		case err != nil:
			return map[string]Version{}, s.fail(op, item.Key, atIndex(err, i))
		case twice:
			writes[at] = w
			continue
		}
		index[item.Key] = len(writes)
		writes = append(writes, w)
	}
	writes = slices.DeleteFunc(writes, func(w Write) bool { return failed[w.Key] != nil })
	stored := make(map[string]Version, len(writes))
	return stored, s.writeMany(ctx, op, writes, now, stored, failed)
}

// planItem validates one item of a batch, and returns its write.
func (s *Store) planItem(item Item, now time.Time) (w Write, err *Error) {
	w = Write{Kind: KindPut, Record: Record{Key: item.Key, Value: notNil(item.Value), Token: newToken()}}
	if err := s.checkKey(item.Key); err != nil {
		return w, err
	}
	if err := s.checkValue(item.Value); err != nil {
		return w, err
	}
	var opts [2]PutOption
	n := 0
	if item.IfNotExists {
		opts[n] = IfNotExists()
		n++
	}
	if !item.IfVersion.IsZero() {
		opts[n] = IfVersion(item.IfVersion)
		n++
	}
	plan, err := planWrite(s, item.Key, now, opts[:n])
	if w.Condition = plan.cond; err != nil {
		return w, err
	}
	w.Expires, err = expiry(item.TTL, item.ExpiresAt, now)
	return w, err
}

// DeleteMany removes the entries under keys, each by itself. There may be any number of keys, and duplicates.
// Absent keys are not an error. One invalid key makes the whole call fail. If some keys cannot be deleted, the
// error is a *[BatchError] that contains the errors of [Store.Delete].
func (s *Store) DeleteMany(ctx context.Context, keys []string) error {
	const op = "delete many"
	distinct, err := s.distinct(op, keys)
	if err != nil {
		return err
	}
	return s.writeMany(ctx, op, deletes(distinct), s.now(), nil, nil)
}

// DeletePrefix removes every entry whose key starts with prefix. It returns the number of live entries that it
// removed. Entries that are created meanwhile may remain. For the empty prefix, DeletePrefix returns
// ErrInvalidKey, unless the store is a namespace.
//
// DeletePrefix skips records that skykv did not write or that are damaged. At its end, it returns a
// *[BatchError] that names these records. Any other failure ends DeletePrefix. The number then includes only
// entries that were certainly removed.
func (s *Store) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	const op = "delete prefix"
	if prefix == "" && s.info.Namespace == "" {
		return 0, s.fail(op, "", &Error{Kind: ErrInvalidKey, Err: errors.New("the prefix is empty, which would delete everything; it must have at least one byte")})
	}
	if err := checkPrefix(prefix, s.info.MaxKeyLen); err != nil {
		return 0, s.fail(op, prefix, err)
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return 0, s.fail(op, prefix, refused)
	}
	defer c.end()
	removed := 0
	foreign := make(map[string]error)
	group, live := make([]string, 0, deleteGroup), make([]string, 0, deleteGroup)
	flush := func() error {
		err := s.writeMany(ctx, op, deletes(group), s.now(), nil, nil)
		batch, partial := err.(*BatchError)
		if err != nil && !partial {
			err = s.fail(op, prefix, err)
		}
		for _, key := range live {
			if err == nil || partial && batch.Failed[key] == nil {
				removed++
			}
		}
		group, live = group[:0], live[:0]
		return err
	}
	// Expired records are removed too: the service may not have removed them yet.
	for rec, err := range s.records(c.ctx, s.scanRequest(prefix, scanPlan{}), 0, nil) {
		if err != nil {
			if rec.Key == "" {
				return removed, s.fail(op, prefix, c.explain(err))
			}
			foreign[rec.Key] = s.fail(op, rec.Key, c.explain(err))
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
	return removed, batchError(foreign)
}

// distinct validates the keys of a batch and drops the duplicates.
func (s *Store) distinct(op string, keys []string) ([]string, error) {
	seen := make(map[string]struct{}, len(keys))
	distinct := make([]string, 0, len(keys))
	for i, key := range keys {
		if err := s.checkKey(key); err != nil {
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
		writes[i] = Write{Kind: KindDelete, Record: Record{Key: key, Token: newToken()}}
	}
	return writes
}

// writeMany passes writes with their conditions to the driver, and decides what the results mean. It adds the
// versions of puts to stored, which is nil for deletions. failed may be nil. Otherwise it has the errors of
// items that the caller has left out of writes, and writeMany returns these errors too.
func (s *Store) writeMany(ctx context.Context, op string, writes []Write, now time.Time, stored map[string]Version, failed map[string]error) error {
	c, refused := s.begin(ctx)
	if refused != nil {
		return s.fail(op, "", refused)
	}
	defer c.end()
	if failed == nil {
		failed = make(map[string]error)
	}
	asked, mayHaveApplied := make(map[string]Condition), make(map[string]bool)
	for round := 0; len(writes) > 0 && round < maxRounds; round++ {
		results := s.driver.WriteMany(c.ctx, WriteManyRequest{Writes: writes, Now: now.UnixMilli()})
		var again []Write
		for i, w := range writes {
			if i >= len(results) { // the driver returned no result, so the write may have been applied
				failed[w.Key] = s.failWrite(&c, op, w.Key, true, &Error{Err: errors.New("the driver returned no result for the write")})
				continue
			}
			out, err := results[i].Outcome, results[i].Err
			if err != nil {
				failed[w.Key] = s.failWrite(&c, op, w.Key, mayHaveApplied[w.Key], err)
				continue
			}
			if !out.Done && out.Exists && SameWrite(out.Found.Token, w.Token) {
				// Our own write, whose response was lost.
				out.Done, out.Version = true, out.Found.Version
			}
			if out.Done {
				if stored != nil {
					stored[w.Key] = s.version(w.Key, w.Expires, out.Version)
				}
				continue
			}
			cond := w.Condition
			if first, ok := asked[w.Key]; ok {
				cond = first
			}
			maybe := mayHaveApplied[w.Key] || out.MayHaveApplied
			if cond.Kind == CondAbsent {
				// The condition may hold: the record that was found may be expired, or gone by now.
				next, holds, err := translate(cond, Found{out.Found, out.Exists}, now.UnixMilli())
				if err != nil {
					failed[w.Key] = s.failWrite(&c, op, w.Key, maybe, err)
					continue
				}
				if holds {
					asked[w.Key], mayHaveApplied[w.Key] = cond, maybe
					w.Condition, w.Token = next, AttemptToken(w.Token, roundAttempts)
					again = append(again, w)
					continue
				}
			}
			failed[w.Key] = s.errCondition(op, w.Key, cond.Kind, maybe)
		}
		writes = again
	}
	for _, w := range writes {
		failed[w.Key] = s.fail(op, w.Key, errBeaten(mayHaveApplied[w.Key]))
	}
	return batchError(failed)
}

// atIndex adds the index of an element of the batch to the error that the element caused.
func atIndex(e *Error, i int) *Error {
	e.Err = fmt.Errorf("element %d of the batch: %w", i, e.Err)
	return e
}

// batchError returns the error of a batch, given the errors of its keys, or nil if no key failed.
func batchError(failed map[string]error) error {
	if len(failed) == 0 {
		return nil
	}
	return &BatchError{Failed: failed}
}
