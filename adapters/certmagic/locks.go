package certmagic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// locks holds the locks of this process by name, because certmagic passes only the name to Unlock.
// There may be several locks with the same name: after a lock was lost, another goroutine may
// acquire it before the first goroutine calls Unlock.
type locks struct {
	leases *lease.Leases

	mu   sync.Mutex
	held map[string][]*lock // by name
}

type lock struct {
	*lease.Lease
	unlocked bool // Unlock was called for this lock, and is under way or has failed
}

// lock acquires a lease by calling acquire, which is a method of l.leases, and keeps the lease
// for unlock.
func (l *locks) lock(ctx context.Context, name string, acquire func(context.Context, string) (*lease.Lease, error)) error {
	held, err := acquire(ctx, kv.EscapeKey(name))
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Forget locks whose Unlock has failed or is under way. They have ended: otherwise acquire
	// would not have got the lease.
	others := slices.DeleteFunc(l.held[name], func(other *lock) bool { return other.unlocked })
	l.held[name] = append(others, &lock{Lease: held})
	return nil
}

func (l *locks) unlock(ctx context.Context, name string) error {
	held := l.next(name)
	if held == nil {
		return fmt.Errorf("certmagic: unlock %q: this process does not hold the lock", name)
	}
	err := held.Release(ctx)
	if err != nil && !errors.Is(err, lease.ErrLost) {
		return err // the lock is kept, so that Unlock can be called again
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[name] = slices.DeleteFunc(l.held[name], func(other *lock) bool { return other == held }); len(l.held[name]) == 0 {
		delete(l.held, name)
	}
	return err
}

// next chooses the lock that an Unlock releases. It prefers a lock that was lost to a lock that is
// held, so that no goroutine loses its lock because another one calls Unlock. It chooses a lock
// whose Unlock is under way or has failed only if there are no others.
func (l *locks) next(name string) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.held[name]
	for _, fits := range []func(*lock) bool{
		func(k *lock) bool { return !k.unlocked && !k.Held() },
		func(k *lock) bool { return !k.unlocked },
		func(*lock) bool { return true },
	} {
		if i := slices.IndexFunc(all, fits); i >= 0 {
			all[i].unlocked = true
			return all[i]
		}
	}
	return nil
}
