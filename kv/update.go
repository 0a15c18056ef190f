package kv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Change is what an update makes of an entry.
type Change = ChangeOf[[]byte]

// ChangeOf is a [Change] to a value of type T, for a [Typed] view. At most one of
// Leave, Delete and an expiry is set.
type ChangeOf[T any] struct {
	// Value is the new value, unless Leave or Delete is set.
	Value T

	// The entry keeps its expiry, and a new one does not expire, unless one of these is
	// set. TTL and ExpiresAt are the options [TTL] and [ExpiresAt] of a Put. Persist
	// removes the expiry.
	TTL       time.Duration
	ExpiresAt time.Time
	Persist   bool

	Leave  bool // changes nothing
	Delete bool // deletes the entry if there is one
}

// Update reads the entry under key, hands it to change, and stores what change makes of
// it, if the entry is still the same. Otherwise it begins anew. It returns the entry as
// change left it, which is the zero Entry with the Key where there is none.
//
// change is called with the entry, which it may modify, and with false where the key is
// absent or the entry has expired. It is called as often as it takes, and may be called
// in another goroutine, but never after Update has returned. It must not use the same
// key. An error of change ends the Update, which returns that error as it is. A panic
// passes on to the caller of Update.
//
// Update is exact under lost responses, also between processes: the entry keeps the
// names of its last eight updates, so that each one sees whether it was applied.
// Other writes of the key, and more than eight updates by others between an update and
// its lost response, can make an error match ErrIndeterminate. So can a deletion, and
// the end of the context.
//
// Calls that wait in one store for the same key are combined into one write. An update
// that follows one of the same store needs no read. Where a later call of the same write has
// replaced the entry, its Version matches no entry: IfVersion of it is ErrConditionFailed.
func (s *Store) Update(ctx context.Context, key string, change func(old Entry, exists bool) (Change, error)) (Entry, error) {
	return s.update(ctx, "update", key, change)
}

// Increment adds delta to the number under key, and returns the sum. An absent key
// counts as 0. The number is stored as decimal text: "42". The entry keeps its expiry;
// with [TTL] or [ExpiresAt] every call sets it, with [TTLIfNew] the one that makes the
// entry.
//
// It returns ErrInvalidValue, and changes nothing, when the value is no such text, or
// when the sum does not fit into an int64. All else is as in [Store.Update].
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
				return Change{}, s.fail(op, key, &Error{Kind: ErrInvalidValue, Err: fmt.Errorf("the value of %d bytes is no whole number in decimal text", len(old.Value))})
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

// planIncrement returns what an increment changes beside the value, nil for nothing, and
// whether it does so of a new entry only.
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

// GetAndDelete deletes the entry under key and returns it as it was: of all callers, one
// gets it. It returns ErrNotFound when the key is absent or its entry has expired. All
// else is as in [Store.Update].
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

// apply returns the record that a change makes of rec, and whether there is one. Its
// value is the change's own.
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
