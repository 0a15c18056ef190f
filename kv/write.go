package kv

import (
	"context"
	"errors"
)

// maxRounds bounds how often a Put starts over because the record that made its
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
	if err := checkKey(key, s.info.MaxKeyLen); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	if err := checkValue(value, s.info.MaxValueLen); err != nil {
		return Version{}, s.fail(op, key, err)
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return Version{}, s.fail(op, key, refused)
	}
	defer c.end()
	plan, err := s.planPut(key, s.now(), opts)
	if err != nil {
		return Version{}, s.fail(op, key, err)
	}
	rec := Record{Key: key, Value: notNil(value), Expires: plan.expires, Token: newToken()}
	return s.put(&c, WriteRequest{Write: Write{Kind: KindPut, Record: rec, Condition: plan.cond}, Now: plan.now})
}

// put has the driver write req's record under its condition, and decides what the
// answers mean.
func (s *Store) put(c *call, req WriteRequest) (Version, error) {
	const op = "put"
	token, ifAbsent := req.Token, req.Condition.Kind == CondAbsent
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
		switch {
		case out.Exists && sameWrite(out.Found.Token, token):
			// Our own write, whose response was lost.
			return s.version(req.Key, req.Expires, out.Found.Version), nil
		case ifAbsent && !out.Exists:
			req.Condition = Condition{Kind: CondAbsent}
		case ifAbsent && expired(out.Found.Expires, req.Now):
			if out.Found.Version == "" { // which would be no condition at all
				return Version{}, s.fail(op, req.Key, &Error{
					MayHaveApplied: mayHaveApplied,
					Err:            errors.New("the driver reported no version of the expired entry, so that it cannot be replaced in the state it was found in"),
				})
			}
			req.Condition = Condition{Kind: CondVersion, Version: out.Found.Version}
		default:
			why := errChanged
			if ifAbsent {
				why = errTaken
			}
			return Version{}, s.errCondition(op, req.Key, mayHaveApplied, why)
		}
		if err := c.ctx.Err(); err != nil {
			return Version{}, s.failWrite(c, op, req.Key, mayHaveApplied, &Error{Err: err})
		}
	}
	return Version{}, s.fail(op, req.Key, &Error{
		Kind: ErrUnavailable, MayHaveApplied: mayHaveApplied,
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
	c, refused := s.begin(ctx)
	if refused != nil {
		return s.fail(op, key, refused)
	}
	defer c.end()
	plan, invalid := s.planDelete(key, s.now(), opts)
	if invalid != nil {
		return s.fail(op, key, invalid)
	}
	w := Write{Kind: KindDelete, Record: Record{Key: key, Token: newToken()}, Condition: plan.cond}
	out, err := s.driver.Write(c.ctx, WriteRequest{Write: w, Now: plan.now})
	switch {
	case err != nil:
		return s.failWrite(&c, op, key, false, err)
	case !out.Done:
		return s.errCondition(op, key, out.MayHaveApplied, errChanged)
	}
	return nil
}

// Which condition failed.
var (
	errTaken   = errors.New("there is an entry already")
	errChanged = errors.New("the entry has another version by now, or is gone")
)

// errCondition is the error of a condition that failed: just that, unless an
// attempt that may have been applied came before.
func (s *Store) errCondition(op, key string, mayHaveApplied bool, why error) error {
	if mayHaveApplied {
		return s.fail(op, key, &Error{
			MayHaveApplied: true,
			Err:            errors.New("the condition fails, but an earlier attempt, whose response was lost, may have been applied"),
		})
	}
	return s.fail(op, key, &Error{Kind: ErrConditionFailed, Err: why})
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
