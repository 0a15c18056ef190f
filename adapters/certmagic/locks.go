package certmagic

import (
	"context"
	"fmt"
	"sync"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// locks are the locks that a process holds. certmagic knows a lock by its name.
type locks struct {
	leases *lease.Leases

	mu   sync.Mutex
	held map[string]*lease.Lease
}

// lock keeps a lease that acquire, a method of l.leases, returns.
func (l *locks) lock(ctx context.Context, name string, acquire func(context.Context, string) (*lease.Lease, error)) error {
	held, err := acquire(ctx, kv.EscapeKey(name))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[name] = held
	return nil
}

func (l *locks) unlock(ctx context.Context, name string) error {
	l.mu.Lock()
	held, ok := l.held[name]
	l.mu.Unlock()
	if !ok {
		return fmt.Errorf("certmagic: unlock %q: this process does not hold the lock", name)
	}
	if err := held.Release(ctx); err != nil {
		return err // it stays known, for another Unlock
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] == held { // another goroutine may have it by now
		delete(l.held, name)
	}
	return nil
}
