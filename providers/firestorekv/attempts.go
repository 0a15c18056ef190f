package firestorekv

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/skykv/skykv/kv"
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

// attempts are those of a request, and of the read that may follow a failed
// condition.
type attempts struct {
	driver   *driver
	timer    *time.Timer             // ends the call when the caller has no deadline
	cancel   context.CancelCauseFunc // ends the call
	meter    *kv.Meter
	deadline time.Time
	own      bool // the deadline is the store's, not the caller's
	pause    time.Duration
	made     int  // attempts at the request under way
	failed   int  // attempts without progress
	late     bool // the deadline left no time for another attempt

	// lost: an attempt at a write was sent, and its answer does not say that it had no
	// effect.
	lost bool
}

// errTimeout is the cause of contexts that end by [Options].Timeout.
type errTimeout struct{}

func (errTimeout) Error() string { return "no success within the store's timeout" }
func (errTimeout) Unwrap() error { return context.DeadlineExceeded }

// watch prepares a call, which is to be made with the returned context: that ends at the
// caller's deadline or else the store's, and when the driver is closed. The caller must
// call end.
//
// It takes fewer allocations than context.WithTimeout: the timer serves many calls, and
// the service is not told of the deadline, since it learns that the stream ended.
func (d *driver) watch(ctx context.Context, meter *kv.Meter) (context.Context, *attempts) {
	a, ok := d.idle.Get().(*attempts)
	if !ok {
		a = new(attempts)
		a.timer = time.AfterFunc(time.Hour, func() { a.cancel(errTimeout{}) })
		a.timer.Stop()
	}
	*a = attempts{driver: d, timer: a.timer, meter: meter, pause: d.firstPause}
	ctx, a.cancel = context.WithCancelCause(ctx)
	d.underWay.add(a)
	var callers bool
	if a.deadline, callers = ctx.Deadline(); !callers {
		a.own, a.deadline = true, time.Now().Add(d.timeout)
		a.timer.Reset(d.timeout)
	}
	return ctx, a
}

// end releases what watch took.
func (a *attempts) end() {
	a.driver.underWay.remove(a)
	unused := !a.own || a.timer.Stop()
	a.cancel(nil)
	if unused {
		idle := &a.driver.idle
		*a = attempts{timer: a.timer} // keeps nothing of the call alive
		idle.Put(a)
	}
}

// calls are those under way, until close ends them. The zero calls are none.
type calls struct {
	mu     sync.Mutex
	closed bool
	all    map[*attempts]struct{}
}

func (c *calls) add(a *attempts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		a.cancel(kv.ErrClosed)
		return
	}
	if c.all == nil {
		c.all = make(map[*attempts]struct{})
	}
	c.all[a] = struct{}{}
}

func (c *calls) remove(a *attempts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, a)
}

// close ends all calls, and those that are added later.
func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for a := range c.all {
		a.cancel(kv.ErrClosed)
	}
}

// again takes note that an attempt failed with err. If another one makes sense it
// waits for some time and reports true.
//
// Attempts are repeated after every answer that may be a passing condition, for
// writes as for reads: a token recognises the effect of an earlier attempt of a
// conditional put, a conditional delete that meets it becomes ErrIndeterminate,
// and kv promises no more than this for unconditional writes.
func (a *attempts) again(ctx context.Context, err error) bool {
	a.failed++
	if ctx.Err() != nil || !passing(code(err)) || a.failed >= maxAttempts {
		return false
	}
	pause := rand.N(a.pause) + 1
	a.pause = min(2*a.pause, longestPause)
	if time.Until(a.deadline) < pause {
		a.late = true
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// progressed begins the count of failures anew.
func (a *attempts) progressed() { a.failed, a.pause = 0, a.driver.firstPause }

// ended takes note that the request is over, however it ended. The call may make
// another one.
func (a *attempts) ended() {
	a.meter.Add(1, a.made)
	a.made = 0
	a.progressed()
}

// mayHaveApplied reports whether an attempt at the write may have been, or may yet
// be, applied.
func (a *attempts) mayHaveApplied() bool { return a.lost }

// past reports whether the deadline has passed. The context may not know it yet,
// since its timer waits for a processor, when the service, which was told of the
// deadline, has cancelled the request already.
func (a *attempts) past() bool { return !time.Now().Before(a.deadline) }

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

// lost reports whether the attempt that failed with err was sent, and err does not say
// that it had no effect.
func (w *writing) lost(err error) bool { return w.peer.Addr != nil && !refused(err) }

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
