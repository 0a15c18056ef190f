package gocron

import (
	"context"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// Locker is a gocron.Locker. It is safe for concurrent use.
type Locker struct {
	leases *lease.Leases
	splay  time.Duration
}

// NewLocker returns a locker that uses leases as locks. A lock is held for at least the time
// splay, even if its job ends earlier. Otherwise a scheduler whose clock or timer is a little late
// would run a short job a second time. splay must be longer than the difference between any two
// clocks, and shorter than the interval of any job.
func NewLocker(leases *lease.Leases, splay time.Duration) *Locker { return &Locker{leases, splay} }

// Lock acquires the lock of a job, without waiting. If another scheduler has the lock, the error
// matches lease.ErrHeld. If the store fails, Lock returns its error. After any error, this
// scheduler does not run the job.
func (l *Locker) Lock(ctx context.Context, job string) (gocron.Lock, error) {
	held, err := l.leases.TryAcquire(ctx, kv.EscapeKey(job))
	if err != nil {
		return nil, err
	}
	return &lock{held, time.Now().Add(l.splay)}, nil
}

// lock is the lock of one run of a job.
type lock struct {
	held  *lease.Lease
	until time.Time // the lock is held at least until then
}

// Unlock releases the lock. If the splay is not over yet, it returns at once and releases the lock
// later. It releases the lock even if ctx has ended, because the context of a scheduler ends when
// the scheduler shuts down.
func (l *lock) Unlock(ctx context.Context) error {
	if left := time.Until(l.until); left > 0 {
		time.AfterFunc(left, func() { _ = release(ctx, l.held) }) // if this fails, the lock is free after its TTL
		return nil
	}
	return release(ctx, l.held)
}

// release releases a lease, even if ctx has ended. It has its own timeout.
func release(ctx context.Context, held *lease.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return held.Release(ctx)
}
