package firestorekv

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
)

// The Firestore client retries a Commit for as long as its deadline allows, and
// tells nobody. A put-if-absent whose first response was lost then reads "already
// exists". So skykv switches the client's retries off, call by call, makes the
// attempts itself, and keeps in mind whether one of them may have been applied.
const (
	maxAttempts  = 8
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
)

// attempts are those of one request and of the read that may follow a failed
// condition.
type attempts struct {
	ctx      context.Context // ends at the deadline
	deadline time.Time
	own      bool          // the deadline is the store's, not the caller's
	limit    *limit        // keeps the store's deadline
	pause    time.Duration // the upper limit of the next one
	failed   int
	late     bool // the deadline left no time for another attempt

	// applied: a write was sent, and its answer does not say that it had no effect.
	applied bool
}

// errTimeout is the cause of contexts that end by [Options].Timeout.
type errTimeout struct{}

func (errTimeout) Error() string { return "no success within the store's timeout" }
func (errTimeout) Unwrap() error { return context.DeadlineExceeded }

// begin makes the first attempt possible. The caller must call end.
func (d *driver) begin(ctx context.Context) attempts {
	a := attempts{ctx: ctx, pause: d.firstPause}
	var callers bool
	if a.deadline, callers = ctx.Deadline(); !callers {
		a.own, a.deadline = true, time.Now().Add(d.timeout)
		a.limit = d.limits.Get().(*limit)
		a.ctx, a.limit.cancel = context.WithCancelCause(ctx)
		a.limit.timer.Reset(d.timeout)
	}
	return a
}

func (a *attempts) end(d *driver) {
	if a.limit == nil {
		return
	}
	unused := a.limit.timer.Stop()
	a.limit.cancel(nil)
	if unused {
		d.limits.Put(a.limit)
	}
}

// limit cancels a context when its time is over. It takes fewer allocations than
// context.WithTimeout: the timer serves many calls, and the service is not told of
// the deadline, since it learns that the stream ended.
type limit struct {
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func newLimit() any {
	l := new(limit)
	l.timer = time.AfterFunc(time.Hour, func() { l.cancel(errTimeout{}) })
	l.timer.Stop()
	return l
}

// again takes note that an attempt failed with err. If another one makes sense it
// waits for some time and reports true.
//
// Attempts are repeated after every answer that may be a passing condition, for
// writes as for reads: a token recognises the effect of an earlier attempt of a
// conditional put, a conditional delete that meets it becomes ErrIndeterminate,
// and kv promises no more than this for unconditional writes.
func (a *attempts) again(err error) bool {
	a.failed++
	if a.ctx.Err() != nil || !passing(code(err)) || a.failed >= maxAttempts {
		return false
	}
	pause := rand.N(a.pause) + 1
	a.pause = min(2*a.pause, longestPause)
	if !a.deadline.IsZero() && time.Until(a.deadline) < pause {
		a.late = true
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.ctx.Done():
		return false
	}
}

// past reports whether the deadline has passed. The context may not know it yet,
// since its timer waits for a processor, when the service, which was told of the
// deadline, has cancelled the request already.
func (a *attempts) past() bool {
	return !a.deadline.IsZero() && !time.Now().Before(a.deadline)
}

// succeeded starts the count anew, after progress in a longer answer.
func (a *attempts) succeeded(d *driver) {
	a.failed, a.pause = 0, d.firstPause
}

// writing is the call option for the attempts of a write: no retries by the
// client, and a note of whether gRPC opened a stream. Without a stream nothing was
// sent, such as when no connection came about.
type writing struct {
	peer peer.Peer
	grpc [1]grpc.CallOption
	gax  [1]gax.CallOption
}

// options are those of a call; slices in w itself save allocations.
func (w *writing) options() []gax.CallOption {
	w.gax[0] = w
	return w.gax[:]
}

// Resolve implements [gax.CallOption].
func (w *writing) Resolve(s *gax.CallSettings) {
	once(s)
	w.peer = peer.Peer{}
	w.grpc[0] = grpc.Peer(&w.peer)
	if len(s.GRPC) == 0 {
		s.GRPC = w.grpc[:]
	} else { // the options of the user's client come first
		s.GRPC = append(s.GRPC[:len(s.GRPC):len(s.GRPC)], w.grpc[0])
	}
}

// mayBeApplied reports whether the write whose last attempt failed with err may
// have been, or may yet be, applied.
func (w *writing) mayBeApplied(err error) bool {
	return w.peer.Addr != nil && !refused(err)
}

// reading is the call option for the attempts of a read.
type reading struct{}

// readOptions are those of the call of a read.
var readOptions = []gax.CallOption{reading{}}

// Resolve implements [gax.CallOption].
func (reading) Resolve(s *gax.CallSettings) { once(s) }

// once lets the client make a call once, and not end it before its context does.
func once(s *gax.CallSettings) {
	s.Retry = nil
	gax.WithTimeout(0).Resolve(s)
}

// passing reports whether the same request may succeed later on: the connection
// was lost or refused, a quota is used up, there is too much contention on the
// document, or the service, or something on the way to it, failed or was slow. That
// the caller's own deadline passed is looked at first.
func passing(c codes.Code) bool {
	switch c {
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted,
		codes.Internal, codes.Unknown, codes.DataLoss, codes.DeadlineExceeded:
		return true
	}
	return false
}
