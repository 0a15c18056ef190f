package lease

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// A holder renews its lease renewals times within the TTL. An attempt ends after a sixth of
// the TTL, so that two attempts that hang leave time for a third.
const (
	renewals = 3
	attempts = 6
)

// belief is the time for which a holder counts on a lease: a sixteenth less than others wait,
// because clocks have different speeds.
func belief(ttl time.Duration) time.Duration { return ttl - ttl/16 }

// Lease is an acquired lease. It is renewed until Release. It is safe for concurrent use.
type Lease struct {
	leases *Leases
	name   string
	record record // as acquired

	// ended ends when the lease does.
	ended context.Context
	end   context.CancelCauseFunc

	// stop ends the renewing, which then closes stopped. version belongs to the renewing until
	// then, and to Release afterwards.
	stop    context.CancelFunc
	stopped chan struct{}
	version kv.Version

	mu      sync.Mutex
	since   reading // before the last renewal that succeeded was sent
	failure error   // the last error of the renewals since

	releasing sync.Mutex
	released  bool
}

// hold begins to renew a lease. The write that acquired it was sent at since.
func (s *Leases) hold(name string, r record, version kv.Version, since reading) *Lease {
	l := &Lease{leases: s, name: name, record: r, version: version, since: since, stopped: make(chan struct{})}
	l.ended, l.end = context.WithCancelCause(context.Background())
	var renewing context.Context
	renewing, l.stop = context.WithCancel(context.Background())
	go l.renew(renewing)
	return l
}

// Name returns the name of the lease.
func (l *Lease) Name() string { return l.name }

// Token returns the fencing token: at least 1, and greater than the token of every earlier
// holder.
func (l *Lease) Token() int64 { return l.record.Token }

// Held reports whether the lease is still held now. Once it is false it stays false.
func (l *Lease) Held() bool { return l.Left() > 0 }

// Left returns how long Held stays true if no renewal succeeds from now on. It is 0 after the
// lease was lost or released.
func (l *Lease) Left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Err() != nil {
		return 0
	}
	left := belief(l.leases.ttl) - atMost(l.since, l.leases.clock())
	if left <= 0 {
		l.end(l.leases.fail("renew", l.name, ErrLost, l.failure))
		return 0
	}
	return left
}

// Context returns a context derived from parent that ends when the lease ends. Its cause, by
// [context.Cause], then matches [ErrLost], or is [context.Canceled] after Release. In a
// process that was stopped it ends late: call Held.
func (l *Lease) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	context.AfterFunc(l.ended, func() { cancel(context.Cause(l.ended)) })
	return ctx
}

// Release ends the lease, so that another program can acquire it at once. It returns an error
// that matches [ErrLost] if the lease was lost before, and the store's error if others must
// wait for the end of the TTL. In both cases Held is false. ctx must not have ended: use
// [context.WithoutCancel] after work that was cancelled.
func (l *Lease) Release(ctx context.Context) error { return l.release(ctx, l.record.Done) }

// release is Release. It also stores the last interval whose job is done.
func (l *Lease) release(ctx context.Context, done int64) error {
	held := l.Held()
	if held {
		l.end(nil)
	}
	l.stop()
	<-l.stopped
	l.releasing.Lock()
	defer l.releasing.Unlock()
	if l.released {
		return nil
	}
	err := l.write(ctx, "release", record{Token: l.record.Token, Done: done})
	if l.released = err == nil; l.released && !held && errors.Is(context.Cause(l.ended), ErrLost) {
		return context.Cause(l.ended) // nobody else took the lease, but the work went on without it
	}
	return err
}

// renew renews the lease until ctx or the lease ends.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.stopped)
	defer l.Held() // Held notices the end of the lease
	ttl := l.leases.ttl
	pause := ttl / renewals
	for {
		if sleep(ctx, min(pause, l.Left())) != nil {
			return
		}
		left := l.Left()
		if left <= 0 {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, min(ttl/attempts, left))
		err := l.write(attempt, "renew", l.record)
		cancel()
		switch {
		case err == nil:
			pause = ttl / renewals
		case errors.Is(err, ErrLost):
			l.end(err)
			return
		default: // retried while time is left
			l.mu.Lock()
			l.failure = err
			l.mu.Unlock()
			pause = ttl/16 + mathrand.N(ttl/16)
		}
	}
}

// maxWrites is the greatest number of attempts of one renewal or release. The first may find
// that an earlier one was applied whose response was lost.
const maxWrites = 3

// write replaces the record of the lease, if it still belongs to the lease. Otherwise it
// returns ErrLost.
func (l *Lease) write(ctx context.Context, op string, next record) error {
	s := l.leases
	var err error
	for range maxWrites {
		sent := s.clock()
		var version kv.Version
		version, err = s.store.Put(ctx, l.name, next.encode(), kv.IfVersion(l.version))
		if err == nil {
			l.version = version
			l.mu.Lock()
			l.since, l.failure = sent, nil
			l.mu.Unlock()
			return nil
		}
		if !errors.Is(err, kv.ErrConditionFailed) && !errors.Is(err, kv.ErrIndeterminate) {
			return err
		}
		found, version, unread := s.read(ctx, op, l.name)
		switch {
		case unread != nil:
			return unread
		case found.Token == l.record.Token && found.Holder == l.record.Holder:
			l.version = version // an earlier write was applied after all, or this one was not
		case found.Token == l.record.Token && found.Holder == "" && next.Holder == "":
			return nil // only the holder releases a lease
		default:
			return s.fail(op, l.name, ErrLost, errors.New("another holder has acquired it, or its record was deleted"))
		}
	}
	return err
}
