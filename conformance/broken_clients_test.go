package conformance

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// unreliable returns a Config.Faulty for a memkv that is reached over a simulated network.
// The argument attempts is the greatest number of times that the client sends one request. The
// middleware outer wraps the client, as the code of a provider does. The middleware inner wraps
// memkv, so it is part of the service. Both may be nil.
func unreliable(attempts int, outer, inner middleware) func(context.Context, func(bool) Fault) (*kv.Store, error) {
	return func(_ context.Context, decide func(bool) Fault) (*kv.Store, error) {
		in := new(faults.Injector)
		in.Use(faults.DecidedBy(decide))
		parts := []middleware{faults.Driver(in, attempts)}
		if outer != nil {
			parts = append([]middleware{outer}, parts...)
		}
		if inner != nil {
			parts = append(parts, inner)
		}
		return memkv.New().With(kv.Wrap(kv.Level1, parts...)), nil
	}
}

// TestSoundClients runs the fault cases with correct clients, with and without retries.
func TestSoundClients(t *testing.T) {
	for name, faulty := range map[string]func(context.Context, func(bool) Fault) (*kv.Store, error){
		"four attempts":                     unreliable(4, nil, nil),
		"one attempt":                       unreliable(1, nil, nil),
		"two attempts, 16 shards":           unreliable(2, nil, sharded),
		"four attempts, in pages":           unreliable(4, paged(20, false), nil),
		"one attempt, long pages":           unreliable(1, paged(1000, false), nil),
		"one attempt, in pages":             unreliable(1, paged(20, false), sharded),
		"batches key by key":                unreliable(4, keyByKey, nil),
		"batches one key after another":     unreliable(4, inSequence, nil),
		"no condition that depends on time": unreliable(4, nil, clockless),
		"no report of the record found":     unreliable(4, nil, findsNothing),
		"expired records instead of none":   unreliable(4, nil, leavesExpired),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for result, err := range check(t.Context(), Config{New: newMem, Faulty: faulty, parallel: manyAtOnce}, faultSuite) {
				if err == nil {
					err = result.Err()
				}
				if err != nil {
					t.Errorf("%s: %v", result.Name, err)
				}
			}
		})
	}
}

// TestWithoutFaults checks that the cases of FaultCases are run only if Config.Faulty is
// set.
func TestWithoutFaults(t *testing.T) {
	t.Parallel()
	if n := len(Config{New: newMem}.cases()); n != len(Cases()) {
		t.Errorf("rule: a Config without Faulty has the cases of Cases; it has %d of %d", n, len(Cases()))
	}
	all := len(Cases()) + len(FaultCases())
	if n := len(Config{New: newMem, Faulty: unreliable(4, nil, nil)}.cases()); n != all || len(FaultCases()) < 100 {
		t.Errorf("rule: a Config with Faulty also has the cases of FaultCases; it has %d of %d", n, all)
	}
}

// paged reads a scan page by page. Each page is a request for size records, or for the
// scan's Limit if that is less. failureEnds adds a bug: if a page after the first fails,
// the scan ends without an error.
func paged(size int, failureEnds bool) middleware {
	return methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
		return func(yield func(kv.Record, error) bool) {
			for from, more := req, true; more; {
				n := 0
				more = false
				for rec, err := range d.Scan(ctx, from) {
					if err != nil && failureEnds && from.From != req.From && ctx.Err() == nil {
						return
					}
					if !yield(rec, err) || err != nil {
						return
					}
					from.From = rec.Key + "-"
					if n++; n == min(size, req.Limit) {
						more = true
						break
					}
				}
			}
		}
	}}.over
}

// explained returns middleware that changes the errors of a client.
func explained(change func(err *kv.Error)) middleware {
	return failures(func(err error) error {
		if e, ok := err.(*kv.Error); ok {
			changed := *e
			change(&changed)
			return &changed
		}
		return err
	})
}

// brokenClients are faults for the fault cases. Each is one bug in the client of an
// unreliable network, or in its service.
func brokenClients() []fault {
	return []fault{
		{
			name: "forgets that an earlier attempt of a put may have been applied",
			client: after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) {
				out.MayHaveApplied, out.Found.Token = false, ""
			}),
			must: []string{
				"faults/put-if-not-exists/response-lost", "faults/put-if-not-exists-expired/response-lost", "faults/put-if-version/response-lost",
				"faults/put-*/replaced-before-retry", "faults/put-if-version/deleted-before-retry",
			},
			only: true,
		},
		{
			name: "repeats the write of an update after a lost response",
			client: onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				req.Prompt = false
				return d.Write(ctx, req)
			}),
			must: []string{"faults/increment/read-before-retry"},
			only: true,
		},
		{
			name: "repeats the read of an update after a lost response",
			client: methods{get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
				req.Prompt = false
				return d.Get(ctx, req)
			}}.over,
			must: []string{"faults/increment/prompt-read"},
			only: true,
		},
		{
			name: "does not store the predecessors of a record",
			wrap: puts(func(rec *kv.Record) { rec.Predecessors = "" }),
			must: []string{"faults/increment/updated-before-read"},
			only: true,
		},
		{
			name:   "forgets that an earlier attempt of a delete may have been applied",
			client: after(kv.KindDelete, func(_ kv.WriteRequest, out *kv.Outcome) { out.MayHaveApplied = false }),
			must:   []string{"faults/delete-if-version/response-lost", "faults/delete-if-version/replaced-before-retry"},
			only:   true,
		},
		{
			name: "forgets that an earlier attempt of a touch may have been applied",
			client: after(kv.KindTouch, func(_ kv.WriteRequest, out *kv.Outcome) {
				out.MayHaveApplied, out.Found.Token = false, ""
			}),
			must: []string{"faults/touch-if-version/response-lost"},
			only: true,
		},
		{
			name: "treats the lost response to an atomic write as a failed condition",
			client: atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
				out.MayHaveApplied = false
				for _, found := range out.Found {
					if found != nil {
						found.Token = ""
					}
				}
				return out, err
			}),
			must: []string{"faults/atomic/response-lost"},
			only: true,
		},
		{
			name: "treats an atomic write that fails in a retry as its own success",
			client: atomicOutcomes(func(req kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
				if err == nil && out.MayHaveApplied {
					return kv.AtomicOutcome{Done: true, Versions: make([]string, len(req.Writes))}, nil
				}
				return out, err
			}),
			must: []string{"faults/atomic/response-lost", "faults/atomic-refused/response-lost", "faults/atomic-refused/request-lost"},
			only: true,
		},
		{
			name: "an atomic write is carried out in part by a retry",
			client: methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
				out, err := d.WriteAtomic(ctx, req)
				if err != nil || out.MayHaveApplied {
					req.Writes = req.Writes[:1]
					_, _ = d.WriteAtomic(context.WithoutCancel(ctx), req)
				}
				return out, err
			}}.over,
			attempts: 1,
			must:     []string{"faults/atomic/request-lost", "faults/atomic/throttled"},
		},
		{
			name:     "reports for every failure that nothing was written",
			attempts: 1,
			client:   explained(func(e *kv.Error) { e.MayHaveApplied = false }),
			must: []string{
				"faults/put/response-lost", "faults/put/every-response-lost", "faults/put-if-not-exists/response-lost", "faults/put-if-not-exists/every-response-lost",
				"faults/put-if-not-exists-expired/*response-lost", "faults/put-if-version/*response-lost",
				"faults/delete/*response-lost", "faults/delete-if-version/*response-lost",
				"faults/put-many/*response-lost", "faults/put-many-if-not-exists/*response-lost", "faults/delete-many/*response-lost", "faults/delete-prefix-writes/*response-lost",
				"faults/touch/*response-lost", "faults/touch-if-version/*response-lost", "faults/increment/response-lost", "faults/increment/every-response-lost",
				"faults/get-and-delete/*response-lost", "faults/atomic/*response-lost",
			},
		},
		{
			name: "treats a condition that fails in a retry as its own success",
			client: outcomes(func(out kv.Outcome, err error) (kv.Outcome, error) {
				if out.MayHaveApplied {
					return kv.Outcome{Done: true, Version: out.Found.Version}, nil
				}
				return out, err
			}),
			must: []string{
				"faults/put-if-not-exists-live/response-lost", "faults/put-if-not-exists-live/request-lost",
				"faults/*-stale/response-lost", "faults/*-stale/request-lost", "faults/*/replaced-before-retry",
			},
		},
		{
			name:     "treats every failure as a success",
			attempts: 1,
			wrap:     sharded,
			client: chain(
				outcomes(func(out kv.Outcome, err error) (kv.Outcome, error) {
					out.Done = out.Done || err != nil
					return out, nil
				}),
				atomicOutcomes(func(req kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
					if err != nil {
						out = kv.AtomicOutcome{Done: true, Versions: make([]string, len(req.Writes))}
					}
					return out, nil
				}),
				readFailures(func(error) error { return nil }),
				counting(func(ctx context.Context, d kv.Driver, req kv.ScanRequest) (int, error) {
					n, _ := countLive(ctx, d, req)
					return n, nil
				}),
			),
			must: []string{
				"faults/atomic-refused/*",
				"faults/*/request-lost", "faults/*/throttled", "faults/*/every-request-lost", "faults/*/always-throttled", "faults/put*/unanswered", "faults/get/unanswered",
				"faults/get/response-lost", "faults/exists/response-lost", "faults/count/response-lost", "faults/scan/*response-lost", "faults/page/response-lost", "faults/get-many/response-lost", "faults/delete-prefix/response-lost",
				"faults/*-stale/*", "faults/put-if-not-exists-live/*",
			},
		},
		{
			name: "has one version for all attempts of a write",
			wrap: puts(func(rec *kv.Record) { rec.Token = rec.Token[:18] + "same" }),
			must: []string{"faults/*/version-after-retry"},
			only: true,
		},
		{
			name: "returns the version of its first attempt, whichever was applied",
			client: after(kv.KindPut, func(req kv.WriteRequest, out *kv.Outcome) {
				if out.Done {
					out.Version = req.Token
				}
			}),
			must: []string{"faults/put/request-lost", "faults/put/version-after-retry", "faults/put-if-not-exists/version-after-retry"},
		},
		{
			name: "treats a retry as an attack",
			wrap: func(d kv.Driver) kv.Driver {
				var seen sync.Map
				return onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if _, twice := seen.LoadOrStore(req.Token[:18], true); twice && req.Condition.Kind != kv.CondVersion {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrIncompatible}
					}
					return d.Write(ctx, req)
				})(d)
			},
			must: []string{"faults/put/response-lost", "faults/put-if-not-exists/deleted-before-retry", "faults/put-if-not-exists-expired/deleted-before-retry"},
		},
		{
			name: "retries throttled requests at once, and without end",
			client: methods{
				get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (found kv.Found, err error) {
					for found, err = d.Get(ctx, req); err != nil && ctx.Err() == nil; found, err = d.Get(ctx, req) {
					}
					return found, err
				},
				write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (out kv.Outcome, err error) {
					for out, err = d.Write(ctx, req); err != nil && ctx.Err() == nil; out, err = d.Write(ctx, req) {
					}
					return out, err
				},
			}.over,
			must: []string{"faults/put-if-version/always-throttled", "faults/get/always-throttled", "faults/exists/always-throttled"},
		},
		{
			name: "is late",
			client: methods{get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
				found, err := d.Get(ctx, req)
				if ctx.Err() != nil {
					time.Sleep(lateness + 100*time.Millisecond) // a real pause, because the suite measures real time
				}
				return found, err
			}}.over,
			must: []string{"faults/get/unanswered"},
		},
		{
			name: "hides that a context ended",
			client: explained(func(e *kv.Error) {
				if errors.Is(e.Err, context.DeadlineExceeded) {
					*e = kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: e.MayHaveApplied, Err: errors.New("nobody answered")}
				}
			}),
			must: []string{"faults/*/unanswered"},
			only: true,
		},
		{
			name: "reports throttling as an outage",
			client: explained(func(e *kv.Error) {
				if e.Kind == kv.ErrThrottled {
					e.Kind = kv.ErrUnavailable
				}
			}),
			must: []string{"faults/*/always-throttled"},
			only: true,
		},
		{
			name: "does not report that a throttled request was not written",
			client: explained(func(e *kv.Error) {
				if e.Kind == kv.ErrThrottled {
					e.MayHaveApplied = true
				}
			}),
			must: []string{"faults/put/always-throttled", "faults/delete-if-version/always-throttled", "faults/put-many/always-throttled", "faults/delete-many/always-throttled"},
		},
		{
			name: "fails forever after one failure",
			client: func(d kv.Driver) kv.Driver {
				var failed atomic.Bool
				return methods{
					write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
						out, err := d.Write(ctx, req)
						if err != nil && req.Kind == kv.KindPut {
							failed.Store(true)
						}
						return out, err
					},
					get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
						if failed.Load() {
							return kv.Found{}, &kv.Error{Kind: kv.ErrUnavailable}
						}
						return d.Get(ctx, req)
					},
				}.over(d)
			},
			must: []string{"faults/put/every-request-lost", "faults/put-if-version/unanswered", "faults/put-if-not-exists/every-response-lost"},
		},
		{
			name:     "treats a page that fails as the end of the scan",
			attempts: 1,
			client:   paged(1000, true),
			must:     []string{"faults/scan/later-response-lost"},
			only:     true,
		},
		{
			name: "treats an entry that is gone in a retry as its own delete",
			client: after(kv.KindDelete, func(_ kv.WriteRequest, out *kv.Outcome) {
				out.Done = out.Done || out.MayHaveApplied && !out.Exists
			}),
			must: []string{"faults/delete-if-version/deleted-before-retry"},
			only: true,
		},
		{
			name: "names only one of the keys that failed",
			client: chain(
				results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
					for i := range results[1:] {
						if results[0].Err != nil {
							results[1+i] = kv.WriteResult{Outcome: kv.Outcome{Done: true}}
						}
					}
					return results
				}),
				methods{getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
					return func(yield func(kv.Found, error) bool) {
						for found, err := range d.GetMany(ctx, req) {
							if err == nil {
								if !yield(found, nil) {
									return
								}
								continue
							}
							all := nothing(req.Keys)
							if !yield(all[0], err) {
								return
							}
							for _, found := range all[1:] {
								if !yield(found, nil) {
									return
								}
							}
							return
						}
					}
				}}.over,
			),
			must: []string{"faults/put-many/every-request-lost", "faults/delete-many/every-request-lost", "faults/get-many/every-request-lost", "faults/get-many/unanswered"},
		},
		{
			name:   "waits for the last of its requests before it yields a key",
			client: chain(getsMany(func(_ []string, found []kv.Found) []kv.Found { return found }), keyByKey),
			must:   []string{"driver/get-many/unanswered-request"},
		},
		{
			name: "reports for every write of a batch that its first attempt stored it",
			client: results(func(req kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i, r := range results {
					if r.Done && req.Writes[i].Kind == kv.KindPut {
						results[i].Version = req.Writes[i].Token
					}
				}
				return results
			}),
			must: []string{"faults/put-many/response-lost", "faults/put-many/request-lost", "faults/put-many-if-not-exists/request-lost"},
		},
		{
			name: "has another version for what it finds after a lost response to a batch",
			client: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i, r := range results {
					if r.MayHaveApplied && r.Exists {
						results[i].Found.Version += "?"
					}
				}
				return results
			}),
			must: []string{"faults/put-many-if-not-exists/response-lost"},
			only: true,
		},
		{
			name: "forgets that an earlier attempt of a batch may have been applied",
			client: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i := range results {
					results[i].MayHaveApplied, results[i].Found.Token = false, ""
				}
				return results
			}),
			must: []string{"faults/put-many-if-not-exists/response-lost"},
			only: true,
		},
		{
			name: "reports a failure of a batch that did not fail",
			client: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i, r := range results {
					if r.Err == nil {
						results[i].Err = &kv.Error{Kind: kv.ErrThrottled}
					}
				}
				return results
			}),
			must: []string{"faults/put-many/response-lost", "faults/delete-prefix/response-lost"},
		},
	}
}
