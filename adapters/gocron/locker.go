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

// NewLocker returns a locker whose locks are leases. A lock is held for splay at least, though
// its job ends earlier: otherwise a scheduler whose clock or timer is a little late would run a
// short job a second time. splay must be longer than the clocks differ, and shorter than the
// interval of any job.
func NewLocker(leases *lease.Leases, splay time.Duration) *Locker { return &Locker{leases, splay} }

// Lock acquires the lock of a job, without waiting. It returns an error that matches
// lease.ErrHeld when another scheduler runs the job, and the store's error when that failed. In
// both cases this scheduler does not run it.
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
	until time.Time // it is held at least
}

// Unlock releases the lock, in the background where splay is not over yet. It does so also when
// ctx has ended, as that of a scheduler does that shuts down.
func (l *lock) Unlock(ctx context.Context) error {
	if left := time.Until(l.until); left > 0 {
		time.AfterFunc(left, func() { _ = release(ctx, l.held) }) // otherwise it is free after its TTL
		return nil
	}
	return release(ctx, l.held)
}

// release ends a lease. It has its own timeout, since ctx may have ended during the work.
func release(ctx context.Context, held *lease.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return held.Release(ctx)
}
