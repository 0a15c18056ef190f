package hedge

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// Options are the options of Reads. Nil means the zero Options.
type Options struct {
	// CancelSlower cancels the slower one of two requests. It is for services that use
	// HTTP/2, such as Firestore, where cancelling a request does no harm. With HTTP/1.1,
	// which DynamoDB and Azure Tables use, cancelling closes the connection, and a later
	// request waits for a new one.
	//
	// Without CancelSlower, the slower request goes on after the call has returned. It ends
	// when its answer comes, at the call's deadline, after 5 seconds, or when the store is
	// closed. While ten such requests go on, further ones are cancelled.
	CancelSlower bool
}

const (
	slowerTime = 5 * time.Second // how long the slower request may go on
	maxSlower  = 10              // how many slower requests may go on at once
)

// Reads returns an option for [kv.Store.With] that hedges Get and Exists, and the reads
// within Update, Increment and GetAndDelete. opts may be nil.
func Reads(opts *Options) kv.StoreOption {
	most := maxSlower
	if opts != nil && opts.CancelSlower {
		most = 0
	}
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return newDriver(d, newPolicy(), most) })
}

// driver hedges the Gets of the wrapped driver.
type driver struct {
	kv.Driver
	policy    *policy
	maxSlower int

	mu       sync.Mutex
	closed   bool
	requests map[*request]struct{} // the requests under way
	slower   int                   // number of requests that go on after their calls returned
	running  sync.WaitGroup        // waits for the goroutines of requests
}

func newDriver(d kv.Driver, p *policy, maxSlower int) *driver {
	return &driver{Driver: d, policy: p, maxSlower: maxSlower, requests: make(map[*request]struct{})}
}

// Get sends a second request if the first one is late and the policy allows it. It returns
// the first answer that is not an error. It returns an error if all requests that it sent failed,
// or if a request failed after ctx had ended.
func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	begun := time.Now()
	threshold := d.policy.begin()
	if threshold == 0 {
		took := time.Duration(0)
		defer func() { d.policy.end(false, took) }() // even if the driver panics
		found, err := d.Driver.Get(ctx, req)
		took = timeOf(begun, err)
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
				first, second = other, nil // the other request may still succeed
				continue
			}
			d.policy.end(late, timeOf(begun, a.err))
			if other != nil {
				d.leave(other)
			}
			if err := ctx.Err(); err != nil && errors.Is(a.err, context.Canceled) {
				return a.found, err // the error of the call's context, which may be DeadlineExceeded
			}
			return a.found, a.err
		}
	}
}

// timeOf returns the duration since the time begun, or 0 if err is not nil.
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
// call's context. If the call's context ends before the call returns, the request's context
// ends too.
type request struct {
	cancel context.CancelFunc
	detach func() bool
	left   *time.Timer // ends a request that goes on after its call returned; nil otherwise
}

// send sends a request, and later sends its answer to answers. It returns nil if the driver is
// closed.
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

// The method leave is called when a call returns without the answer to r. It lets r go on for a
// while, or cancels r if too many such requests go on.
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

// The method ended releases the resources of a request that has ended.
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
