package torture

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

// broken is a driver with one bug. Each function that is set replaces the method of Driver that has
// the same name. The functions put and delete each replace Write for one kind of write.
type broken struct {
	kv.Driver
	get       func(ctx context.Context, req kv.GetRequest) (kv.Found, error)
	scan      func(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error]
	put       func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error)
	delete    func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error)
	writeMany func(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult
}

func (d broken) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if d.get != nil {
		return d.get(ctx, req)
	}
	return d.Driver.Get(ctx, req)
}

func (d broken) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	if d.scan != nil {
		return d.scan(ctx, req)
	}
	return d.Driver.Scan(ctx, req)
}

func (d broken) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	switch {
	case d.put != nil && req.Kind == kv.KindPut:
		return d.put(ctx, req)
	case d.delete != nil && req.Kind == kv.KindDelete:
		return d.delete(ctx, req)
	}
	return d.Driver.Write(ctx, req)
}

func (d broken) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	if d.writeMany != nil {
		return d.writeMany(ctx, req)
	}
	return d.Driver.WriteMany(ctx, req)
}

// putting returns a driver that changes every put before it passes the put to d.
func putting(d kv.Driver, change func(req *kv.WriteRequest)) kv.Driver {
	return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
		change(&req)
		return d.Write(ctx, req)
	}}
}

// unconditional returns req without its condition.
func unconditional(req kv.WriteRequest) kv.WriteRequest {
	req.Condition = kv.Condition{}
	return req
}

// definite returns err as if it were certain that the write was not applied.
func definite(err error) error {
	if own, ok := err.(*kv.Error); ok {
		e := *own
		e.MayHaveApplied = false
		return &e
	}
	return err
}

// A bug breaks one promise. The middleware in the field above is a bug in a provider: it wraps
// the unreliable network. The middleware in the field below is a bug in a service: the network
// wraps it.
type bug struct {
	name         string
	above, below func(kv.Driver) kv.Driver
}

// bugs are bugs that calls for one key can find.
var bugs = []bug{
	{name: "forgets that an earlier attempt may have been applied", above: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			out.MayHaveApplied, out.Found.Token = false, ""
			return out, err
		}}
	}},
	{name: "forgets that an earlier attempt of a delete may have been applied", above: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, delete: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			out.MayHaveApplied = false
			return out, err
		}}
	}},
	{name: "reports after a lost response that nothing was written", above: func(d kv.Driver) kv.Driver {
		write := func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			return out, definite(err)
		}
		return broken{Driver: d, put: write, delete: write}
	}},
	{name: "takes a lost response for a success", above: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			if out.MayHaveApplied {
				return kv.Outcome{Done: true, Version: req.Token}, nil
			}
			return out, err
		}}
	}},
	{name: "drops the condition of a retry", above: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			if out.MayHaveApplied && req.Condition.Kind == kv.CondVersion {
				return d.Write(ctx, unconditional(req))
			}
			return out, err
		}}
	}},
	{name: "applies every eighth put again, much later", below: func(d kv.Driver) kv.Driver {
		var mu sync.Mutex
		var n int
		var again kv.WriteRequest
		return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			switch n++; n % 8 {
			case 1:
				again = unconditional(req)
			case 0:
				again.Now = req.Now
				d.Write(ctx, again)
			}
			return out, err
		}}
	}},
	{name: "loses every tenth put", below: func(d kv.Driver) kv.Driver {
		var n atomic.Int64
		return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			if n.Add(1)%10 == 0 && req.Condition.Kind == kv.CondNone {
				return kv.Outcome{Done: true, Version: req.Token}, nil
			}
			return d.Write(ctx, req)
		}}
	}},
	{name: "forgets the expiry", below: func(d kv.Driver) kv.Driver {
		return putting(d, func(req *kv.WriteRequest) { req.Expires = 0 })
	}},
	{name: "sets the expiry a second late", below: func(d kv.Driver) kv.Driver {
		return putting(d, func(req *kv.WriteRequest) {
			if req.Expires != 0 {
				req.Expires += 1000
			}
		})
	}},
	{name: "takes an expired entry for a live one when it is to be absent", below: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			if req.Condition.Kind == kv.CondAbsent {
				req.Now = 1
			}
			out, err := d.Write(ctx, req)
			out.Found.Expires = 0
			return out, err
		}}
	}},
	{name: "judges the condition before it writes, not while", below: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			cond := req.Condition
			if cond.Kind == kv.CondNone {
				return d.Write(ctx, req)
			}
			found, err := d.Get(ctx, kv.GetRequest{Key: req.Key})
			runtime.Gosched()
			live := found.Exists && (found.Expires == 0 || found.Expires > req.Now)
			if err != nil || cond.Kind == kv.CondAbsent && live || cond.Kind == kv.CondVersion && (!found.Exists || found.Version != cond.Version) {
				return kv.Outcome{Exists: found.Exists, Found: found.Record}, err
			}
			return d.Write(ctx, unconditional(req))
		}}
	}},
	{name: "reads what was there a while ago", below: func(d kv.Driver) kv.Driver {
		var cache sync.Map
		var n atomic.Int64
		return broken{Driver: d, get: func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
			if old, ok := cache.Load(req.Key); ok && n.Add(1)%4 == 0 {
				return old.(kv.Found), nil
			}
			req.WithValue = true
			found, err := d.Get(ctx, req)
			if found.Exists {
				cache.Store(req.Key, found)
			}
			return found, err
		}}
	}},
	{name: "keeps the version when the value changes", below: func(d kv.Driver) kv.Driver {
		return putting(d, func(req *kv.WriteRequest) { req.Token = req.Key })
	}},
	{name: "keeps the version when a put is repeated", below: func(d kv.Driver) kv.Driver {
		return putting(d, func(req *kv.WriteRequest) { req.Token = req.Token[:18] + "same" })
	}},
	{name: "tears values", below: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, get: func(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
			found, err := d.Get(ctx, req)
			if len(found.Value) > 1000 {
				found.Value = found.Value[:1000]
			}
			return found, err
		}}
	}},
	{name: "deletes although the condition fails", below: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, delete: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			out, err := d.Write(ctx, req)
			if !out.Done {
				d.Write(ctx, unconditional(req))
			}
			return out, err
		}}
	}},
}

// checkerRounds is a number of rounds in which the checker finds every bug. It finds most bugs in
// the first round, and the rarest bug in one round out of six.
const checkerRounds = 100

// TestCheckerFindsBrokenDrivers checks that the checker finds each bug.
func TestCheckerFindsBrokenDrivers(t *testing.T) {
	seed := Seed(t)
	for _, bug := range bugs {
		t.Run(strings.ReplaceAll(bug.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for round := range checkerRounds {
				if err := tortureMem(t, seed, round, bug.below, bug.above); err != nil {
					t.Logf("found in round %d: %.200s", round, err)
					return
				}
			}
			t.Errorf("rule: the checker finds a driver that %s; it found nothing in %d rounds", bug.name, checkerRounds)
		})
	}
}

// TestCheckerAcceptsTheReference checks that the checker finds nothing in a driver without
// a bug.
func TestCheckerAcceptsTheReference(t *testing.T) {
	t.Parallel()
	seed := Seed(t)
	for round := range 30 {
		if err := tortureMem(t, seed, round, nil, nil); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
	}
}

// tortureMem runs one round against memkv over an unreliable network.
func tortureMem(t *testing.T, seed uint64, round int, below, above func(kv.Driver) kv.Driver) error {
	w := brokenWorld(t, above, below)
	w.Use(faults.Seeded(seed, Rates, 10))
	h := Default(seed, w.Injector).Round(t.Context(), round, w.stores...)
	return h.Check(t.TempDir(), fmt.Sprintf("round %d", round))
}

// batchBugs are bugs that batches and scans can find.
var batchBugs = []bug{
	{name: "forgets keys of a batch that failed", above: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, writeMany: func(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
			results := d.WriteMany(ctx, req)
			for i := range results {
				results[i] = kv.WriteResult{Outcome: kv.Outcome{Done: true}}
			}
			return results
		}}
	}},
	{name: "reports after the lost response of a batch that nothing was written", above: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, writeMany: func(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
			results := d.WriteMany(ctx, req)
			for i, r := range results {
				results[i].Err = definite(r.Err)
			}
			return results
		}}
	}},
	{name: "ends an interrupted scan as if it were complete", above: func(d kv.Driver) kv.Driver {
		return broken{Driver: d, scan: func(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
			return func(yield func(kv.Record, error) bool) {
				for rec, err := range d.Scan(ctx, req) {
					if err != nil || !yield(rec, nil) {
						return
					}
				}
			}
		}}
	}},
}

// TestLostResponsesFindBrokenDrivers checks that the cases of TestLostResponses also find
// the bugs that show only after a lost response.
func TestLostResponsesFindBrokenDrivers(t *testing.T) {
	for _, bug := range slices.Concat(bugs[:5], batchBugs) {
		t.Run(strings.ReplaceAll(bug.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			newWorld := func(t testing.TB) *world { return brokenWorld(t, bug.above, nil) }
			for _, kind := range waysOfLosing {
				for result, err := range conformance.Check(t.Context(), playing(t, newWorld, kind)) {
					if err == nil {
						err = result.Err()
					}
					if err != nil {
						t.Logf("found by %s, %s: %v", kind, result.Name, err)
						return
					}
				}
			}
			t.Errorf("rule: the cases find a driver that %s", bug.name)
		})
	}
}

// TestRepeats checks which effects the model allows when a put is repeated.
func TestRepeats(t *testing.T) {
	t.Parallel()
	put := func(write, version string, begin int64, requests int) Call {
		return Call{ID: write, Key: "k", In: input{Act: actPut, Write: write}, Out: output{Result: resOK, Version: version}, Begin: begin, End: begin + 1, Requests: requests, Lost: requests - 1, Through: 100}
	}
	swap := func(write, version string, begin int64, of, asked string) Call {
		c := put(write, version, begin, 2)
		c.In.Cond, c.In.Of, c.In.Version = condVersion, of, asked
		return c
	}
	get := func(write, version string, begin int64) Call {
		return Call{Key: "k", In: input{Act: actGet}, Out: output{Result: resOK, Write: write, Version: version}, Begin: begin, End: begin + 1}
	}
	for _, c := range []struct {
		what    string
		allowed bool
		calls   []Call
	}{
		{"the repeat of a put brings it back, with another version", true,
			[]Call{put("a", "a2", 0, 2), put("b", "b1", 10, 1), get("a", "a1", 20)}},
		{"the key had an entry, and the repeat brings back an acknowledged put", false,
			[]Call{put("a", "a2", 0, 2), get("a", "a1", 0), put("b", "b1", 10, 1), get("a", "a2", 20)}},
		{"the repeat brings the version back", false,
			[]Call{put("a", "a1", 0, 2), put("b", "b1", 10, 1), get("a", "a1", 20)}},
		{"the repeat brings back the version that somebody read", false,
			[]Call{put("a", "a1", 0, 3), get("a", "a1", 2), put("b", "b1", 10, 1), get("a", "a2", 20), put("c", "c1", 30, 1), get("a", "a1", 40)}},
		{"there was no repeat", false,
			[]Call{put("a", "a1", 0, 1), put("b", "b1", 10, 1), get("a", "a2", 20)}},
		{"the condition of a compare-and-swap holds for what a repeat brought back", true,
			[]Call{put("a", "a1", 0, 2), put("b", "b1", 10, 1), get("a", "a2", 20), swap("c", "c1", 30, "a", "a2"), get("c", "c1", 40)}},
		{"it holds for the version before that", false,
			[]Call{put("a", "a1", 0, 2), put("b", "b1", 10, 1), get("a", "a2", 20), swap("c", "c1", 30, "a", "a1")}},
		{"the compare-and-swap is repeated", false,
			[]Call{put("a", "a1", 0, 1), swap("b", "b1", 10, "a", "a1"), put("c", "c1", 20, 1), get("b", "b2", 30)}},
		{"it is repeated when a repeat brought back the version that it wants", false,
			[]Call{put("a", "a1", 0, 2), swap("b", "b1", 10, "a", "a1"), put("c", "c1", 20, 1), get("c", "c1", 25), get("b", "b1", 30)}},
	} {
		h := History{Calls: c.calls}
		if err := h.Check(t.TempDir(), "repeats"); (err == nil) != c.allowed {
			t.Errorf("%s: allowed is %t, and the check ends with %v", c.what, c.allowed, err)
		}
	}
}

// The rule: over a network, a write may be carried out after its client gave up. But even over
// a network, an entry that nobody wrote is a violation.
func TestLateWritesWithoutAnInjector(t *testing.T) {
	t.Parallel()
	history := func(remote bool, first, second string) error {
		calls := []Call{
			{ID: "c0.0", Client: 0, Key: "k", Begin: 0, End: 10, In: input{Act: actPut, Write: "w"}, Out: output{Result: resMaybe}},
			{ID: "c1.0", Client: 1, Key: "k", Begin: 20, End: 30, In: input{Act: actGet}, Out: output{Result: resAbsent}},
			{ID: "c1.1", Client: 1, Key: "k", Begin: 40, End: 50, In: input{Act: actGet}, Out: output{Result: resOK, Write: first, Version: "1"}},
			{ID: "c1.2", Client: 1, Key: "k", Begin: 60, End: 70, In: input{Act: actGet}, Out: output{Result: resOK, Write: second, Version: "1"}},
		}
		assume(calls, remote)
		return (&History{Calls: calls}).Check(t.TempDir(), "late")
	}
	for _, c := range []struct {
		remote        bool
		first, second string
		allowed       bool
	}{{true, "w", "w", true}, {false, "w", "w", false}, {true, "w", "x", false}, {true, "x", "w", false}} {
		if err := history(c.remote, c.first, c.second); (err == nil) != c.allowed {
			t.Errorf("rule: over a network a write whose client gave up may come late; remote %v, %s and %s: %v", c.remote, c.first, c.second, err)
		}
	}
}
