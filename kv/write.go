package kv

import (
	"context"
	"errors"
)

// maxRounds bounds how often a Put starts over because the record that made its
// condition fail was gone or expired by the time it was looked at. Each round is
// the doing of another writer, so that no store in use comes near it.
const maxRounds = 100

// Put stores value under key, with the expiry that [TTL] or [ExpireAt] gives, in
// place of all that was there. With [IfNotExists] or [IfVersion] it does so only
// if the condition holds, and otherwise returns ErrConditionFailed. It returns
// the version of what it stored. Put does not keep value; nil is the empty value.
//
// An error that does not match ErrIndeterminate means that nothing was written.
// Conditional puts are exact even when a response is lost on the way: a retry
// that meets the put's own write is a success. Unconditional puts may be applied
// again by a retry, even after a later write of somebody else.
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...PutOption) (Version, error) {
	const op = "put"
	if err := checkKey(key, s.info.MaxKeyLen); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	if err := checkValue(value, s.info.MaxValueLen); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	if err := s.begin(ctx); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	plan, err := s.planPut(key, s.now(), opts)
	if err != nil {
		return Version{}, s.fail(op, key, err)
	}
	return s.put(ctx, Record{Key: key, Value: notNil(value), Expires: plan.expires, Token: newToken()}, plan.cond)
}

// put has the driver write rec under cond, and decides what its answers mean.
func (s *Store) put(ctx context.Context, rec Record, cond Condition) (Version, error) {
	const op = "put"
	token, ifAbsent, now := rec.Token, cond.Absent, cond.Now
	applied := false // an earlier attempt may have been applied
	for round := range maxRounds {
		rec.Token = AttemptToken(token, round*roundAttempts)
		out, err := s.driver.Put(ctx, rec, cond)
		if err != nil {
			return Version{}, s.failWrite(op, rec.Key, applied, err)
		}
		if out.Done {
			return s.version(rec.Key, rec.Expires, out.Version), nil
		}
		applied = applied || out.Retried
		switch {
		case out.Exists && sameWrite(out.Found.Token, token):
			// Our own write, whose response was lost.
			return s.version(rec.Key, rec.Expires, out.Found.Version), nil
		case ifAbsent && !out.Exists:
			cond = Condition{Absent: true, Now: now}
		case ifAbsent && expired(out.Found.Expires, now):
			if out.Found.Version == "" { // which would be no condition at all
				return Version{}, s.fail(op, rec.Key, &Error{
					Indeterminate: applied,
					Err:           errors.New("the driver reported no version of the expired entry, so that it cannot be replaced in the state it was found in"),
				})
			}
			cond = Condition{Version: out.Found.Version, Now: now}
		default:
			return Version{}, s.errCondition(op, rec.Key, applied)
		}
		if err := ctx.Err(); err != nil {
			return Version{}, s.fail(op, rec.Key, &Error{Err: err, Indeterminate: applied})
		}
	}
	return Version{}, s.fail(op, rec.Key, &Error{
		Kind: ErrUnavailable, Indeterminate: applied,
		Err: errors.New("the key changed too often while the condition was judged"),
	})
}

// Delete removes the entry under key; deleting an absent key is no error. With
// [IfVersion] it does so only if the entry is still in that state, and otherwise
// returns ErrConditionFailed.
//
// An error that does not match ErrIndeterminate means that nothing was deleted. A
// conditional delete whose response was lost is ErrIndeterminate when its retry
// finds the condition failed, since a delete leaves no trace of who made it.
// Unconditional deletes may be applied again by a retry, even after somebody
// re-created the key.
func (s *Store) Delete(ctx context.Context, key string, opts ...DeleteOption) error {
	const op = "delete"
	if err := checkKey(key, s.info.MaxKeyLen); err != nil {
		return s.fail(op, key, err)
	}
	if err := s.begin(ctx); err != nil {
		return s.fail(op, key, err)
	}
	cond, invalid := s.planDelete(key, s.now(), opts)
	if invalid != nil {
		return s.fail(op, key, invalid)
	}
	out, err := s.driver.Delete(ctx, key, cond)
	switch {
	case err != nil:
		return s.failWrite(op, key, false, err)
	case !out.Done:
		return s.errCondition(op, key, out.Retried)
	}
	return nil
}

// errCondition is the error of a condition that failed: just that, unless an
// attempt that may have been applied came before.
func (s *Store) errCondition(op, key string, applied bool) error {
	if applied {
		return s.fail(op, key, &Error{
			Indeterminate: true,
			Err:           errors.New("the condition fails, but an earlier attempt, whose response was lost, may have been applied"),
		})
	}
	return s.fail(op, key, &Error{Kind: ErrConditionFailed})
}

// failWrite is fail for a write that reached the driver. Its fate is unknown
// unless the driver says otherwise with an *Error and no earlier attempt may
// have been applied.
func (s *Store) failWrite(op, key string, applied bool, err error) error {
	e, ok := err.(*Error)
	if !ok {
		e = &Error{Err: err, Indeterminate: true}
	} else if applied && !e.Indeterminate {
		uncertain := *e
		uncertain.Indeterminate = true
		e = &uncertain
	}
	return s.fail(op, key, e)
}

func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
