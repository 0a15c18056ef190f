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

// ChangeOf is a [Change] to a value of type T, for a [Typed] view. At most one of TTL,
// ExpiresAt, Persist, Leave and Delete may be set.
type ChangeOf[T any] struct {
	// Value is the new value, unless Leave or Delete is set.
	Value T

	// If none of TTL, ExpiresAt and Persist is set, an existing entry keeps its expiry, and
	// a new entry does not expire. TTL and ExpiresAt mean what the options [TTL] and
	// [ExpiresAt] of a Put mean. Persist removes the expiry.
	TTL       time.Duration
	ExpiresAt time.Time
	Persist   bool

	Leave  bool // changes nothing
	Delete bool // deletes the entry if there is one
}

// Update reads the entry under key, calls the function change with the entry, and stores the
// result if the entry has not changed meanwhile. Otherwise it starts again. Update returns
// the entry as it is after the change. If there is no entry after the change, the result has
// only its Key set.
//
// change may modify the entry that it receives. exists is false if the key is absent or
// its entry has expired. Update may call change several times, and in another goroutine,
// but never after Update has returned. change must not itself read or write the key. If
// change returns an error, Update returns that error unchanged. If change panics, Update
// panics too.
//
// change should return within a tenth of a second. If it takes longer, other updates of the
// same key no longer wait for their turn. If more than a hundred updates then run at the same
// time, some of them may return ErrUnavailable, and change nothing.
//
// Update is exact after lost responses, even if several processes use the same key. Unless
// [Info].Immediate is set, the entry keeps the names of its last eight updates, so that each
// update can see whether it was applied. An error may match ErrIndeterminate if other kinds
// of writes change the key, if more than eight other updates follow before Update has noticed
// that its response is lost, if the entry is deleted, if another store creates the entry at
// the same time, or if the context ends. If the response to an update that created the entry
// is lost, and the entry is deleted before Update has read it, Update may create it again.
//
// Unless [Info].Immediate is set, calls of one store that wait for the same key are combined
// into one write, and an update that follows another update of the same store usually needs
// no read. A later call in the same write may replace the entry that an earlier call returns.
// The entry that the earlier call returns was then never stored, and IfVersion with its
// Version fails with ErrConditionFailed.
func (s *Store) Update(ctx context.Context, key string, change func(old Entry, exists bool) (Change, error)) (Entry, error) {
	return s.update(ctx, "update", key, change)
}

// Increment adds delta to the number under key, and returns the sum. An absent key
// counts as 0. The number is stored as decimal text, such as "42". Without an option, the
// entry keeps its expiry. With [TTL] or [ExpiresAt], every call sets the expiry. With
// [TTLIfNew], only the call that creates the entry sets it.
//
// If the value is not a decimal number, or the sum does not fit into an int64, Increment
// returns ErrInvalidValue and changes nothing. All other rules of [Store.Update] apply.
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

// planIncrement returns a Change with the expiry that the options set, or nil if there are no
// options. onlyNew reports whether the plan applies only to a new entry.
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
// concurrent callers, only one gets the entry. GetAndDelete returns ErrNotFound if the key
// is absent or its entry has expired. All other rules of [Store.Update] apply.
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

// apply returns the record that results from a change of rec, and whether the record
// exists after the change. The record's value is the change's value, not a copy.
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
