package conformance

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// changingUpdates returns a function that changes what the function of an Update receives
// and returns.
func changingUpdates(change func(f *front, old kv.Entry, exists bool, next func(kv.Entry, bool) (kv.Change, error)) (kv.Change, error)) func(store) store {
	return fronting(func(f *front) {
		f.update = func(ctx context.Context, key string, next func(kv.Entry, bool) (kv.Change, error)) (kv.Entry, error) {
			if next == nil {
				return f.store.Update(ctx, key, nil)
			}
			return f.store.Update(ctx, key, func(old kv.Entry, exists bool) (kv.Change, error) { return change(f, old, exists, next) })
		}
	})
}

// changed returns a function that changes what the function of an Update returns.
func changed(with func(c *kv.Change, old kv.Entry)) func(store) store {
	return changingUpdates(func(_ *front, old kv.Entry, exists bool, next func(kv.Entry, bool) (kv.Change, error)) (kv.Change, error) {
		c, err := next(old, exists)
		with(&c, old)
		return c, err
	})
}

func frontUpdateFaults() []fault {
	return []fault{
		{
			name: "the function of an update receives the opposite of exists",
			with: changingUpdates(func(_ *front, old kv.Entry, exists bool, next func(kv.Entry, bool) (kv.Change, error)) (kv.Change, error) {
				return next(old, !exists)
			}),
			must: []string{"update/put/*"},
		},
		{
			name: "an update that leaves the entry writes it back",
			with: changed(func(c *kv.Change, old kv.Entry) {
				if c.Leave {
					*c = kv.Change{Value: old.Value}
				}
			}),
			must: []string{"update/leave/*"},
		},
		{
			name: "an update that deletes stores the empty value",
			with: changed(func(c *kv.Change, _ kv.Entry) {
				if c.Delete {
					*c = kv.Change{}
				}
			}),
			must: []string{"update/delete/*"},
		},
		{
			name: "an update removes the expiry",
			with: changed(func(c *kv.Change, _ kv.Entry) {
				c.Persist = c.Persist || !c.Leave && !c.Delete && c.TTL == 0 && c.ExpiresAt.IsZero()
			}),
			must: []string{"update/expiry", "update/put/live-with-expiry"},
			only: true,
		},
		{
			name: "an invalid update changes nothing, and succeeds",
			with: changingUpdates(func(f *front, old kv.Entry, exists bool, next func(kv.Entry, bool) (kv.Change, error)) (kv.Change, error) {
				c, err := next(old, exists)
				if c.Leave && c.Delete || c.Delete && c.TTL != 0 || c.TTL != 0 && (c.Persist || !c.ExpiresAt.IsZero() || c.TTL < time.Millisecond) || len(c.Value) > f.store.Info().MaxValueLen {
					c = kv.Change{Leave: true}
				}
				return c, err
			}),
			must: []string{"update/invalid", "large/update", "large/too-long", "large/others"},
			only: true,
		},
		{
			name: "an error of the function is wrapped",
			with: changingUpdates(func(_ *front, old kv.Entry, exists bool, next func(kv.Entry, bool) (kv.Change, error)) (kv.Change, error) {
				c, err := next(old, exists)
				if err != nil {
					err = fmt.Errorf("update: %w", err)
				}
				return c, err
			}),
			must: []string{"update/function-fails"},
			only: true,
		},
		{
			name: "an update begins from its own last value, even if others wrote since",
			with: fronting(func(f *front) {
				var mu sync.Mutex
				last := make(map[string]kv.Entry)
				f.update = func(ctx context.Context, key string, change func(kv.Entry, bool) (kv.Change, error)) (kv.Entry, error) {
					if change == nil {
						return f.store.Update(ctx, key, nil)
					}
					mu.Lock()
					defer mu.Unlock()
					e, err := f.store.Update(ctx, key, func(old kv.Entry, exists bool) (kv.Change, error) {
						if own, ok := last[key]; ok && exists {
							old.Value = own.Value
						}
						return change(old, exists)
					})
					if err == nil {
						last[key] = e
					}
					return e, err
				}
			}),
			must: []string{"update/chain"},
			only: true,
		},
		{
			name: "GetAndDelete does not delete",
			with: fronting(func(f *front) { f.getAndDelete = f.store.Get }),
			must: append(inStates("update/get-and-delete", live), "update/one-taker"),
		},
		{
			name: "GetAndDelete of an absent key succeeds",
			with: fronting(func(f *front) {
				f.getAndDelete = func(ctx context.Context, key string) (kv.Entry, error) {
					e, err := f.store.GetAndDelete(ctx, key)
					if errors.Is(err, kv.ErrNotFound) {
						err = nil
					}
					return e, err
				}
			}),
			must: append(inStates("update/get-and-delete", gone), "update/one-taker"),
		},
		{
			name: "GetAndDelete is a Get and a Delete",
			with: fronting(func(f *front) {
				var r rendezvous
				f.getAndDelete = func(ctx context.Context, key string) (kv.Entry, error) {
					e, err := f.store.Get(ctx, key)
					if err == nil {
						r.meet(key)
						err = f.store.Delete(ctx, key)
					}
					return e, err
				}
			}),
			must:  []string{"update/one-taker"},
			only:  true,
			group: "update/",
		},
		{
			name: "Increment is a Get and a Put",
			with: fronting(func(f *front) {
				var r rendezvous
				f.increment = func(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error) {
					e, err := f.store.Get(ctx, key)
					n, invalid := strconv.ParseInt(string(e.Value), 10, 64)
					if err != nil || invalid != nil || len(opts) > 0 {
						return f.store.Increment(ctx, key, delta, opts...)
					}
					r.meet(key)
					_, err = f.store.Put(ctx, key, strconv.AppendInt(nil, n+delta, 10))
					return n + delta, err
				}
			}),
			must:  []string{"update/counters", "update/increments"},
			only:  true,
			group: "update/",
		},
		{
			name: "an increment of a value that is not a number begins at 0",
			with: fronting(func(f *front) {
				f.increment = func(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error) {
					n, err := f.store.Increment(ctx, key, delta, opts...)
					if errors.Is(err, kv.ErrInvalidValue) {
						_, err = f.store.Put(ctx, key, strconv.AppendInt(nil, delta, 10))
						return delta, err
					}
					return n, err
				}
			}),
			must: append(inStates("update/increment", live), "update/increments"),
		},
		{
			name: "a counter begins at 1",
			with: fronting(func(f *front) {
				f.increment = func(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error) {
					_, _ = f.store.Put(ctx, key, []byte("1"), kv.IfNotExists())
					return f.store.Increment(ctx, key, delta, opts...)
				}
			}),
			must: append(inStates("update/increment", gone), "update/increments", "update/counters"),
		},
		{
			name: "every increment sets the expiry of TTLIfNew",
			with: fronting(func(f *front) {
				f.increment = func(ctx context.Context, key string, delta int64, opts ...kv.IncrementOption) (int64, error) {
					if len(opts) == 1 && reflect.TypeOf(opts[0]) == reflect.TypeOf(kv.TTLIfNew(0)) && opts[0] != kv.TTLIfNew(30) {
						opts = []kv.IncrementOption{kv.TTL(time.Duration(reflect.ValueOf(opts[0]).Int()))}
					}
					return f.store.Increment(ctx, key, delta, opts...)
				}
			}),
			must: []string{"update/increments"},
			only: true,
		},
	}
}
