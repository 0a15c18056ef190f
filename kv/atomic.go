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

	// MaxAtomicBytes is the greatest number of bytes of its keys and values together.
	// That is enough for MaxAtomicWrites values of [MaxValueLen], and for seven of
	// [MaxLargeValueLen].
	MaxAtomicBytes = 3_000_000
)

// Op is one operation of a [Store.AtomicWrite]: [PutOp], [TouchOp], [DeleteOp] or
// [CheckOp].
type Op struct {
	kind  WriteKind
	key   string
	value []byte
	plan  func(s *Store, now time.Time) (writePlan, *Error)
	err   error // of a codec
}

// PutOp is a [Store.Put].
func PutOp(key string, value []byte, opts ...PutOption) Op {
	return newOp(KindPut, key, value, opts)
}

// TouchOp is a [Store.Touch].
func TouchOp(key string, opts ...TouchOption) Op { return newOp(KindTouch, key, nil, opts) }

// DeleteOp is a [Store.Delete].
func DeleteOp(key string, opts ...DeleteOption) Op { return newOp(KindDelete, key, nil, opts) }

// CheckOp writes nothing. The AtomicWrite succeeds only if the condition holds. A
// service that cannot check a key without a write writes the entry back, so a check may
// change the version of the entry.
func CheckOp(key string, condition ConditionOption) Op {
	return newOp(KindCheck, key, nil, []ConditionOption{condition})
}

func newOp[O any](kind WriteKind, key string, value []byte, opts []O) Op {
	return Op{kind: kind, key: key, value: value, plan: func(s *Store, now time.Time) (writePlan, *Error) {
		return planWrite(s, key, now, opts)
	}}
}

// AtomicWrite carries out all operations or none. It takes 1 to [MaxAtomicWrites]
// operations, on distinct keys of one [Group], of at most [MaxAtomicBytes] in all. Each
// has its own condition and expiry. A TouchOp without IfVersion needs an entry.
// AtomicWrite returns the version of each entry that it put or touched, in the order of
// the operations, and the zero Version for the others.
//
// When a condition does not hold, the error matches ErrConditionFailed. Its Keys are the
// keys of all conditions that failed. If a version is known to be old before any I/O,
// the store sends no request, and Keys has the keys of such versions only. Nothing was
// written then, nor after any other error that does not match ErrIndeterminate.
//
// Every read that begins after AtomicWrite returned sees all that it wrote. A read that
// overlaps with it may see one key before and another key after it.
//
// After a lost response, the store looks for the entries that were put or touched. The
// guarantees (docs/guarantees.md) list what stays ErrIndeterminate on which service. An
// AtomicWrite that puts, touches or deletes an entry under IfVersion is applied at most
// once. A retry may apply any other AtomicWrite again, as a whole.
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
		case err != nil && err.Kind == ErrConditionFailed: // IfVersion, with a version that is known to be old
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

// checkOps returns an error for operations that no AtomicWrite may have.
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
			return atIndex(&Error{Key: o.key, Kind: ErrInvalidOption, Err: errors.New("an earlier operation has the same key; want one operation for each key")}, i)
		}
		if a, b := Group(ops[0].key), Group(o.key); a != b {
			return atIndex(&Error{Key: o.key, Kind: ErrInvalidOption, Err: fmt.Errorf("the key is in group %s, and the key of element 0 is in group %s; want keys of one group", quote(b), quote(a))}, i)
		}
		// Keys of one group in a namespace may be in several groups as they are stored:
		// the namespace may end with a colon, and a key may begin with one.
		if a, b := Group(s.info.Namespace+ops[0].key), Group(s.info.Namespace+o.key); a != b {
			return atIndex(&Error{Key: o.key, Kind: ErrInvalidOption, Err: fmt.Errorf("as it is stored, with the prefix of the namespace, the key is in group %s, and the key of element 0 is in group %s; want keys of one group", quote(b), quote(a))}, i)
		}
		seen[o.key] = struct{}{}
		bytes += len(o.key) + len(o.value)
	}
	if bytes > MaxAtomicBytes {
		return &Error{Kind: ErrValueTooLarge, Err: fmt.Errorf("the keys and values have %d bytes together; they must have at most %d", bytes, MaxAtomicBytes)}
	}
	return nil
}

// atomicWrite is one call of AtomicWrite.
type atomicWrite struct {
	store  *Store
	call   *call
	now    int64
	asked  []Condition // the caller's conditions
	tokens []string
	writes []Write // with conditions that the driver can judge

	mayHaveApplied bool // true after an attempt that may have been applied
}

// The pauses between rounds: a random part of a limit that doubles each time.
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

// pause waits before the round that follows round. After round 0 it does not wait. It
// returns the error of ctx when ctx ends.
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

// look reads what the driver did not report in found. It skips a key without a
// condition, unless an attempt may have been applied.
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
		return nil, &Error{Kind: ErrUnavailable, Err: errors.New("the driver did not report what is under the keys")}
	}
	return found, nil
}

// recognises reports whether one of the records is from this write, which proves that
// all of it was applied. Drivers may leave such a record for a deletion or a check too.
func (a *atomicWrite) recognises(found []*Found) bool {
	for i, f := range found {
		if f != nil && f.Exists && SameWrite(f.Token, a.tokens[i]) {
			return true
		}
	}
	return false
}

// stores reports whether write i stores a record.
func (a *atomicWrite) stores(i int) bool {
	return a.writes[i].Kind == KindPut || a.writes[i].Kind == KindTouch
}

// stored returns the versions of a write, from the driver's report.
func (a *atomicWrite) stored(native []string) []Version {
	versions := make([]Version, len(native))
	for i, w := range a.writes {
		if a.stores(i) {
			versions[i] = a.store.version(w.Key, w.Expires, native[i])
		}
	}
	return versions
}

// versions returns the versions of a write that recognises found applied. Others may
// have replaced some of its records since.
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

// judge sets the conditions of the next round from what was found. It returns an error
// if a condition of the caller failed.
func (a *atomicWrite) judge(found []*Found) error {
	var failed []string
	for i, f := range found {
		if f == nil { // it has no condition
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

// errConditions returns the error for the keys whose conditions failed.
func errConditions(keys []string) *Error {
	e := &Error{Key: keys[0], Kind: ErrConditionFailed, Keys: keys}
	if len(keys) > 1 {
		quoted := make([]string, len(keys))
		for i, key := range keys {
			quoted[i] = quote(key)
		}
		e.Err = fmt.Errorf("of the keys %s", strings.Join(quoted, ", "))
	}
	return e
}
