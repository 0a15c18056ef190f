package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/skykv/skykv/kv"
)

// oneByOne carries out the writes of an atomic write one after another. It stops at the
// first failed condition, unless anyway is set.
func oneByOne(anyway bool) middleware {
	return methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
		out := kv.AtomicOutcome{Done: true, Versions: make([]string, len(req.Writes)), Found: make([]*kv.Found, len(req.Writes))}
		for i, w := range req.Writes {
			if !out.Done && !anyway {
				break
			}
			if w.Kind == kv.KindCheck {
				check, err := d.WriteAtomic(ctx, kv.WriteManyRequest{Writes: []kv.Write{w}, Now: req.Now})
				if err != nil {
					return check, err
				}
				if !check.Done {
					out.Done, out.Found[i] = false, check.Found[0]
				}
				continue
			}
			one, err := d.Write(ctx, req.One(i))
			if err != nil {
				return out, err
			}
			if out.Versions[i] = one.Version; !one.Done {
				one.Found.Key = w.Key
				out.Done, out.Found[i] = false, &kv.Found{Record: one.Found, Exists: one.Exists}
			}
		}
		return out, nil
	}}.over
}

// unconditional returns middleware that removes the conditions of those writes of an
// AtomicWrite for which selected returns true. A touch gets CondLive instead, because a touch
// must have a condition.
func unconditional(selected func(w kv.Write) bool) middleware {
	return inAtomicWrites(func(w *kv.Write) {
		if selected(*w) {
			w.Condition = kv.Condition{}
			if w.Kind == kv.KindTouch {
				w.Condition.Kind = kv.CondLive
			}
		}
	})
}

func atomicFaults() []fault {
	return []fault{
		{
			name: "atomic writes are carried out one by one",
			wrap: oneByOne(false),
			must: append(append(inStates("atomic/if-version", withoutRecord), inStates("atomic/if-version", staleAndLive)...),
				"atomic/all-conditions", "driver/write-atomic/conditions"),
		},
		{
			name: "an atomic write applies the part whose conditions hold",
			wrap: oneByOne(true),
			must: append(all(inStates("atomic/if-not-exists", live), inStates("atomic/touch", gone), inStates("atomic/check-absent", live),
				inStates("atomic/check-version", staleAndLive)), "atomic/all-conditions", "driver/write-atomic/conditions"),
		},
		{
			name: "atomic writes forget the conditions of puts",
			wrap: unconditional(func(w kv.Write) bool { return w.Kind == kv.KindPut }),
			must: append(all(inStates("atomic/if-version", staleAndLive), inStates("atomic/if-version", withoutRecord), inStates("atomic/if-not-exists", live)),
				"driver/write-atomic/conditions"),
		},
		{
			name: "atomic writes forget the conditions of checks",
			wrap: unconditional(func(w kv.Write) bool { return w.Kind == kv.KindCheck }),
			must: append(all(inStates("atomic/check-version", staleAndLive), inStates("atomic/check-version", withoutRecord), inStates("atomic/check-absent", live)),
				"driver/write-atomic/conditions"),
		},
		{
			name: "atomic writes forget the conditions of deletions",
			wrap: unconditional(func(w kv.Write) bool { return w.Kind == kv.KindDelete }),
			must: []string{"driver/write-atomic/conditions"},
			only: true,
		},
		{
			name: "atomic writes forget the versions of touches",
			wrap: unconditional(func(w kv.Write) bool { return w.Kind == kv.KindTouch }),
			must: []string{"driver/write-atomic/conditions", "driver/write-atomic/unsupported"},
		},
		{
			name: "an atomic write takes a touch for a put",
			wrap: inAtomicWrites(func(w *kv.Write) {
				if w.Kind == kv.KindTouch {
					w.Kind, w.Condition, w.Value = kv.KindPut, kv.Condition{}, []byte{}
				}
			}),
			must: []string{"atomic/touch/*", "atomic/kinds", "driver/write-atomic/*"},
		},
		{
			name: "an atomic write touches what has expired",
			wrap: methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
				for _, w := range req.Writes {
					if w.Kind == kv.KindTouch {
						req.Now = 0
					}
				}
				return d.WriteAtomic(ctx, req)
			}}.over,
			must: inStates("atomic/touch", overdue),
		},
		{
			name: "an atomic write treats expired records as live, and does not report their expiry",
			wrap: chain(
				atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
					for _, found := range out.Found {
						found.Expires = 0
					}
					return out, err
				}),
				methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
					req.Now = 0
					return d.WriteAtomic(ctx, req)
				}}.over,
			),
			must: all(inStates("atomic/if-not-exists", overdue), inStates("atomic/check-absent", overdue)),
		},
		{
			name: "an atomic write does not delete",
			wrap: inAtomicWrites(func(w *kv.Write) {
				if w.Kind == kv.KindDelete {
					w.Kind, w.Condition = kv.KindCheck, kv.Condition{}
				}
			}),
			must: append(inStates("atomic/delete", live), "atomic/kinds", "atomic/one", "atomic/in-namespace", "driver/write-atomic/kinds"),
		},
		{
			name: "a check writes the empty value back",
			wrap: inAtomicWrites(func(w *kv.Write) {
				if w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondVersion {
					w.Kind, w.Value = kv.KindPut, []byte{}
				}
			}),
			must: append(inStates("atomic/check-version", current), "driver/write-atomic/kinds"),
		},
		{
			name: "a check that a key is absent leaves a record",
			wrap: inAtomicWrites(func(w *kv.Write) {
				if w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondAbsent {
					w.Kind, w.Value = kv.KindPut, []byte{}
				}
			}),
			must: append(inStates("atomic/check-absent", gone), "atomic/kinds", "driver/write-atomic/kinds"),
		},
		{
			name: "reports the versions of an atomic write in another order",
			wrap: atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
				slices.Reverse(out.Versions)
				return out, err
			}),
			must: append(all(inStates("atomic/if-version", current), inStates("atomic/if-not-exists", gone)), "atomic/kinds", "driver/write-atomic/kinds"),
		},
		{
			name: "reports no versions of an atomic write",
			wrap: atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
				out.Versions = nil
				return out, err
			}),
			must: []string{"atomic/one", "atomic/kinds", "atomic/most", "atomic/in-namespace", "atomic/groups-in-namespace", "atomic/bank", "atomic/delete/*", "driver/write-atomic/kinds"},
		},
		{
			name: "carries out an atomic write twice",
			wrap: func(d kv.Driver) kv.Driver {
				return atomicOutcomes(func(req kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
					if err != nil || !out.Done {
						return out, err
					}
					for _, w := range req.Writes {
						if w.Kind == kv.KindPut {
							w.Token = kv.AttemptToken(w.Token, 1)
							_, _ = force(d, kv.KindPut, w.Record, req.Now)
						}
					}
					return out, nil
				})(d)
			},
			must: append(all(inStates("atomic/if-version", current), inStates("atomic/if-not-exists", gone)), "atomic/one", "driver/write-atomic/kinds"),
		},
		{
			name: "reports no records under the keys whose conditions failed, except the first",
			wrap: atomicOutcomes(func(req kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
				failed := false
				for i, found := range out.Found {
					if w := req.Writes[i]; failed && w.Condition.Kind == kv.CondAbsent && found.Exists {
						*found = kv.Found{Record: kv.Record{Key: w.Key}}
					} else if w.Condition.Kind == kv.CondAbsent && found.Exists || w.Condition.Kind == kv.CondVersion && found.Version != w.Condition.Version {
						failed = true
					}
				}
				return out, err
			}),
			must: []string{"atomic/most"},
		},
		{
			name: "reports the records that it found in another order",
			wrap: atomicOutcomes(func(_ kv.WriteManyRequest, out kv.AtomicOutcome, err error) (kv.AtomicOutcome, error) {
				slices.Reverse(out.Found)
				return out, err
			}),
			must: []string{"driver/write-atomic/conditions"},
		},
		{
			name: "takes fifty writes at once, and Info says a hundred",
			wrap: methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
				if len(req.Writes) > 50 {
					return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnavailable}
				}
				return d.WriteAtomic(ctx, req)
			}}.over,
			must: []string{"atomic/most"},
			only: true,
		},
		{
			name: "takes two megabytes at once",
			wrap: methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
				size := 0
				for _, w := range req.Writes {
					size += len(w.Key) + len(w.Value)
				}
				if size > 2<<20 {
					return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrValueTooLarge}
				}
				return d.WriteAtomic(ctx, req)
			}}.over,
			must: []string{"atomic/most", "large/atomic"},
			only: true,
		},
		{
			name: "an atomic write leaves out writes that it does not know",
			wrap: methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
				out, err := d.WriteAtomic(ctx, req)
				if errors.Is(err, kv.ErrUnsupported) {
					req.Writes = slices.DeleteFunc(slices.Clone(req.Writes), func(w kv.Write) bool { return w.Kind != kv.KindPut || w.Condition.Kind > kv.CondLive })
					return d.WriteAtomic(ctx, req)
				}
				return out, err
			}}.over,
			must: []string{"driver/write-atomic/unsupported"},
			only: true,
		},
		{
			name: "concurrent atomic writes are mixed",
			wrap: func(d kv.Driver) kv.Driver {
				var r rendezvous
				return methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
					out := kv.AtomicOutcome{Done: true, Versions: make([]string, len(req.Writes))}
					for i := range req.Writes {
						r.meet(fmt.Sprint(i))
						one, err := d.Write(ctx, req.One(i))
						if err != nil {
							return out, err
						}
						out.Versions[i] = one.Version
					}
					return out, nil
				}}.over(d)
			},
			must:  []string{"atomic/overlapping"},
			group: "atomic/overlapping",
		},
		{
			name: "an atomic write that runs concurrently with another is unavailable",
			wrap: func(d kv.Driver) kv.Driver {
				var r rendezvous
				return methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
					if r.meet("") {
						return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnavailable}
					}
					return d.WriteAtomic(ctx, req)
				}}.over(d)
			},
			must:  []string{"atomic/overlapping", "atomic/bank"},
			only:  true,
			group: "atomic/",
		},
		{
			name: "checks the conditions first and carries out the atomic write afterwards",
			wrap: func(d kv.Driver) kv.Driver {
				var r rendezvous
				return methods{writeAtomic: func(ctx context.Context, d kv.Driver, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
					found := make([]*kv.Found, len(req.Writes))
					holds := true
					for i, w := range req.Writes {
						rec, ok := find(d, w.Key)
						found[i] = &kv.Found{Record: rec, Exists: ok}
						holds = holds && (w.Condition.Kind != kv.CondVersion || ok && rec.Version == w.Condition.Version)
					}
					if !holds {
						return kv.AtomicOutcome{Found: found}, nil
					}
					r.meet("")
					return unconditional(func(w kv.Write) bool { return w.Condition.Kind == kv.CondVersion })(d).WriteAtomic(ctx, req)
				}}.over(d)
			},
			must:  []string{"atomic/bank"},
			only:  true,
			group: "atomic/",
		},
	}
}

// changingAtomicErrors returns a function that changes the errors of AtomicWrite.
func changingAtomicErrors(change func(s store, err error) error) func(store) store {
	return fronting(func(f *front) {
		f.atomicWrite = func(ctx context.Context, ops ...kv.Op) ([]kv.Version, error) {
			versions, err := f.store.AtomicWrite(ctx, ops...)
			return versions, change(f.store, err)
		}
	})
}

func frontAtomicFaults() []fault {
	// naming returns a function that changes the keys that an error names.
	naming := func(change func(s store, keys []string) []string) func(store) store {
		return changingAtomicErrors(func(s store, err error) error {
			e, ok := errors.AsType[*kv.Error](err)
			if !ok || e.Keys == nil {
				return err
			}
			changed := *e
			changed.Keys = change(s, slices.Clone(e.Keys))
			return &changed
		})
	}
	return []fault{
		{
			name: "a failed condition of an atomic write is a success",
			with: changingAtomicErrors(func(_ store, err error) error {
				if errors.Is(err, kv.ErrConditionFailed) {
					return nil
				}
				return err
			}),
			must: append(all(inStates("atomic/if-version", stale), inStates("atomic/check-version", stale), inStates("atomic/if-not-exists", live), inStates("atomic/touch", gone),
				inStates("atomic/check-absent", live)), "atomic/all-conditions", "atomic/most", "atomic/in-namespace", "large/atomic"),
			only: true,
		},
		{
			name: "a failed condition of an atomic write names one key only",
			with: naming(func(_ store, keys []string) []string { return keys[:1] }),
			must: []string{"atomic/all-conditions", "atomic/most", "large/atomic"},
			only: true,
		},
		{
			name: "a failed condition names the keys as they are stored",
			with: naming(func(s store, keys []string) []string {
				for i, key := range keys {
					keys[i] = s.Info().Namespace + key
				}
				return keys
			}),
			must: []string{"atomic/in-namespace"},
			only: true,
		},
		{
			name: "an atomic write returns a version for a deleted entry",
			with: fronting(func(f *front) {
				f.atomicWrite = func(ctx context.Context, ops ...kv.Op) ([]kv.Version, error) {
					versions, err := f.store.AtomicWrite(ctx, ops...)
					for i, v := range versions {
						if v.IsZero() {
							versions[i] = versions[len(versions)-1]
						}
					}
					return versions, err
				}
			}),
			must: []string{"atomic/delete/*"},
			only: true,
		},
		{
			name: "an atomic write that is invalid does nothing, and is a success",
			with: changingAtomicErrors(func(_ store, err error) error {
				if errors.Is(err, kv.ErrInvalidOption) {
					return nil
				}
				return err
			}),
			must: []string{"atomic/refused", "atomic/most", "atomic/groups-in-namespace", "large/option"},
			only: true,
		},
	}
}
