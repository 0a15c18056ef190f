package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// inStates returns the names of a group's cases for the states s where is(s) is true.
func inStates(group string, is func(s state) bool) (names []string) {
	for _, s := range states {
		if is(s) {
			names = append(names, group+"/"+s.name)
		}
	}
	return names
}

func live(s state) bool    { return s.live }
func gone(s state) bool    { return !s.live }
func current(s state) bool { return s.current }
func stale(s state) bool   { return !s.current }

// staleAndLive selects the states in which the driver must find that the version is stale. In
// "re-created-after-expiry" the driver need not, because the store itself knows that the
// version's entry has expired.
func staleAndLive(s state) bool {
	return s.live && !s.current && s.name != "re-created-after-expiry"
}

// withoutRecord selects the states in which the driver has no record of the key.
func withoutRecord(s state) bool {
	return s.name == "absent" || s.name == "deleted" || s.name == "deleted-by-batch"
}

func overdue(s state) bool { return s.name == "expired" || s.name == "expired-for-long" }

func all(lists ...[]string) (names []string) {
	for _, list := range lists {
		names = append(names, list...)
	}
	return names
}

func touchFaults() []fault {
	return []fault{
		{
			name: "a touch revives an expired entry",
			wrap: before(kv.KindTouch, func(req *kv.WriteRequest) { req.Now = 0 }),
			must: append(inStates("touch/none", overdue), "driver/touch/live"),
		},
		{
			name: "a touch creates an absent entry",
			wrap: onWrite(kv.KindTouch, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				out, err := d.Write(ctx, req)
				if err == nil && !out.Done && !out.Exists {
					req.Kind, req.Condition, req.Value = kv.KindPut, kv.Condition{}, []byte{}
					return d.Write(ctx, req)
				}
				return out, err
			}),
			must: append(all(inStates("touch/none", withoutRecord), inStates("touch/if-version", withoutRecord)), "driver/touch/live", "driver/touch/version"),
		},
		{
			name: "a touch drops the value",
			wrap: onWrite(kv.KindTouch, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
				out, err := d.Write(ctx, req)
				if out.Done {
					req.Kind, req.Condition, req.Value = kv.KindPut, kv.Condition{}, []byte{}
					return d.Write(ctx, req)
				}
				return out, err
			}),
			must: append(all(inStates("touch/none", live), inStates("touch/if-version", current)), "touch/values", "touch/never-expires", "touch/race",
				"driver/touch/version", "driver/touch/live"),
		},
		{
			name: "a touch keeps the version",
			wrap: func(d kv.Driver) kv.Driver {
				return touches(func(w *kv.Write) {
					old, _ := find(d, w.Key)
					w.Token = old.Token
				})(d)
			},
			must: append(inStates("touch/none", live), "touch/sliding", "touch/race", "driver/touch/version", "driver/touch/live", "driver/touch/batch"),
		},
		{
			name: "a touch ignores the version",
			wrap: before(kv.KindTouch, func(req *kv.WriteRequest) { req.Condition = kv.Condition{Kind: kv.CondLive} }),
			must: append(inStates("touch/if-version", staleAndLive), "touch/race", "driver/touch/version", "driver/unsupported"),
		},
		{
			name: "a touch does not remove the expiry",
			wrap: func(d kv.Driver) kv.Driver {
				return touches(func(w *kv.Write) {
					if old, ok := find(d, w.Key); ok && w.Expires == 0 {
						w.Expires = old.Expires
					}
				})(d)
			},
			must: []string{"touch/never-expires"},
		},
		{
			name: "a touch changes nothing",
			wrap: func(d kv.Driver) kv.Driver {
				return touches(func(w *kv.Write) {
					old, _ := find(d, w.Key)
					w.Expires, w.Predecessors = old.Expires, old.Predecessors
				})(d)
			},
			must: append(all(inStates("touch/none", live), inStates("touch/if-version", current)), "touch/values", "touch/sliding"),
		},
		{
			name: "a touch returns the old version",
			wrap: func(d kv.Driver) kv.Driver {
				return onWrite(kv.KindTouch, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					old, _ := find(d, req.Key)
					out, err := d.Write(ctx, req)
					out.Version = old.Version
					return out, err
				})(d)
			},
			must: append(inStates("touch/if-version", current), "touch/sliding", "driver/touch/version", "driver/touch/live"),
		},
		{
			name: "a batch does not touch",
			wrap: batches(func(writes []kv.Write) (others []kv.Write) {
				for _, w := range writes {
					if w.Kind != kv.KindTouch {
						others = append(others, w)
					}
				}
				return others
			}),
			must: []string{"driver/touch/batch", "driver/unsupported"},
		},
		{
			name: "reads first and compares versions before it touches",
			wrap: func(d kv.Driver) kv.Driver {
				var r rendezvous
				return onWrite(kv.KindTouch, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if rec, ok := find(d, req.Key); req.Condition.Kind == kv.CondVersion {
						if !ok || rec.Version != req.Condition.Version {
							return kv.Outcome{Exists: ok, Found: rec}, nil
						}
						r.meet(req.Key)
						req.Condition = kv.Condition{Kind: kv.CondLive}
					}
					return d.Write(ctx, req)
				})(d)
			},
			must:  []string{"touch/race"},
			only:  true,
			group: "touch/",
		},
	}
}

func frontTouchFaults() []fault {
	return []fault{
		{
			name: "a touch of a deleted entry succeeds",
			with: fronting(func(f *front) {
				f.touch = func(ctx context.Context, key string, opts ...kv.TouchOption) (kv.Version, error) {
					v, err := f.store.Touch(ctx, key, opts...)
					if ok, _ := f.store.Exists(ctx, key); !ok && (errors.Is(err, kv.ErrConditionFailed) || errors.Is(err, kv.ErrNotFound)) {
						return v, nil
					}
					return v, err
				}
			}),
			must: all(inStates("touch/none", gone), inStates("touch/if-version", gone)),
		},
		{
			name: "a touch with IfVersion of an absent key is ErrNotFound",
			with: fronting(func(f *front) {
				f.touch = func(ctx context.Context, key string, opts ...kv.TouchOption) (kv.Version, error) {
					v, err := f.store.Touch(ctx, key, opts...)
					return v, exchange(kv.ErrConditionFailed, kv.ErrNotFound)(err)
				}
			}),
			must: inStates("touch/if-version", stale),
		},
		{
			name: "a touch with invalid options sets an hour",
			with: fronting(func(f *front) {
				f.touch = func(ctx context.Context, key string, opts ...kv.TouchOption) (kv.Version, error) {
					v, err := f.store.Touch(ctx, key, opts...)
					if errors.Is(err, kv.ErrInvalidOption) {
						return f.store.Touch(ctx, key, kv.TTL(time.Hour))
					}
					return v, err
				}
			}),
			must: []string{"touch/options"},
			only: true,
		},
	}
}
