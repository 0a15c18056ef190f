package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Limits of one AtomicWrite on every provider.
const (
	// MaxAtomicWrites is the greatest number of its operations.
	MaxAtomicWrites = 100

	// MaxAtomicBytes is the greatest number of bytes that its keys and values have
	// together. It holds as many values of [MaxValueLen] as there may be operations, and
	// seven of [MaxLargeValueLen].
	MaxAtomicBytes = 3_000_000
)

// Op is one operation of an [Store.AtomicWrite]: [PutOp], [TouchOp], [DeleteOp] or
// [CheckOp].
type Op struct {
	kind  WriteKind
	key   string
	value []byte
	plan  func(s *Store, now time.Time) (writePlan, *Error)
	err   error // a codec's
}

// PutOp is a [Store.Put].
func PutOp(key string, value []byte, opts ...PutOption) Op {
	return newOp(KindPut, key, value, opts)
}

// TouchOp is a [Store.Touch].
func TouchOp(key string, opts ...TouchOption) Op { return newOp(KindTouch, key, nil, opts) }

// DeleteOp is a [Store.Delete].
func DeleteOp(key string, opts ...DeleteOption) Op { return newOp(KindDelete, key, nil, opts) }

// CheckOp writes nothing, and lets the AtomicWrite succeed only if its condition holds.
// Services that cannot check a key without writing it write its entry back: the check
// may change the version of the entry.
func CheckOp(key string, condition ConditionOption) Op {
	return newOp(KindCheck, key, nil, []ConditionOption{condition})
}

func newOp[O any](kind WriteKind, key string, value []byte, opts []O) Op {
	return Op{kind: kind, key: key, value: value, plan: func(s *Store, now time.Time) (writePlan, *Error) {
		return planWrite(s, key, now, opts)
	}}
}

// AtomicWrite carries out all operations or none: 1 to [MaxAtomicWrites], on distinct
// keys of one [Group], of at most [MaxAtomicBytes] in all. Each has its own condition
// and expiry; a TouchOp without IfVersion wants an entry. It returns the version of
// each entry that it put or touched, in the order of the operations, and the zero
// Version for the others.
//
// When a condition does not hold, the error matches ErrConditionFailed, and its Keys
// are those of all conditions that did not. Where a version is known to be old, they are
// those of such versions, and nothing is asked. Nothing was written then, nor with any
// other error that does not match ErrIndeterminate.
//
// From its return on every read sees all that it wrote. While it is under way, a reader
// may see one key before and another key after it.
//
// A lost response is recognised by the entries that were put or touched. What stays
// ErrIndeterminate, and on which service, is in the guarantees. An AtomicWrite that
// puts, touches or deletes an entry under IfVersion is applied at most once. Any other
// may be applied again by a retry, as a whole.
//
// It returns ErrUnsupported on a store whose [Info] has no MaxAtomicWrites.
func (s *Store) AtomicWrite(ctx context.Context, ops ...Op) ([]Version, error) {
	const op = "atomic write"
	if err := s.checkOps(ops); err != nil {
		return nil, s.fail(op, "", err)
	}
	c, refused := s.begin(ctx)
	if refused != nil {
		return nil, s.fail(op, "", refused)
	}
	defer c.end()
	at := s.now()
	a := atomicWrite{store: s, call: &c, now: at.UnixMilli(), asked: make([]Condition, len(ops)), tokens: make([]string, len(ops)), writes: make([]Write, len(ops))}
	var old []string
	for i, o := range ops {
		plan, err := o.plan(s, at)
		switch {
		case err != nil && err.Kind == ErrConditionFailed: // of a version that is known to be old
			old = append(old, o.key)
			continue
		case err == nil && o.kind == KindTouch:
			err = plan.touch()
		}
		if err != nil {
			return nil, s.fail(op, o.key, atIndex(err, i))
		}
		a.asked[i], a.tokens[i] = plan.cond, newToken()
		a.writes[i] = Write{Kind: o.kind, Record: Record{Key: o.key, Expires: plan.expires}, Condition: plan.cond}
		if o.kind == KindPut {
			a.writes[i].Value = notNil(o.value)
		}
	}
	if old != nil {
		return nil, s.fail(op, old[0], errConditions(old))
	}
	return a.carryOut()
}

// checkOps refuses what no AtomicWrite can be.
func (s *Store) checkOps(ops []Op) *Error {
	most := min(s.info.MaxAtomicWrites, MaxAtomicWrites)
	switch {
	case len(ops) == 0:
		return &Error{Kind: ErrInvalidOption, Err: errors.New("there is no operation; want at least one")}
	case most == 0:
		return &Error{Kind: ErrUnsupported, Err: errors.New("the store's driver cannot write several keys at once")}
	case len(ops) > most:
		return &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("there are %d operations; want at most %d", len(ops), most)}
	}
	seen, bytes := make(map[string]struct{}, len(ops)), 0
	for i, o := range ops {
		if o.kind == 0 {
			return atIndex(&Error{Kind: ErrInvalidOption, Err: errors.New("the operation is empty; want PutOp, TouchOp, DeleteOp or CheckOp")}, i)
		}
		if err := s.checkKey(o.key); err != nil {
			return atIndex(err, i)
		}
		if o.err != nil {
			return atIndex(&Error{Key: o.key, Kind: ErrInvalidValue, Err: o.err}, i)
		}
		if err := s.checkValue(o.value); err != nil {
			err.Key = o.key
			return atIndex(err, i)
		}
		if _, twice := seen[o.key]; twice {
			return atIndex(&Error{Key: o.key, Kind: ErrInvalidOption, Err: errors.New("there is an operation for the key before it; want one for each key")}, i)
		}
		if a, b := Group(ops[0].key), Group(o.key); a != b {
			return atIndex(&Error{Key: o.key, Kind: ErrInvalidOption, Err: fmt.Errorf("the key is of group %s, and that of element 0 is of group %s; want keys of one group", quote(b), quote(a))}, i)
		}
		// What is one group in a namespace may be several as it is stored, where the
		// namespace's last colon and a key's first meet.
		if a, b := Group(s.info.Namespace+ops[0].key), Group(s.info.Namespace+o.key); a != b {
			return atIndex(&Error{Key: o.key, Kind: ErrInvalidOption, Err: fmt.Errorf("in the store of the namespace the key is of group %s, and that of element 0 is of group %s; want keys of one group", quote(b), quote(a))}, i)
		}
		seen[o.key] = struct{}{}
		bytes += len(o.key) + len(o.value)
	}
	if bytes > MaxAtomicBytes {
		return &Error{Kind: ErrValueTooLarge, Err: fmt.Errorf("the keys and values have %d bytes together; they must have at most %d", bytes, MaxAtomicBytes)}
	}
	return nil
}

// atomicWrite is one AtomicWrite under way.
type atomicWrite struct {
	store  *Store
	call   *call
	now    int64
	asked  []Condition // by the caller
	tokens []string
	writes []Write // under conditions that the driver can judge

	mayHaveApplied bool // an earlier attempt
}

// pauses between the rounds that others made necessary, in jittered powers of two.
const (
	firstRoundPause = 5 * time.Millisecond
	longRoundPause  = 200 * time.Millisecond
)

func (a *atomicWrite) carryOut() ([]Version, error) {
	const op = "atomic write"
	s, ctx := a.store, a.call.ctx
	for round := range maxRounds {
		for i := range a.writes {
			a.writes[i].Token = AttemptToken(a.tokens[i], round*roundAttempts)
		}
		out, err := s.driver.WriteAtomic(ctx, WriteManyRequest{Writes: slices.Clone(a.writes), Now: a.now})
		switch {
		case err != nil:
			e, own := err.(*Error)
			if a.mayHaveApplied = a.mayHaveApplied || !own || e.MayHaveApplied; a.mayHaveApplied {
				if found, unread := a.look(make([]*Found, len(a.writes))); unread == nil && a.recognises(found) {
					return a.versions(found), nil
				}
			}
			return nil, s.failWrite(a.call, op, "", a.mayHaveApplied, err)
		case out.Done && len(out.Versions) == len(a.writes):
			return a.stored(out.Versions), nil
		case out.Done:
			return nil, s.failWrite(a.call, op, "", true, errors.New("the driver did not say what it stored"))
		}
		a.mayHaveApplied = a.mayHaveApplied || out.MayHaveApplied
		found, err := a.look(out.Found)
		if err != nil {
			return nil, s.failWrite(a.call, op, "", a.mayHaveApplied, err)
		}
		if a.recognises(found) {
			return a.versions(found), nil
		}
		if err := a.judge(found); err != nil {
			return nil, s.failWrite(a.call, op, "", a.mayHaveApplied, err)
		}
		if err := pause(ctx, round); err != nil {
			return nil, s.failWrite(a.call, op, "", a.mayHaveApplied, &Error{Err: err})
		}
	}
	return nil, s.fail(op, "", errBeaten(a.mayHaveApplied))
}

// pause waits before the round after round, the first of which may begin at once, or
// until ctx ends, whose error it returns.
func pause(ctx context.Context, round int) error {
	if round == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(rand.N(min(firstRoundPause<<min(round, 10), longRoundPause)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look completes what there is under the keys. Of a write without a condition that is
// of interest only where an attempt may have been applied.
func (a *atomicWrite) look(found []*Found) ([]*Found, error) {
	unknown := make(map[string]int)
	var keys []string
	for i, w := range a.writes {
		if (i >= len(found) || found[i] == nil) && (a.mayHaveApplied || a.asked[i].Kind != CondNone) {
			unknown[w.Key] = i
			keys = append(keys, w.Key)
		}
	}
	found = append(found, make([]*Found, len(a.writes)-len(found))...)
	if len(keys) == 0 {
		return found, nil
	}
	for f, err := range a.store.driver.GetMany(a.call.ctx, GetManyRequest{Keys: keys}) {
		if err != nil {
			e := Error{Err: err}
			if own, ok := err.(*Error); ok {
				e = *own
			}
			e.Key = f.Key
			return nil, &e
		}
		if i, ok := unknown[f.Key]; ok {
			found[i] = &f
			delete(unknown, f.Key)
		}
	}
	if len(unknown) != 0 {
		return nil, &Error{Kind: ErrUnavailable, Err: errors.New("the driver did not say what is under the keys")}
	}
	return found, nil
}

// recognises reports whether one of the records is this write's own, which proves
// that all of it was applied. Drivers may leave a record for a deletion or a check too.
func (a *atomicWrite) recognises(found []*Found) bool {
	for i, f := range found {
		if f != nil && f.Exists && SameWrite(f.Token, a.tokens[i]) {
			return true
		}
	}
	return false
}

// stores reports whether write i leaves a record of its own.
func (a *atomicWrite) stores(i int) bool {
	return a.writes[i].Kind == KindPut || a.writes[i].Kind == KindTouch
}

// stored returns the versions that the driver reports.
func (a *atomicWrite) stored(native []string) []Version {
	versions := make([]Version, len(native))
	for i, w := range a.writes {
		if a.stores(i) {
			versions[i] = a.store.version(w.Key, w.Expires, native[i])
		}
	}
	return versions
}

// versions returns the versions of a write that was recognised by what was found.
// Others may have replaced some of its records since.
func (a *atomicWrite) versions(found []*Found) []Version {
	versions := make([]Version, len(found))
	for i, f := range found {
		switch {
		case !a.stores(i):
		case f != nil && f.Exists && SameWrite(f.Token, a.tokens[i]):
			versions[i] = a.store.version(f.Key, f.Expires, f.Version)
		default:
			versions[i] = a.store.replacedVersion(a.writes[i].Key, a.tokens[i])
		}
	}
	return versions
}

// judge sets the conditions of the next round by what was found, unless those that
// the caller asked for have failed.
func (a *atomicWrite) judge(found []*Found) error {
	var failed []string
	for i, f := range found {
		if f == nil { // a write without a condition
			continue
		}
		cond, holds, err := translate(a.asked[i], *f, a.now)
		if err != nil {
			return err
		}
		if !holds {
			failed = append(failed, a.writes[i].Key)
		}
		a.writes[i].Condition = cond
	}
	switch {
	case failed == nil:
		return nil
	case a.mayHaveApplied:
		return &Error{MayHaveApplied: true, Err: errors.New("a condition fails, but an earlier attempt, whose response was lost, may have been applied")}
	}
	return errConditions(failed)
}

// errConditions is the error of conditions that failed.
func errConditions(keys []string) *Error {
	e := &Error{Key: keys[0], Kind: ErrConditionFailed, Keys: keys}
	if len(keys) > 1 {
		quoted := make([]string, len(keys))
		for i, key := range keys {
			quoted[i] = quote(key)
		}
		e.Err = fmt.Errorf("those of %s", strings.Join(quoted, ", "))
	}
	return e
}
