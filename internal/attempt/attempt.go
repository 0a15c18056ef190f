// Package attempt limits the time of each attempt at a request, and the size of its
// response. A service that hangs must leave time for another attempt, and an endless
// response must not fill the memory. The providers' own HTTP clients send their requests
// with [Client].
package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Size says how many entries a request is about.
type Size uint8

// The sizes of requests.
const (
	One  Size = iota // one entry
	Page             // a page of a scan
	Many             // a batch or a transaction
)

// An attempt may take a third of the time that is left for the call, so that there is time
// for two more. The limit is never less than shortest or more than longest. A request for
// several entries may take three times as long, which may be all of the time that is left.
const (
	share     = 3
	shortest  = time.Second
	longest   = 10 * time.Second
	manyTimes = 3
)

// Timeout returns the time limit of one attempt. The argument left is the time until the call's
// deadline. It is negative if the call has no deadline.
func Timeout(left time.Duration, size Size) time.Duration {
	limit := longest
	if left >= 0 {
		limit = min(max(left/share, shortest), longest)
	}
	if size != One {
		limit *= manyTimes
	}
	return limit
}

// MaxBytes returns the maximum size of a response. In base64 a value of 384 KiB takes 512
// KiB, and a batch may have 100 values. A page should have about 1 MiB. If a page exceeds
// the limit, the provider requests it again with fewer entries.
func MaxBytes(size Size) int64 {
	switch size {
	case Page:
		return 8 << 20
	case Many:
		return 64 << 20
	}
	return 2 << 20
}

type sizeKey struct{}

// With returns a context for requests of the given size. Requests with other contexts have the
// size One.
func With(ctx context.Context, size Size) context.Context {
	return context.WithValue(ctx, sizeKey{}, size)
}

func sizeOf(ctx context.Context) Size {
	size, _ := ctx.Value(sizeKey{}).(Size)
	return size
}

// ErrTooLarge is the error of a response that is larger than [MaxBytes].
var ErrTooLarge = errors.New("the response is not from the service: it is larger than any response to the request")

// ErrStoreTimeout is the cause of a context that ended because of the store's own timeout,
// which limits calls whose contexts have no deadline. It matches
// [context.DeadlineExceeded].
var ErrStoreTimeout error = storeTimeout{}

type storeTimeout struct{}

func (storeTimeout) Error() string { return "no success within the store's timeout" }
func (storeTimeout) Unwrap() error { return context.DeadlineExceeded }

// TimeoutError is the error of an attempt that took too long. The service may have carried
// out the request. The caller's context has not ended, so the error does not match
// [context.DeadlineExceeded].
type TimeoutError struct{ Limit time.Duration }

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("no complete answer within %s, the limit of one attempt", e.Limit)
}

// These methods make the services' clients retry the request.
func (e *TimeoutError) Timeout() bool         { return true }
func (e *TimeoutError) Temporary() bool       { return true }
func (e *TimeoutError) ConnectionError() bool { return true }

// Client is an HTTP client that limits the time of each request and the size of its response.
type Client struct {
	HTTP interface {
		Do(*http.Request) (*http.Response, error)
	}
}

// Do sends a request. If the response comes too late, Do returns a *[TimeoutError]. If the body
// comes too late, reading the body returns that error. If the body is too large, reading it
// returns [ErrTooLarge].
func (c Client) Do(r *http.Request) (*http.Response, error) {
	size, left := sizeOf(r.Context()), time.Duration(-1)
	if deadline, ok := r.Context().Deadline(); ok {
		left = max(time.Until(deadline), 0)
	}
	late := &TimeoutError{Timeout(left, size)}
	ctx, cancel := context.WithTimeoutCause(r.Context(), late.Limit, late)
	a := &answer{ctx: ctx, cancel: cancel, late: late}
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		a.sent = sent{r.Body, &a.over}
		r.Body = &a.sent
		if again := r.GetBody; again != nil { // net/http sends this body if the first connection was closed
			r.GetBody = func() (io.ReadCloser, error) {
				body, err := again()
				return &sent{body, &a.over}, err
			}
		}
	}
	resp, err := c.HTTP.Do(r)
	if err != nil {
		defer a.end()
		if context.Cause(ctx) == late {
			err = late
		}
		return nil, err
	}
	a.limited = limited{resp.Body, MaxBytes(size)}
	resp.Body = a
	return resp, nil
}

// answer is the body of a response. It must be read within the time of the attempt.
type answer struct {
	limited
	ctx    context.Context
	cancel context.CancelFunc
	late   *TimeoutError
	over   over
	sent   sent
}

// end ends the attempt. After that, neither the request's body nor the response's can be
// read.
func (a *answer) end() {
	a.over.set()
	a.cancel()
}

// sent is the body of a request. It cannot be read after the attempt has ended. Otherwise
// net/http might go on sending the body, even after the response has arrived, while the client
// rewinds the body for the next attempt.
type sent struct {
	io.ReadCloser
	over *over
}

// over says whether an attempt has ended.
type over struct {
	mu    sync.Mutex
	ended bool
}

func (s *sent) Read(p []byte) (int, error) {
	s.over.mu.Lock()
	defer s.over.mu.Unlock()
	if s.over.ended {
		return 0, io.EOF
	}
	return s.ReadCloser.Read(p)
}

func (o *over) set() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.limited.Read(p)
	if err != nil && err != io.EOF && context.Cause(a.ctx) == a.late {
		err = a.late
	}
	return n, err
}

func (a *answer) Close() error {
	defer a.end()
	return a.limited.Close()
}

// Limit returns a body that fails with [ErrTooLarge] after [MaxBytes].
func Limit(body io.ReadCloser, size Size) io.ReadCloser {
	return &limited{body, MaxBytes(size)}
}

type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, ErrTooLarge
	}
	if int64(len(p)) > l.left+1 { // the extra byte shows whether there is more
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n - 1, ErrTooLarge
	}
	return n, err
}
