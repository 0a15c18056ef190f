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
	"time"

	"github.com/skykv/skykv/kv"
)

func brokenDrivers() []fault {
	return slices.Concat(expiryFaults(), clockFaults(), conditionFaults(), versionFaults(), keyFaults(), valueFaults(), sliceFaults(),
		scanFaults(), staleFaults(), batchFaults(), raceFaults(), contextFaults(), otherDriverFaults())
}

func expiryFaults() []fault {
	return []fault{
		{
			name: "forgets expiry",
			wrap: writing(func(rec kv.Record) kv.Record { rec.Expires = 0; return rec }),
			must: []string{
				"expiry/ttl/*", "expiry/absolute", "expiry/put-many", "expiry/rounded-up/*", "expiry/kept", "expiry/latest",
				"put/if-not-exists/expired", "get/expired", "get/expired-for-long", "get/re-created-after-expiry", "scan/expired-runs", "scan/only-expired", "page/expired-runs", "batch/get-many/absent-and-expired",
			},
		},
		{
			name: "forgets expiry in batches",
			wrap: replacing(func(d *driver) {
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					writes = slices.Clone(writes)
					for i := range writes {
						writes[i].Expires = 0
					}
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{"expiry/put-many", "expiry/every-millisecond", "batch/put-many/duplicates", "scan/limit-counts-live", "batch/delete-prefix/expired"},
		},
		{
			name: "lets entries live a millisecond longer",
			wrap: writing(func(rec kv.Record) kv.Record {
				if rec.Expires != 0 {
					rec.Expires++
				}
				return rec
			}),
			must: []string{"expiry/ttl/*", "expiry/absolute", "expiry/judged-below-the-millisecond", "expiry/put-many", "expiry/latest"},
		},
		{
			name: "keeps whole seconds of expiry",
			wrap: writing(func(rec kv.Record) kv.Record { rec.Expires -= rec.Expires % 1000; return rec }),
			must: []string{"expiry/every-millisecond", "expiry/rounded-up/ttl", "expiry/rounded-up/absolute", "expiry/kept", "expiry/ttl/999ms"},
		},
		{
			name: "keeps 32 bits of expiry in seconds",
			wrap: writing(func(rec kv.Record) kv.Record {
				if rec.Expires > 1<<32*1000 {
					rec.Expires = 0
				}
				return rec
			}),
			must: []string{"expiry/latest", "expiry/ttl/longest"},
		},
		{
			name: "puts merge, and keep an expiry that is gone",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if old, ok, _ := d.Driver.Get(ctx, rec.Key, false); ok && rec.Expires == 0 {
						rec.Expires = old.Expires
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"expiry/removed", "expiry/removed-by-compare-and-swap", "expiry/of-re-created"},
		},
		{
			name: "batches merge, and keep an expiry that is gone",
			wrap: replacing(func(d *driver) {
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					writes = slices.Clone(writes)
					for i, w := range writes {
						if old, ok, _ := d.Driver.Get(ctx, w.Key, false); ok && w.Expires == 0 {
							writes[i].Expires = old.Expires
						}
					}
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{"expiry/removed-by-put-many", "batch/put-many/over-expired"},
		},
		{
			name: "puts do not replace a later expiry",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if old, ok, _ := d.Driver.Get(ctx, rec.Key, false); ok && rec.Expires != 0 {
						rec.Expires = max(rec.Expires, old.Expires)
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"expiry/replaced"},
		},
		{
			name: "failed conditions touch the expiry",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					if err == nil && !out.Done && out.Exists {
						old, _, _ := d.Driver.Get(ctx, rec.Key, true)
						old.Expires = rec.Expires
						_, err = d.Driver.Put(ctx, old, kv.Condition{Now: cond.Now})
					}
					return out, err
				}
			}),
			must: []string{"expiry/unchanged-by-failed-condition", "put/if-not-exists/live", "put/if-version/replaced"},
		},
		{
			name: "creates over entries that live another second",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if cond.Absent {
						cond.Now += 1000
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"put/if-not-exists/live-with-expiry"},
			only: true,
		},
		{
			name: "creates over no expired entries, and does not say when they expired",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					cond.Now = 0
					out, err := d.Driver.Put(ctx, rec, cond)
					out.Found.Expires = 0
					return out, err
				}
			}),
			must: []string{"put/if-not-exists/expired", "put/if-not-exists/expired-for-long", "expiry/ttl/1ms", "put/if-not-exists/response-lost-of-takeover", "concurrency/takeover"},
		},
		{
			name: "creates over no expired entries, and does not say their version",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					cond.Now = 0
					out, err := d.Driver.Put(ctx, rec, cond)
					out.Found.Version = "unknown"
					return out, err
				}
			}),
			must: []string{"put/if-not-exists/expired", "expiry/ttl/10y"},
		},
		{
			name: "scans leave out what expires in a minute",
			wrap: replacing(func(d *driver) {
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) {
					return rec, rec.Expires == 0 || r.Now == 0 || rec.Expires > r.Now+60_000
				})
			}),
			must: []string{"expiry/ttl/1ms", "expiry/ttl/1s", "expiry/put-many", "get/live-with-expiry"},
		},
		{
			name: "scans leave out what has expired by the driver's own clock",
			wrap: replacing(func(d *driver) {
				d.scan = scanning(d, func(rec kv.Record, _ kv.Range) (kv.Record, bool) {
					return rec, rec.Expires == 0 || rec.Expires > time.Now().Add(24*time.Hour).UnixMilli()
				})
			}),
			must: []string{"expiry/ttl/1s", "expiry/absolute", "scan/entries", "page/entries"},
		},
		{
			name: "scans remove what has expired, without an hour's grace",
			wrap: replacing(func(d *driver) {
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) {
					if rec.Expires != 0 && rec.Expires <= r.Now {
						_, _ = d.Driver.Delete(context.Background(), rec.Key, kv.Condition{Now: r.Now})
					}
					return rec, true
				})
			}),
			must: []string{"expiry/later-for-a-slow-clock", "expiry/fast-clock/scan*"},
			only: true,
		},
		{
			name: "scans remove what expired more than half an hour ago",
			wrap: replacing(func(d *driver) {
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) {
					if rec.Expires != 0 && rec.Expires+31*60*1000 <= r.Now {
						_, _ = d.Driver.Delete(context.Background(), rec.Key, kv.Condition{Now: r.Now})
					}
					return rec, true
				})
			}),
			must: []string{"expiry/later-for-a-slow-clock", "expiry/fast-clock/scan*"},
			only: true,
		},
		{
			name: "scans leave out what has expired by the driver's own clock, where the store gives none",
			wrap: replacing(func(d *driver) {
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) {
					return rec, rec.Expires == 0 || r.Now != 0 || rec.Expires > time.Now().UnixMilli()
				})
			}),
			must: []string{"batch/delete-prefix/expired-by-other-clocks"},
			only: true,
		},
		{
			name: "Get leaves out what expired two seconds ago by the driver's own clock",
			wrap: replacing(func(d *driver) {
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					rec, ok, err := d.Driver.Get(ctx, key, withValue)
					return rec, ok && (rec.Expires == 0 || rec.Expires+2000 > time.Now().UnixMilli()), err
				}
			}),
			must: []string{"expiry/slow-clock"},
			only: true,
		},
		{
			name: "creates over what expired two seconds ago by the driver's own clock",
			wrap: onPut(func(cond kv.Condition) kv.Condition {
				if cond.Absent {
					cond.Now = max(cond.Now, time.Now().UnixMilli()-2000)
				}
				return cond
			}),
			must: []string{"expiry/slow-clock"},
			only: true,
		},
		{
			name: "writes remove what has expired, without an hour's grace",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					for old := range d.Driver.Scan(ctx, kv.Range{From: "-", To: "~", Limit: 100}) {
						if old.Expires != 0 && old.Expires <= cond.Now {
							_, _ = d.Driver.Delete(ctx, old.Key, kv.Condition{Now: cond.Now, Version: old.Version})
						}
					}
					return out, err
				}
			}),
			must: []string{"expiry/later-for-a-slow-clock"},
		},
	}
}

// onPut changes the condition of a Put.
func onPut(change func(cond kv.Condition) kv.Condition) func(kv.Driver) kv.Driver {
	return replacing(func(d *driver) {
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			return d.Driver.Put(ctx, rec, change(cond))
		}
	})
}

func conditionFaults() []fault {
	return []fault{
		{
			name: "ignores that an entry exists",
			wrap: onPut(func(cond kv.Condition) kv.Condition { cond.Absent = false; return cond }),
			must: []string{
				"put/if-not-exists/live", "put/if-not-exists/live-with-expiry", "put/if-not-exists/replaced", "put/if-not-exists/re-created",
				"put/if-not-exists/re-created-after-expiry", "put/if-not-exists/replaced-by-batch", "put/if-not-exists/replaced-by-equal",
				"put/if-not-exists/replaced-before-retry", "concurrency/creators", "concurrency/takeover", "json/conditions", "batch/then-conditions",
			},
		},
		{
			name: "puts ignore the version",
			wrap: onPut(func(cond kv.Condition) kv.Condition { cond.Version = ""; return cond }),
			must: []string{
				"put/if-version/absent", "put/if-version/replaced", "put/if-version/replaced-by-batch", "put/if-version/replaced-by-equal",
				"put/if-version/deleted", "put/if-version/deleted-by-batch", "put/if-version/re-created",
				"put/if-version/replaced-before-retry", "put/if-version/deleted-before-retry",
				"versions/equal-value", "versions/equal-value-by-batch", "concurrency/compare-and-swap", "concurrency/put-and-delete", "concurrency/counter", "json/conditions",
			},
		},
		{
			name: "deletes ignore the version",
			wrap: replacing(func(d *driver) {
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					cond.Version = ""
					return d.Driver.Delete(ctx, key, cond)
				}
			}),
			must: []string{
				"delete/if-version/absent", "delete/if-version/replaced", "delete/if-version/replaced-by-batch", "delete/if-version/replaced-by-equal",
				"delete/if-version/deleted", "delete/if-version/deleted-by-batch", "delete/if-version/re-created",
				"delete/if-version/response-lost", "delete/twice", "versions/expiry-alone", "concurrency/delete", "batch/then-conditions", "errors/described",
			},
		},
		{
			name: "puts with a version create absent entries",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					if cond.Version != "" && err == nil && !out.Done && !out.Exists {
						cond.Version = ""
						return d.Driver.Put(ctx, rec, cond)
					}
					return out, err
				}
			}),
			must: []string{"put/if-version/absent", "put/if-version/deleted", "put/if-version/deleted-by-batch", "put/if-version/deleted-before-retry"},
		},
		{
			name: "deletes of an absent entry hold every condition",
			wrap: replacing(func(d *driver) {
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Delete(ctx, key, cond)
					return kv.Outcome{Done: out.Done || !out.Exists, Exists: out.Exists, Found: out.Found}, err
				}
			}),
			must: []string{"delete/if-version/absent", "delete/if-version/deleted", "delete/if-version/deleted-by-batch", "delete/if-version/response-lost", "delete/twice", "concurrency/delete"},
		},
		{
			name: "refuses to delete an absent entry",
			wrap: replacing(func(d *driver) {
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					if _, ok, _ := d.Driver.Get(ctx, key, false); !ok {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrNotFound}
					}
					return d.Driver.Delete(ctx, key, cond)
				}
			}),
			must: []string{"delete/none/absent", "delete/none/deleted", "delete/none/deleted-by-batch", "delete/none/response-lost", "delete/twice"},
		},
		{
			name: "fails, instead of saying that a condition failed",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					if err == nil && !out.Done {
						return kv.Outcome{}, fmt.Errorf("412 precondition failed: %s", rec.Value)
					}
					return out, err
				}
			}),
			must: []string{"put/if-not-exists/live", "put/if-version/replaced", "errors/one-meaning", "errors/no-value-in-them", "put/other-keys-untouched"},
		},
		{
			name: "drops the token",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					out.Found.Token = ""
					return out, err
				}
			}),
			must: []string{"put/if-not-exists/response-lost", "put/if-not-exists/response-lost-of-takeover", "put/if-version/response-lost"},
			only: true,
		},
		{
			name: "finds its own token wherever a condition fails",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					out.Found.Token = rec.Token
					return out, err
				}
			}),
			must: []string{"put/if-not-exists/live", "put/if-not-exists/replaced-before-retry", "put/if-version/replaced-before-retry", "concurrency/creators"},
		},
		{
			name: "does not say that a failed condition found an entry",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					out.Exists, out.Found = false, kv.Record{}
					return out, err
				}
			}),
			must: []string{"put/if-not-exists/live", "put/if-not-exists/response-lost"},
		},
		{
			name: "takes a repeated request for an attack",
			wrap: replacing(func(d *driver) {
				var seen sync.Map
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if _, twice := seen.LoadOrStore(rec.Token[:18], true); twice && cond.Version == "" && !cond.Absent {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrIncompatible}
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"put/none/response-lost"},
			only: true,
		},
		{
			name: "writes touch the neighbour",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if next, ok, _ := d.Driver.Get(ctx, rec.Key+"1", true); ok {
						next.Value = append(next.Value, '!')
						_, _ = d.Driver.Put(ctx, next, kv.Condition{Now: cond.Now})
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"put/other-keys-untouched"},
		},
		{
			name: "deletes take the longer keys along",
			wrap: replacing(func(d *driver) {
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					_, _ = d.Driver.Delete(ctx, key+"1", kv.Condition{Now: cond.Now})
					_, _ = d.Driver.Delete(ctx, key+"a", kv.Condition{Now: cond.Now})
					return d.Driver.Delete(ctx, key, cond)
				}
			}),
			must: []string{"delete/none/absent", "delete/none/live", "delete/none/live-with-expiry", "delete/none/replaced", "delete/none/expired", "delete/none/expired-for-long", "delete/none/re-created-after-expiry", "keys/one-begins-another"},
		},
		{
			name: "does not create over what was deleted",
			wrap: replacing(func(d *driver) {
				var gone sync.Map
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if at, ok := gone.Load(rec.Key); cond.Absent && ok {
						return kv.Outcome{Exists: true, Found: kv.Record{Key: rec.Key, Version: at.(string)}}, nil
					}
					return d.Driver.Put(ctx, rec, cond)
				}
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Delete(ctx, key, cond)
					if out.Done {
						gone.Store(key, "tombstone")
					}
					return out, err
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					for _, w := range writes {
						if w.Delete {
							gone.Store(w.Key, "tombstone")
						}
					}
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{"put/if-not-exists/deleted", "put/if-not-exists/deleted-by-batch", "put/if-not-exists/re-created", "get/re-created", "delete/none/re-created", "batch/then-conditions"},
		},
	}
}

// versioned makes name the version of every record that is read or written.
func versioned(name func(rec kv.Record) string) func(kv.Driver) kv.Driver {
	return replacing(func(d *driver) {
		// The driver beneath knows the token alone: conditions are judged here.
		var mu sync.Mutex
		change := func(rec kv.Record) kv.Record {
			if rec.Key != "" {
				rec.Version = name(rec)
			}
			return rec
		}
		named := reading(change)(d.Driver).(*driver)
		d.get, d.getMany, d.scan, d.writeMany = named.get, named.getMany, named.scan, named.writeMany
		native := func(ctx context.Context, key string, cond kv.Condition) kv.Condition {
			if cond.Version == "" {
				return cond
			}
			rec, ok, _ := d.Driver.Get(ctx, key, true)
			if ok && name(rec) == cond.Version {
				cond.Version = rec.Version
			} else {
				cond.Version = "none"
			}
			return cond
		}
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			out, err := d.Driver.Put(ctx, rec, native(ctx, rec.Key, cond))
			if out.Done {
				out.Version = name(rec)
			} else if out.Exists {
				found, _, _ := d.Driver.Get(ctx, rec.Key, true)
				out.Found = change(found)
			}
			return out, err
		}
		d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
			mu.Lock()
			defer mu.Unlock()
			return d.Driver.Delete(ctx, key, native(ctx, key, cond))
		}
	})
}

func versionFaults() []fault {
	wrongFrom := func(how string, must ...string) fault {
		f := fault{name: "wrong version from " + how, must: must}
		wrong := func(rec kv.Record) kv.Record { rec.Version += "?"; return rec }
		f.wrap = replacing(func(d *driver) {
			switch how {
			case "Put":
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					if out.Done {
						out.Version += "?"
					}
					return out, err
				}
			case "Get":
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					rec, ok, err := d.Driver.Get(ctx, key, withValue)
					return wrong(rec), ok, err
				}
			case "GetMany":
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					recs, err := d.Driver.GetMany(ctx, keys)
					for i := range recs {
						recs[i] = wrong(recs[i])
					}
					return recs, err
				}
			case "scans":
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) { return wrong(rec), true })
			case "scans without values":
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) {
					if !r.WithValue {
						rec = wrong(rec)
					}
					return rec, true
				})
			}
		})
		return f
	}
	return []fault{
		wrongFrom("Put", "versions/usable-from/put", "versions/chain", "put/none/*", "put/if-not-exists/absent", "versions/stable", "json/round-trip", "concurrency/compare-and-swap"),
		wrongFrom("Get", "versions/usable-from/get", "versions/stable", "get/own-writes", "versions/one-per-key"),
		wrongFrom("GetMany", "versions/usable-from/get-many", "versions/stable"),
		wrongFrom("scans", "versions/usable-from/scan", "versions/usable-from/scan-page", "scan/entries", "page/entries", "get/own-writes-scan", "page/own-writes", "scan/loop-uses-store"),
		wrongFrom("scans without values", "versions/usable-from/scan-keys-only", "scan/keys-only"),
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
			wrap: replacing(func(d *driver) {
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					writes = slices.Clone(writes)
					for i, w := range writes {
						if old, ok, _ := d.Driver.Get(ctx, w.Key, false); ok {
							writes[i].Token = old.Token
						}
					}
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{"versions/equal-value-by-batch", "put/if-version/replaced-by-batch", "delete/if-version/replaced-by-batch"},
		},
	}
}

// naming changes the keys on their way to the driver and back.
func naming(to, from func(key string) string) func(kv.Driver) kv.Driver {
	back := func(rec kv.Record) kv.Record { rec.Key = from(rec.Key); return rec }
	return replacing(func(d *driver) {
		d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
			rec, ok, err := d.Driver.Get(ctx, to(key), withValue)
			return back(rec), ok, err
		}
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			rec.Key = to(rec.Key)
			return d.Driver.Put(ctx, rec, cond)
		}
		d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
			return d.Driver.Delete(ctx, to(key), cond)
		}
		d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
			keys = slices.Clone(keys)
			for i := range keys {
				keys[i] = to(keys[i])
			}
			recs, err := d.Driver.GetMany(ctx, keys)
			for i := range recs {
				recs[i] = back(recs[i])
			}
			return recs, err
		}
		d.writeMany = func(ctx context.Context, writes []kv.Write) error {
			writes = slices.Clone(writes)
			for i := range writes {
				writes[i].Key = to(writes[i].Key)
			}
			return d.Driver.WriteMany(ctx, writes)
		}
		d.scan = scanning(d, func(rec kv.Record, _ kv.Range) (kv.Record, bool) { return back(rec), true })
	})
}

func same(key string) string { return key }

// refusing refuses writes of some keys.
func refusing(bad func(key string) bool) func(kv.Driver) kv.Driver {
	return replacing(func(d *driver) {
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			if bad(rec.Key) {
				return kv.Outcome{}, &kv.Error{Kind: kv.ErrInvalidKey}
			}
			return d.Driver.Put(ctx, rec, cond)
		}
		d.writeMany = func(ctx context.Context, writes []kv.Write) error {
			return kv.WriteEach(ctx, d, writes, 1)
		}
	})
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
			name: "keeps a key for itself",
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
			name: "refuses keys that begin others",
			wrap: replacing(func(d *driver) {
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					for rec := range d.Driver.Scan(ctx, kv.Range{From: key + "-", To: key + "~", Limit: 1}) {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrInvalidKey, Key: rec.Key}
					}
					return d.Driver.Delete(ctx, key, cond)
				}
			}),
			must: []string{"keys/one-begins-another"},
		},
		{
			name: "raises the limits",
			wrap: replacing(func(d *driver) {
				info := d.Driver.Info()
				info.MaxKeyLen, info.MaxValueLen = 1024, 400<<10
				d.info = func() kv.Info { return info }
			}),
			must: []string{"info/limits", "keys/invalid/too-long", "values/too-long", "batch/put-many/invalid", "batch/get-many/invalid", "scan/prefix/longest", "scan/after/the-longest", "errors/one-meaning"},
		},
		{
			name: "lowers the limits too far",
			wrap: replacing(func(d *driver) {
				info := d.Driver.Info()
				info.MaxKeyLen, info.MaxValueLen = 63, 1023
				d.info = func() kv.Info { return info }
			}),
			must: []string{"info/limits"},
		},
		{
			name: "has no name",
			wrap: replacing(func(d *driver) {
				info := d.Driver.Info()
				info.Name = ""
				d.info = func() kv.Info { return info }
			}),
			must: []string{"info/constant"},
		},
	}
}

func valueFaults() []fault {
	storing := func(name string, change func(value []byte) []byte, must ...string) fault {
		return fault{
			name: name,
			wrap: writing(func(rec kv.Record) kv.Record { rec.Value = change(rec.Value); return rec }),
			must: must,
		}
	}
	return []fault{
		storing("loses the last byte of the longest values",
			func(value []byte) []byte { return value[:min(len(value), kv.MaxValueLen-1)] },
			"values/longest", "values/many-of-the-longest", "batch/put-many/values-of-all-sizes"),
		storing("loses what goes beyond 24,574 bytes",
			func(value []byte) []byte { return value[:min(len(value), kv.MaxValueLen-2)] },
			"values/one-below-longest", "concurrency/whole-values"),
		storing("keeps 512 bytes of a value",
			func(value []byte) []byte { return value[:min(len(value), 512)] },
			"values/1000-bytes"),
		storing("cuts at the first zero byte",
			func(value []byte) []byte { value, _, _ = bytes.Cut(value, []byte{0}); return value },
			"values/one-zero-byte", "values/zero-bytes", "values/every-byte"),
		storing("replaces what is not UTF-8",
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
		storing("repairs what is not JSON",
			func(value []byte) []byte {
				if string(value) == secret {
					return []byte("{}")
				}
				return value
			},
			"json/no-json"),
		{
			name: "refuses the empty value",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if len(rec.Value) == 0 {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrIncompatible}
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"values/nil", "values/empty", "values/replaced-by-shorter"},
		},
		{
			name: "writes over the old value without cutting it",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if old, ok, _ := d.Driver.Get(ctx, rec.Key, true); ok && len(old.Value) > len(rec.Value) {
						rec.Value = slices.Concat(rec.Value, old.Value[len(rec.Value):])
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"values/replaced-by-shorter"},
		},
		{
			name: "takes a megabyte at once",
			wrap: replacing(func(d *driver) {
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					size := 0
					for _, w := range writes {
						if size += len(w.Value); size > 1<<20 {
							return &kv.Error{Kind: kv.ErrValueTooLarge}
						}
					}
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{"values/many-of-the-longest"},
			only: true,
		},
		{
			name: "scans give values where none are wanted, and none where they are",
			wrap: replacing(func(d *driver) {
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					r.WithValue = !r.WithValue
					return d.Driver.Scan(ctx, r)
				}
			}),
			must: []string{"scan/entries", "page/entries", "scan/many", "get/own-writes-scan"},
		},
	}
}

func sliceFaults() []fault {
	return []fault{
		{
			name: "keeps the slices that it is given",
			wrap: replacing(func(d *driver) {
				var kept sync.Map
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					kept.Store(rec.Token, rec.Value)
					return d.Driver.Put(ctx, rec, cond)
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					for _, w := range writes {
						kept.Store(w.Token, w.Value)
					}
					return d.Driver.WriteMany(ctx, writes)
				}
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					rec, ok, err := d.Driver.Get(ctx, key, withValue)
					if value, held := kept.Load(rec.Token); held {
						rec.Value = slices.Clone(value.([]byte))
					}
					return rec, ok, err
				}
			}),
			must: []string{"values/slice-not-kept/put", "values/slice-not-kept/put-many"},
		},
		{
			name: "gives the same slice to everybody",
			wrap: replacing(func(d *driver) {
				var given sync.Map
				share := func(rec kv.Record) kv.Record {
					if value, ok := given.LoadOrStore(rec.Token, rec.Value); ok {
						rec.Value = value.([]byte)
					}
					return rec
				}
				shared := reading(func(rec kv.Record) kv.Record {
					if rec.Value == nil {
						return rec
					}
					return share(rec)
				})(d.Driver).(*driver)
				d.get, d.getMany, d.scan = shared.get, shared.getMany, shared.scan
			}),
			must: []string{"values/slice-owned/get", "values/slice-owned/get-many", "values/slice-owned/scan"},
		},
		{
			name: "cuts the values of a batch from one buffer",
			wrap: replacing(func(d *driver) {
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					recs, err := d.Driver.GetMany(ctx, keys)
					oneBuffer(recs)
					return recs, err
				}
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record {
					if r.WithValue {
						oneBuffer(recs)
					}
					return recs
				})
			}),
			must: []string{"values/slice-owned/get-many", "values/slice-owned/scan"},
			only: true,
		},
		{
			name: "writes into the slices that it is given",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					_ = append(rec.Value, "trailer"...)
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"values/slice-unchanged"},
			only: true,
		},
	}
}

// oneBuffer moves the values of recs into one slice.
func oneBuffer(recs []kv.Record) {
	size := 0
	for _, rec := range recs {
		size += len(rec.Value)
	}
	buffer := make([]byte, 0, size)
	for i, rec := range recs {
		at := len(buffer)
		buffer = append(buffer, rec.Value...)
		recs[i].Value = buffer[at:]
	}
}

func scanFaults() []fault {
	// ranged changes the range of scans.
	ranged := func(change func(r kv.Range) kv.Range) func(kv.Driver) kv.Driver {
		return replacing(func(d *driver) {
			d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
				return d.Driver.Scan(ctx, change(r))
			}
		})
	}
	ordered := func(compare func(a, b kv.Record) int) func(kv.Driver) kv.Driver {
		return replacing(func(d *driver) {
			d.scan = rescanning(d, func(recs []kv.Record, _ kv.Range) []kv.Record {
				slices.SortStableFunc(recs, compare)
				return recs
			})
		})
	}
	leavingOut := func(prefix, name string) fault {
		return fault{
			name: "scans leave out keys that start with " + prefix,
			wrap: replacing(func(d *driver) {
				d.scan = scanning(d, func(rec kv.Record, _ kv.Range) (kv.Record, bool) { return rec, !strings.HasPrefix(rec.Key, prefix) })
			}),
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
			must: []string{"scan/order/alphabet", "scan/order/behind-a-prefix", "scan/order/random", "keys/alphabet"},
		},
		{
			name: "scans in an order that ignores punctuation",
			wrap: ordered(func(a, b kv.Record) int {
				letters := strings.NewReplacer("-", "", ".", "", ":", "", "_", "")
				return strings.Compare(letters.Replace(a.Key), letters.Replace(b.Key))
			}),
			must: []string{"scan/order/behind-a-prefix", "scan/order/random"},
		},
		{
			name: "scans shorter keys first",
			wrap: ordered(func(a, b kv.Record) int { return len(a.Key) - len(b.Key) }),
			must: []string{"scan/order/random", "scan/prefix/with-separator"},
		},
		{
			name: "repeats at page borders",
			wrap: replacing(func(d *driver) {
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record {
					var repeated []kv.Record
					for i, rec := range recs {
						repeated = append(repeated, rec)
						if (i+1)%r.Limit == 0 {
							repeated = append(repeated, rec)
						}
					}
					return repeated
				})
			}),
			must: []string{"scan/many", "page/size-1000/of-1100"},
		},
		{
			name: "skips at page borders",
			wrap: replacing(func(d *driver) {
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record {
					var kept []kv.Record
					for i, rec := range recs {
						if i == 0 || i%r.Limit != 0 {
							kept = append(kept, rec)
						}
					}
					return kept
				})
			}),
			must: []string{"scan/many", "page/size-1000/of-1100", "batch/delete-prefix/many"},
		},
		{
			name: "scans end after one page",
			wrap: replacing(func(d *driver) {
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record { return recs[:min(len(recs), r.Limit)] })
			}),
			must: []string{"scan/many", "scan/expired-runs", "scan/limit-counts-live", "page/expired-runs", "page/size-1000/of-1100", "batch/delete-prefix/many", "batch/put-many/1000"},
		},
		{
			name: "scans go on behind the prefix",
			wrap: ranged(func(r kv.Range) kv.Range { r.To = "~"; return r }),
			must: []string{"scan/prefix/with-separator", "scan/prefix/is-a-key", "scan/prefix/whole-key", "page/prefix", "scan/limit", "batch/delete-prefix/removes"},
		},
		{
			name: "scans begin before the prefix",
			wrap: ranged(func(r kv.Range) kv.Range { r.From = "-"; return r }),
			must: []string{"scan/prefix/with-separator", "scan/after/a-key", "page/size-1/of-5", "cursor/never-widens", "scan/nested"},
		},
		{
			name: "scans end before the highest byte",
			wrap: ranged(func(r kv.Range) kv.Range { r.To = strings.TrimSuffix(r.To, "~") + "z"; return r }),
			must: []string{"scan/prefix/highest-byte", "scan/prefix/all"},
		},
		{
			name: "scans leave out the prefix itself",
			wrap: replacing(func(d *driver) {
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) { return rec, rec.Key != r.From })
			}),
			must: []string{"scan/prefix/is-a-key", "scan/prefix/whole-key", "keys/special/*", "batch/delete-prefix/removes"},
		},
		leavingOut(".", "scan/prefix/dot"), leavingOut("__", "scan/prefix/underscores"), leavingOut(":", "scan/prefix/colon"),
		leavingOut("-", "scan/prefix/lowest-byte"), leavingOut("A", "scan/prefix/upper-case"), leavingOut("a:10", "scan/prefix/within-a-word"),
		{
			name: "yields something from an empty store",
			wrap: replacing(func(d *driver) {
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record {
					if len(recs) == 0 {
						return []kv.Record{{Key: r.From, Token: "token", Version: "version"}}
					}
					return recs
				})
			}),
			must: []string{"scan/empty-store", "page/empty-store", "page/no-match", "scan/prefix/none", "scan/prefix/beyond-all", "scan/prefix/before-all",
				"scan/after/the-last", "scan/after/beyond-all", "scan/after/the-prefix-s-last"},
		},
		{
			name: "yields the first and the last record of all in every scan",
			wrap: replacing(func(d *driver) {
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						whole := r
						whole.From, whole.To = "-", "~"
						var all []kv.Record
						for rec, err := range d.Driver.Scan(ctx, whole) {
							if err != nil {
								yield(rec, err)
								return
							}
							all = append(all, rec)
						}
						for i, rec := range all {
							if (i == 0 || i == len(all)-1 || rec.Key >= r.From && rec.Key <= r.To) && !yield(rec, nil) {
								return
							}
						}
					}
				}
			}),
			must: []string{"scan/after/a-key", "scan/after/an-absent-key", "scan/after/a-key-of-the-prefix", "scan/after/before-the-prefix", "scan/after/a-prefix-of-keys",
				"scan/after/the-prefix-itself", "page/after", "page/same-cursor-twice", "page/other-limit", "cursor/other-store", "cursor/derived-store", "scan/options-together"},
		},
		{
			name: "leaves out the second record of all",
			wrap: replacing(func(d *driver) {
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record {
					if r.From <= "-" && len(recs) > 1 {
						return slices.Delete(recs, 1, 2)
					}
					return recs
				})
			}),
			must: []string{"scan/after/the-start"},
		},
		{
			name: "finds nothing behind a position before all keys",
			wrap: replacing(func(d *driver) {
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record {
					if strings.HasPrefix(r.From, "--") {
						return nil
					}
					return recs
				})
			}),
			must: []string{"scan/after/before-all"},
		},
		{
			name: "scans lock writers out",
			wrap: replacing(func(d *driver) {
				var mu sync.Mutex
				scans := 0
				count := func(n int) int {
					mu.Lock()
					defer mu.Unlock()
					scans += n
					return scans
				}
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						defer count(-1)
						if count(1) > 1 {
							yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
							return
						}
						d.Driver.Scan(ctx, r)(yield)
					}
				}
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if count(0) > 0 {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable}
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must: []string{"scan/loop-uses-store", "scan/nested", "scan/live-throughout"},
		},
		{
			name: "scans in pages by offset",
			wrap: replacing(func(d *driver) {
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						for offset := 0; ; offset += 10 {
							var page []kv.Record
							n := 0
							for rec, err := range d.Driver.Scan(ctx, r) {
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
				}
			}),
			must: []string{"scan/live-throughout", "scan/loop-uses-store"},
		},
		{
			name: "scans break after fifty records and do not come back",
			wrap: replacing(func(d *driver) {
				var broken bool
				var mu sync.Mutex
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						n := 0
						for rec, err := range d.Driver.Scan(ctx, r) {
							mu.Lock()
							if n++; n == 50 {
								broken = true
							}
							dead := broken
							mu.Unlock()
							if dead {
								yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
								return
							}
							if !yield(rec, err) {
								return
							}
						}
					}
				}
			}),
			must: []string{"scan/break", "scan/limit", "scan/expired-runs"},
		},
		{
			name: "a broken loop leaves the driver closed",
			wrap: replacing(func(d *driver) {
				var mu sync.Mutex
				closed := false
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						mu.Lock()
						dead := closed
						mu.Unlock()
						if dead {
							yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
							return
						}
						n := 0
						for rec, err := range d.Driver.Scan(ctx, r) {
							if n++; !yield(rec, err) {
								mu.Lock()
								closed = true
								mu.Unlock()
								return
							}
						}
					}
				}
			}),
			must: []string{"scan/break", "context/others-unaffected", "page/keys-only"},
		},
		{
			name: "the first scan of a range is remembered",
			wrap: replacing(func(d *driver) {
				var remembered sync.Map
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						all := r
						all.From = "-"
						var recs []kv.Record
						for rec, err := range d.Driver.Scan(ctx, all) {
							if err != nil {
								yield(rec, err)
								return
							}
							recs = append(recs, rec)
						}
						if old, ok := remembered.LoadOrStore(fmt.Sprint(r.To, r.WithValue), recs); ok {
							recs = old.([]kv.Record)
						}
						for _, rec := range recs {
							if rec.Key >= r.From && !yield(rec, nil) {
								return
							}
						}
					}
				}
			}),
			must: []string{"page/deleted-ahead", "page/inserted-between", "page/replaced-between", "page/own-writes", "get/own-writes-scan", "cursor/emptied-store"},
		},
	}
}

func staleFaults() []fault {
	// memory remembers what was there before the last write of each key, and lets
	// one read of it see that.
	type memory struct {
		mu  sync.Mutex
		old map[string]*kv.Record // nil: absent
	}
	before := func(d *driver) *memory {
		m := &memory{old: make(map[string]*kv.Record)}
		remember := func(key string) {
			rec, ok, _ := d.Driver.Get(context.Background(), key, true)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.old[key] = nil
			if ok {
				m.old[key] = &rec
			}
		}
		d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			remember(rec.Key)
			return d.Driver.Put(ctx, rec, cond)
		}
		d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
			remember(key)
			return d.Driver.Delete(ctx, key, cond)
		}
		d.writeMany = func(ctx context.Context, writes []kv.Write) error {
			for _, w := range writes {
				remember(w.Key)
			}
			return d.Driver.WriteMany(ctx, writes)
		}
		return m
	}
	take := func(m *memory, key string) (rec *kv.Record, stale bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		rec, stale = m.old[key]
		delete(m.old, key)
		return rec, stale
	}
	get := func(name string, withValue bool, must ...string) fault {
		return fault{
			name: name,
			wrap: replacing(func(d *driver) {
				m := before(d)
				d.get = func(ctx context.Context, key string, with bool) (kv.Record, bool, error) {
					if with == withValue {
						if rec, stale := take(m, key); stale {
							if rec == nil {
								return kv.Record{}, false, nil
							}
							return *rec, true, nil
						}
					}
					return d.Driver.Get(ctx, key, with)
				}
			}),
			must: must,
		}
	}
	return []fault{
		get("Get is stale once", true, "get/own-writes", "get/live", "get/replaced", "delete/none/live", "values/replaced-by-shorter", "put/none/live"),
		get("Exists is stale once", false, "get/own-writes-exists", "get/live"),
		{
			name: "GetMany is stale once",
			wrap: replacing(func(d *driver) {
				m := before(d)
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					recs, err := d.Driver.GetMany(ctx, keys)
					for _, key := range keys {
						old, stale := take(m, key)
						if !stale {
							continue
						}
						recs = slices.DeleteFunc(recs, func(rec kv.Record) bool { return rec.Key == key })
						if old != nil {
							recs = append(recs, *old)
						}
					}
					return recs, err
				}
			}),
			must: []string{"get/own-writes-get-many", "get/live", "batch/get-many/1", "get/deleted"},
		},
		{
			name: "scans are stale once",
			wrap: replacing(func(d *driver) {
				m := before(d)
				d.scan = scanning(d, func(rec kv.Record, r kv.Range) (kv.Record, bool) {
					old, stale := take(m, rec.Key)
					if !stale {
						return rec, true
					}
					if old == nil {
						return rec, false
					}
					return *old, true
				})
			}),
			must: []string{"get/own-writes-scan", "page/own-writes", "get/live", "scan/many", "page/size-7/of-7"},
		},
		{
			name: "scans see what was deleted once more",
			wrap: replacing(func(d *driver) {
				m := before(d)
				d.scan = rescanning(d, func(recs []kv.Record, r kv.Range) []kv.Record {
					m.mu.Lock()
					defer m.mu.Unlock()
					for key, old := range m.old {
						if old != nil && key >= r.From && key <= r.To && !slices.ContainsFunc(recs, func(rec kv.Record) bool { return rec.Key == key }) {
							recs = append(recs, *old)
							delete(m.old, key)
						}
					}
					slices.SortFunc(recs, func(a, b kv.Record) int { return strings.Compare(a.Key, b.Key) })
					return recs
				})
			}),
			must: []string{"get/deleted", "get/deleted-by-batch", "delete/none/live", "delete/none/live-with-expiry", "batch/delete-many/25", "cursor/emptied-store", "page/deleted-ahead"},
		},
		{
			name: "Get and Exists find expired entries for another second",
			wrap: replacing(func(d *driver) {
				d.get = func(ctx context.Context, key string, with bool) (kv.Record, bool, error) {
					rec, ok, err := d.Driver.Get(ctx, key, with)
					if ok && rec.Expires != 0 {
						rec.Expires += 1000
					}
					return rec, ok, err
				}
			}),
			must: []string{"get/expired", "get/live-with-expiry", "errors/nothing-beside-them"},
		},
	}
}

func batchFaults() []fault {
	writes := func(name string, change func(ctx context.Context, d *driver, writes []kv.Write) error, must ...string) fault {
		return fault{name: name, must: must, wrap: replacing(func(d *driver) {
			d.writeMany = func(ctx context.Context, writes []kv.Write) error { return change(ctx, d, writes) }
		})}
	}
	reads := func(name string, change func(ctx context.Context, d *driver, keys []string) ([]kv.Record, error), must ...string) fault {
		return fault{name: name, must: must, wrap: replacing(func(d *driver) {
			d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) { return change(ctx, d, keys) }
		})}
	}
	sizes := func(group string, from int) (names []string) {
		for _, n := range batchSizes {
			if n >= from {
				names = append(names, fmt.Sprintf("batch/%s/%d", group, n))
			}
		}
		return names
	}
	// forgets loses the puts, or the deletes, that come behind the first n.
	forgets := func(deletes bool, n func(writes int) int) func(context.Context, *driver, []kv.Write) error {
		return func(ctx context.Context, d *driver, writes []kv.Write) error {
			if len(writes) > 0 && writes[0].Delete == deletes {
				writes = writes[:min(len(writes), n(len(writes)))]
			}
			return d.Driver.WriteMany(ctx, writes)
		}
	}
	last := func(writes int) int { return writes - 1 }
	upTo := func(n int) func(int) int { return func(int) int { return n } }
	return []fault{
		writes("PutMany forgets all behind the 25th item", forgets(false, upTo(25)), append(sizes("put-many", 26), "batch/put-many/duplicates", "concurrency/other-keys")...),
		writes("PutMany forgets all behind the 100th item", forgets(false, upTo(100)), append(sizes("put-many", 101), "batch/put-many/duplicates")...),
		writes("PutMany forgets the last item", forgets(false, last), append(sizes("put-many", 1), "batch/partial-failure/put-many")...),
		writes("DeleteMany forgets all behind the 25th key", forgets(true, upTo(25)), append(sizes("delete-many", 26), "batch/delete-prefix/many")...),
		writes("DeleteMany forgets all behind the 100th key", forgets(true, upTo(100)), append(sizes("delete-many", 101), "batch/delete-prefix/many")...),
		writes("DeleteMany forgets the last key", forgets(true, last), append(sizes("delete-many", 1), "batch/partial-failure/delete-many", "batch/delete-prefix/removes", "batch/delete-prefix/damaged-entry")...),
		writes("a batch refuses more than 100 writes",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				if len(writes) > 100 {
					return &kv.Error{Kind: kv.ErrInvalidOption}
				}
				return d.Driver.WriteMany(ctx, writes)
			},
			"batch/put-many/101", "batch/put-many/1000", "batch/get-many/1000", "batch/delete-many/1000"),
		writes("a batch does with all what it does with the first",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				writes = slices.Clone(writes)
				for i := range writes {
					writes[i].Delete = writes[0].Delete
				}
				return d.Driver.WriteMany(ctx, writes)
			},
			"batch/puts-and-deletes"),
		writes("a batch does not delete",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				return d.Driver.WriteMany(ctx, slices.DeleteFunc(slices.Clone(writes), func(w kv.Write) bool { return w.Delete }))
			},
			append(sizes("delete-many", 1), "batch/delete-many/absent-and-expired", "batch/delete-prefix/removes", "batch/delete-prefix/many", "put/if-not-exists/deleted-by-batch",
				"delete/if-version/deleted-by-batch", "get/deleted-by-batch", "put/none/deleted-by-batch", "delete/none/deleted-by-batch")...),
		writes("a batch does not replace",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				return d.Driver.WriteMany(ctx, slices.DeleteFunc(slices.Clone(writes), func(w kv.Write) bool {
					_, ok, _ := d.Driver.Get(ctx, w.Key, false)
					return ok && !w.Delete
				}))
			},
			"put/none/replaced-by-batch", "put/if-not-exists/replaced-by-batch", "delete/none/replaced-by-batch", "delete/if-version/replaced-by-batch", "get/replaced-by-batch",
			"batch/put-many/1", "batch/put-many/over-expired", "expiry/removed-by-put-many"),
		writes("a batch fails where a key to delete is absent",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				for _, w := range writes {
					if _, ok, _ := d.Driver.Get(ctx, w.Key, false); w.Delete && !ok {
						return &kv.BatchError{Failed: map[string]error{w.Key: &kv.Error{Kind: kv.ErrNotFound}}}
					}
				}
				return d.Driver.WriteMany(ctx, writes)
			},
			"batch/delete-many/absent-and-expired"),
		writes("a batch gives all items the first one's value",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				writes = slices.Clone(writes)
				for i := range writes {
					writes[i].Value = writes[0].Value
				}
				return d.Driver.WriteMany(ctx, writes)
			},
			append(sizes("put-many", 2), "batch/put-many/values-of-all-sizes", "values/slice-not-kept/put-many")...),
		writes("an empty batch is an error, and one of one key too",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				if len(writes) < 2 {
					return &kv.Error{Kind: kv.ErrIncompatible}
				}
				return d.Driver.WriteMany(ctx, writes)
			},
			"batch/put-many/1", "batch/delete-many/1"),
		writes("one failed key fails the batch",
			func(ctx context.Context, d *driver, writes []kv.Write) error {
				if len(writes) == 29 {
					return &kv.Error{Kind: kv.ErrThrottled}
				}
				return d.Driver.WriteMany(ctx, writes)
			},
			"batch/partial-failure/put-many", "batch/partial-failure/delete-many"),
		reads("GetMany reads 100 keys",
			func(ctx context.Context, d *driver, keys []string) ([]kv.Record, error) {
				return d.Driver.GetMany(ctx, keys[:min(len(keys), 100)])
			},
			sizes("get-many", 101)...),
		reads("GetMany reads 25 keys",
			func(ctx context.Context, d *driver, keys []string) ([]kv.Record, error) {
				return d.Driver.GetMany(ctx, keys[:min(len(keys), 25)])
			},
			append(sizes("get-many", 26), "batch/get-many/absent-and-expired", "batch/get-many/duplicates", "batch/get-many/keys-of-all-kinds")...),
		reads("GetMany loses the last key",
			func(ctx context.Context, d *driver, keys []string) ([]kv.Record, error) {
				return d.Driver.GetMany(ctx, keys[:max(0, len(keys)-1)])
			},
			append(sizes("get-many", 1), "keys/alphabet", "values/slice-owned/get-many", "batch/partial-failure/get-many")...),
		reads("GetMany makes up what is absent",
			func(ctx context.Context, d *driver, keys []string) ([]kv.Record, error) {
				recs, err := d.Driver.GetMany(ctx, keys)
				for _, key := range keys {
					if !slices.ContainsFunc(recs, func(rec kv.Record) bool { return rec.Key == key }) {
						recs = append(recs, kv.Record{Key: key, Version: "none"})
					}
				}
				return recs, err
			},
			"batch/get-many/nothing-there", "get/absent", "get/deleted", "get/deleted-by-batch", "batch/get-many/absent-and-expired"),
		reads("GetMany mixes two values up",
			func(ctx context.Context, d *driver, keys []string) ([]kv.Record, error) {
				recs, err := d.Driver.GetMany(ctx, keys)
				if len(recs) > 1 {
					recs[0].Value, recs[1].Value = recs[1].Value, recs[0].Value
				}
				return recs, err
			},
			"batch/get-many/25", "batch/get-many/keys-of-all-kinds"),
	}
}

// rendezvous makes two calls under one key wait for each other, so that they do at
// the same time what they do next. A call that nobody joins goes on alone.
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
	// checking judges conditions of a kind first and writes afterwards.
	checking := func(kind func(cond kv.Condition) bool) func(kv.Driver) kv.Driver {
		return replacing(func(d *driver) {
			var r rendezvous
			holds := func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, bool) {
				rec, ok, _ := d.Driver.Get(ctx, key, false)
				expired := ok && rec.Expires != 0 && rec.Expires <= cond.Now
				if cond.Absent && ok && !expired || cond.Version != "" && (!ok || rec.Version != cond.Version) {
					return kv.Outcome{Exists: ok, Found: rec}, false
				}
				r.meet(key)
				return kv.Outcome{}, true
			}
			d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
				if kind(cond) {
					if out, ok := holds(ctx, rec.Key, cond); !ok {
						return out, nil
					}
					cond = kv.Condition{Now: cond.Now}
				}
				return d.Driver.Put(ctx, rec, cond)
			}
			d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
				if kind(cond) {
					if out, ok := holds(ctx, key, cond); !ok {
						return out, nil
					}
					cond = kv.Condition{Now: cond.Now}
				}
				return d.Driver.Delete(ctx, key, cond)
			}
		})
	}
	return []fault{
		{
			name:  "looks first and creates afterwards",
			wrap:  checking(func(cond kv.Condition) bool { return cond.Absent }),
			must:  []string{"concurrency/creators", "concurrency/takeover"},
			only:  true,
			group: "concurrency/",
		},
		{
			name:  "looks first and compares versions before it writes",
			wrap:  checking(func(cond kv.Condition) bool { return cond.Version != "" }),
			must:  []string{"concurrency/compare-and-swap", "concurrency/delete", "concurrency/put-and-delete", "concurrency/counter"},
			only:  true,
			group: "concurrency/",
		},
		{
			name: "a rush of writes is lost",
			wrap: replacing(func(d *driver) {
				var r rendezvous
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if strings.HasPrefix(rec.Key, "single:") && r.meet("") {
						return kv.Outcome{Done: true, Version: rec.Token}, nil
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must:  []string{"concurrency/other-keys"},
			only:  true,
			group: "concurrency/",
		},
		{
			name: "values written at once are mixed",
			wrap: replacing(func(d *driver) {
				var r rendezvous
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if len(rec.Value) > 1000 && r.meet(rec.Key) {
						rec.Value = slices.Clone(rec.Value)
						rec.Value[len(rec.Value)/2] = '!'
					}
					return d.Driver.Put(ctx, rec, cond)
				}
			}),
			must:  []string{"concurrency/whole-values"},
			only:  true,
			group: "concurrency/",
		},
		{
			name: "scans yield what was replaced meanwhile once more",
			wrap: replacing(func(d *driver) {
				var mu sync.Mutex
				var replaced []string
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					mu.Lock()
					replaced = append(replaced, rec.Key)
					mu.Unlock()
					return d.Driver.Put(ctx, rec, cond)
				}
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						mu.Lock()
						begin := len(replaced)
						mu.Unlock()
						for rec, err := range d.Driver.Scan(ctx, r) {
							if !yield(rec, err) {
								return
							}
						}
						mu.Lock()
						again := slices.Clone(replaced[begin:])
						mu.Unlock()
						for _, key := range again {
							if rec, ok, _ := d.Driver.Get(ctx, key, true); ok && !yield(rec, nil) {
								return
							}
						}
					}
				}
			}),
			must:  []string{"concurrency/scan-among-writers"},
			group: "concurrency/",
		},
	}
}

func contextFaults() []fault {
	return []fault{
		{
			name: "a cancelled scan ends as if it were complete",
			wrap: replacing(func(d *driver) {
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						for rec, err := range d.Driver.Scan(context.WithoutCancel(ctx), r) {
							if ctx.Err() != nil || !yield(rec, err) {
								return
							}
						}
					}
				}
			}),
			must: []string{"context/cancelled-during-scan", "context/cancelled-on-the-way/reads"},
		},
		{
			name: "a cancelled read finds nothing",
			wrap: replacing(func(d *driver) {
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					if ctx.Err() != nil {
						return kv.Record{}, false, nil
					}
					return d.Driver.Get(ctx, key, withValue)
				}
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					if ctx.Err() != nil {
						return nil, nil
					}
					return d.Driver.GetMany(ctx, keys)
				}
			}),
			must: []string{"context/cancelled-on-the-way/reads"},
		},
		{
			name: "a cancelled write is said to have been stopped, and was not",
			wrap: replacing(func(d *driver) {
				stopped := func(ctx context.Context, err error) error {
					if ctx.Err() != nil {
						return &kv.Error{Err: ctx.Err()}
					}
					return err
				}
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					return out, stopped(ctx, err)
				}
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Delete(ctx, key, cond)
					return out, stopped(ctx, err)
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					return stopped(ctx, d.Driver.WriteMany(ctx, writes))
				}
			}),
			must: []string{
				"context/cancelled-on-the-way/put", "context/cancelled-on-the-way/put-if-not-exists", "context/cancelled-on-the-way/put-if-version", "context/cancelled-on-the-way/delete",
				"context/cancelled-on-the-way/delete-if-version", "context/cancelled-on-the-way/put-many", "context/cancelled-on-the-way/delete-many",
			},
		},
		{
			name: "a cancelled write is said to be done, and was stopped",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if ctx.Err() != nil {
						return kv.Outcome{Done: true, Version: rec.Token}, nil
					}
					return d.Driver.Put(ctx, rec, cond)
				}
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return d.Driver.Scan(context.WithoutCancel(ctx), r)
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error {
					if ctx.Err() != nil {
						return nil
					}
					return d.Driver.WriteMany(ctx, writes)
				}
			}),
			must: []string{"context/cancelled-on-the-way/put", "context/cancelled-on-the-way/put-many", "context/cancelled-on-the-way/delete-many"},
		},
		{
			name: "a cancelled call says that the service is unavailable",
			wrap: replacing(func(d *driver) {
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					if ctx.Err() != nil {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable}
					}
					return d.Driver.Put(ctx, rec, cond)
				}
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					if ctx.Err() != nil {
						return kv.Record{}, false, &kv.Error{Kind: kv.ErrUnavailable}
					}
					return d.Driver.Get(ctx, key, withValue)
				}
			}),
			must: []string{"context/cancelled-on-the-way/put", "context/cancelled-on-the-way/reads"},
		},
		{
			name: "the end of a context ends the driver",
			wrap: replacing(func(d *driver) {
				var mu sync.Mutex
				var first context.Context
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					mu.Lock()
					defer mu.Unlock()
					if first == nil {
						first = ctx
					}
					if first.Err() != nil {
						return kv.Record{}, false, first.Err()
					}
					return d.Driver.Get(ctx, key, withValue)
				}
			}),
			must: []string{"context/others-unaffected"},
		},
	}
}

func otherDriverFaults() []fault {
	return []fault{
		{
			name: "cannot be closed",
			wrap: replacing(func(d *driver) {
				d.close = func() error {
					_ = d.Driver.Close()
					return errors.New("connections are open")
				}
			}),
			must: []string{"close/unused", "close/twice", "close/with-derived", "close/then-*"},
		},
		{
			name: "reads find nothing when the connections are closed",
			wrap: replacing(func(d *driver) {
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					rec, ok, err := d.Driver.Get(ctx, key, withValue)
					if errors.Is(err, kv.ErrClosed) {
						return kv.Record{}, false, nil
					}
					return rec, ok, err
				}
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					recs, err := d.Driver.GetMany(ctx, keys)
					if errors.Is(err, kv.ErrClosed) {
						return nil, nil
					}
					return recs, err
				}
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						for rec, err := range d.Driver.Scan(ctx, r) {
							if errors.Is(err, kv.ErrClosed) || !yield(rec, err) {
								return
							}
						}
					}
				}
			}),
			must: []string{
				"close/on-the-way/get", "close/on-the-way/exists", "close/on-the-way/get-many", "close/on-the-way/scan", "close/on-the-way/scan-page",
			},
			only: true,
		},
		{
			name: "hands the errors of closed connections on as they are",
			wrap: replacing(func(d *driver) {
				raw := func(err error) error {
					if errors.Is(err, kv.ErrClosed) {
						return &kv.Error{Err: net.ErrClosed}
					}
					return err
				}
				d.get = func(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
					rec, ok, err := d.Driver.Get(ctx, key, withValue)
					return rec, ok, raw(err)
				}
				d.put = func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Put(ctx, rec, cond)
					return out, raw(err)
				}
				d.delete = func(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
					out, err := d.Driver.Delete(ctx, key, cond)
					return out, raw(err)
				}
				d.getMany = func(ctx context.Context, keys []string) ([]kv.Record, error) {
					recs, err := d.Driver.GetMany(ctx, keys)
					return recs, raw(err)
				}
				d.scan = func(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
					return func(yield func(kv.Record, error) bool) {
						for rec, err := range d.Driver.Scan(ctx, r) {
							if !yield(rec, raw(err)) {
								return
							}
						}
					}
				}
				d.writeMany = func(ctx context.Context, writes []kv.Write) error { return raw(d.Driver.WriteMany(ctx, writes)) }
			}),
			must: []string{"close/on-the-way/*"},
			only: true,
		},
	}
}
