package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

const (
	// leaseNames limits the number of records that leases leave in their store. Keys that share
	// a name are computed one after the other.
	leaseNames = 1024

	// poll is the longest pause between two reads of a key whose value another process computes.
	poll = 100 * time.Millisecond
)

// GetOrLoad returns the entry under key. If there is none, GetOrLoad calls load, stores the
// value that load returns, and returns the new entry. The new entry expires after ttl, or never
// if ttl is 0.
//
// For each key, one caller of a Cache at a time calls load, and the others wait. With
// [Options].Leases, the same is true of all processes together. When the entry is stored, the
// callers that wait return it. If load fails, GetOrLoad returns its error unchanged and stores
// nothing, and one of the callers that wait calls its own load.
//
// GetOrLoad never replaces an entry. If somebody else stores one while load runs, GetOrLoad
// returns that entry. Without Leases, or if a process loses its lease, several processes may
// call load at once. One of them stores its result.
//
// load must not call GetOrLoad for the same key, not even through the load of another key. It may
// call GetOrLoad for other keys with its context. Such calls take no lease, because two keys may
// share one. If ttl is not 0 and less than a millisecond, the error matches
// [kv.ErrInvalidOption]. All other errors come from the store, the lease or ctx.
func (c *Cache) GetOrLoad(ctx context.Context, key string, ttl time.Duration, load func(ctx context.Context) ([]byte, error)) (kv.Entry, error) {
	if ttl != 0 && ttl < time.Millisecond {
		return kv.Entry{}, &kv.Error{Op: "get or load", Key: key, Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the ttl is %s; want at least %s, or 0 for none", ttl, time.Millisecond)}
	}
	entry, err := c.Get(ctx, key)
	if !errors.Is(err, kv.ErrNotFound) {
		return entry, err
	}
	waited, done, ended := c.turns.wait(ctx, c.driver.closing, key)
	if ended != nil {
		ended.Op, ended.Key = "get or load", key
		return kv.Entry{}, ended
	}
	defer done()
	if waited {
		if entry, err = c.Get(ctx, key); !errors.Is(err, kv.ErrNotFound) {
			return entry, err
		}
	}
	for {
		release, err := c.acquire(ctx, key)
		if err == nil {
			defer release()
			return c.load(ctx, key, ttl, load)
		}
		if !errors.Is(err, lease.ErrHeld) {
			return kv.Entry{}, err
		}
		if entry, err := c.exact.Get(ctx, key); !errors.Is(err, kv.ErrNotFound) {
			return entry, err
		}
		if err := sleep(ctx, poll/2+rand.N(poll/2)); err != nil {
			return kv.Entry{}, &kv.Error{Op: "get or load", Key: key, Err: err}
		}
	}
}

// load computes and stores an entry that does not exist. The caller holds the lease of the key.
func (c *Cache) load(ctx context.Context, key string, ttl time.Duration, load func(ctx context.Context) ([]byte, error)) (kv.Entry, error) {
	entry, err := c.exact.Get(ctx, key) // the previous holder of the lease may have stored the entry
	if !errors.Is(err, kv.ErrNotFound) {
		return entry, err
	}
	value, err := load(context.WithValue(ctx, loadingKey{}, true))
	if err != nil {
		return kv.Entry{}, err
	}
	return c.Update(ctx, key, func(_ kv.Entry, exists bool) (kv.Change, error) {
		if exists {
			return kv.Change{Leave: true}, nil
		}
		return kv.Change{Value: value, TTL: ttl}, nil
	})
}

// loadingKey marks the context of load. A GetOrLoad within load takes no lease, because it
// might wait forever: the outer GetOrLoad may hold the same lease, or another process may hold
// it and wait for the lease of the outer GetOrLoad.
type loadingKey struct{}

// acquire takes the lease of a key, unless there are no leases or ctx is the context of a load.
// release releases the lease. If release fails, other processes wait for the end of the lease.
func (c *Cache) acquire(ctx context.Context, key string) (release func(), err error) {
	if c.leases == nil || ctx.Value(loadingKey{}) != nil {
		return func() {}, nil
	}
	l, err := c.leases.TryAcquire(ctx, leaseName(key))
	if err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lease.MinTTL)
		defer cancel()
		_ = l.Release(ctx)
	}, nil
}

// leaseName returns the name of the lease of a key.
func leaseName(key string) string {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(key))
	return fmt.Sprintf("load:%04d", sum.Sum64()%leaseNames)
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turns let one caller at a time proceed for each key.
type turns struct {
	mu   sync.Mutex
	keys map[string]*turn
}

type turn struct {
	free    chan struct{} // holds one element while it is nobody's turn
	callers int           // number of callers that wait or have the turn
}

// wait returns when it is the caller's turn, or an error when ctx or closing ends. The caller calls
// done at the end of its turn. waited reports whether another caller waited or had the turn at the
// call of wait.
func (t *turns) wait(ctx, closing context.Context, key string) (waited bool, done func(), err *kv.Error) {
	t.mu.Lock()
	one := t.keys[key]
	if one == nil {
		if t.keys == nil {
			t.keys = make(map[string]*turn)
		}
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		t.keys[key] = one
	}
	waited = one.callers > 0
	one.callers++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.callers--; one.callers == 0 {
			delete(t.keys, key)
		}
	}
	select {
	case <-one.free:
		return waited, func() {
			one.free <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		err = &kv.Error{Err: ctx.Err()}
	case <-closing.Done():
		err = &kv.Error{Kind: kv.ErrClosed}
	}
	leave()
	return waited, nil, err
}
