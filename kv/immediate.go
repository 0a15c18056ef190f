package kv

import (
	"context"
	"time"
)

// updateImmediate carries out an update for a driver that never waits. It reads the
// entry, calls change and stores the result, until no other write comes between.
func (s *Store) updateImmediate(c *call, op, key string, change func(old Entry, exists bool) (Change, error)) (Entry, error) {
	heeds := true
	for lost := range maxRounds {
		if heeds && (lost >= together || s.updates.starving.Load() > 0) {
			mine, over, err := s.updates.heed(c.ctx, key, lost >= together)
			if err != nil {
				return Entry{}, s.fail(op, key, c.explain(&Error{Err: err}))
			}
			if mine {
				defer s.updates.sated(key) // also when change panics or ends its goroutine
			}
			heeds = !mine && !over
		}
		entry, done, err := s.updateOnce(c, op, key, change)
		if done {
			return entry, err
		}
		if err := c.ctx.Err(); err != nil {
			return Entry{}, s.fail(op, key, c.explain(&Error{Err: err}))
		}
	}
	return Entry{}, s.fail(op, key, errBeaten(false))
}

// updateOnce is one attempt of updateImmediate. done is false when another write came
// between.
func (s *Store) updateOnce(c *call, op, key string, change func(old Entry, exists bool) (Change, error)) (_ Entry, done bool, _ error) {
	found, err := s.driver.Get(c.ctx, GetRequest{Key: key, WithValue: true})
	if err != nil {
		return Entry{}, true, s.failWrite(c, op, key, false, definite(err))
	}
	found.Key = key
	now := s.now()
	asked := Condition{Kind: CondAbsent}
	exists := found.Exists && !expired(found.Expires, now.UnixMilli())
	if exists {
		asked.Kind = CondLive
	}
	made, err := change(s.ownEntry(found.Record, exists), exists)
	if err != nil {
		return Entry{}, true, err
	}
	rec, then, invalid := s.apply(made, found.Record, exists, now)
	if invalid != nil {
		return Entry{}, true, s.fail(op, key, invalid)
	}
	if made.Leave || !exists && !then {
		return s.ownEntry(found.Record, exists), true, nil
	}
	cond, _, err := translate(asked, found, now.UnixMilli())
	if err != nil {
		return Entry{}, true, s.fail(op, key, err)
	}
	var version Version
	if then {
		rec.Token = newToken()
		version, err = s.write(c, op, WriteRequest{Write: Write{Kind: KindPut, Record: rec, Condition: cond}, Now: now.UnixMilli()})
	} else {
		err = s.delete(c, op, key, cond, now.UnixMilli())
	}
	if err != nil {
		e, own := err.(*Error)
		return Entry{}, !own || e.Kind != ErrConditionFailed, err
	}
	entry := s.ownEntry(rec, then)
	entry.Version = version
	return entry, true, nil
}

// heed waits while another update of the key, which has lost often, goes first. If
// lostOften is set and no update goes first, the caller becomes that update, and mine is
// true. After foldLimit heed stops waiting, and over is true: the caller may run inside
// the function of the other update.
func (g *updates) heed(ctx context.Context, key string, lostOften bool) (mine, over bool, err error) {
	for {
		g.mu.Lock()
		other := g.first[key]
		if other == nil && lostOften {
			if g.first == nil {
				g.first = make(map[string]chan struct{})
			}
			g.first[key] = make(chan struct{})
			g.starving.Add(1)
		}
		g.mu.Unlock()
		if other == nil {
			return lostOften, false, nil
		}
		timer := time.NewTimer(foldLimit)
		select {
		case <-other:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return false, false, ctx.Err()
		case <-timer.C:
			return false, true, nil
		}
	}
}

// sated ends the precedence that heed gave an update. The next update of the key may go first.
func (g *updates) sated(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.first[key])
	delete(g.first, key)
	g.starving.Add(-1)
}
