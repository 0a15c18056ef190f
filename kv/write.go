package kv

import (
	"context"
	"errors"
	"time"
)

// maxRounds is the greatest number of rounds of a write or an update. There is another round if
// another writer changed the entry first, or if the driver left the check of a record's expiry to
// the store. In practice, few calls come near the limit.
const maxRounds = 100

// Put stores value under key in place of any entry there, and returns the version of
// the stored entry. [TTL] or [ExpiresAt] sets the expiry. With [IfNotExists] or
// [IfVersion], Put stores the value only if the condition holds, and otherwise returns
// ErrConditionFailed. Put does not keep value. A nil value is stored as the empty value.
//
// If an error does not match ErrIndeterminate, nothing was written. Conditional puts
// are exact even after a lost response: a retry that finds the put's own write
// succeeds. A retry may apply an unconditional put again, even after a later write
// by somebody else.
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...PutOption) (Version, error) {
	const op = "put"
	if err := s.checkKey(key); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	if err := s.checkValue(value); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return Version{}, s.fail(op, key, refused)
	}
	defer c.end()
	plan, err := planWrite(s, key, s.now(), opts)
	if err != nil {
		return Version{}, s.fail(op, key, err)
	}
	rec := Record{Key: key, Value: notNil(value), Expires: plan.expires, Token: newToken()}
	return s.write(&c, op, WriteRequest{Write: Write{Kind: KindPut, Record: rec, Condition: plan.cond}, Now: plan.now})
}

// Touch sets the expiry of the entry under key with [TTL] or [ExpiresAt], and returns
// the entry's new version. [ExpiresAt] with the zero time removes the expiry. The value
// does not change, and is not transferred.
//
// Touch returns ErrNotFound if the key is absent or its entry has expired. With
// [IfVersion], Touch returns ErrConditionFailed in these cases, and also if the entry is in
// another state. The rules of a conditional [Store.Put] for errors and lost responses apply.
// Without IfVersion, a retry may touch an entry that somebody else has put since.
func (s *Store) Touch(ctx context.Context, key string, opts ...TouchOption) (Version, error) {
	const op = "touch"
	if err := s.checkKey(key); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return Version{}, s.fail(op, key, refused)
	}
	defer c.end()
	w, now, err := s.planTouch(key, s.now(), opts)
	if err != nil {
		return Version{}, s.fail(op, key, err)
	}
	return s.write(&c, op, WriteRequest{Write: w, Now: now})
}

// planTouch returns the write of a touch.
func (s *Store) planTouch(key string, at time.Time, opts []TouchOption) (w Write, now int64, err *Error) {
	plan, err := planWrite(s, key, at, opts)
	if err == nil {
		err = plan.touch()
	}
	if err != nil {
		return w, 0, err
	}
	return Write{Kind: KindTouch, Record: Record{Key: key, Expires: plan.expires, Token: newToken()}, Condition: plan.cond}, plan.now, nil
}

// write passes one put or touch with the caller's condition to the driver, and decides
// what the results mean.
func (s *Store) write(c *call, op string, req WriteRequest) (Version, error) {
	token, asked := req.Token, req.Condition
	mayHaveApplied := false // true after an attempt that may have been applied
	for round := range maxRounds {
		req.Token = AttemptToken(token, round*roundAttempts)
		out, err := s.driver.Write(c.ctx, req)
		if err != nil {
			return Version{}, s.failWrite(c, op, req.Key, mayHaveApplied, err)
		}
		if out.Done {
			return s.version(req.Key, req.Expires, out.Version), nil
		}
		mayHaveApplied = mayHaveApplied || out.MayHaveApplied
		if out.Exists && SameWrite(out.Found.Token, token) {
			// Our own write, whose response was lost.
			return s.version(req.Key, req.Expires, out.Found.Version), nil
		}
		var again bool
		if asked.Kind == CondAbsent || asked.Kind == CondLive {
			if req.Condition, again, err = translate(asked, Found{out.Found, out.Exists}, req.Now); err != nil {
				return Version{}, s.failWrite(c, op, req.Key, mayHaveApplied, err)
			}
		}
		if !again {
			return Version{}, s.errCondition(op, req.Key, asked.Kind, mayHaveApplied)
		}
		if err := c.ctx.Err(); err != nil {
			return Version{}, s.failWrite(c, op, req.Key, mayHaveApplied, &Error{Err: err})
		}
	}
	return Version{}, s.fail(op, req.Key, errBeaten(mayHaveApplied))
}

// translate reports whether the condition holds for the record that was found. If it
// does, translate returns a condition for the next attempt that every driver can check, or an
// error if the driver reported no version for that condition.
func translate(asked Condition, found Found, now int64) (cond Condition, holds bool, err error) {
	live := found.Exists && !expired(found.Expires, now)
	switch {
	case asked.Kind == CondVersion:
		return asked, found.Exists && found.Version == asked.Version, nil
	case asked.Kind == CondNone, asked.Kind == CondAbsent && !found.Exists:
		return asked, true, nil
	case live == (asked.Kind == CondAbsent):
		return asked, false, nil
	case found.Version == "": // the next attempt would have no condition
		return asked, false, &Error{Err: errors.New("the driver reported no version of the entry, so the entry cannot be replaced in that state")}
	}
	return Condition{Kind: CondVersion, Version: found.Version}, true, nil
}

// errBeaten returns the error of a call that lost to other writers in all its maxRounds
// attempts.
func errBeaten(mayHaveApplied bool) *Error {
	return &Error{Kind: ErrUnavailable, MayHaveApplied: mayHaveApplied, Err: errors.New("others changed the entry too often while the condition was checked")}
}

// Delete removes the entry under key. Deleting an absent key is not an error. With
// [IfVersion], Delete removes the entry only if the entry still has that version, and
// otherwise returns ErrConditionFailed.
//
// If an error does not match ErrIndeterminate, nothing was deleted. If the response to
// a conditional delete is lost, and the condition does not hold in the retry, the error
// matches ErrIndeterminate, because a deletion leaves no trace of who made it. A retry
// may apply an unconditional delete again, even after somebody re-created the key.
func (s *Store) Delete(ctx context.Context, key string, opts ...DeleteOption) error {
	const op = "delete"
	if err := s.checkKey(key); err != nil {
		return s.fail(op, key, err)
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return s.fail(op, key, refused)
	}
	defer c.end()
	plan, invalid := planWrite(s, key, s.now(), opts)
	if invalid != nil {
		return s.fail(op, key, invalid)
	}
	return s.delete(&c, op, key, plan.cond, plan.now)
}

// delete passes one deletion to the driver, and decides what the result means.
func (s *Store) delete(c *call, op, key string, cond Condition, now int64) error {
	w := Write{Kind: KindDelete, Record: Record{Key: key, Token: newToken()}, Condition: cond}
	out, err := s.driver.Write(c.ctx, WriteRequest{Write: w, Now: now})
	switch {
	case err != nil:
		return s.failWrite(c, op, key, false, err)
	case !out.Done:
		return s.errCondition(op, key, cond.Kind, out.MayHaveApplied)
	}
	return nil
}

// errCondition returns the error for a condition that failed. The error matches
// ErrConditionFailed or ErrNotFound, or only ErrIndeterminate if an earlier attempt may
// have been applied.
func (s *Store) errCondition(op, key string, asked ConditionKind, mayHaveApplied bool) error {
	e := &Error{Kind: ErrConditionFailed}
	switch {
	case mayHaveApplied:
		e = &Error{
			MayHaveApplied: true,
			Err:            errors.New("the condition fails, but an earlier attempt, whose response was lost, may have been applied"),
		}
	case asked == CondLive: // a touch whose caller set no condition
		e.Kind = ErrNotFound
	case asked == CondAbsent:
		e.Err = errors.New("there is an entry already")
	case asked == CondVersion:
		e.Err = errors.New("the entry has another version now, or is gone")
	default:
		e.Err = errors.New("the driver reported a failed condition for a write without one")
	}
	return s.fail(op, key, e)
}

// failWrite is like fail, for a write that was passed to the driver. The result matches
// ErrIndeterminate if mayHaveApplied is true, if err has MayHaveApplied set, or if err is not
// an *Error.
func (s *Store) failWrite(c *call, op, key string, mayHaveApplied bool, err error) error {
	e, ok := err.(*Error)
	if !ok {
		e = &Error{Err: err, MayHaveApplied: true}
	} else if mayHaveApplied && !e.MayHaveApplied {
		marked := *e
		marked.MayHaveApplied = true
		e = &marked
	}
	return s.fail(op, key, c.explain(e))
}

func notNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
