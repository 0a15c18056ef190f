package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// patience is the greatest number of attempts at the write of a round. A write that is
	// throttled, or that may have been applied, is attempted again.
	patience = 10

	// promptly is the greatest number of attempts at one write that set the field Prompt of
	// [WriteRequest]. They are the first attempts. It is also the greatest number of attempts
	// at one read after such a write.
	promptly = 8

	// shortPause is the argument of [pause] for a pause of at most 20 milliseconds. The pause
	// is short so that others seldom make more than eight updates meanwhile: see round.write.
	shortPause = 2

	// promptTime is how long the read after a write may set the field Prompt of [GetRequest].
	// Later, others have probably made more than eight updates, so a fast response no longer
	// helps: see round.write.
	promptTime = time.Second

	// together is the number of times in a row that the updates of a key may lose before
	// they are carried out one by one. They lose if another write of the key comes between
	// their read and their write. Even one of their own functions may make that write. An
	// update on a driver with [Info].Immediate that has lost so often gets precedence: see heed.
	together = 8

	// foldLimit is the time after which an update no longer waits for another update of the
	// same key whose function is still running. Without the limit, a function that itself
	// updates the key would wait forever: the inner update would wait until the function has
	// returned.
	foldLimit = 100 * time.Millisecond

	// maxBases is the greatest number of bases (see the type base) that a store keeps.
	// maxBaseBytes is the greatest total length of their values.
	maxBases     = 128
	maxBaseBytes = maxBases * MaxValueLen
)

// updates holds the state that the updates of one store share. Updates of the same key are
// combined, unless the driver's Info has Immediate set.
type updates struct {
	mu    sync.Mutex
	lines map[string]*line
	bases map[string]base
	bytes int // total length of the values of bases

	// Used only if Immediate is set: an update that has lost often goes first, see heed.
	starving atomic.Int32             // number of keys in first
	first    map[string]chan struct{} // by key; closed when the update with precedence is done
}

// line is the queue of updates of one key. While the line exists, a goroutine carries out
// the updates in it.
type line struct {
	waiting []*update
	present int                // number of callers that wait for a round or for its result
	cancel  context.CancelFunc // ends the running round when no caller waits any more

	calls atomic.Int64 // incremented before and after each call of a function, so it is odd during a call
}

// base is the record that the last update of a key by this store wrote. The next update may
// begin from the base without a read, because its write succeeds only if the base is still
// the stored record.
type base struct {
	rec Record // its value is never modified

	// contended is true if somebody else wrote the key between the last two updates of
	// this store. The next update then reads first, because a read costs less than a write
	// that is likely to fail.
	contended bool
}

// update is one call of Update, Increment or GetAndDelete.
type update struct {
	ctx    context.Context
	op     string
	change func(old Entry, exists bool) (Change, error)

	mu      sync.Mutex // held during a call of change by another goroutine than the caller's
	left    bool       // the caller no longer waits for a round: it has returned, or carries out the update itself
	settled bool       // there is a result
	woken   bool       // done is closed, or is about to be
	sent    bool       // a write with the result of change was sent and may have been applied

	fresh bool // the record that the round's first function receives was read after this call began

	self [1]*update // memory for a round of this update alone

	done     chan struct{} // closed when the round has nothing more to do for the update
	entry    Entry
	err      error
	panicked any
	exited   bool // change called runtime.Goexit
}

// update carries out a call of Update, Increment or GetAndDelete.
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

// combine carries out an update if no other update of the key is running. Otherwise another
// goroutine carries out the updates that wait for the key, and combine waits for the result.
func (s *Store) combine(c call, u *update, key string) (Entry, error) {
	l, first := s.updates.join(key, u)
	if !first {
		return s.wait(&c, key, l, u)
	}
	defer s.next(key, l) // even if change panics
	u.self[0] = u
	r := round{store: s, call: &c, key: key, line: l, updates: u.self[:]}
	r.run()
	return u.entry, u.err
}

// join adds an update to the line of its key. If there is no line, join makes an empty one
// and returns first = true: the caller must then carry out the update itself.
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

// withdraw removes an update from the line. It returns false if the update is no longer in
// the line, because a round has taken it.
func (g *updates) withdraw(key string, l *line, u *update) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range l.waiting {
		if other == u {
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			g.part(key, l)
			return true
		}
	}
	return false
}

// release is like withdraw, but also takes the update out of a round. It returns false if the
// update has a result, if its change was sent, or if its own function is being called.
func (g *updates) release(key string, l *line, u *update) bool {
	if g.withdraw(key, l, u) {
		return true
	}
	if !u.mu.TryLock() {
		return false
	}
	u.left = !u.settled && !u.sent
	left := u.left
	u.mu.Unlock()
	if left {
		g.leave(key, l)
	}
	return left
}

// leave is called when the caller of an update no longer waits for the result of a round that
// has taken the update.
func (g *updates) leave(key string, l *line) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.part(key, l)
}

// part notes that one caller less waits. If no caller waits any more, part ends the round
// and removes the line, so that a later update makes a new one. The caller holds the lock.
func (g *updates) part(key string, l *line) {
	if l.present--; l.present == 0 && l.cancel != nil {
		l.cancel()
		if g.lines[key] == l {
			delete(g.lines, key)
		}
	}
}

// wait waits for the result of an update that another goroutine carries out, and returns the
// result. If the function of another update runs too long meanwhile (see foldLimit), wait
// carries out the update itself.
func (s *Store) wait(c *call, key string, l *line, u *update) (Entry, error) {
	for calls := l.calls.Load(); ; {
		timer := time.NewTimer(foldLimit)
		select {
		case <-u.done:
			timer.Stop()
			return u.result()
		case <-c.ctx.Done():
			timer.Stop()
			if s.updates.withdraw(key, l, u) {
				return Entry{}, s.fail(u.op, key, c.explain(&Error{Err: c.ctx.Err()}))
			}
			sent, settled, woken := u.leave()
			if !woken {
				s.updates.leave(key, l)
			}
			if settled {
				return u.result()
			}
			return Entry{}, s.failWrite(c, u.op, key, sent, &Error{Err: c.ctx.Err()})
		case <-timer.C:
			// If one call of an update's function has lasted since the last tick, that function may
			// itself have called Update for this key, and be waiting for u. Then u would wait
			// forever, so u goes ahead alone. If a function has begun or ended since the last tick,
			// u goes on waiting.
			before := calls
			calls = l.calls.Load()
			if calls%2 == 1 && calls == before && s.updates.release(key, l, u) {
				alone := &update{op: u.op, change: u.change}
				r := round{store: s, call: c, key: key, updates: []*update{alone}}
				r.run()
				return alone.entry, alone.err
			}
		}
	}
}

// leave notes that the caller returns, unless it is woken already. After that, no goroutine
// calls the update's function. leave returns the fields sent, settled and woken.
func (u *update) leave() (sent, settled, woken bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.left = u.left || !u.woken
	return u.sent, u.settled, u.woken
}

// result returns the result of an update that another goroutine carried out. If the update's
// function panicked or called Goexit, result does the same.
func (u *update) result() (Entry, error) {
	switch {
	case u.panicked != nil:
		panic(u.panicked)
	case u.exited:
		runtime.Goexit()
	}
	return u.entry, u.err
}

// next starts a goroutine that carries out the updates of the line, or removes the line if
// it is empty.
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
	if len(l.waiting) == 0 { // all callers have left
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
		if r.calling != nil { // a function called runtime.Goexit
			r.calling.exited = true
			r.settle(r.calling, Entry{}, nil)
			r.drop()
			r.putBack(0)
		}
		s.next(key, l)
	}()
	r.run()
}

// round carries out updates of one key with as few writes as it can. It reads the record,
// calls the functions of the updates, and writes the result. If another write comes between
// the read and the write, it does all this again.
type round struct {
	store *Store
	call  *call
	key   string
	line  *line // nil for an update that was withdrawn from its line

	// many is true if a separate goroutine runs the round, and the callers of the updates
	// wait for it. Otherwise there is one update, and its caller's goroutine runs the round.
	many    bool
	updates []*update
	calling *update // the update whose function this goroutine is calling

	lost int // number of times in a row that another write came between the read and the write
}

// take adds to the round the updates that wait in the line. It adds none if the updates
// must be carried out one by one.
func (r *round) take() {
	if !r.many || r.lost >= together && len(r.updates) > 0 {
		return
	}
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	r.updates = append(r.updates, r.line.waiting...)
	r.line.waiting = nil
}

// putBack moves updates[first:] back to the head of the line. The caller must not have sent a
// write with their changes.
func (r *round) putBack(first int) {
	r.store.updates.mu.Lock()
	defer r.store.updates.mu.Unlock()
	r.line.waiting = slices.Concat(r.updates[first:], r.line.waiting)
	r.updates = r.updates[:first:first]
}

// settle sets the result of an update, and wakes the caller if it waits.
func (r *round) settle(u *update, entry Entry, err error) {
	u.set(entry, err)
	r.wake(u)
}

// set sets the result of an update. The caller may return from now on, but waits until the
// round wakes it or its context ends.
func (u *update) set(entry Entry, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.entry, u.err, u.settled = entry, err, true
}

// wake wakes the caller of an update that has a result, if it waits.
func (r *round) wake(u *update) {
	if u.done == nil {
		return
	}
	u.mu.Lock()
	u.woken = true
	left := u.left
	u.mu.Unlock()
	close(u.done)
	if !left {
		r.store.updates.mu.Lock()
		r.line.present--
		r.store.updates.mu.Unlock()
	}
}

// fail makes err the result of all updates of the round that have no result yet.
func (r *round) fail(mayHaveApplied bool, err error) {
	for _, u := range r.updates {
		if !u.settled {
			r.settle(u, Entry{}, r.store.failWrite(r.call, u.op, r.key, mayHaveApplied, err))
		}
	}
}

// run carries out the updates of the round. If many is set, it also carries out the updates
// that join the line meanwhile.
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

// definite makes the error of a read an *Error, because failWrite marks every other error as
// ErrIndeterminate.
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

// step is the result of an update's function.
type step struct {
	update *update
	entry  Entry
	err    error
	writes bool
	after  int // number of functions that had changed the entry when this one returned, itself included
}

// The method once calls the functions of the round's updates, one after another. The first
// function receives the entry that from has. Each later function receives the entry as the
// functions before it left it. If the entry has changed, the method tries to store the result with
// one write. It returns the record that is under the key afterwards, and whether it knows that
// record.
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
			if rec, exists = next, then; r.many {
				// If the context of an update ends, its caller returns early. The caller may
				// then change the value before the driver has sent the value.
				rec.Value = bytes.Clone(rec.Value)
			}
		}
		if st.after = writes; err == nil {
			st.entry = s.ownEntry(rec, exists)
		}
		steps = append(steps, st)
	}
	// If there is nothing to write, the results are valid only for updates that began before the
	// record of the parameter from was read. A deletion must be written even if this record is
	// expired, because it may still be live by another host's clock.
	if writes == 0 || !exists && !from.Exists {
		for _, st := range steps {
			if !st.entry.Version.IsZero() && st.after > 0 { // a later function deleted the entry
				st.entry.Version = s.intermediate(r.key, token, st.after)
			}
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

// intermediate returns a version for the entry after n changes of a round, if that entry is
// not stored, or is no longer stored. No stored entry ever has this version.
func (s *Store) intermediate(key, token string, n int) Version {
	return s.replacedVersion(key, token+strconv.Itoa(n))
}

// ask calls the function of an update, unless the update's caller has left.
func (r *round) ask(u *update, old Entry, exists bool) (change Change, called bool, err error) {
	if r.line != nil {
		r.line.calls.Add(1)
		defer r.line.calls.Add(1)
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

// send stores rec in place of the record of the parameter from, or deletes the entry if exists is
// false. It sets the results of the updates if they are known. writes is the number of functions
// that changed the entry.
func (r *round) send(from Found, rec Record, exists bool, writes int, steps []step, now time.Time) (Found, bool) {
	s := r.store
	w := Write{Kind: KindPut, Record: rec, Condition: Condition{Kind: CondAbsent}}
	if !exists {
		// A deletion leaves no token. After a lost response, nothing would show which write
		// deleted the entry. So this write stores an expired record with its token, and the
		// record is deleted below.
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
			if !st.writes { // the update changed nothing
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
			st.update.fresh = true // out.found was read after the call began
		}
		return out.found, !out.found.Exists || out.found.Value != nil
	}
	r.lost = 0
	for _, st := range steps {
		switch {
		case st.entry.Version.IsZero() || st.after == 0: // no entry, or the entry from which the round began
		case st.after == writes && out.native != "":
			st.entry.Version = s.version(r.key, rec.Expires, out.native)
		default:
			st.entry.Version = s.intermediate(r.key, rec.Token, st.after)
		}
		st.update.set(st.entry, st.err)
	}
	if !exists && out.native != "" { // before the callers return, so that the request ends with their calls
		_, _ = s.driver.Write(r.call.ctx, WriteRequest{Write: Write{
			Kind: KindDelete, Record: Record{Key: r.key, Token: newToken()}, Condition: Condition{Kind: CondVersion, Version: out.native},
		}, Now: now.UnixMilli()})
	}
	for _, st := range steps {
		r.wake(st.update)
	}
	if !exists || out.native == "" {
		s.updates.forget(r.key)
		return Found{}, false
	}
	rec.Token, rec.Version, rec.Predecessors = out.token, out.native, w.Predecessors
	return Found{rec, true}, s.updates.remember(rec)
}

// withoutPart returns the error of a round's write for an update of the round that changed
// nothing. For such an update, the error must not match ErrIndeterminate.
func withoutPart(err error) *Error {
	e := Error{Err: err}
	if own, ok := err.(*Error); ok {
		e = *own
	}
	e.MayHaveApplied = false
	return &e
}

// mark sets the field sent of each update of a round: whether a write with its change is in
// flight. If the parameter sent is true, and the caller of an update with a change has left,
// mark leaves the field false in all updates and returns false.
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

	lost  bool  // another write came first: the round's write was not and will not be stored
	found Found // if lost, what is under the key now

	err            error
	mayHaveApplied bool
}

// write passes w to the driver, on the condition that the record is still the one of the parameter
// from, and finds out whether w was stored. After a lost response, write reads the record, whose
// token and predecessors show whether w was stored. If the record is still the same, the lost
// request may arrive later. write then sends the change again, under the same condition. Only one
// of the two requests can be applied, because of that condition.
//
// After more than eight updates of others, the predecessors no longer name w. Drivers pause
// before they repeat a request, and others may make so many updates during the pause. So the
// first attempts are prompt: the driver returns as soon as a response is lost. In later attempts,
// and in all attempts after a read that failed, the driver may repeat requests as in other writes.
func (r *round) write(w Write, from Found, now int64) written {
	s, ctx := r.store, r.call.ctx
	token, sure, prompt := w.Token, true, true
	for attempt := range patience {
		w.Token = AttemptToken(token, attempt*roundAttempts)
		prompt = prompt && attempt < promptly
		out, err := s.driver.Write(ctx, WriteRequest{Write: w, Now: now, Prompt: prompt})
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
				if ended := pause(ctx, attempt+1); ended != nil {
					return written{err: endedAfter(ended, err)}
				}
				continue
			}
		}
		if err != nil || prompt && !out.Exists {
			var unread error
			switch found, unread = r.look(prompt); {
			case unread == nil:
			case prompt && temporary(unread):
				prompt = false
				continue
			case sure:
				return written{err: definite(unread)}
			case err == nil:
				return written{err: unread, mayHaveApplied: true}
			default:
				return written{err: causeOf(ctx, err, unread), mayHaveApplied: true}
			}
		}
		switch {
		case found.Exists && SameWrite(found.Token, token):
			return written{native: found.Version, token: found.Token}
		case sure:
			return written{lost: true, found: found}
		case found.Exists == from.Exists && found.Version == from.Version:
			// The request may still arrive, so the next attempt sends the change again.
			if ended := pause(ctx, min(attempt, shortPause)); ended != nil {
				return written{err: endedAfter(ended, err), mayHaveApplied: true}
			}
		case found.Exists && follows(found.Record, token[:countFrom]):
			return written{token: token}
		case found.Exists && from.Exists && follows(found.Record, stateName(from.Record)):
			return written{lost: true, found: found}
		default:
			return written{mayHaveApplied: true, err: errors.New("a response was lost, and others then created or deleted the entry, wrote it by other means than Update, or updated it more than eight times")}
		}
	}
	return written{mayHaveApplied: true, err: &Error{Kind: ErrUnavailable, Err: errors.New("the responses to all attempts were lost")}}
}

// causeOf returns the cause of an indeterminate error: a write failed with err, and the read
// that would have shown whether it was applied failed with unread, or showed nothing. If the end of
// ctx made the read fail, it is a cause too.
func causeOf(ctx context.Context, err, unread error) error {
	if ended := ctx.Err(); ended != nil && errors.Is(unread, ended) && !errors.Is(err, ended) {
		return endedAfter(ended, err)
	}
	return err
}

// endedAfter returns the error of a call whose context ended after an attempt had failed with err.
// The error matches the context's error ended and all that err matches. err may be nil.
func endedAfter(ended, err error) *Error {
	e := Error{Err: err}
	if own, ok := err.(*Error); ok {
		e = *own
	}
	if e.Err == nil {
		e.Err = ended
	} else {
		e.Err = fmt.Errorf("%w; the last attempt ended with: %w", ended, e.Err)
	}
	return &e
}

// look reads the record after a write. If prompt is set, look itself calls Get again after a
// temporary error and a short pause. The driver may retry only in the last call: the call with
// number promptly, or the first call after promptTime.
func (r *round) look(prompt bool) (found Found, err error) {
	ctx, began := r.call.ctx, time.Now()
	for attempt := range promptly {
		if ended := pause(ctx, min(attempt, shortPause)); ended != nil {
			return found, &Error{Err: ended}
		}
		last := !prompt || attempt == promptly-1 || time.Since(began) >= promptTime
		found, err = r.store.driver.Get(ctx, GetRequest{Key: r.key, WithValue: true, Prompt: !last})
		if last || !temporary(err) {
			break
		}
	}
	return found, err
}

// temporary reports whether a repeated request may soon succeed after a driver's error. It
// returns false for an error that matches context.DeadlineExceeded: the driver itself has
// then used its whole time for a call.
func temporary(err error) bool {
	e, own := err.(*Error)
	return own && (e.Kind == ErrUnavailable || e.Kind == ErrThrottled) && !errors.Is(err, context.DeadlineExceeded)
}

// base returns the record from which the next update of a key may begin without a read, and
// whether there is one.
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
	for key := range g.bases { // drop others, in any order, until rec fits
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

// seen compares the record that a read found with the base of the key. The key is contended
// unless found is still that base.
func (g *updates) seen(key string, found Found) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.bases[key]; ok {
		b.contended = !found.Exists || found.Version != b.rec.Version
		g.bases[key] = b
	}
}

// contend notes in the base of the key that another write came before the round's write.
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
