package kv

import (
	"context"
	"time"
)

// updateImmediate carries out an update for a driver whose Info has Immediate set. It reads
// the entry, calls change and stores the result. If another write comes between the read and
// the write, it starts again.
func (s *Store) updateImmediate(c *call, op, key string, change func(old Entry, exists bool) (Change, error)) (Entry, error) {
	heeds := true
	for lost := range maxRounds {
		if heeds && (lost >= together || s.updates.starving.Load() > 0) {
			mine, over, err := s.updates.heed(c.ctx, key, lost >= together)
			if err != nil {
				return Entry{}, s.fail(op, key, c.explain(&Error{Err: err}))
			}
			if mine {
				defer s.updates.sated(key) // even if change panics or ends its goroutine
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

// updateOnce is one attempt of updateImmediate. done is false if another write came
// between the read and the write.
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

// heed waits while another update of the key has precedence. If no update has precedence
// and lostOften is set, the caller gets precedence, and heed returns mine = true. If an update
// keeps its precedence for longer than foldLimit while heed waits, heed returns over = true:
// perhaps the function of that update has called this update, and waits for its result.
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

// sated ends the precedence that heed granted to an update of the key.
func (g *updates) sated(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.first[key])
	delete(g.first, key)
	g.starving.Add(-1)
}
