package kv

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// patience is how often a write of unknown fate, or a throttled one, is tried again.
	patience = 10

	// together is how many rounds in a row the updates of a key may lose before they
	// are carried out one by one: one of them may be what beats the others.
	together = 8

	// foldLimit is how long an update waits for the functions of others. One that is
	// called within another of the same key would wait for ever.
	foldLimit = 100 * time.Millisecond

	// maxBases and maxBaseBytes bound what a store keeps of its last own writes: their
	// number, and the bytes of their values together.
	maxBases     = 128
	maxBaseBytes = maxBases * MaxValueLen
)

// updates are those of one store: combined key by key or, where the driver never waits,
// each by itself.
type updates struct {
	mu    sync.Mutex
	lines map[string]*line
	bases map[string]base
	bytes int // of the values of bases

	starving atomic.Int32             // keys of first
	first    map[string]chan struct{} // closed when the update that goes first is done
}

// line is the updates of one key. While there is one, somebody works on it.
type line struct {
	waiting []*update
	present int                // callers that wait: for a round, or for what becomes of it
	cancel  context.CancelFunc // ends a round that nobody waits for

	calling atomic.Bool // a function is being called
}

// base is the last write of an update of this store. The next one may begin from it
// without reading, since the write is under its version.
type base struct {
	rec Record // its value is not changed

	// contended: somebody else wrote the key last time, so that reading first costs less.
	contended bool
}

// update is one call of Update.
type update struct {
	ctx    context.Context
	op     string
	change func(old Entry, exists bool) (Change, error)

	mu      sync.Mutex // held while change is called
	left    bool       // the caller has returned without a result
	settled bool       // there is a result
	sent    bool       // a write with its change was sent, and may have been applied

	fresh bool // the round's base was read after the call began

	done     chan struct{} // closed when the rest is set
	entry    Entry
	err      error
	panicked any
	exited   bool // change ended its goroutine
}

// update carries out one update.
func (s *Store) update(ctx context.Context, op, key string, change func(old Entry, exists bool) (Change, error)) (Entry, error) {
	if err := s.checkKey(key); err != nil {
		return Entry{}, s.fail(op, key, err)
	}
	if change == nil {
		return Entry{}, s.fail(op, key, &Error{Kind: ErrInvalidOption, Err: errors.New("the function is nil")})
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return Entry{}, s.fail(op, key, refused)
	}
	defer c.end()
	if s.info.Immediate {
		return s.updateImmediate(&c, op, key, change)
	}
	return s.combine(c, &update{ctx: ctx, op: op, change: change}, key)
}

// combine carries out an update by itself, or as one of those that wait for the key.
func (s *Store) combine(c call, u *update, key string) (Entry, error) {
	l, first := s.updates.join(key, u)
	if !first {
		return s.wait(&c, key, l, u)
	}
	defer s.next(key, l) // also when change panics
	r := round{store: s, call: &c, key: key, line: l, updates: []*update{u}}
	r.run()
	return u.entry, u.err
}

// join adds an update to the line of its key, and reports whether it is the first.
func (g *updates) join(key string, u *update) (l *line, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l = g.lines[key]; l == nil {
		if g.lines == nil {
			g.lines, g.bases = make(map[string]*line), make(map[string]base)
		}
		l = new(line)
		g.lines[key] = l
		return l, true
	}
	u.done = make(chan struct{})
	l.waiting = append(l.waiting, u)
	l.present++
	return l, false
}

// withdraw takes an update off the line, unless a round has it already.
func (g *updates) withdraw(l *line, u *update) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range l.waiting {
		if other == u {
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			l.present--
			return true
		}
	}
	return false
}

// leave is called when the caller of an update returns without a result. The round of
// a line that nobody waits for any more ends; who comes now begins another line.
func (g *updates) leave(key string, l *line) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.present--; l.present == 0 && l.cancel != nil {
		l.cancel()
		if g.lines[key] == l {
			delete(g.lines, key)
		}
	}
}

// wait returns the result of an update that others carry out.
func (s *Store) wait(c *call, key string, l *line, u *update) (Entry, error) {
	for {
		timer := time.NewTimer(foldLimit)
		select {
		case <-u.done:
			timer.Stop()
			return u.result()
		case <-c.ctx.Done():
			timer.Stop()
			if s.updates.withdraw(l, u) {
				return Entry{}, s.fail(u.op, key, c.explain(&Error{Err: c.ctx.Err()}))
			}
			sent, settled := u.leave()
			if settled {
				return u.result()
			}
			s.updates.leave(key, l)
			return Entry{}, s.failWrite(c, u.op, key, sent, &Error{Err: c.ctx.Err()})
		case <-timer.C:
			if l.calling.Load() && s.updates.withdraw(l, u) {
				alone := &update{op: u.op, change: u.change}
				r := round{store: s, call: c, key: key, updates: []*update{alone}}
				r.run()
				return alone.entry, alone.err
			}
		}
	}
}

// leave notes that the caller returns, unless there is a result. From then on change is
// not called.
func (u *update) leave() (sent, settled bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.settled {
		u.left = true
	}
	return u.sent, u.settled
}

// result returns what became of an update that others carried out. What its function
// did to their goroutine it does to the caller's.
func (u *update) result() (Entry, error) {
	switch {
	case u.panicked != nil:
		panic(u.panicked)
	case u.exited:
		runtime.Goexit()
	}
	return u.entry, u.err
}

// next sees to it that somebody works on a line, or ends it.
func (s *Store) next(key string, l *line) {
	s.updates.mu.Lock()
	defer s.updates.mu.Unlock()
	if len(l.waiting) > 0 {
		go s.work(key, l)
	} else if s.updates.lines[key] == l {
		delete(s.updates.lines, key)
	}
}

// work carries out the updates of a line until there is none.
func (s *Store) work(key string, l *line) {
	s.updates.mu.Lock()
	if len(l.waiting) == 0 { // all have left
		s.updates.mu.Unlock()
		s.next(key, l)
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.waiting[0].ctx))
	l.cancel = cancel
	s.updates.mu.Unlock()
	defer cancel()
	r := round{store: s, key: key, line: l, many: true}
	c, refused := s.begin(ctx)
	if refused != nil {
		r.take()
		for _, u := range r.updates {
			r.settle(u, Entry{}, s.fail(u.op, key, refused))
		}
		s.next(key, l)
		return
	}
	defer c.end()
	r.call = &c
	defer func() {
		if r.calling != nil { // a function ended this goroutine
			r.calling.exited = true
			r.settle(r.calling, Entry{}, nil)
			r.drop()
			r.putBack(0)
		}
		s.next(key, l)
	}()
	r.run()
}

// round carries out updates of one key with as few writes as it can.
type round struct {
	store *Store
	call  *call
	key   string
	line  *line // nil for an update that could not wait for the line

	// many: the updates are those of waiting callers. Otherwise there is one, of the
	// goroutine that runs the round.
	many    bool
	updates []*update
	calling *update // one whose function is being called in this goroutine

	lost int // rounds in a row
}

// take adds the updates that wait.
func (r *round) take() {
	if !r.many || r.lost >= together && len(r.updates) > 0 {
		return
	}
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	r.updates = append(r.updates, r.line.waiting...)
	r.line.waiting = nil
}

// putBack lets all updates from the first one on wait again, before the others. None of
// them was sent.
func (r *round) putBack(first int) {
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	r.line.waiting = slices.Concat(r.updates[first:], r.line.waiting)
	r.updates = r.updates[:first:first]
}

// settle hands its result to the caller of an update.
func (r *round) settle(u *update, entry Entry, err error) {
	u.entry, u.err = entry, err
	u.mu.Lock()
	u.settled = true
	left := u.left
	u.mu.Unlock()
	if u.done == nil {
		return
	}
	close(u.done)
	if !left {
		r.store.updates.mu.Lock()
		r.line.present--
		r.store.updates.mu.Unlock()
	}
}

// fail ends all updates of the round with an error.
func (r *round) fail(mayHaveApplied bool, err error) {
	for _, u := range r.updates {
		if !u.settled {
			r.settle(u, Entry{}, r.store.failWrite(r.call, u.op, r.key, mayHaveApplied, err))
		}
	}
}

// run carries out the updates, and those that come to wait meanwhile.
func (r *round) run() {
	s := r.store
	from, known := s.updates.base(r.key)
	for {
		r.take()
		r.drop()
		switch {
		case len(r.updates) == 0 && !r.many:
			return
		case len(r.updates) == 0:
			if r.lost = 0; r.idle() {
				return
			}
			continue
		case r.lost == maxRounds:
			r.fail(false, errBeaten(false))
			continue
		case r.lost == together && r.many:
			r.putBack(1)
		}
		if !known {
			found, err := s.driver.Get(r.call.ctx, GetRequest{Key: r.key, WithValue: true})
			if err != nil {
				r.fail(false, definite(err))
				continue
			}
			from, known = found, true
			s.updates.seen(r.key, found)
			for _, u := range r.updates {
				u.fresh = true
			}
			r.take() // the last moment to join
		}
		from, known = r.once(from)
	}
}

// definite returns the error of a read, after which nothing is under way.
func definite(err error) error {
	if _, ok := err.(*Error); ok {
		return err
	}
	return &Error{Err: err}
}

// idle reports whether nobody waits.
func (r *round) idle() bool {
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	return len(r.line.waiting) == 0
}

// drop takes the updates off the round that have a result, or whose callers have returned.
func (r *round) drop() {
	r.updates = slices.DeleteFunc(r.updates, func(u *update) bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.settled || u.left
	})
}

// step is what one function made of the entry.
type step struct {
	update *update
	entry  Entry
	err    error
	writes bool
	after  int // how many functions wrote so far, with this one
}

// once calls the functions one after the other, beginning from what is known of the
// entry, and stores what they make of it. It returns what is known afterwards.
func (r *round) once(from Found) (Found, bool) {
	s, now := r.store, r.store.now()
	rec, exists := from.Record, from.Exists && !expired(from.Expires, now.UnixMilli())
	rec.Key = r.key
	token, writes := newToken(), 0
	var one [1]step // in most rounds
	steps := one[:0]
	if len(r.updates) > len(one) {
		steps = make([]step, 0, len(r.updates))
	}
	for _, u := range r.updates {
		old := s.ownEntry(rec, exists)
		if exists && writes > 0 {
			old.Version = s.intermediate(r.key, token, writes)
		}
		change, called, err := r.ask(u, old, exists)
		if !called {
			continue
		}
		next, then := rec, exists
		if err == nil {
			var invalid *Error
			if next, then, invalid = s.apply(change, rec, exists, now); invalid != nil {
				err = s.fail(u.op, r.key, invalid)
			}
		}
		st := step{update: u, err: err, writes: err == nil && !change.Leave}
		if st.writes {
			writes++
			if rec, exists = next, then; r.many { // its caller may leave while the value is sent
				rec.Value = bytes.Clone(rec.Value)
			}
		}
		if st.after = writes; err == nil {
			st.entry = s.ownEntry(rec, exists)
		}
		steps = append(steps, st)
	}
	// An expired entry is deleted as well: by another clock it may be live.
	if writes == 0 || !exists && !from.Exists { // nothing changes, if the base is what there is now
		for _, st := range steps {
			if st.update.fresh {
				r.settle(st.update, st.entry, st.err)
			}
		}
		return from, false
	}
	rec.Token = token
	return r.send(from, rec, exists, writes, steps, now)
}

// ownEntry returns what a function or a caller gets of a record: the value is its own.
func (s *Store) ownEntry(rec Record, exists bool) Entry {
	if !exists {
		return Entry{Key: rec.Key}
	}
	e := s.entry(rec, true)
	e.Value = append([]byte{}, e.Value...)
	return e
}

// intermediate is the version of what the nth function of a write made of an entry when
// another one followed: no entry will be in that state.
func (s *Store) intermediate(key, token string, n int) Version {
	return s.replacedVersion(key, token+strconv.Itoa(n))
}

// ask calls the function of an update, unless its caller has left.
func (r *round) ask(u *update, old Entry, exists bool) (change Change, called bool, err error) {
	if r.line != nil {
		r.line.calling.Store(true)
		defer r.line.calling.Store(false)
	}
	if !r.many {
		change, err = u.change(old, exists)
		return change, true, err
	}
	func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.left {
			return
		}
		r.calling = u // until it returns: see work
		defer func() {
			if u.panicked = recover(); u.panicked != nil {
				r.calling = nil
			}
		}()
		change, err = u.change(old, exists)
		r.calling, called = nil, true
	}()
	if u.panicked != nil {
		r.settle(u, Entry{}, nil)
	}
	return change, called, err
}

// send stores rec, or its absence, in place of what the functions began from, and
// settles their updates if it can. So many of the functions wrote.
func (r *round) send(from Found, rec Record, exists bool, writes int, steps []step, now time.Time) (Found, bool) {
	s := r.store
	w := Write{Kind: KindPut, Record: rec, Condition: Condition{Kind: CondAbsent}}
	if !exists {
		// A deletion leaves no trace of who made it. A record that is expired by every
		// clock does, until it is deleted below.
		w.Kind, w.Record = KindTouch, Record{Key: r.key, Expires: max(now.Add(-ExpiryGrace).UnixMilli(), 1), Token: rec.Token}
	}
	w.Predecessors = ""
	if from.Exists {
		w.Condition = Condition{Kind: CondVersion, Version: from.Version}
		w.Predecessors = succeed(from.Record)
	}
	if !r.mark(steps, true) {
		return from, true // without the update whose caller has left
	}
	out := r.write(w, from, now.UnixMilli())
	switch {
	case out.err != nil:
		s.updates.forget(r.key)
		for _, st := range steps {
			if !st.writes { // it has no part in the write, whatever became of that
				r.settle(st.update, Entry{}, s.fail(st.update.op, r.key, r.call.explain(withoutPart(out.err))))
			}
		}
		r.fail(out.mayHaveApplied, out.err)
		return Found{}, false
	case out.lost:
		r.lost++
		s.updates.contend(r.key)
		r.mark(steps, false)
		for _, st := range steps {
			st.update.fresh = true // the record was read after the write was sent
		}
		return out.found, !out.found.Exists || out.found.Value != nil
	}
	r.lost = 0
	for _, st := range steps {
		switch {
		case st.entry.Version.IsZero() || st.after == 0: // no entry, or the one that the round began from
		case st.after == writes && out.native != "":
			st.entry.Version = s.version(r.key, rec.Expires, out.native)
		default:
			st.entry.Version = s.intermediate(r.key, rec.Token, st.after)
		}
		r.settle(st.update, st.entry, st.err)
	}
	switch {
	case out.native == "":
		s.updates.forget(r.key)
		return Found{}, false
	case !exists:
		s.updates.forget(r.key)
		_, _ = s.driver.Write(r.call.ctx, WriteRequest{Write: Write{
			Kind: KindDelete, Record: Record{Key: r.key, Token: newToken()}, Condition: Condition{Kind: CondVersion, Version: out.native},
		}, Now: now.UnixMilli()})
		return Found{}, false
	}
	rec.Token, rec.Version, rec.Predecessors = out.token, out.native, w.Predecessors
	return Found{rec, true}, s.updates.remember(rec)
}

// withoutPart returns the error of a write for an update that changes nothing.
func withoutPart(err error) *Error {
	e := Error{Err: err}
	if own, ok := err.(*Error); ok {
		e = *own
	}
	e.MayHaveApplied = false
	return &e
}

// mark notes of the updates of a round that a write of their changes is under way, or no
// longer. It reports false, and notes nothing, when the caller of one has left.
func (r *round) mark(steps []step, sent bool) bool {
	if !r.many {
		return true
	}
	for i, st := range steps {
		st.update.mu.Lock()
		if st.update.left && sent && st.writes {
			st.update.mu.Unlock()
			r.mark(steps[:i], false)
			return false
		}
		st.update.sent = sent && st.writes
		st.update.mu.Unlock()
	}
	return true
}

// written is what became of the write of a round.
type written struct {
	native string // the version of what was stored; empty when it is replaced already
	token  string

	lost  bool // the record was another one, found, and nothing was or will be stored
	found Found

	err            error
	mayHaveApplied bool
}

// write has the driver carry out a write under the state that was found, and finds out
// what became of it. After a response was lost it reads the record: its token, or its
// predecessors, tell. Where the state is the same still, the write may come late; the
// same change under the same state, sent again, is applied instead of it, or after all.
func (r *round) write(w Write, from Found, now int64) written {
	s, ctx := r.store, r.call.ctx
	token, sure := w.Token, true
	for attempt := range patience {
		w.Token = AttemptToken(token, attempt*roundAttempts)
		out, err := s.driver.Write(ctx, WriteRequest{Write: w, Now: now})
		found := Found{out.Found, out.Exists}
		switch {
		case err == nil && out.Done:
			return written{native: out.Version, token: w.Token}
		case err == nil:
			sure = sure && !out.MayHaveApplied
		default:
			e, own := err.(*Error)
			sure = sure && own && !e.MayHaveApplied
			if sure && (e.Kind != ErrThrottled || attempt == patience-1) {
				return written{err: err}
			}
			if sure {
				if pause(ctx, attempt+1) != nil {
					return written{err: err}
				}
				continue
			}
			var unread error // at once: others may follow
			if found, unread = s.driver.Get(ctx, GetRequest{Key: r.key, WithValue: true}); unread != nil {
				return written{err: err, mayHaveApplied: true}
			}
		}
		switch {
		case found.Exists && SameWrite(found.Token, token):
			return written{native: found.Version, token: found.Token}
		case sure:
			return written{lost: true, found: found}
		case found.Exists == from.Exists && found.Version == from.Version:
			// It may come yet.
		case found.Exists && follows(found.Record, token[:countFrom]):
			return written{token: token}
		case found.Exists && from.Exists && follows(found.Record, stateName(from.Record)):
			return written{lost: true, found: found}
		default:
			return written{mayHaveApplied: true, err: errors.New("a response was lost, and a write that keeps no record of updates came after it")}
		}
	}
	return written{mayHaveApplied: true, err: &Error{Kind: ErrUnavailable, Err: errors.New("the responses to all attempts were lost")}}
}

// base returns what the next update of a key can begin from without reading.
func (g *updates) base(key string) (Found, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.bases[key]
	return Found{b.rec, true}, ok && !b.contended
}

// remember keeps an own record, and reports whether the next update can begin from it.
func (g *updates) remember(rec Record) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.bases[rec.Key]
	g.drop(rec.Key)
	for key := range g.bases { // any
		if len(g.bases) < maxBases && g.bytes+len(rec.Value) <= maxBaseBytes {
			break
		}
		g.drop(key)
	}
	b.rec = rec
	b.rec.Value = append([]byte{}, rec.Value...)
	g.bases[rec.Key] = b
	g.bytes += len(rec.Value)
	return !b.contended
}

// drop removes what is kept of a key. The caller holds the lock.
func (g *updates) drop(key string) {
	g.bytes -= len(g.bases[key].rec.Value)
	delete(g.bases, key)
}

// seen is told of what a read found: nobody else writes the key while that is the own
// record.
func (g *updates) seen(key string, found Found) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.bases[key]; ok {
		b.contended = !found.Exists || found.Version != b.rec.Version
		g.bases[key] = b
	}
}

// contend is told that somebody else wrote the key.
func (g *updates) contend(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.bases[key]; ok {
		b.contended = true
		g.bases[key] = b
	}
}

func (g *updates) forget(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(key)
}
