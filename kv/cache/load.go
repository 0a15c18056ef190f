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
	// leaseNames bounds the records that leases leave in their store. Keys that share one are
	// computed one after the other.
	leaseNames = 1024

	// poll is the longest pause between two looks for what another process computes.
	poll = 100 * time.Millisecond
)

// GetOrLoad returns the entry under key. If there is none it calls load, stores what that
// returns, and returns the entry. The entry expires ttl later, or never if ttl is 0.
//
// Callers of one process wait for each other, and load is called by one of them at a time.
// With [Options].Leases the same holds for all processes. Once the entry is stored, those that
// wait return it. When load fails, GetOrLoad returns its error as it is, nothing is stored,
// and the next of those that wait calls load.
//
// GetOrLoad never replaces an entry: if somebody else stores one while load runs, that entry
// is returned. Without Leases, or when a process loses its lease, load may be called by several
// processes at once, of which one stores its result.
//
// load must not call GetOrLoad of the same key. A ttl of less than a millisecond is an error that
// matches [kv.ErrInvalidOption]. All other errors are those of the store and of the lease.
func (c *Cache) GetOrLoad(ctx context.Context, key string, ttl time.Duration, load func(ctx context.Context) ([]byte, error)) (kv.Entry, error) {
	if ttl != 0 && ttl < time.Millisecond {
		return kv.Entry{}, &kv.Error{Op: "get or load", Key: key, Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the ttl is %s; want at least %s, or 0 for none", ttl, time.Millisecond)}
	}
	entry, err := c.Get(ctx, key)
	if !errors.Is(err, kv.ErrNotFound) {
		return entry, err
	}
	waited, done, err := c.turns.wait(ctx, key)
	if err != nil {
		return kv.Entry{}, &kv.Error{Op: "get or load", Key: key, Err: err}
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

// load computes what is not there, and stores it. The caller holds the lease of the key.
func (c *Cache) load(ctx context.Context, key string, ttl time.Duration, load func(ctx context.Context) ([]byte, error)) (kv.Entry, error) {
	entry, err := c.exact.Get(ctx, key) // stored by the holder before
	if !errors.Is(err, kv.ErrNotFound) {
		return entry, err
	}
	value, err := load(ctx)
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

// acquire takes the lease of a key, if there are leases. release lets another process have
// it. If that fails, the others wait for the end of the lease.
func (c *Cache) acquire(ctx context.Context, key string) (release func(), err error) {
	if c.leases == nil {
		return func() {}, nil
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(key))
	l, err := c.leases.TryAcquire(ctx, fmt.Sprintf("load:%04d", sum.Sum64()%leaseNames))
	if err != nil {
		return nil, err
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lease.MinTTL)
		defer cancel()
		_ = l.Release(ctx)
	}, nil
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

// turns let one caller at a time go on for each key.
type turns struct {
	mu   sync.Mutex
	keys map[string]*turn
}

type turn struct {
	free    chan struct{} // holds one element while it is nobody's turn
	callers int           // that wait, or whose turn it is
}

// wait returns when it is the caller's turn, who calls done after it. It reports whether there
// was another caller.
func (t *turns) wait(ctx context.Context, key string) (waited bool, done func(), err error) {
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
		leave()
		return waited, nil, ctx.Err()
	}
}
