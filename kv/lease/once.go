package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
)

// errDone says that the job of the interval is done.
var errDone = errors.New("the job of this interval is done")

// Once runs a job unless this or another program has already done it in the present
// interval. It reports whether it ran the job. Every replica calls it at about the same
// time, or more often than the interval.
//
// Intervals begin at multiples of every since the zero time: with an hour at each full
// hour, with 24 hours at midnight UTC. every is at least a second. The wall clock decides
// which interval is present. A replica whose clock is ahead runs the job early, and the
// others then do not run it again.
//
// run receives the lease of the name, and its Context. When run returns nil, the job is
// done in this interval. When it returns an error, or the process dies, the next call of
// Once runs it again, also within the interval. The same happens when the lease was lost
// while the job ran: a job that must not run twice must send the token along.
//
// Once returns false and nil when the job is done, or when another replica runs it. In the
// second case it first waits until the holder of the lease has renewed it, about a third
// of the TTL. Once returns the error of run, of the store, or ErrLost.
func (s *Leases) Once(ctx context.Context, name string, every time.Duration, run func(ctx context.Context, l *Lease) error) (ran bool, err error) {
	const op = "once"
	if every < time.Second {
		return false, s.fail(op, name, kv.ErrInvalidOption, fmt.Errorf("the interval is %s; want at least %s", every, time.Second))
	}
	interval := time.Now().Truncate(every).UnixMilli()
	l, err := s.acquire(ctx, acquisition{op: op, name: name, patience: untilRenewed, interval: interval})
	if errors.Is(err, errDone) || errors.Is(err, ErrHeld) && ctx.Err() == nil {
		return false, nil
	} else if err != nil {
		return false, err
	}
	done := l.record.Done
	defer func() {
		// Also after run has cancelled ctx.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ttl)
		defer cancel()
		err = errors.Join(err, l.release(ctx, done))
	}()
	if err = run(l.Context(ctx), l); err == nil {
		done = interval
	}
	return true, err
}
