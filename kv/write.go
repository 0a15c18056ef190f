package kv

import (
	"context"
	"errors"
	"time"
)

// maxRounds limits how often a write starts again because the record that made its
// condition fail was gone or expired when the store read it. Each round needs
// another writer, so no store in practice comes near it.
const maxRounds = 100

// Put stores value under key in place of any entry there. [TTL] or [ExpiresAt] sets
// the expiry. With [IfNotExists] or [IfVersion] it does so only if the condition
// holds, and otherwise returns ErrConditionFailed. It returns the version of the
// stored entry. Put does not keep value. A nil value is stored as the empty value.
//
// If an error does not match ErrIndeterminate, nothing was written. Conditional puts
// are exact even after a lost response: a retry that finds the put's own write
// succeeds. A retry may apply an unconditional put again, even after a later write
// of somebody else.
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

// Touch sets the expiry of the entry under key with [TTL] or [ExpiresAt]. The entry
// gets a new version. With ExpiresAt of the zero time the entry does not expire. The
// value stays as it is, and is not transferred. Touch returns ErrNotFound when the
// key is absent or its entry has expired. With [IfVersion] it then returns
// ErrConditionFailed, as it does when the entry is in another state.
//
// Its errors and lost responses are as in a conditional [Store.Put].
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

// write lets the driver carry out one put or touch under the caller's condition, and
// decides what the results mean.
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

// translate judges a condition by the record under the key. If it holds, translate
// returns a condition that the driver can judge.
func translate(asked Condition, found Found, now int64) (cond Condition, holds bool, err error) {
	live := found.Exists && !expired(found.Expires, now)
	switch {
	case asked.Kind == CondVersion:
		return asked, found.Exists && found.Version == asked.Version, nil
	case asked.Kind == CondNone, asked.Kind == CondAbsent && !found.Exists:
		return asked, true, nil
	case live == (asked.Kind == CondAbsent):
		return asked, false, nil
	case found.Version == "": // a write would have no condition
		return asked, false, &Error{Err: errors.New("the driver reported no version of the entry, so the entry cannot be replaced in that state")}
	}
	return Condition{Kind: CondVersion, Version: found.Version}, true, nil
}

// errBeaten is the error of a write before which others wrote every time.
func errBeaten(mayHaveApplied bool) *Error {
	return &Error{Kind: ErrUnavailable, MayHaveApplied: mayHaveApplied, Err: errors.New("others changed the entry too often while the condition was checked")}
}

// Delete removes the entry under key. Deleting an absent key is no error. With
// [IfVersion] Delete removes the entry only if it is still in that state, and
// otherwise returns ErrConditionFailed.
//
// If an error does not match ErrIndeterminate, nothing was deleted. When the
// response to a conditional delete was lost and the retry finds that the condition
// fails, the error matches ErrIndeterminate, because a delete leaves no trace of who
// made it. A retry may apply an unconditional delete again, even after somebody
// re-created the key.
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

// delete lets the driver carry out one deletion.
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

// errCondition returns the error of a condition that failed. It matches
// ErrConditionFailed or ErrNotFound, unless an earlier attempt may have been
// applied.
func (s *Store) errCondition(op, key string, asked ConditionKind, mayHaveApplied bool) error {
	e := &Error{Kind: ErrConditionFailed}
	switch {
	case mayHaveApplied:
		e = &Error{
			MayHaveApplied: true,
			Err:            errors.New("the condition fails, but an earlier attempt, whose response was lost, may have been applied"),
		}
	case asked == CondLive: // a touch without a condition of its caller
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

// failWrite is fail for a write that reached the driver. The write may have been
// applied, unless the driver returned an *Error that says otherwise and no earlier
// attempt may have been applied.
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
