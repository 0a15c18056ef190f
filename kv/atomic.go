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
	// MaxAtomicWrites is the greatest number of operations.
	MaxAtomicWrites = 100

	// MaxAtomicBytes is the greatest total length of the keys and values, in bytes.
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
	err   error // set if Typed.PutOp could not encode the value
}

// PutOp is the operation of [Store.Put].
func PutOp(key string, value []byte, opts ...PutOption) Op {
	return newOp(KindPut, key, value, opts)
}

// TouchOp is the operation of [Store.Touch].
func TouchOp(key string, opts ...TouchOption) Op { return newOp(KindTouch, key, nil, opts) }

// DeleteOp is the operation of [Store.Delete].
func DeleteOp(key string, opts ...DeleteOption) Op { return newOp(KindDelete, key, nil, opts) }

// CheckOp changes nothing, but the AtomicWrite succeeds only if the condition holds. If the
// service cannot check a condition without a write, the driver may write the entry again, with
// the same value and expiry, so that the entry has a new version. For an absent key, the driver
// may store a record that reads as absent.
func CheckOp(key string, condition ConditionOption) Op {
	return newOp(KindCheck, key, nil, []ConditionOption{condition})
}

func newOp[O any](kind WriteKind, key string, value []byte, opts []O) Op {
	return Op{kind: kind, key: key, value: value, plan: func(s *Store, now time.Time) (writePlan, *Error) {
		return planWrite(s, key, now, opts)
	}}
}

// AtomicWrite carries out all operations or none. It takes 1 to [MaxAtomicWrites]
// operations, or fewer if [Info].MaxAtomicWrites is lower, on distinct keys of one [Group].
// The keys and values have at most [MaxAtomicBytes] in all. Each operation may have its own
// condition and expiry. A TouchOp without IfVersion has the condition that there is an entry.
// AtomicWrite returns one Version for each operation, in their order: the version of the
// entry that was put or touched, or the zero Version for a DeleteOp or CheckOp.
//
// If a condition does not hold, and no earlier attempt may have been applied, the error
// matches ErrConditionFailed. Its Keys are the keys of all conditions that failed. The
// store may know without any I/O that a version is old, for example because the entry has
// expired. It then sends no request, and Keys has only the keys of such versions. If an
// error does not match ErrIndeterminate, nothing was written.
//
// A read that begins after AtomicWrite returned sees everything that it wrote, except in
// a store with [Stale]. A read that overlaps with AtomicWrite may see one key before the
// write and another key after it.
//
// After a lost response, AtomicWrite looks for the entries that it put or touched, to find out
// whether its request was applied. For each service, docs/guarantees.md lists the cases in
// which the error still matches ErrIndeterminate. An AtomicWrite that puts, touches or
// deletes an entry under IfVersion is applied at most once. A retry may apply any other
// AtomicWrite again, as a whole.
//
// AtomicWrite returns ErrUnsupported if the MaxAtomicWrites of the store's [Info] is 0.
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

// checkOps returns an error if the operations are not valid for one AtomicWrite.
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
		// Stored keys begin with the namespace, so keys of one group may be stored in
		// different groups. For example, the keys ":" and ":::b" are in the group ":". In
		// the namespace "a" they are stored as "a:" and "a:::b", in the groups "a:" and "a".
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
	writes []Write // with conditions that the driver can check

	mayHaveApplied bool // true after an attempt that may have been applied
}

// The pause after an attempt at a write has a random length below a limit. The limit is
// firstRoundPause, doubled once for each attempt after attempt 0, and at most longRoundPause.
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
				found, unread := a.look(nil)
				if unread == nil && a.recognises(found) {
					return a.versions(found), nil
				}
				err = causeOf(ctx, err, unread)
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

// pause waits between the attempt with this number and the next attempt, but not after attempt
// 0. If ctx ends, pause returns the error of ctx.
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

// look returns what the driver reported, completed: look reads the keys that the driver did not
// report. It skips keys without a condition, unless an attempt may have been applied. In that
// case, the record under any of the keys may show that it was applied.
func (a *atomicWrite) look(reported []*Found) ([]*Found, error) {
	found := make([]*Found, len(a.writes))
	copy(found, reported)
	unknown := make(map[string]int)
	var keys []string
	for i, w := range a.writes {
		if found[i] == nil && (a.mayHaveApplied || a.asked[i].Kind != CondNone) {
			unknown[w.Key] = i
			keys = append(keys, w.Key)
		}
	}
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

// The method recognises reports whether one of the records is from this write. If so, the
// whole write was applied. A driver may store a record with the write's token even for a
// deletion or a check.
func (a *atomicWrite) recognises(found []*Found) bool {
	for i, f := range found {
		if f != nil && f.Exists && SameWrite(f.Token, a.tokens[i]) {
			return true
		}
	}
	return false
}

// The method stores reports whether write i is a put or a touch.
func (a *atomicWrite) stores(i int) bool {
	return a.writes[i].Kind == KindPut || a.writes[i].Kind == KindTouch
}

// The method stored returns the versions for the caller, given the native versions that the
// driver reported.
func (a *atomicWrite) stored(native []string) []Version {
	versions := make([]Version, len(native))
	for i, w := range a.writes {
		if a.stores(i) {
			versions[i] = a.store.version(w.Key, w.Expires, native[i])
		}
	}
	return versions
}

// versions returns the versions for the caller, after the method recognises has returned
// true. Other writers may already have replaced some records of the write.
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

// judge checks the caller's conditions against the records that were found. It returns an
// error if a condition fails, and otherwise sets the conditions of the next attempt.
func (a *atomicWrite) judge(found []*Found) error {
	var failed []string
	for i, f := range found {
		if f == nil { // the method look skips keys without a condition
			continue
		}
		cond, holds, err := translate(a.asked[i], *f, a.now)
		if err != nil {
			return a.store.fail("atomic write", a.writes[i].Key, err)
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
