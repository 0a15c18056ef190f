package conformance

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// unreliable gives the Config.Faulty of memkv, behind a network that is played and a
// client that makes so many attempts. Above stands over the client, as the code of a
// provider does, below on the service's side of the network.
func unreliable(attempts int, above, below func(kv.Driver) kv.Driver) func(context.Context, func(bool) Fault) (*kv.Store, error) {
	return func(_ context.Context, decide func(bool) Fault) (*kv.Store, error) {
		in := new(faults.Injector)
		in.Use(faults.DecidedBy(decide))
		chain := []func(kv.Driver) kv.Driver{faults.Driver(in, attempts)}
		if above != nil {
			chain = append([]func(kv.Driver) kv.Driver{above}, chain...)
		}
		if below != nil {
			chain = append(chain, below)
		}
		return memkv.New().With(kv.Wrap(kv.Level1, chain...)), nil
	}
}

// TestSoundClients runs the cases under faults with clients that repeat requests or
// do not, and are right.
func TestSoundClients(t *testing.T) {
	for name, faulty := range map[string]func(context.Context, func(bool) Fault) (*kv.Store, error){
		"four attempts":            unreliable(4, nil, nil),
		"one attempt":              unreliable(1, nil, nil),
		"two attempts, 16 shards":  unreliable(2, nil, sharded),
		"four attempts, in pages":  unreliable(4, paged(20, nil), nil),
		"one attempt, long pages":  unreliable(1, paged(1000, nil), nil),
		"one attempt, in pages":    unreliable(1, paged(20, nil), sharded),
		"batches key by key":       unreliable(4, keyByKey, nil),
		"no condition with a time": unreliable(4, nil, clockless),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for result, err := range check(t.Context(), Config{New: newMem, Faulty: faulty}, faultSuite) {
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

// TestWithoutFaults: who gives no injector gets no case that needs one.
func TestWithoutFaults(t *testing.T) {
	t.Parallel()
	if n := len(Config{New: newMem}.cases()); n != len(Cases()) {
		t.Errorf("rule: a Config without Faulty has the cases of Cases; it has %d of %d", n, len(Cases()))
	}
	all := len(Cases()) + len(FaultCases())
	if n := len(Config{New: newMem, Faulty: unreliable(4, nil, nil)}.cases()); n != all || len(FaultCases()) < 100 {
		t.Errorf("rule: a Config with Faulty has the cases of FaultCases as well; it has %d of %d", n, all)
	}
}

// paged reads a scan page by page, each page a request for the size or, if that is
// less, for as many records as the store asks for. When a page behind the first one
// fails, failed may change where the scan goes on and says whether it does.
func paged(size int, failed func(from *kv.Range, begin kv.Range) bool) func(kv.Driver) kv.Driver {
	return replacing(func(d *driver) {
		d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
			return func(yield func(kv.Record, error) bool) {
				for from, more := r, true; more; {
					n := 0
					more = false
					for rec, err := range d.Driver.Scan(ctx, from) {
						if err != nil && failed != nil && from.From != r.From && ctx.Err() == nil {
							more = failed(&from, r)
							break
						}
						if !yield(rec, err) || err != nil {
							return
						}
						from.From = rec.Key + "-"
						if n++; n == min(size, r.Limit) {
							more = true
							break
						}
					}
				}
			}
		}
	})
}

// judged changes what a client says of its writes.
func judged(change func(out kv.Outcome, err error) (kv.Outcome, error)) func(kv.Driver) kv.Driver {
	return replacing(func(d *driver) {
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			return change(d.Driver.Put(ctx, rec, cond))
		}
		d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
			return change(d.Driver.Delete(ctx, key, cond))
		}
		d.writeMany = func(ctx context.Context, writes []kv.Write) error {
			_, err := change(kv.Outcome{}, d.Driver.WriteMany(ctx, writes))
			return err
		}
	})
}

// explained changes the errors of a client.
func explained(change func(err *kv.Error)) func(kv.Driver) kv.Driver {
	changed := func(err error) error {
		if e, ok := errors.AsType[*kv.Error](err); ok {
			change(e)
		}
		return err
	}
	return replacing(func(d *driver) {
		d.Driver = judged(func(out kv.Outcome, err error) (kv.Outcome, error) { return out, changed(err) })(d.Driver)
		d.put, d.delete, d.writeMany = d.Driver.Put, d.Driver.Delete, d.Driver.WriteMany
		d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
			rec, ok, err := d.Driver.Get(ctx, key, withValue)
			return rec, ok, changed(err)
		}
		d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
			recs, err := d.Driver.GetMany(ctx, keys)
			return recs, changed(err)
		}
		d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
			return func(yield func(kv.Record, error) bool) {
				for rec, err := range d.Driver.Scan(ctx, r) {
					if !yield(rec, changed(err)) {
						return
					}
				}
			}
		}
	})
}

// brokenClients are for the cases under faults: each is a client of an unreliable
// network, or its service, with one bug.
func brokenClients() []fault {
	return []fault{
		{
			name: "forgets that an earlier attempt of a put may have been applied",
			client: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					out.Retried, out.Found.Token = false, ""
					return out, err
				}
			}),
			must: []string{
				"faults/put-if-not-exists/response-lost", "faults/put-if-not-exists-expired/response-lost", "faults/put-if-version/response-lost",
				"faults/put-*/replaced-before-retry", "faults/put-if-version/deleted-before-retry",
			},
			only: true,
		},
		{
			name: "forgets that an earlier attempt of a delete may have been applied",
			client: replacing(func(d *driver) {
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Delete(ctx, key, cond)
					out.Retried = false
					return out, err
				}
			}),
			must: []string{"faults/delete-if-version/response-lost", "faults/delete-if-version/replaced-before-retry"},
			only: true,
		},
		{
			name:     "says of every failure that nothing was written",
			attempts: 1,
			client:   explained(func(e *kv.Error) { e.MayHaveApplied = false }),
			must: []string{
				"faults/put/response-lost", "faults/put/every-response-lost", "faults/put-if-not-exists/response-lost", "faults/put-if-not-exists/every-response-lost",
				"faults/put-if-not-exists-expired/*response-lost", "faults/put-if-version/*response-lost",
				"faults/delete/*response-lost", "faults/delete-if-version/*response-lost",
				"faults/put-many/*response-lost", "faults/delete-many/*response-lost",
			},
		},
		{
			name: "takes a condition that fails when it repeats a write for its own success",
			client: judged(func(out kv.Outcome, err error) (kv.Outcome, error) {
				if out.Retried {
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
			name:     "takes every failure for a success",
			attempts: 1,
			wrap:     sharded,
			client: replacing(func(d *driver) {
				d.Driver = judged(func(out kv.Outcome, err error) (kv.Outcome, error) {
					out.Done = out.Done || err != nil
					return out, nil
				})(d.Driver)
				d.put, d.delete, d.writeMany = d.Driver.Put, d.Driver.Delete, d.Driver.WriteMany
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					rec, ok, _ := d.Driver.Get(ctx, key, withValue)
					return rec, ok, nil
				}
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					recs, _ := d.Driver.GetMany(ctx, keys)
					return recs, nil
				}
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						for rec, err := range d.Driver.Scan(ctx, r) {
							if err != nil || !yield(rec, nil) {
								return
							}
						}
					}
				}
			}),
			must: []string{
				"faults/*/request-lost", "faults/*/throttled", "faults/*/every-request-lost", "faults/*/always-throttled", "faults/put*/unanswered", "faults/get/unanswered",
				"faults/scan/later-request-lost", "faults/*-stale/*", "faults/put-if-not-exists-live/*",
			},
		},
		{
			name: "has one version for all attempts of a write",
			wrap: replacing(func(d *driver) {
				common := func(rec kv.Record) kv.Record {
					rec.Token = rec.Token[:18] + "same"
					return rec
				}
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					return d.Driver.Put(ctx, common(rec), cond)
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					writes = slices.Clone(writes)
					for i, w := range writes {
						if !w.Delete {
							writes[i].Record = common(w.Record)
						}
					}
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{"faults/*/version-after-retry"},
			only: true,
		},
		{
			name: "takes a repeated request for an attack",
			wrap: replacing(func(d *driver) {
				seen := make(map[string]bool)
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					write := rec.Token[:18]
					if seen[write] && cond.Version == "" {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrIncompatible}
					}
					seen[write] = true
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"faults/put/response-lost", "faults/put-if-not-exists/deleted-before-retry", "faults/put-if-not-exists-expired/deleted-before-retry"},
		},
		{
			name: "repeats what was turned away at once, and without end",
			client: replacing(func(d *driver) {
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					for {
						rec, ok, err := d.Driver.Get(ctx, key, withValue)
						if err == nil || ctx.Err() != nil {
							return rec, ok, err
						}
					}
				}
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					for {
						out, err := d.Driver.Put(ctx, rec, cond)
						if err == nil || ctx.Err() != nil {
							return out, err
						}
					}
				}
			}),
			must: []string{"faults/put-if-version/always-throttled", "faults/get/always-throttled", "faults/exists/always-throttled"},
		},
		{
			name: "is late",
			client: replacing(func(d *driver) {
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					rec, ok, err := d.Driver.Get(ctx, key, withValue)
					if ctx.Err() != nil {
						time.Sleep(lateness + 100*time.Millisecond)
					}
					return rec, ok, err
				}
			}),
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
			name: "calls throttling an outage",
			client: explained(func(e *kv.Error) {
				if e.Kind == kv.ErrThrottled {
					e.Kind = kv.ErrUnavailable
				}
			}),
			must: []string{"faults/*/always-throttled"},
			only: true,
		},
		{
			name: "does not know that what was turned away was not written",
			client: explained(func(e *kv.Error) {
				if e.Kind == kv.ErrThrottled {
					e.MayHaveApplied = true
				}
			}),
			must: []string{"faults/put/always-throttled", "faults/delete-if-version/always-throttled", "faults/put-many/always-throttled", "faults/delete-many/always-throttled"},
		},
		{
			name: "is of no use after a failure",
			client: func(inner kv.Driver) kv.Driver {
				failed := false
				return replacing(func(d *driver) {
					d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
						out, err := d.Driver.Put(ctx, rec, cond)
						failed = failed || err != nil
						return out, err
					}
					d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
						if failed {
							return kv.Record{}, false, &kv.Error{Kind: kv.ErrUnavailable}
						}
						return d.Driver.Get(ctx, key, withValue)
					}
				})(inner)
			},
			must: []string{"faults/put/every-request-lost", "faults/put-if-version/unanswered", "faults/put-if-not-exists/every-response-lost"},
		},
		{
			name:     "begins a scan anew when a request fails",
			attempts: 1,
			client:   paged(20, func(from *kv.Range, begin kv.Range) bool { *from = begin; return true }),
			must:     []string{"faults/scan/later-request-lost"},
		},
		{
			name:     "takes a page that fails for the end of the scan",
			attempts: 1,
			client:   paged(1000, func(*kv.Range, kv.Range) bool { return false }),
			must:     []string{"faults/scan/later-request-lost"},
			only:     true,
		},
		{
			name: "takes an entry that is gone when it repeats a delete for its own work",
			client: replacing(func(d *driver) {
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Delete(ctx, key, cond)
					out.Done = out.Done || out.Retried && !out.Exists
					return out, err
				}
			}),
			must: []string{"faults/delete-if-version/deleted-before-retry"},
			only: true,
		},
		{
			name: "names one of the keys that failed",
			client: replacing(func(d *driver) {
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					err := d.Driver.WriteMany(ctx, writes)
					if err != nil {
						err = &kv.BatchError{Failed: map[string]error{writes[0].Key: err}}
					}
					return err
				}
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					recs, err := d.Driver.GetMany(ctx, keys)
					if err != nil {
						err = &kv.BatchError{Failed: map[string]error{keys[0]: err}}
					}
					return recs, err
				}
			}),
			must: []string{"faults/put-many/every-request-lost", "faults/delete-many/every-request-lost", "faults/get-many/every-request-lost", "faults/get-many/unanswered"},
		},
		{
			name: "says that a batch failed which did not",
			client: replacing(func(d *driver) {
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					if err := d.Driver.WriteMany(ctx, writes); err != nil {
						return err
					}
					return &kv.Error{Kind: kv.ErrThrottled}
				}
			}),
			must: []string{"faults/put-many/response-lost", "faults/delete-prefix/request-lost"},
		},
	}
}
