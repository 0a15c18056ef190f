package firestorekv

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// The Firestore client retries a Commit until its deadline and does not report it. A
// put-if-absent whose first response was lost then returns "already exists". So skykv
// switches the client's retries off for each call, makes the attempts itself, and notes
// whether an attempt may have been applied.
const (
	maxAttempts  = 8
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
)

// attempts are the attempts at a request, and at the read that may follow a failed
// condition. Only the goroutine of the call uses it, except for close and expire.
type attempts struct {
	driver   *driver
	caller   context.Context
	meter    *kv.Meter
	timer    *time.Timer // calls expire
	size     attempt.Size
	deadline time.Time
	own      bool          // the deadline is the store's, not the caller's
	patience time.Duration // how long a batch goes on without progress; 0 for other calls
	patient  time.Time     // the batch ends then, unless it makes progress
	pause    time.Duration
	made     int  // number of attempts at this request
	failed   int  // number of attempts without progress; a batch does not count throttled ones
	late     bool // the deadline left no time for another attempt

	// lost: an attempt at a write was sent, and no response says that it had no effect.
	lost bool

	mu     sync.Mutex
	ctx    context.Context // of this attempt, or of the next one
	cancel context.CancelCauseFunc
	limit  time.Duration // of this attempt
	until  time.Time     // expire ends ctx then; zero between attempts
	closed bool
}

// watch prepares a call for requests of a size. The call ends at the caller's deadline or
// else at the store's, and when the driver closes. The caller must call end.
//
// watch makes fewer allocations than context.WithTimeout: the call and its attempts share
// one context and one timer, until an attempt is cut off. The timer serves many calls.
// Requests do not contain the store's deadline. The service sees that the stream ended.
func (d *driver) watch(ctx context.Context, size attempt.Size, meter *kv.Meter) *attempts {
	a, ok := d.idle.Get().(*attempts)
	if !ok {
		a = new(attempts)
		a.timer = time.AfterFunc(time.Hour, a.expire)
		a.timer.Stop()
	}
	a.driver, a.caller, a.meter, a.size, a.pause = d, ctx, meter, size, d.firstPause
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	d.underWay.add(a)
	var callers bool
	if a.deadline, callers = ctx.Deadline(); !callers {
		a.own, a.deadline = true, time.Now().Add(d.timeout)
	}
	return a
}

// end ends the call.
func (a *attempts) end() {
	a.driver.underWay.remove(a)
	a.timer.Stop()
	a.mu.Lock()
	a.cancel(nil)
	a.until = time.Time{} // the timer may have fired, and expire may come late
	a.ctx, a.cancel, a.closed = nil, nil, false
	a.mu.Unlock()
	idle := &a.driver.idle
	// The garbage collector may have the rest.
	a.driver, a.caller, a.meter, a.patience = nil, nil, nil, 0
	a.own, a.late, a.lost, a.made, a.failed = false, false, false, 0, 0
	idle.Put(a)
}

// begin begins an attempt, and returns its context.
func (a *attempts) begin() context.Context {
	a.made++
	ctx := a.context()
	now := time.Now()
	left := a.deadline.Sub(now)
	limit := attempt.Timeout(max(left, 0), a.size)
	if limit >= left && !a.own {
		return ctx // the caller's context ends before
	}
	a.mu.Lock()
	a.limit, a.until = limit, now.Add(min(limit, max(left, 0)))
	a.mu.Unlock()
	a.timer.Reset(min(limit, max(left, 0)))
	return ctx
}

// context returns the context of the next attempt: a new one after an attempt that was cut
// off.
func (a *attempts) context() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil && !a.closed && a.caller.Err() == nil {
		a.ctx, a.cancel = context.WithCancelCause(a.caller)
	}
	return a.ctx
}

// expire ends the attempt when its time is up.
func (a *attempts) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	switch {
	case a.until.IsZero() || now.Before(a.until): // the attempt has ended
	case a.own && !now.Before(a.deadline):
		a.cancel(attempt.ErrStoreTimeout)
	default:
		a.cancel(&attempt.TimeoutError{Limit: a.limit})
	}
}

// close ends the call because the driver closes.
func (a *attempts) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.cancel(kv.ErrClosed)
}

// over returns why the call has ended, and nil while it may go on.
func (a *attempts) over() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.caller.Err() != nil:
		return a.caller.Err()
	case a.closed:
		return context.Canceled
	}
	return nil
}

// calls are the running calls. The zero value has none.
type calls struct {
	mu     sync.Mutex
	closed bool
	all    map[*attempts]struct{}
}

func (c *calls) add(a *attempts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		a.close()
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

// close ends all calls, also later ones.
func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for a := range c.all {
		a.close()
	}
}

// done ends an attempt. It returns false if the caller should make another attempt, after a
// pause. The error says whether the attempt was cut off.
//
// Writes are retried like reads, after every error that may pass. The token of a
// conditional put shows that an earlier attempt was applied. If the condition of a delete
// fails after such an attempt, it is ErrIndeterminate. An unconditional write may be
// applied twice, as kv documents.
func (a *attempts) done(err error) (bool, error) {
	a.timer.Stop()
	a.mu.Lock()
	a.until = time.Time{}
	a.mu.Unlock()
	if err == nil {
		return true, nil
	}
	err = a.cutOff(err)
	if a.patience == 0 || !throttled(err) {
		a.failed++
	}
	switch {
	case a.over() != nil, !passing(err), a.failed >= maxAttempts, a.patience > 0 && time.Now().After(a.patient):
		return true, err
	}
	pause := rand.N(a.pause) + 1
	a.pause = min(2*a.pause, longestPause)
	return !a.wait(pause), err
}

// cutOff returns err, or the timeout of the attempt if that is the cause.
func (a *attempts) cutOff(err error) error {
	if err == nil || code(err) != codes.Canceled || a.over() != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if late, ok := context.Cause(a.ctx).(*attempt.TimeoutError); ok {
		return late
	}
	return err
}

// wait waits between attempts. It returns false when the call ends before.
func (a *attempts) wait(pause time.Duration) bool {
	if time.Until(a.deadline) < pause {
		a.late = true
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.context().Done():
		return false
	}
}

// persist makes the call go on while the service throttles it, until the caller's deadline
// or the store's timeout without any progress.
func (a *attempts) persist() {
	a.patience = a.driver.timeout
	a.progressed()
}

// progressed resets the count of failures.
func (a *attempts) progressed() {
	a.failed, a.pause = 0, a.driver.firstPause
	if a.patience > 0 {
		a.extend(a.patience)
	}
}

// extend lets a batch go on for this long without progress.
func (a *attempts) extend(patience time.Duration) {
	a.patient = time.Now().Add(patience)
	if a.own {
		a.mu.Lock()
		a.deadline = a.patient
		a.mu.Unlock()
	}
}

// ended counts a request that is over. The call may make another request.
func (a *attempts) ended() {
	a.meter.Add(1, a.made)
	a.made = 0
	a.progressed()
}

// mayHaveApplied reports whether an attempt at the write may have been applied, or may
// still be.
func (a *attempts) mayHaveApplied() bool { return a.lost }

// past reports whether the deadline has passed. A service that knows the caller's deadline
// may cancel the request before the context's own timer runs.
func (a *attempts) past() bool { return !time.Now().Before(a.deadline) }

// writing is the call option for an attempt at a write. It switches off the client's
// retries, and notes whether gRPC opened a stream. Without a stream, nothing was sent.
type writing struct {
	peer peer.Peer
	grpc [2]grpc.CallOption
	gax  [1]gax.CallOption
}

// options returns the options of a call. The slices are in w to save allocations.
func (w *writing) options() []gax.CallOption {
	w.gax[0] = w
	return w.gax[:]
}

// Resolve implements [gax.CallOption].
func (w *writing) Resolve(s *gax.CallSettings) {
	w.peer = peer.Peer{}
	w.grpc = [2]grpc.CallOption{bounded[0], grpc.Peer(&w.peer)}
	once(s, w.grpc[:])
}

// lost reports whether the attempt was sent, and its error does not say that it had no
// effect.
func (w *writing) lost(err error) bool { return w.peer.Addr != nil && !refused(err) }

// reading is the call option for an attempt at a read.
type reading struct{}

// readOptions are the options of a read.
var readOptions = []gax.CallOption{reading{}}

// Resolve implements [gax.CallOption].
func (reading) Resolve(s *gax.CallSettings) { once(s, bounded) }

// bounded limits the size of a message, before and after it is decompressed. A message has
// at most one document, or the results of one request's writes. The client's own limit is
// 2 GiB.
var bounded = []grpc.CallOption{grpc.MaxCallRecvMsgSize(int(attempt.MaxBytes(attempt.One)))}

// once makes the client send a call once, with these options of gRPC, and leave the
// timeout to the context.
func once(s *gax.CallSettings, opts []grpc.CallOption) {
	s.Retry = nil
	gax.WithTimeout(0).Resolve(s)
	if len(s.GRPC) == 0 {
		s.GRPC = opts[:len(opts):len(opts)]
	} else { // the options of the program's client come first
		s.GRPC = append(s.GRPC[:len(s.GRPC):len(s.GRPC)], opts...)
	}
}
