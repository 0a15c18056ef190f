package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

func brokenDrivers() []fault {
	return slices.Concat(expiryFaults(), clockFaults(), conditionFaults(), versionFaults(), keyFaults(), valueFaults(), sliceFaults(),
		scanFaults(), groupFaults(), staleFaults(), batchFaults(), driverFaults(), raceFaults(), contextFaults(), otherDriverFaults(),
		touchFaults(), largeFaults(), atomicFaults(), predecessorFaults())
}

func expiryFaults() []fault {
	// removing returns middleware whose scans remove the records that have been expired for
	// at least age.
	removing := func(age time.Duration) middleware {
		return func(d kv.Driver) kv.Driver {
			return scans(func(req kv.ScanRequest, rec *kv.Record) bool {
				if isExpired(*rec, req.Now-age.Milliseconds()) {
					_, _ = force(d, kv.KindDelete, *rec, req.Now)
				}
				return true
			})(d)
		}
	}
	return []fault{
		{
			name: "forgets expiry",
			wrap: puts(func(rec *kv.Record) { rec.Expires = 0 }),
			must: []string{
				"expiry/ttl/*", "expiry/absolute", "expiry/put-many", "expiry/rounded-up/*", "expiry/kept", "expiry/latest",
				"put/if-not-exists/expired", "get/expired", "get/expired-for-long", "get/re-created-after-expiry", "scan/expired-runs", "scan/only-expired", "page/expired-runs", "batch/get-many/absent-and-expired",
			},
		},
		{
			name: "forgets expiry in batches",
			wrap: inBatches(func(w *kv.Write) { w.Expires = 0 }),
			must: []string{"expiry/put-many", "expiry/every-millisecond", "batch/put-many/duplicates", "scan/limit-counts-live", "batch/delete-prefix/expired"},
		},
		{
			name: "lets entries live a millisecond longer",
			wrap: puts(func(rec *kv.Record) {
				if rec.Expires != 0 {
					rec.Expires++
				}
			}),
			must: []string{"expiry/ttl/*", "expiry/absolute", "expiry/judged-below-the-millisecond", "expiry/put-many", "expiry/latest"},
		},
		{
			name: "keeps whole seconds of expiry",
			wrap: puts(func(rec *kv.Record) { rec.Expires -= rec.Expires % 1000 }),
			must: []string{"expiry/every-millisecond", "expiry/rounded-up/ttl", "expiry/rounded-up/absolute", "expiry/kept", "expiry/ttl/999ms"},
		},
		{
			name: "keeps 32 bits of expiry in seconds",
			wrap: puts(func(rec *kv.Record) {
				if rec.Expires > 1<<32*1000 {
					rec.Expires = 0
				}
			}),
			must: []string{"expiry/latest", "expiry/ttl/longest"},
		},
		{
			name: "puts merge, and keep an expiry that is gone",
			wrap: func(d kv.Driver) kv.Driver {
				return before(kv.KindPut, func(req *kv.WriteRequest) {
					if old, ok := find(d, req.Key); ok && req.Expires == 0 {
						req.Expires = old.Expires
					}
				})(d)
			},
			must: []string{"expiry/removed", "expiry/removed-by-compare-and-swap", "expiry/of-re-created"},
		},
		{
			name: "batches merge, and keep an expiry that is gone",
			wrap: func(d kv.Driver) kv.Driver {
				return inBatches(func(w *kv.Write) {
					if old, ok := find(d, w.Key); ok && w.Expires == 0 {
						w.Expires = old.Expires
					}
				})(d)
			},
			must: []string{"expiry/removed-by-put-many", "batch/put-many/over-expired"},
		},
		{
			name: "puts do not replace a later expiry",
			wrap: func(d kv.Driver) kv.Driver {
				return before(kv.KindPut, func(req *kv.WriteRequest) {
					if old, ok := find(d, req.Key); ok && req.Expires != 0 {
						req.Expires = max(req.Expires, old.Expires)
					}
				})(d)
			},
			must: []string{"expiry/replaced"},
		},
		{
			name: "failed conditions change the expiry",
			wrap: func(d kv.Driver) kv.Driver {
				return after(kv.KindPut, func(req kv.WriteRequest, out *kv.Outcome) {
					if old, ok := find(d, req.Key); ok && !out.Done {
						old.Expires = req.Expires
						_, _ = force(d, kv.KindPut, old, req.Now)
					}
				})(d)
			},
			must: []string{"expiry/unchanged-by-failed-condition", "put/if-not-exists/live", "put/if-version/replaced"},
		},
		{
			name: "replaces entries that live another second",
			wrap: before(kv.KindPut, func(req *kv.WriteRequest) {
				if req.Condition.Kind == kv.CondAbsent {
					req.Now += 1000
				}
			}),
			must: []string{"put/if-not-exists/live-with-expiry"},
			only: true,
		},
		{
			name: "does not replace expired entries, and does not report their expiry",
			wrap: chain(
				before(kv.KindPut, func(req *kv.WriteRequest) { req.Now = 0 }),
				after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) { out.Found.Expires = 0 }),
			),
			must: []string{"put/if-not-exists/expired", "put/if-not-exists/expired-for-long", "expiry/ttl/1ms", "put/if-not-exists/response-lost-of-takeover", "concurrency/takeover"},
		},
		{
			name: "does not replace expired entries, and does not report their version",
			wrap: chain(
				before(kv.KindPut, func(req *kv.WriteRequest) { req.Now = 0 }),
				after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) { out.Found.Version = "unknown" }),
			),
			must: []string{"put/if-not-exists/expired", "expiry/ttl/10y"},
		},
		{
			name: "scans leave out records that expire within a minute",
			wrap: scans(func(req kv.ScanRequest, rec *kv.Record) bool { return req.Now == 0 || !isExpired(*rec, req.Now+60_000) }),
			must: []string{"expiry/ttl/1ms", "expiry/ttl/1s", "expiry/put-many", "get/live-with-expiry"},
		},
		{
			name: "scans leave out records that have expired by the driver's own clock",
			wrap: scans(func(_ kv.ScanRequest, rec *kv.Record) bool {
				return !isExpired(*rec, time.Now().Add(24*time.Hour).UnixMilli())
			}),
			must: []string{"expiry/ttl/1s", "expiry/absolute", "scan/entries", "page/entries"},
		},
		{
			name: "scans remove expired records, without an hour's grace",
			wrap: removing(0),
			must: []string{"expiry/later-for-a-slow-clock", "expiry/fast-clock/scan*", "expiry/fast-clock/count", "count/expired"},
			only: true,
		},
		{
			name: "scans remove records that expired more than half an hour ago",
			wrap: removing(31 * time.Minute),
			must: []string{"expiry/later-for-a-slow-clock", "expiry/fast-clock/scan*", "expiry/fast-clock/count"},
			only: true,
		},
		{
			name: "scans leave out records that have expired by the driver's own clock, if the request has no time",
			wrap: scans(func(req kv.ScanRequest, rec *kv.Record) bool {
				return req.Now != 0 || !isExpired(*rec, time.Now().UnixMilli())
			}),
			must: []string{"batch/delete-prefix/expired-by-other-clocks"},
			only: true,
		},
		{
			name: "Get leaves out records that expired two seconds ago by the driver's own clock",
			wrap: gets(func(_ kv.GetRequest, found *kv.Found) {
				found.Exists = found.Exists && !isExpired(found.Record, time.Now().UnixMilli()-2000)
			}),
			must: []string{"expiry/slow-clock"},
			only: true,
		},
		{
			name: "replaces entries that expired two seconds ago by the driver's own clock",
			wrap: before(kv.KindPut, func(req *kv.WriteRequest) {
				if req.Condition.Kind == kv.CondAbsent {
					req.Now = max(req.Now, time.Now().UnixMilli()-2000)
				}
			}),
			must: []string{"expiry/slow-clock"},
			only: true,
		},
		{
			name: "writes remove expired records, without an hour's grace",
			wrap: func(d kv.Driver) kv.Driver {
				return after(kv.KindPut, func(req kv.WriteRequest, _ *kv.Outcome) {
					for old := range d.Scan(context.Background(), kv.ScanRequest{From: "-", To: "~", Limit: 100}) {
						if isExpired(old, req.Now) {
							w := kv.Write{Kind: kv.KindDelete, Record: old, Condition: kv.Condition{Kind: kv.CondVersion, Version: old.Version}}
							_, _ = d.Write(context.Background(), kv.WriteRequest{Write: w, Now: req.Now})
						}
					}
				})(d)
			},
			must: []string{"expiry/later-for-a-slow-clock"},
		},
	}
}

func conditionFaults() []fault {
	// ignoring returns middleware that drops the conditions of one kind from one kind of
	// write.
	ignoring := func(write kv.WriteKind, cond kv.ConditionKind) middleware {
		return before(write, func(req *kv.WriteRequest) {
			if req.Condition.Kind == cond {
				req.Condition = kv.Condition{}
			}
		})
	}
	return []fault{
		{
			name: "ignores that an entry exists",
			wrap: ignoring(kv.KindPut, kv.CondAbsent),
			must: []string{
				"put/if-not-exists/live", "put/if-not-exists/live-with-expiry", "put/if-not-exists/replaced", "put/if-not-exists/re-created",
				"put/if-not-exists/re-created-after-expiry", "put/if-not-exists/replaced-by-batch", "put/if-not-exists/replaced-by-equal",
				"put/if-not-exists/replaced-before-retry", "concurrency/creators", "concurrency/takeover", "json/conditions", "batch/then-conditions",
			},
		},
		{
			name: "puts ignore the version",
			wrap: ignoring(kv.KindPut, kv.CondVersion),
			must: []string{
				"put/if-version/absent", "put/if-version/replaced", "put/if-version/replaced-by-batch", "put/if-version/replaced-by-equal",
				"put/if-version/deleted", "put/if-version/deleted-by-batch", "put/if-version/re-created",
				"put/if-version/replaced-before-retry", "put/if-version/deleted-before-retry",
				"versions/equal-value", "versions/equal-value-by-batch", "concurrency/compare-and-swap", "concurrency/put-and-delete", "concurrency/counter", "json/conditions",
			},
		},
		{
			name: "deletes ignore the version",
			wrap: ignoring(kv.KindDelete, kv.CondVersion),
			must: []string{
				"delete/if-version/absent", "delete/if-version/replaced", "delete/if-version/replaced-by-batch", "delete/if-version/replaced-by-equal",
				"delete/if-version/deleted", "delete/if-version/deleted-by-batch", "delete/if-version/re-created",
				"delete/if-version/response-lost", "delete/twice", "versions/expiry-alone", "concurrency/delete", "batch/then-conditions", "errors/described",
			},
		},
		{
			name: "puts with a version create absent entries",
			wrap: onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				out, err := d.Write(ctx, req)
				if req.Condition.Kind == kv.CondVersion && err == nil && !out.Done && !out.Exists {
					return force(d, kv.KindPut, req.Record, req.Now)
				}
				return out, err
			}),
			must: []string{"put/if-version/absent", "put/if-version/deleted", "put/if-version/deleted-by-batch", "put/if-version/deleted-before-retry"},
		},
		{
			name: "in deletes of an absent entry every condition holds",
			wrap: after(kv.KindDelete, func(_ kv.WriteRequest, out *kv.Outcome) { out.Done = out.Done || !out.Exists }),
			must: []string{"delete/if-version/absent", "delete/if-version/deleted", "delete/if-version/deleted-by-batch", "delete/if-version/response-lost", "delete/twice", "concurrency/delete"},
		},
		{
			name: "refuses to delete an absent entry",
			wrap: onWrite(kv.KindDelete, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				if _, ok := find(d, req.Key); !ok {
					return kv.Outcome{}, &kv.Error{Kind: kv.ErrNotFound}
				}
				return d.Write(ctx, req)
			}),
			must: []string{"delete/none/absent", "delete/none/deleted", "delete/none/deleted-by-batch", "delete/none/response-lost", "delete/twice"},
		},
		{
			name: "returns an error instead of a failed condition",
			wrap: onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				out, err := d.Write(ctx, req)
				if err == nil && !out.Done {
					return kv.Outcome{}, fmt.Errorf("412 precondition failed: %s", req.Value)
				}
				return out, err
			}),
			must: []string{"put/if-not-exists/live", "put/if-version/replaced", "errors/one-meaning", "errors/no-value-in-them", "put/other-keys-untouched"},
		},
		{
			name: "drops the token",
			wrap: after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) { out.Found.Token = "" }),
			must: []string{"put/if-not-exists/response-lost", "put/if-not-exists/response-lost-of-takeover", "put/if-version/response-lost", "driver/predecessors/reads"},
			only: true,
		},
		{
			name: "finds its own token whenever a condition fails",
			wrap: after(kv.KindPut, func(req kv.WriteRequest, out *kv.Outcome) { out.Found.Token = req.Token }),
			must: []string{"put/if-not-exists/live", "put/if-not-exists/replaced-before-retry", "put/if-version/replaced-before-retry", "concurrency/creators"},
		},
		{
			name: "does not report the entry of a failed condition",
			wrap: after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) { out.Exists, out.Found = false, kv.Record{} }),
			must: []string{"put/if-not-exists/live", "put/if-not-exists/response-lost"},
		},
		{
			name: "treats a retry as an attack",
			wrap: func(d kv.Driver) kv.Driver {
				var seen sync.Map
				return onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if _, twice := seen.LoadOrStore(req.Token[:18], true); twice && req.Condition.Kind == kv.CondNone {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrIncompatible}
					}
					return d.Write(ctx, req)
				})(d)
			},
			must: []string{"put/none/response-lost"},
			only: true,
		},
		{
			name: "writes change the next key",
			wrap: func(d kv.Driver) kv.Driver {
				return before(kv.KindPut, func(req *kv.WriteRequest) {
					if next, ok := find(d, req.Key+"1"); ok {
						next.Value = append(next.Value, '!')
						_, _ = force(d, kv.KindPut, next, req.Now)
					}
				})(d)
			},
			must: []string{"put/other-keys-untouched"},
		},
		{
			name: "deletes also delete longer keys",
			wrap: func(d kv.Driver) kv.Driver {
				return before(kv.KindDelete, func(req *kv.WriteRequest) {
					_, _ = force(d, kv.KindDelete, kv.Record{Key: req.Key + "1"}, req.Now)
					_, _ = force(d, kv.KindDelete, kv.Record{Key: req.Key + "a"}, req.Now)
				})(d)
			},
			must: []string{"delete/none/absent", "delete/none/live", "delete/none/live-with-expiry", "delete/none/replaced", "delete/none/expired", "delete/none/expired-for-long", "delete/none/re-created-after-expiry", "keys/one-begins-another"},
		},
		{
			name: "does not create an entry that was deleted",
			wrap: func(d kv.Driver) kv.Driver {
				var gone sync.Map
				return chain(
					onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
						if _, ok := gone.Load(req.Key); ok && req.Condition.Kind == kv.CondAbsent {
							return kv.Outcome{Exists: true, Found: kv.Record{Key: req.Key, Version: "tombstone"}}, nil
						}
						return d.Write(ctx, req)
					}),
					after(kv.KindDelete, func(req kv.WriteRequest, out *kv.Outcome) {
						if out.Done {
							gone.Store(req.Key, true)
						}
					}),
					inBatches(func(w *kv.Write) {
						if w.Kind == kv.KindDelete {
							gone.Store(w.Key, true)
						}
					}),
				)(d)
			},
			must: []string{"put/if-not-exists/deleted", "put/if-not-exists/deleted-by-batch", "put/if-not-exists/re-created", "get/re-created", "delete/none/re-created", "batch/then-conditions"},
		},
	}
}

// versioned replaces the version of every record that the driver reads or writes by the
// result of the function name.
func versioned(name func(rec kv.Record) string) middleware {
	return func(inner kv.Driver) kv.Driver {
		// The wrapped driver has its own versions, so each write first reads the record to
		// translate the condition. The lock keeps other writes out between the two steps.
		var mu sync.Mutex
		// asking translates the version in a write's condition to the version of the
		// wrapped driver. It returns the old record, and the version that the write stores.
		asking := func(w *kv.Write) (old kv.Record, stored string) {
			old, ok := find(inner, w.Key)
			if w.Condition.Kind == kv.CondVersion && ok && name(old) == w.Condition.Version {
				w.Condition.Version = old.Version
			}
			rec := w.Record
			if w.Kind == kv.KindTouch {
				rec.Value = old.Value
			}
			if old.Version = name(old); w.Kind == kv.KindPut || w.Kind == kv.KindTouch {
				stored = name(rec)
			}
			return old, stored
		}
		write := methods{
			write: func(ctx context.Context, _ kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				mu.Lock()
				defer mu.Unlock()
				old, stored := asking(&req.Write)
				out, err := inner.Write(ctx, req)
				if out.Done {
					out.Version = stored
				} else if out.Exists {
					out.Found = old
				}
				return out, err
			},
			writeAtomic: func(ctx context.Context, _ kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
				mu.Lock()
				defer mu.Unlock()
				req.Writes = slices.Clone(req.Writes)
				olds, stored := make([]kv.Record, len(req.Writes)), make([]string, len(req.Writes))
				for i := range req.Writes {
					olds[i], stored[i] = asking(&req.Writes[i])
				}
				out, err := inner.WriteAtomic(ctx, req)
				if out.Done {
					out.Versions = stored
				}
				for i, found := range out.Found {
					if found != nil && found.Exists {
						found.Record = olds[i]
					}
				}
				return out, err
			},
		}.over
		return chain(keyByKey, write, reads(func(rec *kv.Record) { rec.Version = name(*rec) }))(inner)
	}
}

func versionFaults() []fault {
	wrong := func(rec *kv.Record) { rec.Version += "?" }
	return []fault{
		{
			name: "wrong version from Put",
			wrap: after(kv.KindPut, func(_ kv.WriteRequest, out *kv.Outcome) { out.Version += "?" }),
			must: []string{"versions/usable-from/put", "versions/chain", "put/none/*", "put/if-not-exists/absent", "versions/stable", "json/round-trip", "concurrency/compare-and-swap"},
		},
		{
			name: "wrong version from Get",
			wrap: gets(func(_ kv.GetRequest, found *kv.Found) { wrong(&found.Record) }),
			must: []string{"versions/usable-from/get", "versions/stable", "get/own-writes", "versions/one-per-key"},
		},
		{
			name: "wrong version from GetMany",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found {
				for i := range found {
					wrong(&found[i].Record)
				}
				return found
			}),
			must: []string{"versions/usable-from/get-many", "versions/stable"},
		},
		{
			name: "wrong version from scans",
			wrap: scans(func(_ kv.ScanRequest, rec *kv.Record) bool { wrong(rec); return true }),
			must: []string{"versions/usable-from/scan", "versions/usable-from/scan-page", "scan/entries", "page/entries", "get/own-writes-scan", "page/own-writes", "scan/loop-uses-store"},
		},
		{
			name: "wrong version from scans without values",
			wrap: scans(func(req kv.ScanRequest, rec *kv.Record) bool {
				if !req.WithValue {
					wrong(rec)
				}
				return true
			}),
			must: []string{"versions/usable-from/scan-keys-only", "scan/keys-only"},
		},
		{
			name: "the version is a hash of the value",
			wrap: versioned(func(rec kv.Record) string {
				h := fnv.New64a()
				h.Write(rec.Value)
				return fmt.Sprint(h.Sum64())
			}),
			must: []string{"versions/equal-value", "versions/equal-value-by-batch", "versions/expiry-alone", "put/if-version/replaced-by-equal", "delete/if-version/replaced-by-equal", "put/if-version/re-created", "delete/if-version/re-created"},
		},
		{
			name: "the version is a hash of value and expiry",
			wrap: versioned(func(rec kv.Record) string {
				h := fnv.New64a()
				fmt.Fprintf(h, "%s %d", rec.Value, rec.Expires)
				return fmt.Sprint(h.Sum64())
			}),
			must: []string{"versions/equal-value", "put/none/replaced-by-equal", "delete/none/replaced-by-equal", "get/replaced-by-equal", "put/if-not-exists/re-created"},
		},
		{
			name: "a batch keeps the version",
			wrap: func(d kv.Driver) kv.Driver {
				return inBatches(func(w *kv.Write) {
					if old, ok := find(d, w.Key); ok {
						w.Token = old.Token
					}
				})(d)
			},
			must: []string{"versions/equal-value-by-batch", "put/if-version/replaced-by-batch", "delete/if-version/replaced-by-batch"},
		},
	}
}

// naming translates keys: with the function to in requests, and with the function from in
// results.
func naming(to, from func(key string) string) middleware {
	there := func(req *kv.WriteRequest) { req.Key = to(req.Key) }
	return chain(
		reads(func(rec *kv.Record) { rec.Key = from(rec.Key) }),
		methods{getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
			return func(yield func(kv.Found, error) bool) {
				for _, key := range req.Keys {
					found, err := d.Get(ctx, kv.GetRequest{Key: key, WithValue: req.WithValue})
					if !found.Exists {
						found.Key = key
					}
					if !yield(found, err) {
						return
					}
				}
			}
		}}.over,
		keyByKey, before(kv.KindPut, there), before(kv.KindDelete, there),
		methods{get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
			req.Key = to(req.Key)
			return d.Get(ctx, req)
		}}.over,
	)
}

func same(key string) string { return key }

// refusing returns middleware that refuses to put the keys for which bad returns true.
func refusing(bad func(key string) bool) middleware {
	return chain(keyByKey, onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
		if bad(req.Key) {
			return kv.Outcome{}, &kv.Error{Kind: kv.ErrInvalidKey}
		}
		return d.Write(ctx, req)
	}))
}

func keyFaults() []fault {
	special := func(name, key string) fault {
		return fault{
			name: "refuses the key " + name,
			wrap: refusing(func(k string) bool { return k == key }),
			must: []string{"keys/special/" + name},
		}
	}
	return []fault{
		special("dot", "."), special("dot-dot", ".."), special("three-dots", "..."), special("double-underscores", "__x__"),
		special("only-underscores", "____"), special("reserved-id", "__id7__"), special("dash", "-"), special("colon", ":"),
		special("underscore", "_"), special("zero", "0"), special("file-name", "C:..a.b"), special("mixed-case", "aAbBzZ"),
		{
			name: "a driver that is not this module's reserves keys",
			wrap: infos(func(info *kv.Info) { info.ReservedKey = reservable.MatchString }),
			must: []string{"info/lacks"},
			only: true,
		},
		{
			name: "reserves more keys than its service does",
			wrap: chain(named("firestore-alien"), infos(func(info *kv.Info) { info.ReservedKey = func(key string) bool { return strings.HasPrefix(key, ".") } })),
			must: []string{"info/lacks"},
		},
		{
			name: "reserves a key",
			wrap: refusing(func(key string) bool { return key == "_layout" }),
			must: []string{"keys/names-of-providers"},
			only: true,
		},
		{
			name: "folds case",
			wrap: naming(strings.ToLower, same),
			must: []string{"keys/case-sensitive", "keys/alphabet", "keys/entry-has-its-key", "keys/special/file-name", "keys/special/mixed-case", "scan/prefix/upper-case"},
		},
		{
			name: "returns keys in lower case",
			wrap: naming(same, strings.ToLower),
			must: []string{"keys/entry-has-its-key", "keys/alphabet", "scan/order/alphabet"},
		},
		{
			name: "trims dots",
			wrap: naming(func(key string) string {
				if trimmed := strings.TrimRight(key, "."); trimmed != "" {
					return trimmed
				}
				return key
			}, same),
			must: []string{"keys/no-normalisation"},
		},
		{
			name: "keeps 255 bytes of a key",
			wrap: naming(func(key string) string { return key[:min(len(key), 255)] }, same),
			must: []string{"keys/last-byte", "keys/special/longest", "keys/special/longest-of-lowest-byte", "keys/special/longest-of-highest-byte", "keys/special/longest-of-dots", "batch/get-many/keys-of-all-kinds", "scan/prefix/longest", "scan/after/the-longest"},
		},
		{
			name: "refuses keys that are the beginning of others",
			wrap: onWrite(kv.KindDelete, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				for rec := range d.Scan(ctx, kv.ScanRequest{From: req.Key + "-", To: req.Key + "~", Limit: 1}) {
					return kv.Outcome{}, &kv.Error{Kind: kv.ErrInvalidKey, Key: rec.Key}
				}
				return d.Write(ctx, req)
			}),
			must: []string{"keys/one-begins-another"},
		},
		{
			name: "raises the limits",
			wrap: infos(func(info *kv.Info) { info.MaxKeyLen, info.MaxValueLen = 1024, 400<<10 }),
			must: []string{"info/limits", "keys/invalid/too-long", "batch/get-many/invalid", "scan/prefix/longest", "scan/after/the-longest"},
		},
		{
			name: "lowers the limits too far",
			wrap: infos(func(info *kv.Info) { info.MaxKeyLen, info.MaxValueLen = 63, 1023 }),
			must: []string{"info/limits"},
		},
		{
			name: "takes too few writes at once",
			wrap: infos(func(info *kv.Info) { info.MaxAtomicWrites = leastMaxAtomicWrites - 1 }),
			must: []string{"info/limits"},
		},
		{
			name: "has no name",
			wrap: infos(func(info *kv.Info) { info.Name = "" }),
			must: []string{"info/constant"},
		},
	}
}

func valueFaults() []fault {
	storing := func(name string, change func(value []byte) []byte, must ...string) fault {
		return fault{
			name: name,
			wrap: puts(func(rec *kv.Record) { rec.Value = change(rec.Value) }),
			must: must,
		}
	}
	return []fault{
		storing("loses the last byte of the longest values",
			func(value []byte) []byte { return value[:min(len(value), kv.MaxValueLen-1)] },
			"values/longest", "values/many-of-the-longest", "batch/put-many/values-of-all-sizes"),
		storing("loses the bytes after 24,574",
			func(value []byte) []byte { return value[:min(len(value), kv.MaxValueLen-2)] },
			"values/one-below-longest", "concurrency/whole-values"),
		storing("keeps 512 bytes of a value",
			func(value []byte) []byte { return value[:min(len(value), 512)] },
			"values/1000-bytes"),
		storing("cuts at the first zero byte",
			func(value []byte) []byte { value, _, _ = bytes.Cut(value, []byte{0}); return value },
			"values/one-zero-byte", "values/zero-bytes", "values/every-byte"),
		storing("replaces bytes that are not UTF-8",
			func(value []byte) []byte { return bytes.ToValidUTF8(value, []byte("\uFFFD")) },
			"values/invalid-utf8", "values/every-byte", "values/looks-compressed"),
		storing("trims white space", bytes.TrimSpace, "values/white-space"),
		storing("strips the padding of base64",
			func(value []byte) []byte { return bytes.TrimSuffix(value, []byte("=")) },
			"values/looks-like-base64"),
		storing("drops the commas of JSON",
			func(value []byte) []byte {
				if bytes.HasPrefix(value, []byte("{")) {
					return bytes.ReplaceAll(value, []byte(","), nil)
				}
				return value
			},
			"values/looks-like-json", "json/round-trip", "json/scans-and-batches", "json/conditions"),
		storing("repairs values that are not JSON",
			func(value []byte) []byte {
				if string(value) == secret {
					return []byte("{}")
				}
				return value
			},
			"json/no-json"),
		{
			name: "refuses the empty value",
			wrap: onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				if len(req.Value) == 0 {
					return kv.Outcome{}, &kv.Error{Kind: kv.ErrIncompatible}
				}
				return d.Write(ctx, req)
			}),
			must: []string{"values/nil", "values/empty", "values/replaced-by-shorter"},
		},
		{
			name: "overwrites the old value without cutting it",
			wrap: func(d kv.Driver) kv.Driver {
				return before(kv.KindPut, func(req *kv.WriteRequest) {
					if old, ok := find(d, req.Key); ok && len(old.Value) > len(req.Value) {
						req.Value = slices.Concat(req.Value, old.Value[len(req.Value):])
					}
				})(d)
			},
			must: []string{"values/replaced-by-shorter"},
		},
		{
			name: "takes at most a megabyte at once",
			wrap: refusingBatches(func(writes []kv.Write) error {
				size := 0
				for _, w := range writes {
					if size += len(w.Value); size > 1<<20 {
						return &kv.Error{Kind: kv.ErrValueTooLarge}
					}
				}
				return nil
			}),
			must: []string{"values/many-of-the-longest", "large/batch", "large/scan"},
			only: true,
		},
		{
			name: "scans return values when not wanted, and no values when wanted",
			wrap: ranges(func(req *kv.ScanRequest) { req.WithValue = !req.WithValue }),
			must: []string{"scan/entries", "page/entries", "scan/many", "get/own-writes-scan"},
		},
	}
}

func sliceFaults() []fault {
	return []fault{
		{
			name: "keeps the slices that it receives",
			wrap: func(d kv.Driver) kv.Driver {
				var kept sync.Map
				return chain(
					puts(func(rec *kv.Record) { kept.Store(rec.Token, rec.Value) }),
					gets(func(_ kv.GetRequest, found *kv.Found) {
						if value, held := kept.Load(found.Token); held {
							found.Value = slices.Clone(value.([]byte))
						}
					}),
				)(d)
			},
			must: []string{"values/slice-not-kept/put", "values/slice-not-kept/put-many"},
		},
		{
			name: "returns the same slice to everybody",
			wrap: func(d kv.Driver) kv.Driver {
				var given sync.Map
				return reads(func(rec *kv.Record) {
					if rec.Value != nil {
						value, _ := given.LoadOrStore(rec.Token, rec.Value)
						rec.Value = value.([]byte)
					}
				})(d)
			},
			must: []string{"values/slice-owned/get", "values/slice-owned/get-many", "values/slice-owned/scan"},
		},
		{
			name: "cuts the values of a batch from one buffer",
			wrap: chain(
				getsMany(func(_ []string, found []kv.Found) []kv.Found {
					oneBuffer(len(found), func(i int) *[]byte { return &found[i].Value })
					return found
				}),
				wholeScans(func(req kv.ScanRequest, recs []kv.Record) []kv.Record {
					if req.WithValue {
						oneBuffer(len(recs), func(i int) *[]byte { return &recs[i].Value })
					}
					return recs
				}),
			),
			must: []string{"values/slice-owned/get-many", "values/slice-owned/scan"},
			only: true,
		},
		{
			name: "writes into the slices that it receives",
			wrap: before(kv.KindPut, func(req *kv.WriteRequest) { _ = append(req.Value, "trailer"...) }),
			must: []string{"values/slice-unchanged"},
			only: true,
		},
	}
}

// oneBuffer copies n values into one buffer, and replaces each value by its part of the
// buffer. The capacity of each part reaches to the end of the buffer.
func oneBuffer(n int, value func(i int) *[]byte) {
	size := 0
	for i := range n {
		size += len(*value(i))
	}
	buffer := make([]byte, 0, size)
	for i := range n {
		at := len(buffer)
		buffer = append(buffer, *value(i)...)
		*value(i) = buffer[at:]
	}
}

func scanFaults() []fault {
	ordered := func(compare func(a, b kv.Record) int) middleware {
		return wholeScans(func(_ kv.ScanRequest, recs []kv.Record) []kv.Record {
			slices.SortStableFunc(recs, compare)
			return recs
		})
	}
	leavingOut := func(prefix, name string) fault {
		return fault{
			name: "scans leave out keys that start with " + prefix,
			wrap: scans(func(_ kv.ScanRequest, rec *kv.Record) bool { return !strings.HasPrefix(rec.Key, prefix) }),
			must: []string{name, "scan/prefix/all", "page/prefix"},
		}
	}
	return []fault{
		{
			name: "scans in descending order",
			wrap: ordered(func(a, b kv.Record) int { return strings.Compare(b.Key, a.Key) }),
			must: []string{"scan/order/*", "scan/many", "scan/prefix/all", "scan/limit", "scan/break", "scan/live-throughout", "page/size-7/of-30"},
		},
		{
			name: "scans in an order that ignores case",
			wrap: ordered(func(a, b kv.Record) int { return strings.Compare(strings.ToLower(a.Key), strings.ToLower(b.Key)) }),
			must: []string{"scan/order/alphabet", "scan/order/after-a-prefix", "scan/order/random", "keys/alphabet"},
		},
		{
			name: "scans in an order that ignores punctuation",
			wrap: ordered(func(a, b kv.Record) int {
				letters := strings.NewReplacer("-", "", ".", "", ":", "", "_", "")
				return strings.Compare(letters.Replace(a.Key), letters.Replace(b.Key))
			}),
			must: []string{"scan/order/after-a-prefix", "scan/order/random"},
		},
		{
			name: "scans shorter keys first",
			wrap: ordered(func(a, b kv.Record) int { return len(a.Key) - len(b.Key) }),
			must: []string{"scan/order/random", "scan/prefix/with-separator"},
		},
		{
			name: "repeats records at page borders",
			wrap: wholeScans(func(req kv.ScanRequest, recs []kv.Record) []kv.Record {
				var repeated []kv.Record
				for i, rec := range recs {
					repeated = append(repeated, rec)
					if (i+1)%req.Limit == 0 {
						repeated = append(repeated, rec)
					}
				}
				return repeated
			}),
			must: []string{"scan/many", "page/size-1000/of-1100"},
		},
		{
			name: "skips records at page borders",
			wrap: wholeScans(func(req kv.ScanRequest, recs []kv.Record) []kv.Record {
				var kept []kv.Record
				for i, rec := range recs {
					if i == 0 || i%req.Limit != 0 {
						kept = append(kept, rec)
					}
				}
				return kept
			}),
			must: []string{"scan/many", "page/size-1000/of-1100", "batch/delete-prefix/many"},
		},
		{
			name: "scans end after one page",
			wrap: wholeScans(func(req kv.ScanRequest, recs []kv.Record) []kv.Record { return recs[:min(len(recs), req.Limit)] }),
			must: []string{"scan/many", "scan/expired-runs", "scan/limit-counts-live", "page/expired-runs", "page/size-1000/of-1100", "batch/delete-prefix/many", "batch/put-many/1000"},
		},
		{
			name: "scans go on beyond the prefix",
			wrap: ranges(func(req *kv.ScanRequest) { req.To = "~" }),
			must: []string{"scan/prefix/with-separator", "scan/prefix/is-a-key", "scan/prefix/whole-key", "page/prefix", "scan/limit", "batch/delete-prefix/removes"},
		},
		{
			name: "scans begin before the prefix",
			wrap: ranges(func(req *kv.ScanRequest) { req.From = "-" }),
			must: []string{"scan/prefix/with-separator", "scan/after/a-key", "page/size-1/of-5", "cursor/never-widens", "scan/nested"},
		},
		{
			name: "scans end before the highest byte",
			wrap: ranges(func(req *kv.ScanRequest) { req.To = strings.TrimSuffix(req.To, "~") + "z" }),
			must: []string{"scan/prefix/highest-byte", "scan/prefix/all"},
		},
		{
			name: "scans leave out the prefix itself",
			wrap: scans(func(req kv.ScanRequest, rec *kv.Record) bool { return rec.Key != req.From }),
			must: []string{"scan/prefix/is-a-key", "scan/prefix/whole-key", "keys/special/*", "batch/delete-prefix/removes"},
		},
		leavingOut(".", "scan/prefix/dot"), leavingOut("__", "scan/prefix/underscores"), leavingOut(":", "scan/prefix/colon"),
		leavingOut("-", "scan/prefix/lowest-byte"), leavingOut("A", "scan/prefix/upper-case"), leavingOut("a:10", "scan/prefix/within-a-word"),
		{
			name: "yields a record from an empty store",
			wrap: wholeScans(func(req kv.ScanRequest, recs []kv.Record) []kv.Record {
				if len(recs) == 0 {
					return []kv.Record{{Key: req.From, Token: "token", Version: "version"}}
				}
				return recs
			}),
			must: []string{"scan/empty-store", "page/empty-store", "page/no-match", "scan/prefix/none", "scan/prefix/past-all", "scan/prefix/before-all",
				"scan/after/the-last", "scan/after/past-all", "scan/after/the-prefix-s-last"},
		},
		{
			name: "yields the store's first and last record in every scan",
			wrap: methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
				whole := req
				whole.From, whole.To = "-", "~"
				return wholeScans(func(_ kv.ScanRequest, all []kv.Record) []kv.Record {
					var found []kv.Record
					for i, rec := range all {
						if i == 0 || i == len(all)-1 || rec.Key >= req.From && rec.Key <= req.To {
							found = append(found, rec)
						}
					}
					return found
				})(d).Scan(ctx, whole)
			}}.over,
			must: []string{"scan/after/a-key", "scan/after/an-absent-key", "scan/after/a-key-of-the-prefix", "scan/after/before-the-prefix", "scan/after/a-prefix-of-keys",
				"scan/after/the-prefix-itself", "page/after", "page/same-cursor-twice", "page/other-limit", "cursor/other-store", "cursor/derived-store", "scan/options-together"},
		},
		{
			name: "leaves out the store's second record",
			wrap: wholeScans(func(req kv.ScanRequest, recs []kv.Record) []kv.Record {
				if req.From <= "-" && len(recs) > 1 {
					return slices.Delete(recs, 1, 2)
				}
				return recs
			}),
			must: []string{"scan/after/the-start"},
		},
		{
			name: "finds nothing after a position before all keys",
			wrap: scans(func(req kv.ScanRequest, _ *kv.Record) bool { return !strings.HasPrefix(req.From, "--") }),
			must: []string{"scan/after/before-all"},
		},
		{
			name: "scans lock writers out",
			wrap: func(d kv.Driver) kv.Driver {
				var underWay atomic.Int64
				return methods{
					scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
						return func(yield func(kv.Record, error) bool) {
							defer underWay.Add(-1)
							if underWay.Add(1) > 1 {
								yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
								return
							}
							d.Scan(ctx, req)(yield)
						}
					},
					write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
						if underWay.Load() > 0 && req.Kind == kv.KindPut {
							return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable}
						}
						return d.Write(ctx, req)
					},
				}.over(d)
			},
			must: []string{"scan/loop-uses-store", "scan/nested", "scan/live-throughout"},
		},
		{
			name: "scans in pages by offset",
			wrap: methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
				return func(yield func(kv.Record, error) bool) {
					for offset := 0; ; offset += 10 {
						var page []kv.Record
						n := 0
						for rec, err := range d.Scan(ctx, req) {
							if err != nil {
								yield(rec, err)
								return
							}
							if n++; n > offset && n <= offset+10 {
								page = append(page, rec)
							}
						}
						for _, rec := range page {
							if !yield(rec, nil) {
								return
							}
						}
						if len(page) < 10 {
							return
						}
					}
				}
			}}.over,
			must: []string{"scan/live-throughout", "scan/loop-uses-store"},
		},
		{
			name: "scans fail after fifty records, every time",
			wrap: func(d kv.Driver) kv.Driver {
				var broken atomic.Bool
				return methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						n := 0
						for rec, err := range d.Scan(ctx, req) {
							if n++; n == 50 {
								broken.Store(true)
							}
							if broken.Load() {
								yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
								return
							}
							if !yield(rec, err) {
								return
							}
						}
					}
				}}.over(d)
			},
			must: []string{"scan/break", "scan/limit", "scan/expired-runs"},
		},
		{
			name: "the driver is closed after a loop that ended early",
			wrap: func(d kv.Driver) kv.Driver {
				var closed atomic.Bool
				return methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						if closed.Load() {
							yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
							return
						}
						for rec, err := range d.Scan(ctx, req) {
							if !yield(rec, err) {
								closed.Store(true)
								return
							}
						}
					}
				}}.over(d)
			},
			must: []string{"scan/break", "context/others-unaffected", "page/keys-only"},
		},
		{
			name: "the first scan of a range is remembered",
			wrap: func(d kv.Driver) kv.Driver {
				var remembered sync.Map
				return methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
					all := req
					all.From = "-"
					return wholeScans(func(_ kv.ScanRequest, recs []kv.Record) []kv.Record {
						first, _ := remembered.LoadOrStore(fmt.Sprint(req.To, req.WithValue), recs)
						return slices.DeleteFunc(slices.Clone(first.([]kv.Record)), func(rec kv.Record) bool { return rec.Key < req.From })
					})(d).Scan(ctx, all)
				}}.over(d)
			},
			must: []string{"page/deleted-ahead", "page/inserted-between", "page/replaced-between", "page/own-writes", "get/own-writes-scan", "cursor/emptied-store"},
		},
	}
}

const shards = 16

// inShards makes a driver with one shard look like a driver with several. The function stored
// returns the shard in which scans find a record. The functions shard and ofPrefix become
// Info.Shard and Info.ShardOfPrefix.
func inShards(stored, shard func(key string) int, ofPrefix func(prefix string) (int, bool)) middleware {
	return chain(
		infos(func(info *kv.Info) { info.Shards, info.Shard, info.ShardOfPrefix = shards, shard, ofPrefix }),
		methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
			of := req.Shard
			req.Shard, req.Alone = 0, true
			return scans(func(_ kv.ScanRequest, rec *kv.Record) bool { return stored(rec.Key) == of })(d).Scan(ctx, req)
		}}.over,
	)
}

func shardOf(key string) int                  { return kv.Shard(key, shards) }
func shardOfPrefix(prefix string) (int, bool) { return kv.ShardOfPrefix(prefix, shards) }

// shardWithoutGroup returns the shard of a key as if keys had no groups. So the keys of a
// group are in several shards.
func shardWithoutGroup(key string) int { return kv.Shard(strings.ReplaceAll(key, "::", "="), shards) }

// groupFaults are drivers whose Info.Shard or Info.ShardOfPrefix does not match the shards
// in which they store.
func groupFaults() []fault {
	return []fault{
		{
			name: "spreads the keys of a group over all shards",
			wrap: inShards(shardWithoutGroup, shardWithoutGroup, shardOfPrefix),
			must: []string{"groups/*", "scan/range/in-a-group", "atomic/kinds"},
		},
		{
			name: "looks for a prefix in the shard of the key with that name",
			wrap: inShards(shardOf, shardOf, func(prefix string) (int, bool) { return shardOf(prefix), prefix != "" }),
			must: []string{"groups/scan", "groups/pages", "groups/addresses", "groups/colons", "groups/shard-of-key",
				"groups/in-namespace/word", "groups/in-namespace/colon", "groups/in-namespace/colons-meet", "scan/prefix/with-separator", "page/prefix"},
		},
		{
			name: "treats colons at the beginning of a prefix as the end of a group",
			wrap: inShards(shardOf, shardOf, func(prefix string) (int, bool) { return shardOf(prefix), strings.Contains(prefix, "::") }),
			must: []string{"groups/colons", "groups/addresses", "groups/shard-of-key"},
		},
		{
			name: "treats one colon as the end of a group",
			wrap: inShards(shardOf, shardOf, func(prefix string) (int, bool) {
				return shardOf(strings.TrimRight(prefix, ":")), strings.HasSuffix(prefix, ":")
			}),
			must: []string{"groups/scan", "groups/addresses", "groups/colons", "groups/in-namespace/colon", "groups/in-namespace/colons-meet", "scan/prefix/with-separator"},
		},
		{
			name: "looks for the prefix of a namespace without the namespace",
			wrap: inShards(shardOf, shardOf, func(prefix string) (int, bool) {
				if _, within, found := strings.Cut(prefix, "tenant"); found {
					prefix = strings.TrimLeft(within, ":")
				}
				return shardOfPrefix(prefix)
			}),
			must: []string{"groups/in-namespace/*"},
			only: true,
		},
		{
			name: "returns another shard for keys",
			wrap: inShards(shardOf, shardWithoutGroup, shardOfPrefix),
			must: []string{"groups/shard-of-key", "groups/in-namespace/*"},
		},
		{
			name: "counts shards from one",
			wrap: inShards(shardOf, func(key string) int { return 1 + shardOf(key) }, shardOfPrefix),
			must: []string{"groups/shard-of-key", "groups/in-namespace/*"},
		},
		{
			name: "has every record in every shard",
			wrap: chain(
				infos(func(info *kv.Info) { info.Shards, info.Shard, info.ShardOfPrefix = shards, shardOf, shardOfPrefix }),
				ranges(func(req *kv.ScanRequest) { req.Shard, req.Alone = 0, true }),
			),
			must: []string{"groups/shard-of-key", "groups/colons", "scan/many", "page/size-7/of-30"},
		},
	}
}

// memory remembers, for each key, the record before the last write. One read of the key
// then returns that old record.
type memory struct {
	mu  sync.Mutex
	old map[string]kv.Found
}

// before is the middleware that remembers the records.
func (m *memory) before(d kv.Driver) kv.Driver {
	remember := func(key string) {
		rec, exists := find(d, key)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.old == nil {
			m.old = make(map[string]kv.Found)
		}
		m.old[key] = kv.Found{Record: rec, Exists: exists}
	}
	return chain(
		before(kv.KindPut, func(req *kv.WriteRequest) { remember(req.Key) }),
		before(kv.KindDelete, func(req *kv.WriteRequest) { remember(req.Key) }),
		inBatches(func(w *kv.Write) { remember(w.Key) }),
	)(d)
}

// take replaces the record that a read found by the old record, for the first read after a write.
func (m *memory) take(key string, found *kv.Found) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, stale := m.old[key]; stale {
		*found = old
		delete(m.old, key)
	}
}

func staleFaults() []fault {
	get := func(name string, withValue bool, must ...string) fault {
		return fault{
			name: name,
			wrap: func(d kv.Driver) kv.Driver {
				var m memory
				return chain(gets(func(req kv.GetRequest, found *kv.Found) {
					if req.WithValue == withValue {
						m.take(req.Key, found)
					}
				}), m.before)(d)
			},
			must: must,
		}
	}
	return []fault{
		get("Get is stale once", true, "get/own-writes", "get/live", "get/replaced", "delete/none/live", "values/replaced-by-shorter", "put/none/live"),
		get("Exists is stale once", false, "get/own-writes-exists", "get/live"),
		{
			name: "GetMany is stale once",
			wrap: func(d kv.Driver) kv.Driver {
				var m memory
				return chain(getsMany(func(_ []string, found []kv.Found) []kv.Found {
					for i := range found {
						m.take(found[i].Key, &found[i])
					}
					return found
				}), m.before)(d)
			},
			must: []string{"get/own-writes-get-many", "get/live", "batch/get-many/1", "get/deleted"},
		},
		{
			name: "scans are stale once",
			wrap: func(d kv.Driver) kv.Driver {
				var m memory
				return chain(scans(func(_ kv.ScanRequest, rec *kv.Record) bool {
					found := kv.Found{Record: *rec, Exists: true}
					m.take(rec.Key, &found)
					*rec = found.Record
					return found.Exists
				}), m.before)(d)
			},
			must: []string{"get/own-writes-scan", "page/own-writes", "get/live", "scan/many", "page/size-7/of-7"},
		},
		{
			name: "scans yield a deleted record once more",
			wrap: func(d kv.Driver) kv.Driver {
				var m memory
				return chain(wholeScans(func(req kv.ScanRequest, recs []kv.Record) []kv.Record {
					m.mu.Lock()
					defer m.mu.Unlock()
					for key, old := range m.old {
						if old.Exists && key >= req.From && key <= req.To && !slices.ContainsFunc(recs, func(rec kv.Record) bool { return rec.Key == key }) {
							recs = append(recs, old.Record)
							delete(m.old, key)
						}
					}
					slices.SortFunc(recs, func(a, b kv.Record) int { return strings.Compare(a.Key, b.Key) })
					return recs
				}), m.before)(d)
			},
			must: []string{"get/deleted", "get/deleted-by-batch", "delete/none/live", "delete/none/live-with-expiry", "batch/delete-many/25", "cursor/emptied-store", "page/deleted-ahead"},
		},
		{
			name: "Get and Exists find expired entries for another second",
			wrap: gets(func(_ kv.GetRequest, found *kv.Found) {
				if found.Expires != 0 {
					found.Expires += 1000
				}
			}),
			must: []string{"get/expired", "get/live-with-expiry", "errors/nothing-beside-them"},
		},
	}
}

func batchFaults() []fault {
	writes := func(name string, wrap middleware, must ...string) fault {
		return fault{name: name, wrap: wrap, must: must}
	}
	reads := func(name string, change func(keys []string, found []kv.Found) []kv.Found, must ...string) fault {
		return fault{name: name, wrap: getsMany(change), must: must}
	}
	sizes := func(group string, from int) (names []string) {
		for _, n := range batchSizes {
			if n >= from {
				names = append(names, fmt.Sprintf("batch/%s/%d", group, n))
			}
		}
		return names
	}
	// forgets carries out only the first n(writes) writes of a batch, if they are of this
	// kind.
	forgets := func(kind kv.WriteKind, n func(writes int) int) middleware {
		return batches(func(writes []kv.Write) []kv.Write {
			if len(writes) > 0 && writes[0].Kind == kind {
				writes = writes[:min(len(writes), n(len(writes)))]
			}
			return writes
		})
	}
	last := func(writes int) int { return writes - 1 }
	upTo := func(n int) func(int) int { return func(int) int { return n } }
	// misses looks up only the first n(keys) keys, and reports the others as absent.
	misses := func(n func(keys int) int) func([]string, []kv.Found) []kv.Found {
		return func(keys []string, found []kv.Found) []kv.Found {
			from := min(len(keys), n(len(keys)))
			return slices.Concat(found[:from], nothing(keys[from:]))
		}
	}
	return []fault{
		writes("PutMany forgets all items after the 25th", forgets(kv.KindPut, upTo(25)), append(sizes("put-many", 26), "batch/put-many/duplicates", "concurrency/other-keys")...),
		writes("PutMany forgets all items after the 100th", forgets(kv.KindPut, upTo(100)), append(sizes("put-many", 101), "batch/put-many/duplicates")...),
		writes("PutMany forgets the last item", forgets(kv.KindPut, last), append(sizes("put-many", 1), "batch/partial-failure/put-many")...),
		writes("DeleteMany forgets all keys after the 25th", forgets(kv.KindDelete, upTo(25)), append(sizes("delete-many", 26), "batch/delete-prefix/many")...),
		writes("DeleteMany forgets all keys after the 100th", forgets(kv.KindDelete, upTo(100)), append(sizes("delete-many", 101), "batch/delete-prefix/many")...),
		writes("DeleteMany forgets the last key", forgets(kv.KindDelete, last), append(sizes("delete-many", 1), "batch/partial-failure/delete-many", "batch/delete-prefix/removes", "batch/delete-prefix/damaged-entry")...),
		writes("a batch refuses more than 100 writes",
			refusingBatches(func(writes []kv.Write) error {
				if len(writes) > 100 {
					return &kv.Error{Kind: kv.ErrInvalidOption}
				}
				return nil
			}),
			"batch/put-many/101", "batch/put-many/1000", "batch/get-many/1000", "batch/delete-many/1000"),
		writes("a batch treats all writes like the first",
			batches(func(writes []kv.Write) []kv.Write {
				for i := range writes {
					writes[i].Kind = writes[0].Kind
				}
				return writes
			}),
			"batch/puts-and-deletes"),
		writes("a batch does not delete",
			batches(func(writes []kv.Write) []kv.Write {
				return slices.DeleteFunc(writes, func(w kv.Write) bool { return w.Kind == kv.KindDelete })
			}),
			append(sizes("delete-many", 1), "batch/delete-many/absent-and-expired", "batch/delete-prefix/removes", "batch/delete-prefix/many", "put/if-not-exists/deleted-by-batch",
				"delete/if-version/deleted-by-batch", "get/deleted-by-batch", "put/none/deleted-by-batch", "delete/none/deleted-by-batch")...),
		writes("a batch does not replace",
			func(d kv.Driver) kv.Driver {
				return batches(func(writes []kv.Write) []kv.Write {
					return slices.DeleteFunc(writes, func(w kv.Write) bool {
						_, ok := find(d, w.Key)
						return ok && w.Kind == kv.KindPut
					})
				})(d)
			},
			"put/none/replaced-by-batch", "put/if-not-exists/replaced-by-batch", "delete/none/replaced-by-batch", "delete/if-version/replaced-by-batch", "get/replaced-by-batch",
			"batch/put-many/1", "batch/put-many/over-expired", "expiry/removed-by-put-many"),
		writes("a batch fails if a key to delete is absent",
			func(d kv.Driver) kv.Driver {
				return methods{writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
					absent := make(map[string]bool)
					for _, w := range req.Writes {
						_, ok := find(d, w.Key)
						absent[w.Key] = w.Kind == kv.KindDelete && !ok
					}
					results := d.WriteMany(ctx, req)
					for i, w := range req.Writes {
						if absent[w.Key] {
							results[i] = kv.WriteResult{Err: &kv.Error{Kind: kv.ErrNotFound}}
						}
					}
					return results
				}}.over(d)
			},
			"batch/delete-many/absent-and-expired"),
		writes("a batch stores the first value for all items",
			batches(func(writes []kv.Write) []kv.Write {
				for i := range writes {
					writes[i].Value = writes[0].Value
				}
				return writes
			}),
			append(sizes("put-many", 2), "batch/put-many/values-of-all-sizes", "values/slice-not-kept/put-many")...),
		writes("an empty batch is an error, and so is a batch of one key",
			refusingBatches(func(writes []kv.Write) error {
				if len(writes) < 2 {
					return &kv.Error{Kind: kv.ErrIncompatible}
				}
				return nil
			}),
			"batch/put-many/1", "batch/delete-many/1"),
		writes("one failed key fails the batch",
			refusingBatches(func(writes []kv.Write) error {
				if len(writes) == 29 {
					return &kv.Error{Kind: kv.ErrThrottled}
				}
				return nil
			}),
			"batch/partial-failure/put-many", "batch/partial-failure/delete-many"),
		reads("GetMany reads at most 100 keys", misses(upTo(100)), sizes("get-many", 101)...),
		reads("GetMany reads at most 25 keys", misses(upTo(25)),
			append(sizes("get-many", 26), "batch/get-many/absent-and-expired", "batch/get-many/duplicates", "batch/get-many/keys-of-all-kinds")...),
		reads("GetMany loses the last key", misses(last),
			append(sizes("get-many", 1), "keys/alphabet", "values/slice-owned/get-many", "batch/partial-failure/get-many")...),
		reads("GetMany invents entries for absent keys",
			func(_ []string, found []kv.Found) []kv.Found {
				for i := range found {
					if !found[i].Exists {
						found[i].Exists, found[i].Version = true, "none"
					}
				}
				return found
			},
			"batch/get-many/nothing-there", "get/absent", "get/deleted", "get/deleted-by-batch", "batch/get-many/absent-and-expired"),
		reads("GetMany mixes up two values",
			func(_ []string, found []kv.Found) []kv.Found {
				if len(found) > 1 {
					found[0].Value, found[1].Value = found[1].Value, found[0].Value
				}
				return found
			},
			"batch/get-many/25", "batch/get-many/keys-of-all-kinds"),
	}
}

// driverFaults break rules of kv.Driver. Callers of a store do not notice all of them.
func driverFaults() []fault {
	// taking makes a driver carry out writes of one kind as if they were of another kind.
	taking := func(kind, other kv.WriteKind) middleware {
		take := func(w *kv.Write) {
			if w.Kind == kind {
				w.Kind = other
			}
		}
		return chain(before(kind, func(req *kv.WriteRequest) { take(&req.Write) }), inBatches(take))
	}
	return []fault{
		{
			name: "GetMany does not yield keys without a record",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found {
				return slices.DeleteFunc(found, func(f kv.Found) bool { return !f.Exists })
			}),
			must: []string{"driver/get-many/every-key-once", "batch/get-many/nothing-there", "batch/get-many/absent-and-expired", "get/absent", "get/deleted"},
		},
		{
			name: "GetMany does not yield the last key",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found { return found[:len(found)-1] }),
			must: []string{"driver/get-many/every-key-once", "batch/get-many/1", "batch/get-many/1000", "get/live"},
		},
		{
			name: "GetMany yields a key twice",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found { return append(found, found[0]) }),
			must: []string{"driver/get-many/every-key-once"},
			only: true,
		},
		{
			name: "GetMany yields a key without a record twice",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found {
				for _, f := range found {
					if !f.Exists {
						return append(found, f)
					}
				}
				return found
			}),
			must: []string{"driver/get-many/every-key-once"},
			only: true,
		},
		{
			name: "GetMany yields another key too",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found {
				return append(found, kv.Found{Record: kv.Record{Key: "another"}})
			}),
			must: []string{"driver/get-many/every-key-once"},
			only: true,
		},
		{
			name: "GetMany holds a lock while it yields",
			wrap: func(d kv.Driver) kv.Driver {
				var mu sync.RWMutex
				unavailable := &kv.Error{Kind: kv.ErrUnavailable}
				return methods{
					getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
						return func(yield func(kv.Found, error) bool) {
							mu.RLock()
							defer mu.RUnlock()
							d.GetMany(ctx, req)(yield)
						}
					},
					write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
						if !mu.TryLock() { // a real driver would wait forever
							return kv.Outcome{}, unavailable
						}
						defer mu.Unlock()
						return d.Write(ctx, req)
					},
				}.over(d)
			},
			must:  []string{"driver/get-many/loop-uses-driver"},
			only:  true,
			group: "driver/",
		},
		{
			name: "the driver is closed after a loop over GetMany that ended early",
			wrap: func(d kv.Driver) kv.Driver {
				var closed atomic.Bool
				return methods{getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
					return func(yield func(kv.Found, error) bool) {
						if closed.Load() {
							yield(kv.Found{}, &kv.Error{Kind: kv.ErrUnavailable})
							return
						}
						for found, err := range d.GetMany(ctx, req) {
							if !yield(found, err) {
								closed.Store(true)
								return
							}
						}
					}
				}}.over(d)
			},
			must: []string{"driver/get-many/loop-uses-driver"},
			only: true,
		},
		{
			name: "WriteMany returns no result for the last write",
			wrap: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				return results[:len(results)-1]
			}),
			must: []string{"driver/write-many/results", "driver/write-many/conditions", "batch/put-many/1", "batch/delete-many/1", "batch/delete-prefix/removes"},
		},
		{
			name: "WriteMany returns too many results",
			wrap: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				return append(results, results[0])
			}),
			must: []string{"driver/write-many/results", "driver/write-many/conditions", "driver/unsupported", "driver/touch/batch", "driver/predecessors/replaced", "driver/predecessors/reads"},
			only: true,
		},
		{
			name: "WriteMany returns its results in another order",
			wrap: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				slices.Reverse(results)
				return results
			}),
			must: []string{"driver/write-many/results", "driver/write-many/conditions"},
		},
		{
			name: "WriteMany returns its results in the order of the keys",
			wrap: results(func(req kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				order := make([]int, len(results))
				for i := range order {
					order[i] = i
				}
				slices.SortFunc(order, func(a, b int) int { return strings.Compare(req.Writes[a].Key, req.Writes[b].Key) })
				sorted := make([]kv.WriteResult, len(results))
				for i, at := range order {
					sorted[i] = results[at]
				}
				return sorted
			}),
			must: []string{"driver/write-many/results"},
		},
		{
			name: "WriteMany returns wrong versions",
			wrap: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i := range results {
					results[i].Version += "?"
				}
				return results
			}),
			must: []string{"driver/write-many/results", "driver/touch/batch", "batch/put-many/versions", "batch/put-many/versions-in-a-chain", "versions/usable-from/put-many",
				"batch/put-many/conditions", "batch/partial-failure/put-many", "json/scans-and-batches"},
			only: true,
		},
		{
			name: "WriteMany returns no versions",
			wrap: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i := range results {
					results[i].Version = ""
				}
				return results
			}),
			must: []string{"driver/write-many/results", "batch/put-many/versions", "versions/usable-from/put-many"},
		},
		{
			name: "WriteMany ignores conditions",
			wrap: inBatches(func(w *kv.Write) { w.Condition = kv.Condition{} }),
			must: []string{"driver/write-many/conditions", "batch/put-many/conditions"},
		},
		{
			name: "WriteMany ignores the condition of a deletion",
			wrap: inBatches(func(w *kv.Write) {
				if w.Kind == kv.KindDelete {
					w.Condition = kv.Condition{}
				}
			}),
			must: []string{"driver/write-many/conditions"},
			only: true,
		},
		{
			name: "WriteMany carries out nothing if one condition fails",
			wrap: func(d kv.Driver) kv.Driver {
				return batches(func(writes []kv.Write) []kv.Write {
					for _, w := range writes {
						if _, exists := find(d, w.Key); exists && w.Kind == kv.KindPut && w.Condition.Kind == kv.CondAbsent {
							return nil
						}
					}
					return writes
				})(d)
			},
			must: []string{"driver/write-many/conditions", "batch/put-many/conditions", "driver/predecessors/reads"},
			only: true,
		},
		{
			name: "WriteMany finds records without their predecessors",
			wrap: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i := range results {
					results[i].Found.Predecessors = ""
				}
				return results
			}),
			must: []string{"driver/predecessors/reads"},
			only: true,
		},
		{
			name: "WriteMany does not report the record of a failed condition",
			wrap: results(func(_ kv.WriteManyRequest, results []kv.WriteResult) []kv.WriteResult {
				for i := range results {
					results[i].Exists, results[i].Found = false, kv.Record{}
				}
				return results
			}),
			must: []string{"driver/write-many/conditions", "driver/predecessors/reads", "batch/put-many/conditions"},
			only: true,
		},
		{
			name: "treats an unknown kind as a put",
			wrap: taking(kv.KindCheck, kv.KindPut),
			must: []string{"driver/unsupported"},
			only: true,
		},
		{
			name: "treats an unknown kind as a deletion",
			wrap: taking(kv.KindCheck, kv.KindDelete),
			must: []string{"driver/unsupported"},
			only: true,
		},
		{
			name: "carries out a write with an unknown condition",
			wrap: before(kv.KindTouch, func(req *kv.WriteRequest) {
				if req.Condition.Kind != kv.CondVersion {
					req.Condition = kv.Condition{Kind: kv.CondLive}
				}
			}),
			must: []string{"driver/unsupported"},
			only: true,
		},
		{
			name: "reports Done for an unknown kind",
			wrap: outcomes(func(out kv.Outcome, err error) (kv.Outcome, error) {
				if errors.Is(err, kv.ErrUnsupported) {
					return kv.Outcome{Done: true}, nil
				}
				return out, err
			}),
			must: []string{"driver/unsupported"},
			only: true,
		},
		{
			name: "reports that an unknown kind may have been applied",
			wrap: failures(func(err error) error {
				if errors.Is(err, kv.ErrUnsupported) {
					return &kv.Error{Kind: kv.ErrUnsupported, MayHaveApplied: true}
				}
				return err
			}),
			must: []string{"driver/unsupported", "driver/write-atomic/unsupported"},
			only: true,
		},
	}
}

// rendezvous makes two calls with the same key wait for each other, so that they go on at
// the same time. A call that meets no other within a tenth of a second goes on alone.
type rendezvous struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
}

func (r *rendezvous) meet(key string) (met bool) {
	r.mu.Lock()
	if r.waiting == nil {
		r.waiting = make(map[string]chan struct{})
	}
	if partner, ok := r.waiting[key]; ok {
		delete(r.waiting, key)
		r.mu.Unlock()
		close(partner)
		return true
	}
	mine := make(chan struct{})
	r.waiting[key] = mine
	r.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-time.After(100 * time.Millisecond):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[key] == mine {
		delete(r.waiting, key)
		return false
	}
	return true
}

func raceFaults() []fault {
	// checking checks the conditions of one kind first and then writes without a condition.
	checking := func(kind kv.ConditionKind) middleware {
		return func(d kv.Driver) kv.Driver {
			var r rendezvous
			return methods{write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				if cond := req.Condition; cond.Kind == kind {
					rec, ok := find(d, req.Key)
					if kind == kv.CondAbsent && ok && !isExpired(rec, req.Now) || kind == kv.CondVersion && (!ok || rec.Version != cond.Version) {
						return kv.Outcome{Exists: ok, Found: rec}, nil
					}
					r.meet(req.Key)
					req.Condition = kv.Condition{}
				}
				return d.Write(ctx, req)
			}}.over(d)
		}
	}
	return []fault{
		{
			name:  "reads first and creates afterwards",
			wrap:  checking(kv.CondAbsent),
			must:  []string{"concurrency/creators", "concurrency/takeover"},
			only:  true,
			group: "concurrency/",
		},
		{
			name:  "reads first and compares versions before it writes",
			wrap:  checking(kv.CondVersion),
			must:  []string{"concurrency/compare-and-swap", "concurrency/delete", "concurrency/put-and-delete", "concurrency/counter"},
			only:  true,
			group: "concurrency/",
		},
		{
			name: "many concurrent writes are lost",
			wrap: func(d kv.Driver) kv.Driver {
				var r rendezvous
				return onWrite(kv.KindPut, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if strings.HasPrefix(req.Key, "single:") && r.meet("") {
						return kv.Outcome{Done: true, Version: req.Token}, nil
					}
					return d.Write(ctx, req)
				})(d)
			},
			must:  []string{"concurrency/other-keys"},
			only:  true,
			group: "concurrency/",
		},
		{
			name: "values written at once are mixed",
			wrap: func(d kv.Driver) kv.Driver {
				var r rendezvous
				return before(kv.KindPut, func(req *kv.WriteRequest) {
					if len(req.Value) > 1000 && r.meet(req.Key) {
						req.Value = slices.Clone(req.Value)
						req.Value[len(req.Value)/2] = '!'
					}
				})(d)
			},
			must:  []string{"concurrency/whole-values"},
			only:  true,
			group: "concurrency/",
		},
		{
			name: "scans yield a record again that was replaced meanwhile",
			wrap: func(d kv.Driver) kv.Driver {
				var mu sync.Mutex
				var replaced []string
				return chain(
					before(kv.KindPut, func(req *kv.WriteRequest) {
						mu.Lock()
						defer mu.Unlock()
						replaced = append(replaced, req.Key)
					}),
					methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
						return func(yield func(kv.Record, error) bool) {
							mu.Lock()
							begin := len(replaced)
							mu.Unlock()
							for rec, err := range d.Scan(ctx, req) {
								if !yield(rec, err) {
									return
								}
							}
							mu.Lock()
							again := slices.Clone(replaced[begin:])
							mu.Unlock()
							for _, key := range again {
								if rec, ok := find(d, key); ok && !yield(rec, nil) {
									return
								}
							}
						}
					}}.over,
				)(d)
			},
			must:  []string{"concurrency/scan-among-writers"},
			group: "concurrency/",
		},
	}
}

func contextFaults() []fault {
	return []fault{
		{
			name: "a cancelled scan ends as if it were complete",
			wrap: methods{scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
				return func(yield func(kv.Record, error) bool) {
					for rec, err := range d.Scan(context.WithoutCancel(ctx), req) {
						if ctx.Err() != nil || !yield(rec, err) {
							return
						}
					}
				}
			}}.over,
			must: []string{"context/cancelled-during-scan", "context/cancelled-on-the-way/reads"},
		},
		{
			name: "a cancelled read finds nothing",
			wrap: methods{
				get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
					if ctx.Err() != nil {
						return kv.Found{}, nil
					}
					return d.Get(ctx, req)
				},
				getMany: func(ctx context.Context, d kv.Driver, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
					return getsMany(func(keys []string, found []kv.Found) []kv.Found {
						if ctx.Err() != nil {
							return nothing(keys)
						}
						return found
					})(d).GetMany(ctx, req)
				},
			}.over,
			must: []string{"context/cancelled-on-the-way/reads"},
		},
		{
			name: "a cancelled write is reported as not applied, and was applied",
			wrap: methods{
				write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					out, err := d.Write(ctx, req)
					if ctx.Err() != nil {
						err = &kv.Error{Err: ctx.Err()}
					}
					return out, err
				},
				writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
					results := d.WriteMany(ctx, req)
					for i := range results {
						if ctx.Err() != nil {
							results[i].Err = &kv.Error{Err: ctx.Err()}
						}
					}
					return results
				},
				writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
					out, err := d.WriteAtomic(ctx, req)
					if ctx.Err() != nil {
						err = &kv.Error{Err: ctx.Err()}
					}
					return out, err
				},
			}.over,
			must: []string{
				"context/cancelled-on-the-way/put", "context/cancelled-on-the-way/put-if-not-exists", "context/cancelled-on-the-way/put-if-version", "context/cancelled-on-the-way/delete",
				"context/cancelled-on-the-way/delete-if-version", "context/cancelled-on-the-way/put-many", "context/cancelled-on-the-way/delete-many",
				"context/cancelled-on-the-way/touch", "context/cancelled-on-the-way/touch-if-version", "context/cancelled-on-the-way/update",
				"context/cancelled-on-the-way/increment", "context/cancelled-on-the-way/get-and-delete", "context/cancelled-on-the-way/atomic-write",
			},
		},
		{
			name: "a cancelled write is reported as done, and was not applied",
			wrap: methods{
				write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if ctx.Err() != nil && req.Kind == kv.KindPut {
						return kv.Outcome{Done: true, Version: req.Token}, nil
					}
					return d.Write(ctx, req)
				},
				scan: func(ctx context.Context, d kv.Driver, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
					return d.Scan(context.WithoutCancel(ctx), req)
				},
				writeMany: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) []kv.WriteResult {
					if ctx.Err() != nil {
						return slices.Repeat([]kv.WriteResult{{Outcome: kv.Outcome{Done: true}}}, len(req.Writes))
					}
					return d.WriteMany(ctx, req)
				},
			}.over,
			must: []string{"context/cancelled-on-the-way/put", "context/cancelled-on-the-way/put-many", "context/cancelled-on-the-way/delete-many"},
		},
		{
			name: "a cancelled call reports that the service is unavailable",
			wrap: methods{
				write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if ctx.Err() != nil && req.Kind == kv.KindPut {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable}
					}
					return d.Write(ctx, req)
				},
				get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
					if ctx.Err() != nil {
						return kv.Found{}, &kv.Error{Kind: kv.ErrUnavailable}
					}
					return d.Get(ctx, req)
				},
			}.over,
			must: []string{"context/cancelled-on-the-way/put", "context/cancelled-on-the-way/reads"},
		},
		{
			name: "the end of a context ends the driver",
			wrap: func(d kv.Driver) kv.Driver {
				var mu sync.Mutex
				var first context.Context
				return methods{get: func(ctx context.Context, d kv.Driver, req kv.GetRequest) (kv.Found, error) {
					mu.Lock()
					defer mu.Unlock()
					if first == nil {
						first = ctx
					}
					if first.Err() != nil {
						return kv.Found{}, first.Err()
					}
					return d.Get(ctx, req)
				}}.over(d)
			},
			must: []string{"context/others-unaffected"},
		},
	}
}

func otherDriverFaults() []fault {
	return []fault{
		{
			name: "cannot be closed",
			wrap: methods{close: func(d kv.Driver) error {
				_ = d.Close()
				return errors.New("connections are open")
			}}.over,
			must: []string{"close/unused", "close/twice", "close/with-derived", "close/then-*"},
		},
		{
			name: "reads find nothing when the connections are closed",
			wrap: readFailures(func(err error) error {
				if errors.Is(err, kv.ErrClosed) {
					return nil
				}
				return err
			}),
			must: []string{
				"close/on-the-way/get", "close/on-the-way/exists", "close/on-the-way/get-many", "close/on-the-way/scan", "close/on-the-way/scan-page",
				"close/on-the-way/get-and-delete", "close/on-the-way/count",
			},
			only: true,
		},
		{
			name: "returns the errors of closed connections as they are",
			wrap: failures(func(err error) error {
				if errors.Is(err, kv.ErrClosed) {
					return &kv.Error{Err: net.ErrClosed}
				}
				return err
			}),
			must: []string{"close/on-the-way/*"},
			only: true,
		},
	}
}
