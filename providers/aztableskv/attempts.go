package aztableskv

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/skykv/skykv/kv"
)

// attempts watches the requests that one call of the SDK's client makes, in
// clients that users bring as well: it decides on their repetition instead of
// the client, and so sees how each of them ended.
type attempts struct {
	retry policy.RetryOptions
	meter *kv.Meter

	ended int // attempts whose end repeat has seen

	// someMayHaveApplied: the service may have carried out one of those.
	someMayHaveApplied bool

	// last is the failure of the last attempt that was to be repeated.
	last error

	// transaction is the last answer that was one to a transaction.
	transaction answer

	// pending: a request may be under way whose end repeat has not seen. Without
	// net/http below the client nobody says when a request is sent, so it stays
	// set; net/http says so, which is traced.
	pending, traced atomic.Bool

	// waiting: no request is with the client's tracer, so that what net/http says is
	// about requests for a token.
	waiting atomic.Bool

	context.Context // the call's, which leads tracer here
}

// watch returns the context for one call of the SDK's client. A call with a meter is
// followed by end.
func (d *driver) watch(ctx context.Context, meter *kv.Meter) (context.Context, *attempts) {
	a := new(attempts)
	return a.watch(ctx, d.retry, meter), a
}

func (a *attempts) watch(ctx context.Context, retry policy.RetryOptions, meter *kv.Meter) context.Context {
	a.Context, a.retry, a.meter = ctx, retry, meter
	a.pending.Store(true)
	retry.ShouldRetry = a.repeat
	return policy.WithRetryOptions(a, retry)
}

// watchWrite is watch for a call that changes something: it learns whether a
// request was sent at all.
func (d *driver) watchWrite(ctx context.Context, meter *kv.Meter) (context.Context, *attempts) {
	both := new(struct { // in one allocation
		attempts
		trace httptrace.ClientTrace
	})
	a := &both.attempts
	ctx = a.watch(ctx, d.retry, meter)
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
	return httptrace.WithClientTrace(ctx, &both.trace), a
}

type attemptsKey struct{}

func (a *attempts) Value(key any) any {
	if key == (attemptsKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// tracer is the transport of Open's client. It tells the requests to the service
// from the wait for a token of Microsoft Entra ID before them, in which
// credentials make requests of their own with the same context.
type tracer struct{ *http.Client }

func (t tracer) Do(r *http.Request) (*http.Response, error) {
	if a, ok := r.Context().Value(attemptsKey{}).(*attempts); ok && a.waiting.Load() {
		a.waiting.Store(false)
		defer a.waiting.Store(true)
	}
	return t.Client.Do(r)
}

// repeat is the ShouldRetry of the call: it is told of the end of every attempt
// but those that the end of the context, a failure to authenticate, or an answer to a
// POST that breaks off cut short.
func (a *attempts) repeat(resp *http.Response, err error) bool {
	a.ended++
	status := 0
	if err == nil {
		if status = resp.StatusCode; status == http.StatusAccepted {
			a.transaction = readTransaction(resp)
			status = a.transaction.status
		}
		a.someMayHaveApplied = a.someMayHaveApplied || mayHaveApplied(resp, status)
	} else {
		a.someMayHaveApplied = a.someMayHaveApplied || a.pending.Load()
	}
	again := a.wanted(resp, status, err)
	if again {
		if a.last = err; err == nil {
			a.last = runtime.NewResponseError(resp)
		}
	}
	a.pending.Store(again && !a.traced.Load())
	return again
}

// wanted reports whether an attempt is to be repeated: by the options' own
// ShouldRetry or status codes, else like the SDK after every failure to send
// and the status codes that its documentation lists.
func (a *attempts) wanted(resp *http.Response, status int, err error) bool {
	switch {
	case a.retry.ShouldRetry != nil:
		return a.retry.ShouldRetry(resp, err)
	case err != nil:
		return true
	case a.retry.StatusCodes != nil:
		return slices.Contains(a.retry.StatusCodes, status)
	}
	return slices.Contains(repeatedStatus, status)
}

// repeatedStatus are the status codes that policy.RetryOptions names as default.
var repeatedStatus = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// mayHaveApplied reports whether a request that was answered by resp, with status, may
// have changed something, or may yet.
func mayHaveApplied(resp *http.Response, status int) bool {
	switch {
	case status < 300, status == http.StatusRequestTimeout:
		return true
	case status == http.StatusServiceUnavailable:
		// The service turns requests away with this code before it executes them; a
		// proxy's 503 says nothing of the kind.
		// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
		return codeOf(runtime.NewResponseError(resp)) != codeServerBusy
	}
	return status >= 500
}

// mayHaveApplied reports whether the call, which ended with err, may have changed
// something.
func (a *attempts) mayHaveApplied(err error) bool { return a.someMayHaveApplied || a.underWay(err) }

// underWay reports whether an attempt may have been under way when the call ended with
// err: one whose end repeat has not seen.
func (a *attempts) underWay(err error) bool {
	if err == nil || answerOf(err).status != 0 || a.last != nil && errors.Is(err, a.last) || refusedCredential(err) {
		return false // repeat has seen the last attempt, or there was none
	}
	return a.pending.Load()
}

// end counts the call, which ended with err, as one request.
func (a *attempts) end(err error) {
	if a.meter == nil {
		return
	}
	n := a.ended
	if a.underWay(err) {
		n++
	}
	a.meter.Add(1, max(n, 1))
}
