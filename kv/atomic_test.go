package kv_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// callID is the context key for the number of a call in a test.
type callID struct{}

// ledger counts how often the service carried out the atomic write of each call. If clockless
// is set, ledger reports CondAbsent and CondLive as failed for every record, expired or not.
type ledger struct {
	kv.Driver
	clockless bool
	mu        sync.Mutex
	applied   map[int]int
}

func (l *ledger) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make([]*kv.Found, len(req.Writes))
	fails := false
	for i, w := range req.Writes {
		if f, _ := l.Driver.Get(ctx, kv.GetRequest{Key: w.Key}); l.clockless && f.Exists && (w.Condition.Kind == kv.CondAbsent || w.Condition.Kind == kv.CondLive) {
			found[i], fails = &f, true
		}
	}
	if fails {
		return kv.AtomicOutcome{Found: found}, nil
	}
	out, err := l.Driver.WriteAtomic(ctx, req)
	if id, ok := ctx.Value(callID{}).(int); ok && out.Done {
		l.applied[id]++
	}
	return out, err
}

// attempts is the greatest number of times that a network sends an atomic write.
const attempts = 3

func (n *network) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	unknown := false
	for attempt := range attempts {
		n.arrive()
		time.Sleep(time.Millisecond)
		sent := req
		sent.Writes = slices.Clone(req.Writes)
		for i, w := range req.Writes {
			sent.Writes[i].Token = kv.AttemptToken(w.Token, attempt)
		}
		act := func() (kv.AtomicOutcome, error) { return n.Driver.WriteAtomic(context.WithoutCancel(ctx), sent) }
		switch at := n.roll(); {
		case at < n.chance/3: // never arrives
		case at < n.chance*2/3: // arrives late
			n.mu.Lock()
			n.late = append(n.late, func() { _, _ = act() })
			n.mu.Unlock()
		case at < n.chance:
			_, _ = act()
		default:
			out, err := act()
			out.MayHaveApplied = !out.Done && unknown
			for i := range out.Found {
				if n.roll() < 0.3 { // a service that does not report every record
					out.Found[i] = nil
				}
			}
			return out, err
		}
		unknown = true
	}
	return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("no response")}
}

func (n *network) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	n.arrive()
	return n.Driver.GetMany(ctx, req)
}

// randomOps returns the operations of an atomic write of some keys of a group. puts has the keys
// of the puts, by the index of the operation. underVersion is true if one of the operations puts,
// touches or deletes an entry under IfVersion.
func randomOps(store *kv.Store, random *rand.Rand, value string) (ops []kv.Op, puts map[int]string, underVersion bool) {
	puts = make(map[int]string)
	for _, i := range random.Perm(4)[:1+random.IntN(4)] {
		key := fmt.Sprintf("g::%d", i)
		e, err := store.Get(context.Background(), key)
		known := err == nil && random.IntN(3) > 0
		switch kind := random.IntN(8); {
		case kind < 3 && known:
			puts[len(ops)] = key
			ops = append(ops, kv.PutOp(key, []byte(value), kv.IfVersion(e.Version)))
			underVersion = true
		case kind < 3 && err != nil:
			puts[len(ops)] = key
			ops = append(ops, kv.PutOp(key, []byte(value), kv.IfNotExists(), kv.TTL(20*time.Millisecond)))
		case kind < 4:
			puts[len(ops)] = key
			ops = append(ops, kv.PutOp(key, []byte(value)))
		case kind < 5 && known:
			ops = append(ops, kv.DeleteOp(key, kv.IfVersion(e.Version)))
			underVersion = true
		case kind < 6 && known && random.IntN(2) == 0:
			ops = append(ops, kv.TouchOp(key, kv.TTL(time.Hour), kv.IfVersion(e.Version)))
			underVersion = true
		case kind < 6 && known:
			ops = append(ops, kv.TouchOp(key, kv.TTL(time.Hour)))
		case kind < 7 && known:
			ops = append(ops, kv.CheckOp(key, kv.IfVersion(e.Version)))
		default:
			ops = append(ops, kv.DeleteOp(key))
		}
	}
	return ops, puts, underVersion
}

// The result of an AtomicWrite is correct, whatever happens to its requests.
func TestAtomicWritesUnderLoss(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		chance    float64
		clockless bool
	}{{"few losses", 0.1, false}, {"many losses", 0.6, false}, {"few losses, and no clock", 0.1, true}, {"many losses, and no clock", 0.6, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			synctest.Test(t, func(t *testing.T) {
				const callers, each = 4, 400
				service := &ledger{clockless: c.clockless, applied: make(map[int]int)}
				data := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { service.Driver = d; return service }))
				store, n := over(data, c.chance, seed)
				errs, underVersion := make([]error, callers*each), make([]bool, callers*each)
				var done sync.WaitGroup
				for caller := range callers {
					random := rand.New(rand.NewPCG(seed, uint64(caller)+2))
					done.Go(func() {
						for i := range each {
							id := caller*each + i
							value := fmt.Sprint("by ", id)
							ops, puts, under := randomOps(data, random, value)
							ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), callID{}, id), time.Duration(1+random.IntN(200))*time.Millisecond)
							versions, err := store.AtomicWrite(ctx, ops...)
							cancel()
							errs[id], underVersion[id] = err, under
							if err == nil && under {
								for i, key := range puts {
									e, err := data.Get(t.Context(), key)
									touched := time.Until(e.ExpiresAt) > time.Minute // another caller has touched it since
									if err == nil && string(e.Value) == value && !touched && e.Version != versions[i] {
										t.Errorf("rule: a success returns the versions of the stored entries; seed %d: %q has another version", seed, key)
									}
								}
							}
							if e, ok := errors.AsType[*kv.Error](err); ok && errors.Is(err, kv.ErrConditionFailed) && len(e.Keys) == 0 {
								t.Errorf("rule: a failed condition names its keys; seed %d: %v names no key", seed, err)
							}
							if random.IntN(4) == 0 { // another writer
								if key := fmt.Sprintf("g::%d", random.IntN(4)); random.IntN(2) == 0 {
									_, _ = data.Put(t.Context(), key, []byte("foreign"))
								} else {
									_ = data.Delete(t.Context(), key)
								}
							}
						}
					})
				}
				done.Wait()
				for _, arrive := range n.late {
					arrive()
				}
				var succeeded, failed, unknown int
				for id, err := range errs {
					applied := service.applied[id]
					switch {
					case err == nil:
						succeeded++
						if applied == 0 {
							t.Errorf("rule: a write that succeeded was applied; seed %d: call %d was not", seed, id)
						}
					case errors.Is(err, kv.ErrIndeterminate):
						unknown++
					default:
						failed++
						if applied > 0 {
							t.Errorf("rule: an error that does not match ErrIndeterminate says that nothing was or will be written; seed %d: call %d was applied, and returned %v", seed, id, err)
						}
					}
					if underVersion[id] && applied > 1 {
						t.Errorf("rule: a write with IfVersion is applied at most once; seed %d: call %d was applied %d times", seed, id, applied)
					}
				}
				if succeeded < callers*each/4 || failed == 0 || unknown == 0 {
					t.Errorf("the test sees too little: %d calls succeeded, %d failed, and the result of %d is unknown", succeeded, failed, unknown)
				}
			})
		})
	}
}

// sameAnswer returns the same result for every atomic write after the first. The field applies
// says whether it also carries out the writes.
type sameAnswer struct {
	kv.Driver
	applies bool
	first   *kv.AtomicOutcome // the result of the first call; if nil, the first call has the same result
	out     kv.AtomicOutcome
	err     error
	calls   int
}

func (a *sameAnswer) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	if a.calls++; a.applies {
		_, _ = a.Driver.WriteAtomic(ctx, req)
	}
	if a.first != nil && a.calls == 1 {
		return *a.first, nil
	}
	return a.out, a.err
}

// If the store tries an atomic write again because another writer was faster, it does not
// forget that an earlier attempt may have been applied.
func TestAtomicWriteRemembersUnknownAttempts(t *testing.T) {
	t.Parallel()
	found := func(expires int64) []*kv.Found {
		return []*kv.Found{{Record: kv.Record{Key: "key", Expires: expires, Token: "another", Version: "another"}, Exists: true}}
	}
	a := &sameAnswer{first: &kv.AtomicOutcome{MayHaveApplied: true, Found: found(1)}, out: kv.AtomicOutcome{Found: found(0)}}
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { a.Driver = d; return a }))
	if _, err := store.AtomicWrite(t.Context(), kv.PutOp("key", nil, kv.IfNotExists())); !errors.Is(err, kv.ErrIndeterminate) || a.calls != 2 {
		t.Errorf("rule: a condition that fails in a later round is not definite after an attempt that may have been applied; got %v after %d calls of the driver", err, a.calls)
	}
}

// The rule: an error about one key names the key.
func TestAtomicWriteNamesTheKey(t *testing.T) {
	t.Parallel()
	found := kv.Found{Record: kv.Record{Key: "g::b", Expires: 1, Token: "another"}, Exists: true} // without a version
	a := &sameAnswer{out: kv.AtomicOutcome{Found: []*kv.Found{nil, &found}}}
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { a.Driver = d; return a }))
	_, err := store.AtomicWrite(t.Context(), kv.PutOp("g::a", nil), kv.PutOp("g::b", nil, kv.IfNotExists()))
	if e, ok := err.(*kv.Error); !ok || e.Key != "g::b" || e.Op != "atomic write" {
		t.Errorf("rule: an error about one key names the key, here g::b; got %v", err)
	}
}

func TestAtomicWriteAnswers(t *testing.T) {
	t.Parallel()
	large := make([]kv.Op, 10)
	for i := range large {
		large[i] = kv.PutOp(fmt.Sprintf("g::%d", i), make([]byte, 350<<10))
	}
	put := []kv.Op{kv.PutOp("g::a", nil, kv.IfNotExists()), kv.DeleteOp("g::c")}
	two := []kv.Op{kv.PutOp("g::a", nil), kv.TouchOp("g::b", kv.TTL(time.Hour))}
	for _, c := range []struct {
		rule    string
		ops     []kv.Op
		out     kv.AtomicOutcome
		err     error
		want    error
		calls   int
		applied bool // the driver carries out the writes before it returns
	}{
		{"keys and values of more than MaxAtomicBytes are refused before any I/O", large, kv.AtomicOutcome{}, nil, kv.ErrValueTooLarge, 0, false},
		{"keys and values of MaxAtomicBytes are carried out", large[:8], kv.AtomicOutcome{Done: true, Versions: slices.Repeat([]string{"v"}, 8)}, nil, nil, 1, false},
		{"a success without its versions is not believed", two, kv.AtomicOutcome{Done: true}, nil, kv.ErrIndeterminate, 1, false},
		{"a success with versions of fewer writes is not believed", two, kv.AtomicOutcome{Done: true, Versions: []string{"v"}}, nil, kv.ErrIndeterminate, 1, false},
		{"after an error that is not a *kv.Error the write may have been applied", two, kv.AtomicOutcome{}, errors.New("broken pipe"), kv.ErrIndeterminate, 1, false},
		{"a *kv.Error without MayHaveApplied is definite", two, kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrThrottled}, kv.ErrThrottled, 1, false},
		{"a condition that fails without a reason is retried, and the retries end", two[:1], kv.AtomicOutcome{}, nil, kv.ErrUnavailable, 100, false},
		{"a touch of nothing is a failed condition", two, kv.AtomicOutcome{}, nil, kv.ErrConditionFailed, 1, false},
		{"a touch of nothing after an attempt that may have been applied is not definite", two, kv.AtomicOutcome{MayHaveApplied: true}, nil, kv.ErrIndeterminate, 1, false},
		{"results for more writes than there are mean nothing", two, kv.AtomicOutcome{Found: make([]*kv.Found, 5)}, nil, kv.ErrConditionFailed, 1, false},
		{"a write that is found applied after an error is a success", put, kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true}, nil, 1, true},
		{"a write that is found applied after a broken connection is a success", put, kv.AtomicOutcome{}, errors.New("broken pipe"), nil, 1, true},
		{"a write that is found applied after its condition failed is a success", put, kv.AtomicOutcome{MayHaveApplied: true}, nil, nil, 1, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &sameAnswer{applies: c.applied, out: c.out, err: c.err}
				store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { a.Driver = d; return a }), kv.MaxValue(kv.MaxLargeValueLen))
				_, err := store.AtomicWrite(t.Context(), c.ops...)
				if !errors.Is(err, c.want) || c.want == nil && err != nil || a.calls != c.calls {
					t.Errorf("rule: %s; got %v after %d calls of the driver, want %v after %d", c.rule, err, a.calls, c.want, c.calls)
				}
				if c.want != kv.ErrIndeterminate && errors.Is(err, kv.ErrIndeterminate) {
					t.Errorf("rule: %s; after the error %v the write may have been applied", c.rule, err)
				}
			})
		})
	}
}

// beaten reports the first calls of WriteAtomic as failed, as if other writers had been
// faster.
type beaten struct {
	kv.Driver
	rounds int
	tokens [][]string // the tokens of the writes of each call
}

func (d *beaten) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	var tokens []string
	for _, w := range req.Writes {
		tokens = append(tokens, w.Token)
	}
	if d.tokens = append(d.tokens, tokens); len(d.tokens) <= d.rounds {
		return kv.AtomicOutcome{Found: make([]*kv.Found, len(req.Writes))}, nil
	}
	return d.Driver.WriteAtomic(ctx, req)
}

func TestAtomicWriteHasTokensForEachRound(t *testing.T) {
	t.Parallel()
	var d *beaten
	store := memkv.New().With(kv.Wrap(kv.Level1, func(inner kv.Driver) kv.Driver {
		d = &beaten{Driver: inner, rounds: 2}
		return d
	}))
	if _, err := store.AtomicWrite(t.Context(), kv.PutOp("g::a", nil), kv.PutOp("g::b", nil)); err != nil {
		t.Fatal(err)
	}
	if len(d.tokens) != 3 {
		t.Fatalf("the write took %d rounds; want 3", len(d.tokens))
	}
	for write := range 2 {
		first, taken := d.tokens[0][write], make(map[string]bool)
		for round, tokens := range d.tokens {
			token := tokens[write]
			if taken[token] || token[:kv.TokenLen-4] != first[:kv.TokenLen-4] {
				t.Errorf("rule: each round of an atomic write has its own tokens, by which the store recognises its write; round %d of write %d has %q after %q", round, write, token, first)
			}
			for attempt := range 4096 {
				taken[kv.AttemptToken(token, attempt)] = true
			}
		}
	}
}
