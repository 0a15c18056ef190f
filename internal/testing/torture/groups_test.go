package torture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

// TestGroups checks that the results of concurrent clients under faults agree with the
// model. The clients make AtomicWrites, touches, updates, increments, calls of GetAndDelete and
// batches, and puts and deletions between them.
func TestGroups(t *testing.T) { tortureAll(t, "groups", InGroups) }

// TestFates checks which effects the model allows for AtomicWrites, touches and updates.
func TestFates(t *testing.T) {
	t.Parallel()
	call := func(id, key string, in input, out output, begin int64) Call {
		return Call{ID: id, Key: key, In: in, Out: out, Begin: begin, End: begin + 5, Requests: 1, Through: begin + 5}
	}
	put := func(id, key string, begin int64) Call {
		return call(id, key, input{Act: actPut, Write: id}, output{Result: resOK, Version: id + key}, begin)
	}
	get := func(key, write, version string, begin int64) Call {
		return call("", key, input{Act: actGet, Now: begin}, output{Result: resOK, Write: write, Version: version}, begin)
	}
	absent := func(key string, begin int64) Call {
		return call("", key, input{Act: actGet, Now: begin}, output{Result: resAbsent}, begin)
	}
	all := func(requests int, calls ...Call) []Call { // one AtomicWrite
		for i := range calls {
			calls[i].Atomic, calls[i].Requests, calls[i].Lost, calls[i].Through = true, requests, requests-1, 100
		}
		return calls
	}
	maybe := func(calls []Call) []Call {
		for i := range calls {
			calls[i].Out = output{Result: resMaybe}
		}
		return calls
	}
	once := func(calls []Call) []Call {
		for i := range calls {
			calls[i].Once = true
		}
		return calls
	}
	touch := func(id string, expires, now, begin int64, result result) Call {
		return call(id, "a", input{Act: actTouch, Cond: condLive, Expires: expires, Now: now}, output{Result: result, Version: id}, begin)
	}
	expiring := put("w", "a", 0)
	expiring.In.Expires = 15
	update := func(id, of string, begin int64) Call {
		return call(id, "a", input{Act: actUpdate, Write: id, Of: of, Version: of + "a"}, output{Result: resOK, Version: id}, begin)
	}
	ifAbsent := put("w", "b", 10)
	ifAbsent.In.Cond = condAbsent
	add := func(sum string, begin int64) Call {
		return call("add"+sum, "a", input{Act: actIncrement, Delta: 1, Keep: true}, output{Result: resOK, Write: sum}, begin)
	}
	for _, c := range []struct {
		what    string
		allowed bool
		calls   []Call
	}{
		{"a reader sees one key before and the other after an AtomicWrite that is in progress", true,
			append(all(1, put("w", "a", 10), put("w", "b", 10)), get("a", "w", "wa", 10), absent("b", 13))},
		{"and one that has ended", false,
			append(all(1, put("w", "a", 10), put("w", "b", 10)), get("a", "w", "wa", 10), absent("b", 20))},
		{"one of unknown outcome took effect", true,
			append(maybe(all(1, put("w", "a", 10), put("w", "b", 10))), get("a", "w", "wa", 200), get("b", "w", "wb", 200))},
		{"it did not", true,
			append(maybe(all(1, put("w", "a", 10), put("w", "b", 10))), absent("a", 200), absent("b", 200))},
		{"it took effect on one key, and not on the other", false,
			append(maybe(all(1, put("w", "a", 10), put("w", "b", 10))), get("a", "w", "wa", 200), absent("b", 200))},
		{"it took effect late on one key", true,
			append(maybe(all(1, put("w", "a", 10), put("w", "b", 10))), get("a", "w", "wa", 20), absent("b", 20), get("b", "w", "wb", 200))},
		{"a repeat brings all keys back", true,
			append(all(2, put("w", "a", 10), put("w", "b", 10)), put("x", "a", 20), put("x", "b", 20), get("a", "w", "2", 30), get("b", "w", "3", 200))},
		{"a repeat brings one key back", false,
			append(all(2, put("w", "a", 10), ifAbsent), put("x", "a", 20), get("a", "w", "2", 30), get("b", "w", "wb", 200))},
		{"one under a version is repeated", false,
			append(once(all(2, put("w", "a", 10), put("w", "b", 10))), put("x", "a", 20), put("x", "b", 20), get("a", "w", "2", 30), get("b", "w", "3", 200))},
		{"two of unknown outcome explain what neither does alone", false,
			slices.Concat(maybe(all(1, put("v", "a", 10), put("v", "b", 10))), maybe(all(1, put("w", "b", 10), put("w", "c", 10))),
				[]Call{get("a", "v", "1", 200), get("b", "w", "2", 200), absent("c", 200)})},
		{"a touch keeps the value", true, []Call{put("w", "a", 0), touch("t", 0, 0, 10, resOK), get("a", "w", "t", 20)}},
		{"a touch keeps the version", false, []Call{put("w", "a", 0), touch("t", 0, 0, 10, resOK), get("a", "w", "wa", 20)}},
		{"a touch of an expired entry finds none", true, []Call{expiring, touch("t", 0, 20, 10, resFailed), absent("a", 20)}},
		{"a touch revives an expired entry", false, []Call{expiring, touch("t", 0, 20, 10, resOK), get("a", "w", "t", 30)}},
		{"an update replaces what it saw", true, []Call{put("w", "a", 0), update("u", "w", 10), get("a", "u", "u", 20)}},
		{"an update overwrites what it did not see", false, []Call{put("w", "a", 0), put("x", "a", 10), update("u", "w", 20)}},
		{"increments add up", true, []Call{add("#1", 0), add("#2", 10), get("a", "#2", "v", 20)}},
		{"an increment is applied twice", false, []Call{add("#1", 0), add("#2", 10), get("a", "#3", "v", 20)}},
		{"an increment is lost", false, []Call{add("#1", 0), add("#1", 10)}},
	} {
		h := History{Calls: c.calls}
		if err := h.Check(t.TempDir(), "fates"); (err == nil) != c.allowed {
			t.Errorf("%s: allowed is %t, and the check ends with %v", c.what, c.allowed, err)
		}
	}
}

// brokenAtomic is a driver whose WriteAtomic has a bug.
type brokenAtomic struct {
	kv.Driver
	writeAtomic func(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error)
}

func (d brokenAtomic) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return d.writeAtomic(ctx, req)
}

// brokenWrite is a driver whose Write has a bug.
type brokenWrite struct {
	kv.Driver
	write func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error)
}

func (d brokenWrite) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	return d.write(ctx, req)
}

// sometimes returns a function that returns true at every nth call.
func sometimes(n int64) func() bool {
	var calls atomic.Int64
	return func() bool { return calls.Add(1)%n == 0 }
}

// halfOf returns req with only every second of its writes.
func halfOf(req kv.WriteManyRequest) kv.WriteManyRequest {
	half := req
	half.Writes = nil
	for i, w := range req.Writes {
		if i%2 == 0 {
			half.Writes = append(half.Writes, w)
		}
	}
	return half
}

// isUpdate reports whether a write is part of an update of an existing entry.
func isUpdate(w kv.Write) bool { return w.Kind == kv.KindPut && w.Predecessors != "" }

// groupBugs are bugs of drivers. Each breaks one promise about atomic writes, touches or updates.
var groupBugs = []struct {
	name         string
	keys         int // with this number of keys the bug soon shows
	above, below func(kv.Driver) kv.Driver
}{
	{keys: 16, name: "applies half of an AtomicWrite", below: func(d kv.Driver) kv.Driver {
		now := sometimes(6)
		return brokenAtomic{d, func(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
			if len(req.Writes) == 1 || !now() {
				return d.WriteAtomic(ctx, req)
			}
			out, err := d.WriteAtomic(ctx, halfOf(req))
			if out.Done {
				versions := make([]string, len(req.Writes))
				for i := range req.Writes {
					if versions[i] = req.Writes[i].Token; i%2 == 0 {
						versions[i] = out.Versions[i/2]
					}
				}
				out.Versions = versions
			}
			out.Found = nil
			return out, err
		}}
	}},
	{keys: 16, name: "applies half of an AtomicWrite, and then does not answer", below: func(d kv.Driver) kv.Driver {
		now := sometimes(6)
		return brokenAtomic{d, func(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
			if len(req.Writes) == 1 || !now() {
				return d.WriteAtomic(ctx, req)
			}
			d.WriteAtomic(ctx, halfOf(req))
			return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true}
		}}
	}},
	{keys: 16, name: "judges all conditions of an AtomicWrite but the last", below: func(d kv.Driver) kv.Driver {
		return brokenAtomic{d, func(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
			req.Writes = slices.Clone(req.Writes)
			for i := len(req.Writes) - 1; i >= 0; i-- {
				if w := &req.Writes[i]; w.Condition.Kind == kv.CondVersion {
					w.Condition = kv.Condition{}
					if w.Kind == kv.KindTouch {
						w.Condition.Kind = kv.CondLive
					}
					break
				}
			}
			return d.WriteAtomic(ctx, req)
		}}
	}},
	{keys: 16, name: "carries out an AtomicWrite again, late and without its versions", below: func(d kv.Driver) kv.Driver {
		now := sometimes(4)
		var late atomic.Pointer[kv.WriteManyRequest]
		return brokenAtomic{d, func(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
			out, err := d.WriteAtomic(ctx, req)
			if again := late.Swap(nil); again != nil {
				d.WriteAtomic(ctx, *again)
			} else if out.Done && now() {
				again := req
				again.Writes = slices.Clone(req.Writes)
				for i := range again.Writes {
					w := &again.Writes[i]
					w.Token = kv.AttemptToken(w.Token, 100)
					if w.Kind != kv.KindTouch && w.Kind != kv.KindCheck {
						w.Condition = kv.Condition{}
					}
				}
				late.Store(&again)
			}
			return out, err
		}}
	}},
	{keys: 4, name: "revives an expired entry that is touched", below: func(d kv.Driver) kv.Driver {
		return brokenWrite{d, func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			if req.Condition.Kind == kv.CondLive {
				req.Now = 1
			}
			return d.Write(ctx, req)
		}}
	}},
	{keys: 16, name: "loses the value when it touches", below: func(d kv.Driver) kv.Driver {
		return brokenWrite{d, func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			if req.Kind == kv.KindTouch && req.Condition.Kind == kv.CondVersion {
				req.Kind, req.Value = kv.KindPut, []byte{}
			}
			return d.Write(ctx, req)
		}}
	}},
	{keys: 16, name: "touches an entry without a new version", below: func(d kv.Driver) kv.Driver {
		return brokenWrite{d, func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			if req.Kind == kv.KindTouch {
				found, err := d.Get(ctx, kv.GetRequest{Key: req.Key})
				if err != nil {
					return kv.Outcome{}, err
				}
				req.Token = found.Token
			}
			return d.Write(ctx, req)
		}}
	}},
	{keys: 16, name: "carries out the put of an update again, late and without its condition", below: func(d kv.Driver) kv.Driver {
		now := sometimes(4)
		var late atomic.Pointer[kv.WriteRequest]
		return brokenWrite{d, func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			if !isUpdate(req.Write) {
				return out, err
			}
			if again := late.Swap(nil); again != nil {
				d.Write(ctx, *again)
			} else if now() {
				again := unconditional(req)
				again.Token = kv.AttemptToken(again.Token, 100)
				late.Store(&again)
			}
			return out, err
		}}
	}},
	{keys: 16, name: "accepts a late put of another writer as the state that an update wants", below: func(d kv.Driver) kv.Driver {
		return brokenWrite{d, func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			if err == nil && !out.Done && isUpdate(req.Write) && out.Exists && out.Found.Predecessors == "" {
				return d.Write(ctx, unconditional(req))
			}
			return out, err
		}}
	}},
	{keys: 16, name: "forgets that the put of an update may have been applied", above: func(d kv.Driver) kv.Driver {
		return brokenWrite{d, func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			if isUpdate(req.Write) {
				out.MayHaveApplied, out.Found.Token = false, ""
			}
			return out, err
		}}
	}},
}

// TestGroupsFindBrokenDrivers checks that the check of TestGroups finds each bug.
func TestGroupsFindBrokenDrivers(t *testing.T) {
	seed := Seed(t)
	for _, bug := range groupBugs {
		t.Run(strings.ReplaceAll(bug.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for round := range checkerRounds {
				if err := tortureGroups(t, seed, round, bug.keys, bug.below, bug.above); err != nil {
					t.Logf("found in round %d: %.200s", round, err)
					return
				}
			}
			t.Errorf("rule: the check of groups finds a driver that %s; it found nothing in %d rounds", bug.name, checkerRounds)
		})
	}
}

// TestGroupsAcceptTheReference checks that the check of TestGroups finds nothing in a
// driver without a bug.
func TestGroupsAcceptTheReference(t *testing.T) {
	t.Parallel()
	seed := Seed(t)
	for round := range 30 {
		if err := tortureGroups(t, seed, round, 16, nil, nil); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
	}
}

// tortureGroups makes one round against memkv, with keys in groups of four.
func tortureGroups(t *testing.T, seed uint64, round, keys int, below, above func(kv.Driver) kv.Driver) error {
	w := brokenWorld(t, above, below)
	w.Use(faults.Seeded(seed, Rates, 10))
	workload := InGroups(seed, w.Injector)
	workload.Keys, workload.Groups = keys, keys/4
	h := workload.Round(t.Context(), round, w.stores...)
	return h.Check(t.TempDir(), fmt.Sprintf("round %d", round))
}
