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

// Once calls run unless the job of that name is already done in the present interval, or
// another replica runs it. It reports whether it called run. Every replica of a program calls
// Once, at about the same time or more often than once per interval.
//
// The parameter every is the length of an interval, at least a second. Intervals begin at
// multiples of this length since the zero time: at each full hour if the length is an hour,
// or at midnight UTC if it is 24 hours. The wall clock decides which interval is present. A
// replica whose clock is ahead runs the job early, and the others then do not run it again.
//
// run receives the lease of that name, and the lease's Context. If run returns nil, the job
// is done for this interval. If run returns an error, or the process dies, the next call of
// Once runs the job again, even in the same interval. If the lease is lost while the job
// runs, the error of Once matches [ErrLost], and another replica may have run the job too,
// or may run it again. The job still counts as done if run returned nil, no other replica took
// the lease, and Once could write the record. A job that must not run twice must send the token
// with its work.
//
// Once returns false and nil if the job is done, or if another replica runs it. If another
// replica runs it, Once first waits until that replica has renewed the lease, which takes about
// a third of the TTL. The error may match several errors: the error of run, an error of the
// store, and [ErrLost].
func (s *Leases) Once(ctx context.Context, name string, every time.Duration, run func(ctx context.Context, l *Lease) error) (ran bool, err error) {
	const op = "once"
	if every < time.Second {
		return false, s.fail(op, name, kv.ErrInvalidOption, fmt.Errorf("the interval is %s; want at least %s", every, time.Second))
	}
	// A long interval may begin before 1970. Its start is then 1 here, because a record has no
	// negative times, and 0 means no interval. All later intervals begin after 1.
	interval := max(1, time.Now().Truncate(every).UnixMilli())
	l, err := s.acquire(ctx, acquisition{op: op, name: name, patience: untilRenewed, interval: interval})
	if errors.Is(err, errDone) || errors.Is(err, ErrHeld) && ctx.Err() == nil {
		return false, nil
	} else if err != nil {
		return false, err
	}
	done := l.record.Done
	defer func() {
		// Release the lease even if ctx has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ttl)
		defer cancel()
		switch notReleased := l.release(ctx, done); {
		case err == nil:
			err = notReleased
		case notReleased != nil:
			err = fmt.Errorf("%w; %w", err, notReleased)
		}
	}()
	if err = run(l.Context(ctx), l); err == nil {
		done = interval
	}
	return true, err
}
