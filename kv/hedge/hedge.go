package hedge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// Options are the options of Reads. The zero Options are those of nil.
type Options struct {
	// CancelSlower cancels the slower one of two requests. It is for services over HTTP/2,
	// of which Firestore is one: a request is cancelled there without harm. Over
	// HTTP/1.1, as with DynamoDB and Azure Tables, cancelling closes the connection, and a
	// later request waits for a new one.
	//
	// Unless it is set, the slower request goes on after the call has returned: until its
	// answer comes, the call's own deadline or 5 seconds have passed, or the store is
	// closed. While ten of them do, further ones are cancelled.
	CancelSlower bool
}

const (
	slowerTime = 5 * time.Second // how long the slower request may go on
	maxSlower  = 10              // how many may go on at once
)

// Reads returns an option for [kv.Store.With] that hedges Get and Exists, and the reads
// within Update and Increment. Opts may be nil.
func Reads(opts *Options) kv.StoreOption {
	most := maxSlower
	if opts != nil && opts.CancelSlower {
		most = 0
	}
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return newDriver(d, newPolicy(), most) })
}

// driver hedges the Gets of another driver. The other methods are that driver's own.
type driver struct {
	kv.Driver
	policy    *policy
	maxSlower int

	mu       sync.Mutex
	closed   bool
	requests map[*request]struct{} // those under way
	slower   int                   // how many of them the call has left
	running  sync.WaitGroup        // for requests
}

func newDriver(d kv.Driver, p *policy, maxSlower int) *driver {
	return &driver{Driver: d, policy: p, maxSlower: maxSlower, requests: make(map[*request]struct{})}
}

// Get sends a second request when the first one is late, and returns the answer that comes
// first. An error counts only when both have failed.
func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	begun := time.Now()
	threshold := d.policy.begin()
	if threshold == 0 {
		found, err := d.Driver.Get(ctx, req)
		d.policy.end(false, timeOf(begun, err))
		return found, err
	}
	answers := make(chan answer, 2)
	first := d.send(ctx, req, answers)
	if first == nil {
		d.policy.end(false, 0)
		return kv.Found{}, &kv.Error{Kind: kv.ErrClosed}
	}
	timer := time.NewTimer(threshold)
	defer timer.Stop()
	var second *request
	late := false
	for {
		select {
		case <-timer.C:
			if late = true; d.policy.claim() {
				second = d.send(ctx, req, answers)
			}
		case a := <-answers:
			other := second
			if a.of == second {
				other = first
			}
			if a.err != nil && other != nil && ctx.Err() == nil {
				first, second = other, nil // it may still succeed
				continue
			}
			d.policy.end(late, timeOf(begun, a.err))
			if other != nil {
				d.leave(other)
			}
			if err := ctx.Err(); err != nil && errors.Is(a.err, context.Canceled) {
				return a.found, err // which may be a deadline
			}
			return a.found, a.err
		}
	}
}

// timeOf returns the time since begun, or 0 after an error.
func timeOf(begun time.Time, err error) time.Duration {
	if err != nil {
		return 0
	}
	return time.Since(begun)
}

// answer is the answer to a request.
type answer struct {
	of    *request
	found kv.Found
	err   error
}

// request is one request of a call. Its context has the values and the deadline of the
// call's context, and ends with it until the call leaves the request.
type request struct {
	cancel context.CancelFunc
	detach func() bool
	left   *time.Timer // ends a request that the call has left
}

// send sends a request, whose answer it puts into answers. It returns nil when the driver
// is closed.
func (d *driver) send(ctx context.Context, req kv.GetRequest, answers chan<- answer) *request {
	r := new(request)
	own := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		own, r.cancel = context.WithDeadline(own, deadline)
	} else {
		own, r.cancel = context.WithCancel(own)
	}
	r.detach = context.AfterFunc(ctx, r.cancel)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		r.detach()
		r.cancel()
		return nil
	}
	d.requests[r] = struct{}{}
	d.running.Go(func() {
		found, err := d.Driver.Get(own, req)
		answers <- answer{r, found, err}
		d.ended(r)
	})
	return r
}

// leave leaves a request to itself, whose answer the call does not wait for.
func (d *driver) leave(r *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, underWay := d.requests[r]; !underWay {
		return
	}
	if d.slower >= d.maxSlower || d.closed {
		r.cancel()
		return
	}
	r.detach()
	d.slower++
	r.left = time.AfterFunc(slowerTime, r.cancel)
}

// ended releases what a request held.
func (d *driver) ended(r *request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.detach()
	r.cancel()
	if r.left != nil {
		r.left.Stop()
		d.slower--
	}
	delete(d.requests, r)
}

// Close cancels the requests under way, and waits for them.
func (d *driver) Close() error {
	d.mu.Lock()
	d.closed = true
	for r := range d.requests {
		r.cancel()
	}
	d.mu.Unlock()
	d.running.Wait()
	return d.Driver.Close()
}
