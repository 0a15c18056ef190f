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

// The Firestore client retries a Commit until its deadline without saying so. A
// put-if-absent whose first response was lost then reads "already exists". So skykv
// switches the client's retries off for each call, makes the attempts itself, and
// notes whether an attempt may have been applied.
const (
	maxAttempts  = 8
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
)

// attempts are the attempts at a request, and at the read that may follow a failed
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

	// lost: an attempt at a write was sent, and no response says that it had no effect.
	lost bool
}

// errTimeout is the cause of contexts that end by [Options].Timeout.
type errTimeout struct{}

func (errTimeout) Error() string { return "no success within the store's timeout" }
func (errTimeout) Unwrap() error { return context.DeadlineExceeded }

// watch prepares a call. The call must use the returned context, which ends at the
// caller's deadline or else at the store's, and when the driver closes. The caller must
// call end.
//
// watch takes fewer allocations than context.WithTimeout: a timer serves many calls, and
// requests do not carry the store's deadline. The service learns that the stream ended.
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

// end ends the call's context.
func (a *attempts) end() {
	a.driver.underWay.remove(a)
	unused := !a.own || a.timer.Stop()
	a.cancel(nil)
	if unused {
		idle := &a.driver.idle
		*a = attempts{timer: a.timer} // the garbage collector may have the rest
		idle.Put(a)
	}
}

// calls are the calls under way. The zero value has none.
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

// close ends all calls, also the ones that come later.
func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for a := range c.all {
		a.cancel(kv.ErrClosed)
	}
}

// again counts a failed attempt. If another attempt makes sense, again pauses and
// returns true.
//
// It repeats writes as it repeats reads, after every error that may pass. The token of a
// conditional put shows that an earlier attempt was applied. A conditional delete that
// finds its condition failed after such an attempt is ErrIndeterminate. An
// unconditional write may be applied twice, as kv documents.
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

// ended counts a request that is over. The call may make another request.
func (a *attempts) ended() {
	a.meter.Add(1, a.made)
	a.made = 0
	a.progressed()
}

// mayHaveApplied reports whether an attempt at the write may have been, or may yet
// be, applied.
func (a *attempts) mayHaveApplied() bool { return a.lost }

// past reports whether the deadline has passed. A service that knows the caller's
// deadline may cancel the request before the context's own timer gets a processor.
func (a *attempts) past() bool { return !time.Now().Before(a.deadline) }

// writing is the call option for an attempt at a write. It switches off the client's
// retries, and notes whether gRPC opened a stream. Without a stream, nothing was sent.
type writing struct {
	peer peer.Peer
	grpc [1]grpc.CallOption
	gax  [1]gax.CallOption
}

// options returns the options of a call. The slices are in w to save allocations.
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

// lost reports whether the attempt was sent, and its error does not say that it had no
// effect.
func (w *writing) lost(err error) bool { return w.peer.Addr != nil && !refused(err) }

// reading is the call option for an attempt at a read.
type reading struct{}

// readOptions are the options of a read.
var readOptions = []gax.CallOption{reading{}}

// Resolve implements [gax.CallOption].
func (reading) Resolve(s *gax.CallSettings) { once(s) }

// once makes the client send a call once, and leave the timeout to the context.
func once(s *gax.CallSettings) {
	s.Retry = nil
	gax.WithTimeout(0).Resolve(s)
}
