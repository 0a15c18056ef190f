package aztableskv

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// attempts watches the attempts that the SDK's client makes in one call, also in the
// clients of programs. It decides on retries in place of the client, and so sees how
// each attempt ended. It is also the call's context.
type attempts struct {
	driver   *driver
	meter    *kv.Meter
	caller   context.Context
	slot     *slot
	unlink   func() bool // detaches the slot from the caller's context
	deadline time.Time
	own      bool // the deadline is the store's, not the caller's

	ended    int   // number of attempts whose end repeat has seen
	over     error // why the call's context has ended
	timedOut bool  // it ended by Options.Timeout

	// someMayHaveApplied: the service may have carried out one of these attempts.
	someMayHaveApplied bool

	// last is the error of the last attempt that was to be repeated.
	last error

	// response is the response to the last attempt, and answer is what it says.
	response    *http.Response
	answer      answer
	transaction bool // the call is a transaction, whose responses have parts

	// redirected: the client followed a redirect, which the service never sends.
	redirected bool

	// pending: an attempt may be under way whose end repeat has not seen. traced:
	// net/http reports when an attempt is sent. A client without net/http does not
	// report it, so pending stays set.
	pending, traced atomic.Bool

	// waiting: the client's tracer has no request, so net/http's reports are about
	// requests for a token.
	waiting atomic.Bool
}

// watch returns the context of one call of the SDK's client. It ends with ctx, when the
// driver closes, and by Options.Timeout if ctx has no deadline. The caller must call end.
func (d *driver) watch(ctx context.Context, meter *kv.Meter) (context.Context, *attempts) {
	a := new(attempts)
	a.watch(ctx, d, meter)
	return a, a
}

func (a *attempts) watch(ctx context.Context, d *driver, meter *kv.Meter) {
	a.driver, a.meter, a.caller, a.slot = d, meter, ctx, d.slots.take(a)
	var callers bool
	if a.deadline, callers = ctx.Deadline(); !callers {
		a.own, a.deadline = true, time.Now().Add(d.timeout)
		a.slot.timer.Reset(d.timeout)
	}
	if ctx.Done() != nil {
		a.unlink = context.AfterFunc(ctx, a.slot.cancel)
	}
	a.pending.Store(true)
}

// watchWrite is watch for a write. It also notes whether a request was sent at all.
func (d *driver) watchWrite(ctx context.Context, meter *kv.Meter) (context.Context, *attempts) {
	both := new(struct { // in one allocation
		attempts
		trace httptrace.ClientTrace
	})
	a := &both.attempts
	a.watch(ctx, d, meter)
	if d.traces {
		a.traced.Store(true)
		a.pending.Store(false)
		a.waiting.Store(true)
	}
	both.trace.GetConn = func(string) {
		if !a.waiting.Load() {
			a.traced.Store(true)
			a.pending.Store(false)
		}
	}
	both.trace.GotConn = func(httptrace.GotConnInfo) {
		if !a.waiting.Load() {
			a.pending.Store(true)
		}
	}
	return httptrace.WithClientTrace(a, &both.trace), a
}

// end counts the call, which ended with err, as one request. It returns err, or
// errRedirected after a redirect.
func (a *attempts) end(err error) error {
	n := a.ended
	if a.underWay(err) {
		n++
	}
	a.meter.Add(1, max(n, 1))
	a.over = a.Err()
	a.timedOut = a.caller.Err() == nil && context.Cause(a.slot) == attempt.ErrStoreTimeout
	reusable := !a.own || a.slot.timer.Stop()
	if a.unlink != nil && !a.unlink() {
		reusable = false
	}
	a.driver.slots.give(a.slot, reusable)
	if a.redirected {
		return errRedirected
	}
	return err
}

// Deadline, Done, Err and Value make attempts a context.
func (a *attempts) Deadline() (time.Time, bool) { return a.deadline, true }

// Done implements [context.Context].
func (a *attempts) Done() <-chan struct{} { return a.slot.Done() }

// Err implements [context.Context]. The end of the caller's context counts at once.
func (a *attempts) Err() error {
	if err := a.caller.Err(); err != nil {
		return err
	}
	err := a.slot.Err()
	if err != nil && context.Cause(a.slot) == attempt.ErrStoreTimeout {
		err = context.DeadlineExceeded
	}
	return err
}

// Value implements [context.Context]. The slot has the retry options, and the value by
// which package context recognises a parent context.
func (a *attempts) Value(key any) any {
	if key == (attemptsKey{}) {
		return a
	}
	if value := a.slot.Value(key); value != nil {
		return value
	}
	return a.caller.Value(key)
}

type attemptsKey struct{}

// tracer is the transport of Open's client. It marks the requests to the service. Before
// them, credentials may request a token of Microsoft Entra ID with the same context.
type tracer struct{ policy.Transporter }

func (t tracer) Do(r *http.Request) (*http.Response, error) {
	if a, ok := r.Context().Value(attemptsKey{}).(*attempts); ok && a.waiting.Load() {
		a.waiting.Store(false)
		defer a.waiting.Store(true)
	}
	return t.Transporter.Do(r)
}

// repeat is the ShouldRetry of the call. The SDK calls it after every attempt, except
// after the end of the context, a failure to authenticate, or an incomplete response to a
// POST.
func (a *attempts) repeat(resp *http.Response, err error) bool {
	a.ended++
	a.response, a.answer = resp, answer{index: -1}
	if err == nil {
		a.answer = a.read(resp)
		a.redirected = resp.Request != nil && resp.Request.Response != nil
		a.someMayHaveApplied = a.someMayHaveApplied || a.redirected || a.answer.mayHaveApplied()
	} else {
		a.someMayHaveApplied = a.someMayHaveApplied || a.pending.Load()
	}
	again := a.wanted(resp, err)
	if again {
		if a.last = err; err == nil {
			a.last = a.answer.complete(runtime.NewResponseError(resp))
		}
	}
	a.pending.Store(again && !a.traced.Load())
	return again
}

// read reads the response to one attempt. It reads the error code if the status does not
// say enough.
func (a *attempts) read(resp *http.Response) answer {
	read := answer{status: resp.StatusCode, index: -1}
	switch {
	case read.status == http.StatusAccepted && a.transaction:
		return readTransaction(resp)
	case read.status == http.StatusServiceUnavailable:
		read.code = codeOf(runtime.NewResponseError(resp))
	}
	return read
}

// wanted reports whether the call should make another attempt. The options' ShouldRetry
// or status codes decide, and else the SDK's rule: retry after every failure to send and
// after the status codes in its documentation. A response that is too large would be too
// large again.
func (a *attempts) wanted(resp *http.Response, err error) bool {
	retry := &a.driver.slots.retry
	switch {
	case a.redirected, errors.Is(err, attempt.ErrTooLarge):
		return false
	case retry.ShouldRetry != nil:
		return retry.ShouldRetry(resp, err)
	case err != nil:
		return true
	case retry.StatusCodes != nil:
		return slices.Contains(retry.StatusCodes, a.answer.status)
	}
	return slices.Contains(repeatedStatus, a.answer.status)
}

// repeatedStatus are the default status codes of policy.RetryOptions.
var repeatedStatus = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// mayHaveApplied reports whether the call, which ended with err, may have been applied.
func (a *attempts) mayHaveApplied(err error) bool { return a.someMayHaveApplied || a.underWay(err) }

// underWay reports whether an attempt may have been under way when the call ended with
// err: an attempt whose end repeat has not seen.
func (a *attempts) underWay(err error) bool {
	if err == nil || answerOf(err).status != 0 || a.last != nil && errors.Is(err, a.last) || refusedCredential(err) {
		return false // repeat has seen the last attempt, or there was none
	}
	return a.pending.Load()
}
