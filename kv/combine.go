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
	// patience is the number of attempts at a write that is throttled, or that may have
	// been applied.
	patience = 10

	// together is how many rounds in a row the updates of a key may lose before they are
	// carried out one by one. A round loses also when one of its own functions writes the
	// key.
	together = 8

	// foldLimit is how long an update waits while the function of another update runs. An
	// update that is called in that function, with the same key, would wait for ever.
	foldLimit = 100 * time.Millisecond

	// maxBases and maxBaseBytes limit the bases of a store: their number, and the bytes of
	// their values together.
	maxBases     = 128
	maxBaseBytes = maxBases * MaxValueLen
)

// updates are the updates of one store. They are combined key by key, or carried out one
// by one if the driver never waits.
type updates struct {
	mu    sync.Mutex
	lines map[string]*line
	bases map[string]base
	bytes int // length of the values of bases together

	starving atomic.Int32             // number of keys in first
	first    map[string]chan struct{} // closed when the update that goes first is done
}

// line is the queue of updates of one key. While there is a line, somebody works on it.
type line struct {
	waiting []*update
	present int                // callers that wait for a round or for its result
	cancel  context.CancelFunc // ends a round that no caller waits for

	calling atomic.Bool // a function is being called
}

// base is the record that the last update of this store wrote. The next update may begin
// from it without a read, because its write asks for the base's version.
type base struct {
	rec Record // nobody changes its value

	// contended says that somebody else wrote the key last time. Then it costs less to
	// read first.
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
	sent    bool       // a write with its change was sent and may have been applied

	fresh bool // the round's base was read after the call began

	done     chan struct{} // closed when the rest is set
	entry    Entry
	err      error
	panicked any
	exited   bool // change called runtime.Goexit
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

// combine carries out an update, by itself or together with others that wait for the key.
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

// leave is called when the caller of an update returns without a result. It ends the round
// of a line whose callers have all left. A later update begins another line.
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

// leave notes that the caller returns, unless there is a result. change is not called
// after that.
func (u *update) leave() (sent, settled bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.settled {
		u.left = true
	}
	return u.sent, u.settled
}

// result returns the result of an update that others carried out. If its function panicked
// or called Goexit, result does the same.
func (u *update) result() (Entry, error) {
	switch {
	case u.panicked != nil:
		panic(u.panicked)
	case u.exited:
		runtime.Goexit()
	}
	return u.entry, u.err
}

// next starts somebody who works on the line, or ends the line if it is empty.
func (s *Store) next(key string, l *line) {
	s.updates.mu.Lock()
	defer s.updates.mu.Unlock()
	if len(l.waiting) > 0 {
		go s.work(key, l)
	} else if s.updates.lines[key] == l {
		delete(s.updates.lines, key)
	}
}

// work carries out the updates of a line until it is empty.
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
	line  *line // nil for an update that no longer waits in the line

	// many says that the updates are of callers that wait. Otherwise there is one update,
	// and its caller's goroutine runs the round.
	many    bool
	updates []*update
	calling *update // the update whose function this goroutine is calling

	lost int // rounds that lost in a row
}

// take adds the updates that wait in the line.
func (r *round) take() {
	if !r.many || r.lost >= together && len(r.updates) > 0 {
		return
	}
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	r.updates = append(r.updates, r.line.waiting...)
	r.line.waiting = nil
}

// putBack puts the updates from the first one on back at the head of the line. None of
// them was sent.
func (r *round) putBack(first int) {
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	r.line.waiting = slices.Concat(r.updates[first:], r.line.waiting)
	r.updates = r.updates[:first:first]
}

// settle sets the result of an update and wakes its caller.
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

// fail ends all updates of the round with err.
func (r *round) fail(mayHaveApplied bool, err error) {
	for _, u := range r.updates {
		if !u.settled {
			r.settle(u, Entry{}, r.store.failWrite(r.call, u.op, r.key, mayHaveApplied, err))
		}
	}
}

// run carries out the updates, and those that join the line meanwhile.
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
			r.take() // others may have joined during the read
		}
		from, known = r.once(from)
	}
}

// definite returns the error of a read, which is never indeterminate.
func definite(err error) error {
	if _, ok := err.(*Error); ok {
		return err
	}
	return &Error{Err: err}
}

// idle reports whether nobody waits in the line.
func (r *round) idle() bool {
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	return len(r.line.waiting) == 0
}

// drop removes from the round the updates that have a result or whose callers have
// returned.
func (r *round) drop() {
	r.updates = slices.DeleteFunc(r.updates, func(u *update) bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.settled || u.left
	})
}

// step is the result of one function.
type step struct {
	update *update
	entry  Entry
	err    error
	writes bool
	after  int // number of functions that wrote so far, including this one
}

// once calls the functions one after another, beginning from the entry that is known, and
// stores the last result. It returns what is known of the entry afterwards.
func (r *round) once(from Found) (Found, bool) {
	s, now := r.store, r.store.now()
	rec, exists := from.Record, from.Exists && !expired(from.Expires, now.UnixMilli())
	rec.Key = r.key
	token, writes := newToken(), 0
	var one [1]step // enough for most rounds
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
			if rec, exists = next, then; r.many { // the caller may return, and change the value, while it is sent
				rec.Value = bytes.Clone(rec.Value)
			}
		}
		if st.after = writes; err == nil {
			st.entry = s.ownEntry(rec, exists)
		}
		steps = append(steps, st)
	}
	// An expired entry is deleted as well: by another clock it may be live.
	if writes == 0 || !exists && !from.Exists { // nothing changes, if the base is still the stored record
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

// ownEntry returns the entry of a record for a function or a caller. It copies the value.
func (s *Store) ownEntry(rec Record, exists bool) Entry {
	if !exists {
		return Entry{Key: rec.Key}
	}
	e := s.entry(rec, true)
	e.Value = append([]byte{}, e.Value...)
	return e
}

// intermediate returns the version of the entry that the nth function of a write returned,
// when another function followed. No entry is ever in that state.
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
		r.calling = u // work reads it if change calls Goexit
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

// send stores rec, or its absence, in place of from, and sets the results of the updates
// if they are known. writes is the number of functions that changed the entry.
func (r *round) send(from Found, rec Record, exists bool, writes int, steps []step, now time.Time) (Found, bool) {
	s := r.store
	w := Write{Kind: KindPut, Record: rec, Condition: Condition{Kind: CondAbsent}}
	if !exists {
		// A deletion leaves no trace of who made it. So an expired record, with this
		// write's token, is stored first and deleted below.
		w.Kind, w.Record = KindTouch, Record{Key: r.key, Expires: max(now.Add(-ExpiryGrace).UnixMilli(), 1), Token: rec.Token}
	}
	w.Predecessors = ""
	if from.Exists {
		w.Condition = Condition{Kind: CondVersion, Version: from.Version}
		w.Predecessors = succeed(from.Record)
	}
	if !r.mark(steps, true) {
		return from, true // a caller has left: begin again without its update
	}
	out := r.write(w, from, now.UnixMilli())
	switch {
	case out.err != nil:
		s.updates.forget(r.key)
		for _, st := range steps {
			if !st.writes { // it has no part in the write
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
			st.update.fresh = true // the record was read after the call began
		}
		return out.found, !out.found.Exists || out.found.Value != nil
	}
	r.lost = 0
	for _, st := range steps {
		switch {
		case st.entry.Version.IsZero() || st.after == 0: // no entry, or the one from which the round began
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

// withoutPart returns the error of a write, for an update that has no part in the write.
func withoutPart(err error) *Error {
	e := Error{Err: err}
	if own, ok := err.(*Error); ok {
		e = *own
	}
	e.MayHaveApplied = false
	return &e
}

// mark notes on the updates of a round whether a write of their changes is in flight. If
// the caller of such an update has left, it notes nothing and reports false.
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

// written is the result of a round's write.
type written struct {
	native string // version of the stored record; empty when another write already replaced it
	token  string

	lost  bool // there was another record, found; nothing was or will be stored
	found Found

	err            error
	mayHaveApplied bool
}

// write lets the driver store w if the record is still in the state from, and finds out
// whether that happened. After a lost response it reads the record: its token and its
// predecessors tell. If the state is still the same, the lost request may arrive later.
// write then sends the same change under the same state again, so that only one of the two
// can be applied.
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
			var unread error // read without a pause: other updates may follow
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
			// The request may still arrive.
		case found.Exists && follows(found.Record, token[:countFrom]):
			return written{token: token}
		case found.Exists && from.Exists && follows(found.Record, stateName(from.Record)):
			return written{lost: true, found: found}
		default:
			return written{mayHaveApplied: true, err: errors.New("a response was lost, and the entry was then written by other means than Update")}
		}
	}
	return written{mayHaveApplied: true, err: &Error{Kind: ErrUnavailable, Err: errors.New("the responses to all attempts were lost")}}
}

// base returns the record from which the next update of a key may begin without a read.
func (g *updates) base(key string) (Found, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.bases[key]
	return Found{b.rec, true}, ok && !b.contended
}

// remember keeps a record that this store wrote, and reports whether the next update may
// begin from it.
func (g *updates) remember(rec Record) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.bases[rec.Key]
	g.drop(rec.Key)
	for key := range g.bases { // in any order
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

// drop removes the base of a key. The caller holds the lock.
func (g *updates) drop(key string) {
	g.bytes -= len(g.bases[key].rec.Value)
	delete(g.bases, key)
}

// seen notes what a read found. If it is the store's own record, nobody else writes the
// key.
func (g *updates) seen(key string, found Found) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.bases[key]; ok {
		b.contended = !found.Exists || found.Version != b.rec.Version
		g.bases[key] = b
	}
}

// contend notes that somebody else wrote the key.
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
