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

// The Firestore client retries a Commit until its deadline, without reporting it. A
// put-if-absent whose first response was lost then returns "already exists". So skykv
// switches off the client's retries in each call, makes the attempts itself, and notes
// whether an attempt may have been applied.
const (
	maxAttempts  = 8
	firstPause   = 50 * time.Millisecond
	longestPause = 5 * time.Second
)

// attempts is the state of a call. The call makes attempts at a request and, if a condition
// fails, at the read that follows. Other goroutines use only close and expire.
type attempts struct {
	driver   *driver
	caller   context.Context
	meter    *kv.Meter
	timer    *time.Timer // runs the method expire
	size     attempt.Size
	deadline time.Time
	own      bool          // the deadline is the store's, not the caller's
	patience time.Duration // how long a batch goes on without progress; 0 for other calls
	patient  time.Time     // when the batch ends, unless it makes progress
	pause    time.Duration
	made     int  // number of attempts at the current request
	failed   int  // number of attempts without progress; a batch does not count throttled ones
	late     bool // the deadline left no time for another attempt

	// lost reports whether an attempt at a write may have had an effect: it was sent, and no
	// response says that it had none.
	lost bool

	// prompt reports whether the call ends after an attempt that sets lost: see
	// [kv.WriteRequest].Prompt. readOnce reports whether the call ends after any attempt that
	// fails and was not throttled: see [kv.GetRequest].Prompt.
	prompt, readOnce bool

	mu     sync.Mutex
	ctx    context.Context // of the running attempt or, between attempts, of the next one
	cancel context.CancelCauseFunc
	limit  time.Duration // greatest duration of the running attempt
	until  time.Time     // when expire ends ctx; zero between attempts, and if the caller's deadline is earlier
	closed bool
}

// watch prepares a call. size is the size of its requests. The call ends at the caller's
// deadline or, if there is none, at the store's. It also ends when the driver is closed.
// The caller must call end.
//
// watch makes fewer allocations than context.WithTimeout. The call and its attempts share
// one context until an attempt is cut off, and a timer serves many calls, one after
// another. The service does not know the store's deadline. It only sees that the stream
// ends.
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

// The method end ends the call, and makes its state free for another call.
func (a *attempts) end() {
	a.driver.underWay.remove(a)
	a.timer.Stop()
	a.mu.Lock()
	a.cancel(nil)
	a.until = time.Time{} // expire may still run, and then does nothing
	a.ctx, a.cancel, a.closed = nil, nil, false
	a.mu.Unlock()
	idle := &a.driver.idle
	// Release all other objects to the garbage collector.
	a.driver, a.caller, a.meter, a.patience = nil, nil, nil, 0
	a.own, a.late, a.lost, a.prompt, a.readOnce, a.made, a.failed = false, false, false, false, false, 0, 0
	idle.Put(a)
}

// The method begin starts an attempt, and returns the context of the attempt.
func (a *attempts) begin() context.Context {
	a.made++
	ctx := a.context()
	now := time.Now()
	left := a.deadline.Sub(now)
	limit := attempt.Timeout(max(left, 0), a.size)
	if limit >= left && !a.own {
		return ctx // the caller's context ends first
	}
	a.mu.Lock()
	a.limit, a.until = limit, now.Add(min(limit, max(left, 0)))
	a.mu.Unlock()
	a.timer.Reset(min(limit, max(left, 0)))
	return ctx
}

// context returns the context of the next attempt. After an attempt that was cut off, this
// is a new context.
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
	case a.until.IsZero() || now.Before(a.until): // the timer was set for an attempt that has ended
	case a.own && !now.Before(a.deadline):
		a.cancel(attempt.ErrStoreTimeout)
	default:
		a.cancel(&attempt.TimeoutError{Limit: a.limit})
	}
}

// The method close ends the call because the driver closes.
func (a *attempts) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.cancel(kv.ErrClosed)
}

// The method over returns an error if the caller's context has ended or the driver was closed,
// so that the call must end. Otherwise it returns nil.
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

// close ends all running calls, and later calls as soon as they begin.
func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for a := range c.all {
		a.close()
	}
}

// The method done ends an attempt that returned err. If the caller should make another attempt,
// done pauses and returns false. The returned error is err, or says that the attempt was cut
// off.
//
// Writes are retried like reads, after every error that may be temporary. The fields prompt and
// readOnce make exceptions. The token of a conditional put shows whether an earlier attempt was
// applied. A delete leaves no token. If its condition fails after an attempt that may have been
// applied, the delete returns ErrIndeterminate. An unconditional write may be applied more than
// once, as package kv documents.
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
	case a.over() != nil, !passing(err), a.failed >= maxAttempts, a.patience > 0 && time.Now().After(a.patient),
		a.prompt && a.lost, a.readOnce && !throttled(err):
		return true, err
	}
	pause := rand.N(a.pause) + 1
	a.pause = min(2*a.pause, longestPause)
	return !a.wait(pause), err
}

// cutOff returns err, or the timeout of the attempt if that caused err.
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

// wait pauses between attempts. It returns false if the call ends before the pause does.
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

// persist makes the call go on while the service throttles it. The call ends at the
// caller's deadline, or after the store's timeout without any progress.
func (a *attempts) persist() {
	a.patience = a.driver.timeout
	a.progressed()
}

// progressed notes that the call made progress: it resets the count of failures, the length
// of the pauses and the patience.
func (a *attempts) progressed() {
	a.failed, a.pause = 0, a.driver.firstPause
	if a.patience > 0 {
		a.extend(time.Now().Add(a.patience))
	}
}

// extend sets the time until which the batch may go on without progress.
func (a *attempts) extend(patient time.Time) {
	a.patient = patient
	if a.own {
		a.mu.Lock()
		a.deadline = a.patient
		a.mu.Unlock()
	}
}

// The method ended records in the meter a request that has ended, unless it was never sent. The
// call may then make another request.
func (a *attempts) ended() {
	if a.made > 0 {
		a.meter.Add(1, a.made)
	}
	a.made = 0
	a.progressed()
}

// mayHaveApplied reports whether an attempt at the write may have been applied, or may
// still be applied.
func (a *attempts) mayHaveApplied() bool { return a.lost }

// The method past reports whether the deadline has passed. It reads the clock, because a service
// that knows the caller's deadline may cancel the request before the context's own timer runs.
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

// lost reports whether an attempt that returned err may have had an effect: it was sent, and
// err does not say that it had none.
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

// The function once changes the settings of a request. The client then sends it only once, with
// these options of gRPC, and without a timeout of the client's own: the context limits the time.
func once(s *gax.CallSettings, opts []grpc.CallOption) {
	s.Retry = nil
	gax.WithTimeout(0).Resolve(s)
	if len(s.GRPC) == 0 {
		s.GRPC = opts[:len(opts):len(opts)]
	} else { // gRPC prefers the later options, which are opts
		s.GRPC = append(s.GRPC[:len(s.GRPC):len(s.GRPC)], opts...)
	}
}
