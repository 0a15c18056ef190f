package lease

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// A holder renews its lease every ttl/renewals. One attempt to renew has a timeout of
// ttl/attempts, so that two attempts that hang leave time for a third one.
const (
	renewals = 3
	attempts = 6
)

// belief returns how long a holder relies on a lease after a renewal. Others wait for the whole
// TTL. belief is a sixteenth shorter, because clocks have different speeds.
func belief(ttl time.Duration) time.Duration { return ttl - ttl/16 }

// Lease is an acquired lease. It is renewed until it is released or lost. It is safe for
// concurrent use.
type Lease struct {
	leases *Leases
	name   string
	record record // as acquired

	// ended is cancelled when the lease is lost or released. Its cause tells these apart.
	ended context.Context
	end   context.CancelCauseFunc

	// stop ends the goroutine that renews the lease. The goroutine closes stopped when it
	// ends. Only the goroutine uses version until then, and only Release uses it afterwards.
	stop    context.CancelFunc
	stopped chan struct{}
	version kv.Version

	mu      sync.Mutex
	since   reading // the clocks before the last successful write of the record was sent
	failure error   // the last error of a renewal since then

	releasing sync.Mutex
	released  bool
	done      int64 // the field Done of the stored record, if released
}

// hold returns a lease, and begins to renew it. A write has acquired the lease. The parameter since
// is the reading of the clocks before that write was sent.
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

// Held reports whether the lease is held now. Once Held has returned false, it never returns
// true again.
func (l *Lease) Held() bool { return l.Left() > 0 }

// Left returns how long Held will return true if no renewal succeeds from now on. Left
// returns 0 after the lease was lost or released.
func (l *Lease) Left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended.Err() != nil {
		return 0
	}
	left := belief(l.leases.ttl) - atMost(l.since, l.leases.clock())
	if left <= 0 {
		late := fmt.Errorf("no renewal succeeded within the TTL of %s", l.leases.ttl)
		if l.failure != nil {
			late = fmt.Errorf("%w; the last error: %w", late, l.failure)
		}
		l.end(l.leases.fail("renew", l.name, ErrLost, late))
		return 0
	}
	return left
}

// Context returns a context derived from parent that ends when the lease ends. Its
// [context.Cause] then matches [ErrLost], or [context.Canceled] after Release. If the process
// or the machine was suspended, the context may end late, so call Held before relying on the
// lease.
func (l *Lease) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	forget := context.AfterFunc(l.ended, func() { cancel(context.Cause(l.ended)) })
	context.AfterFunc(ctx, func() { forget() })
	return ctx
}

// Release ends the lease, so that another program can acquire it at once. If the lease was
// lost before, the error matches [ErrLost]. If the error matches an error of the store, other
// programs may have to wait until the TTL has passed. The error may match both ErrLost and an
// error of the store. Even after an error, Held returns false. ctx must not have ended: use
// [context.WithoutCancel] after work that was cancelled. The same holds for a [Lease.Context] of
// this lease, because Release ends it first.
func (l *Lease) Release(ctx context.Context) error { return l.release(ctx, l.record.Done) }

// release does what Release does. It sets the field Done of the stored record to done, also if the
// lease was released before with a lower one: the job of Once may have called Release.
func (l *Lease) release(ctx context.Context, done int64) error {
	held := l.Held()
	if held {
		l.end(nil)
	}
	l.stop()
	<-l.stopped
	l.releasing.Lock()
	defer l.releasing.Unlock()
	var err error
	if !l.released || l.done < done {
		if err = l.write(ctx, "release", record{Token: l.record.Token, Done: done}); err == nil {
			l.released, l.done = true, done
		}
	}
	lost := context.Cause(l.ended)
	switch {
	case held || !errors.Is(lost, ErrLost) || errors.Is(err, ErrLost):
		return err
	case err == nil:
		return lost // nobody else took the lease, but the work may have gone on without the lease
	}
	return l.leases.fail("release", l.name, ErrLost, err)
}

// renew renews the lease until ctx or the lease ends.
func (l *Lease) renew(ctx context.Context) {
	defer close(l.stopped)
	defer l.Held() // if the lease's time is over, Held ends the lease
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

// maxWrites is the greatest number of writes that one renewal or release tries. The first write
// fails if an earlier one was applied but its response was lost, because the record then has a
// version that the Lease does not know.
const maxWrites = 3

// write replaces the stored record by next if the stored record still belongs to this lease, or if
// next releases the lease and an earlier attempt has released it with a lower Done. If that Done is
// not lower, write returns nil. Otherwise write returns ErrLost. If the store fails, write returns
// the store's error.
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
		// released: an earlier attempt has released the lease, because no other program does that.
		released := found.Token == l.record.Token && found.Holder == "" && next.Holder == ""
		switch {
		case unread != nil:
			return unread
		case released && found.Done >= next.Done:
			return nil
		case released, found.Token == l.record.Token && found.Holder == l.record.Holder:
			l.version = version // retry: an earlier write was applied although its call failed, or this write was not applied
		default:
			return s.fail(op, l.name, ErrLost, errors.New("another holder has acquired it, or its record was deleted"))
		}
	}
	return err
}
