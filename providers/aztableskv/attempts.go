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

// attempts watches the attempts that the SDK's client makes in one call. It works with any
// client, including one that the program made. It decides on retries in place of the
// client, and so sees how attempts ended: see repeat. It is also the call's context.
type attempts struct {
	driver   *driver
	meter    *kv.Meter
	caller   context.Context
	slot     *slot
	unlink   func() bool // detaches the slot from the caller's context
	deadline time.Time
	own      bool // whether the deadline comes from Options.Timeout, not from the caller's context

	ended    int   // number of attempts after which the SDK called repeat
	over     error // why the call's context has ended
	timedOut bool  // whether the context ended because of Options.Timeout

	// someMayHaveApplied reports whether the service may have carried out one of the attempts
	// that have ended. It is also set in calls that only read.
	someMayHaveApplied bool

	// prompt is the field Prompt of the kv.GetRequest or kv.WriteRequest. If it is true, the
	// call makes no further attempt once someMayHaveApplied is true.
	prompt bool

	// last is the error of the latest attempt after which repeat returned true.
	last error

	// final reports whether repeat has returned false, so that no attempt follows.
	final bool

	// response is the response to the last attempt after which the SDK called repeat. answer is
	// what the response says.
	response    *http.Response
	answer      answer
	transaction bool // whether the call is a transaction; responses to it have parts

	// redirected reports whether the client followed a redirect. The service never sends one.
	redirected bool

	// pending reports whether an attempt may be under way: it may have been sent, and repeat
	// was not yet called for it. traced reports whether net/http reports when an attempt is
	// sent. With a client that does not use net/http, there are no such reports. pending then
	// remains true until repeat decides against another attempt.
	pending, traced atomic.Bool

	// waiting is true in a write through Open's client, except while the client's tracer
	// sends a request to the service. While waiting is true, reports of net/http are about
	// requests for a token.
	waiting atomic.Bool
}

// watch returns the context of one call of the SDK's client. The context ends when ctx ends,
// when the driver closes, or after Options.Timeout if ctx has no deadline. The caller must
// call end.
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

// watchWrite is like watch, for a write. With a client that uses net/http, it also finds out
// whether a request was sent at all.
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

// The method end must be called when the call is over, with the call's error. It adds one
// request and its attempts to the meter. It returns err, or errRedirected if there was a
// redirect, or errUnreadable if the client could not read a response with a status of success.
func (a *attempts) end(err error) error {
	n := a.ended
	if a.underWay(err) {
		n++
	}
	if n > 0 || !refusedCredential(err) { // without a token, nothing was sent
		a.meter.Add(1, max(n, 1))
	}
	a.over = a.Err()
	a.timedOut = a.caller.Err() == nil && context.Cause(a.slot) == attempt.ErrStoreTimeout
	reusable := !a.own || a.slot.timer.Stop()
	if a.unlink != nil && !a.unlink() {
		reusable = false
	}
	a.driver.slots.give(a.slot, reusable)
	switch {
	case a.redirected:
		return errRedirected
	case a.unreadable(err):
		return errUnreadable
	}
	return err
}

// unreadable reports whether err says that the client could not read the response to the last
// attempt, although the status is a success. The messages of such errors quote the response.
func (a *attempts) unreadable(err error) bool {
	if err == nil || a.over != nil && errors.Is(err, a.over) {
		return false
	}
	success := a.answer.status != 0 && a.response.StatusCode < 300
	return a.final && success && answerOf(err).status == 0
}

// Deadline implements [context.Context].
func (a *attempts) Deadline() (time.Time, bool) { return a.deadline, true }

// Done implements [context.Context].
func (a *attempts) Done() <-chan struct{} { return a.slot.Done() }

// Err implements [context.Context]. It reports the end of the caller's context at once.
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

// Value implements [context.Context]. It looks in the slot before it looks in the caller's
// context, so that the slot's retry options take precedence. The slot also has the value by
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

// tracer is the transport of Open's client. It clears waiting during each request to the
// service. The credentials request tokens of Microsoft Entra ID with the same context, but
// not through this transport. So waiting tells the two kinds of requests apart.
type tracer struct{ policy.Transporter }

func (t tracer) Do(r *http.Request) (*http.Response, error) {
	if a, ok := r.Context().Value(attemptsKey{}).(*attempts); ok && a.waiting.Load() {
		a.waiting.Store(false)
		defer a.waiting.Store(true)
	}
	return t.Transporter.Do(r)
}

// repeat is the ShouldRetry function of the call. The SDK calls it after every attempt,
// except after the end of the context, a failure to authenticate, or an incomplete response
// to a POST or a PATCH.
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
	again := a.wanted(resp, err) && !(a.prompt && a.someMayHaveApplied)
	if again {
		if a.last = err; err == nil {
			a.last = a.answer.complete(runtime.NewResponseError(resp))
		}
	}
	a.final = !again
	a.pending.Store(again && !a.traced.Load())
	return again
}

// read reads the response to one attempt. It reads the error code only if the status does
// not say enough.
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

// wanted reports whether the call should make another attempt. ShouldRetry or the status
// codes in the options decide. If the options have neither, the SDK's rule decides: retry
// after every failure to send, and after the codes in repeatedStatus. There is no retry after
// a redirect or a response that is too large, because the next response would be the same.
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

// repeatedStatus has the default status codes of policy.RetryOptions.
var repeatedStatus = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// mayHaveApplied reports whether the call, which ended with err, may have been applied.
func (a *attempts) mayHaveApplied(err error) bool { return a.someMayHaveApplied || a.underWay(err) }

// underWay reports whether the call, which ended with err, may have ended during an attempt.
// The SDK does not call repeat after such an attempt.
func (a *attempts) underWay(err error) bool {
	if err == nil || answerOf(err).status != 0 || a.last != nil && errors.Is(err, a.last) || refusedCredential(err) {
		return false // repeat was called after the last attempt, or there was no attempt
	}
	return a.pending.Load()
}
