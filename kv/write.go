package kv

import (
	"context"
	"errors"
	"time"
)

// maxRounds bounds how often a write starts over because the record that made its
// condition fail was gone or expired by the time it was looked at. Each round is
// the doing of another writer, so that no store in use comes near it.
const maxRounds = 100

// Put stores value under key, with the expiry that [TTL] or [ExpiresAt] sets, in
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

// Touch gives the entry under key another expiry, [TTL] or [ExpiresAt], and so a new
// version. ExpiresAt of the zero time lets it live for ever. The value stays as it is,
// and is not transferred. It returns ErrNotFound when the key is absent or its entry
// has expired. With [IfVersion] it returns ErrConditionFailed instead, and also when
// the entry is in another state.
//
// Its errors and lost responses are those of a conditional [Store.Put].
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

// write has the driver carry out one put or touch under the condition that the caller
// asked for, and decides what the answers mean.
func (s *Store) write(c *call, op string, req WriteRequest) (Version, error) {
	token, asked := req.Token, req.Condition
	mayHaveApplied := false // an earlier attempt
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

// translate judges a condition by what is under the key. While it holds, it returns
// the condition under which the driver can judge it as well.
func translate(asked Condition, found Found, now int64) (cond Condition, holds bool, err error) {
	live := found.Exists && !expired(found.Expires, now)
	switch {
	case asked.Kind == CondVersion:
		return asked, found.Exists && found.Version == asked.Version, nil
	case asked.Kind == CondNone, asked.Kind == CondAbsent && !found.Exists:
		return asked, true, nil
	case live == (asked.Kind == CondAbsent):
		return asked, false, nil
	case found.Version == "": // which would be no condition at all
		return asked, false, &Error{Err: errors.New("the driver reported no version of the entry, so that it cannot be replaced in the state it was found in")}
	}
	return Condition{Kind: CondVersion, Version: found.Version}, true, nil
}

// errBeaten is the error of a write that others were faster than, every time.
func errBeaten(mayHaveApplied bool) *Error {
	return &Error{Kind: ErrUnavailable, MayHaveApplied: mayHaveApplied, Err: errors.New("others changed it too often while the condition was judged")}
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

// delete has the driver carry out one deletion.
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

// errCondition is the error of a condition that failed: just that, unless an
// attempt that may have been applied came before.
func (s *Store) errCondition(op, key string, asked ConditionKind, mayHaveApplied bool) error {
	e := &Error{Kind: ErrConditionFailed}
	switch {
	case mayHaveApplied:
		e = &Error{
			MayHaveApplied: true,
			Err:            errors.New("the condition fails, but an earlier attempt, whose response was lost, may have been applied"),
		}
	case asked == CondLive: // a touch: its caller asked for nothing
		e.Kind = ErrNotFound
	case asked == CondAbsent:
		e.Err = errors.New("there is an entry already")
	case asked == CondVersion:
		e.Err = errors.New("the entry has another version by now, or is gone")
	default:
		e.Err = errors.New("the driver says so of a write without a condition")
	}
	return s.fail(op, key, e)
}

// failWrite is fail for a write that reached the driver. Its fate is unknown
// unless the driver says otherwise with an *Error and no earlier attempt may
// have been applied.
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
