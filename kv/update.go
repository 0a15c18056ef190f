package kv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Change is the result of an update's function.
type Change = ChangeOf[[]byte]

// ChangeOf is a [Change] to a value of type T, for a [Typed] view. At most one of Leave,
// Delete and an expiry is set.
type ChangeOf[T any] struct {
	// Value is the new value, unless Leave or Delete is set.
	Value T

	// Unless one of these is set, the entry keeps its expiry, and a new entry does not
	// expire. TTL and ExpiresAt mean what the options [TTL] and [ExpiresAt] of a Put
	// mean. Persist removes the expiry.
	TTL       time.Duration
	ExpiresAt time.Time
	Persist   bool

	Leave  bool // changes nothing
	Delete bool // deletes the entry if there is one
}

// Update reads the entry under key, passes it to change, and stores the result if the
// entry is still the same. Otherwise it starts again. It returns the entry as it is
// after the change. If there is no entry then, it returns the zero Entry with the Key.
//
// change receives the entry, which it may modify. exists is false if the key is absent
// or its entry has expired. Update may call change several times, and in another
// goroutine, but never after Update has returned. change must not use the same key. If
// it returns an error, Update returns that error as it is. A panic passes on to the
// caller of Update.
//
// Update is exact after lost responses, also between processes. The entry keeps the
// names of its last eight updates, so each update can see whether it was applied. In
// these cases an error may match ErrIndeterminate: other kinds of writes change the key,
// more than eight updates of others come between an update and its lost response, the
// entry is deleted, or the context ends.
//
// Calls that wait in one store for the same key are combined into one write. An update
// that follows another update of the same store needs no read. If a later call of the
// same write has replaced the entry, the Version in the result matches no entry:
// IfVersion with it is ErrConditionFailed.
func (s *Store) Update(ctx context.Context, key string, change func(old Entry, exists bool) (Change, error)) (Entry, error) {
	return s.update(ctx, "update", key, change)
}

// Increment adds delta to the number under key, and returns the sum. An absent key
// counts as 0. The number is stored as decimal text: "42". The entry keeps its expiry.
// With [TTL] or [ExpiresAt] every call sets the expiry. With [TTLIfNew] only the call
// that creates the entry sets it.
//
// If the value is not such a text, or the sum does not fit into an int64, Increment
// returns ErrInvalidValue and changes nothing. Everything else is as in [Store.Update].
func (s *Store) Increment(ctx context.Context, key string, delta int64, opts ...IncrementOption) (int64, error) {
	const op = "increment"
	plan, onlyNew, invalid := planIncrement(opts)
	if invalid == nil && plan != nil {
		_, _, invalid = s.apply(*plan, Record{Key: key}, false, s.now())
	}
	if invalid != nil {
		return 0, s.fail(op, key, invalid)
	}
	var sum int64
	_, err := s.update(ctx, op, key, func(old Entry, exists bool) (Change, error) {
		var change Change
		if plan != nil && !(exists && onlyNew) {
			change = *plan
		}
		number := int64(0)
		if exists {
			var err error
			if number, err = strconv.ParseInt(string(old.Value), 10, 64); err != nil {
				return Change{}, s.fail(op, key, &Error{Kind: ErrInvalidValue, Err: fmt.Errorf("the value of %d bytes is not a whole number in decimal text", len(old.Value))})
			}
		}
		if delta > 0 && number > math.MaxInt64-delta || delta < 0 && number < math.MinInt64-delta {
			return Change{}, s.fail(op, key, &Error{Kind: ErrInvalidValue, Err: errors.New("the sum does not fit into 64 bits")})
		}
		sum = number + delta
		change.Value = strconv.AppendInt(old.Value[:0], sum, 10)
		return change, nil
	})
	if err != nil {
		return 0, err
	}
	return sum, nil
}

// planIncrement returns what an increment changes besides the value, nil for nothing.
// onlyNew says that it applies only to a new entry.
func planIncrement(opts []IncrementOption) (plan *Change, onlyNew bool, err *Error) {
	for _, opt := range opts {
		if plan != nil {
			return nil, false, &Error{Kind: ErrInvalidOption, Err: errors.New("there must be at most one of TTL, ExpiresAt and TTLIfNew")}
		}
		plan = new(Change)
		switch opt := opt.(type) {
		case ttlIfNewOption:
			plan.TTL, onlyNew = time.Duration(opt), true
		case ttlOption:
			plan.TTL = time.Duration(opt)
		case expiresAtOption:
			plan.ExpiresAt = time.Time(opt)
			plan.Persist = plan.ExpiresAt.IsZero()
		default:
			return nil, false, errNilOption()
		}
		if plan.TTL < time.Millisecond && plan.ExpiresAt.IsZero() && !plan.Persist {
			return nil, false, errTTL(plan.TTL)
		}
	}
	return plan, onlyNew, nil
}

// GetAndDelete deletes the entry under key and returns the deleted entry. Of several
// callers only one gets it. It returns ErrNotFound when the key is absent or its entry
// has expired. Everything else is as in [Store.Update].
func (s *Store) GetAndDelete(ctx context.Context, key string) (Entry, error) {
	const op = "get and delete"
	var taken Entry
	_, err := s.update(ctx, op, key, func(old Entry, exists bool) (Change, error) {
		if !exists {
			return Change{}, s.fail(op, key, &Error{Kind: ErrNotFound})
		}
		taken = old
		return Change{Delete: true}, nil
	})
	if err != nil {
		return Entry{}, err
	}
	return taken, nil
}

// apply returns the record that results from a change of rec, and whether there is one.
// The record shares the change's value.
func (s *Store) apply(change Change, rec Record, exists bool, now time.Time) (Record, bool, *Error) {
	kinds := 0
	for _, set := range []bool{change.Leave, change.Delete, change.TTL != 0, !change.ExpiresAt.IsZero(), change.Persist} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds > 1:
		return rec, exists, &Error{Kind: ErrInvalidOption, Err: errors.New("there must be at most one of Leave, Delete, TTL, ExpiresAt and Persist")}
	case change.Leave:
		return rec, exists, nil
	case change.Delete:
		return Record{Key: rec.Key}, false, nil
	}
	if err := s.checkValue(change.Value); err != nil {
		return rec, exists, err
	}
	expires, err := expiry(change.TTL, change.ExpiresAt, now)
	if err != nil {
		return rec, exists, err
	}
	if expires == 0 && exists && !change.Persist {
		expires = rec.Expires
	}
	return Record{Key: rec.Key, Value: notNil(change.Value), Expires: expires}, true, nil
}
