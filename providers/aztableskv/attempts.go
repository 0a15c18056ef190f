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
)

// attempts watches the requests that one call of the SDK's client makes, in
// clients that users bring as well: it decides on their repetition instead of
// the client, and so sees how each of them ended.
type attempts struct {
	retry policy.RetryOptions

	// applied: an attempt that has ended may have been applied by the service.
	applied bool

	// last is the failure of the last attempt that was to be repeated.
	last error

	// pending: a request may be under way whose end repeat has not seen. Without
	// net/http below the client nobody says when a request is sent, so it stays
	// set; net/http says so, which is traced.
	pending, traced atomic.Bool

	// waiting: no request is with the client's tracer, so that what net/http says is
	// about requests for a token.
	waiting atomic.Bool

	context.Context // the call's, which leads tracer here
}

// watch returns the context for one call of the SDK's client.
func (d *driver) watch(ctx context.Context) (context.Context, *attempts) {
	a := &attempts{retry: d.retry, Context: ctx}
	a.pending.Store(true)
	retry := d.retry
	retry.ShouldRetry = a.repeat
	return policy.WithRetryOptions(a, retry), a
}

// watchWrite is watch for a call that changes something: it learns whether a
// request was sent at all.
func (d *driver) watchWrite(ctx context.Context) (context.Context, *attempts) {
	ctx, a := d.watch(ctx)
	if d.traces {
		a.traced.Store(true)
		a.pending.Store(false)
		a.waiting.Store(true)
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			if !a.waiting.Load() {
				a.traced.Store(true)
				a.pending.Store(false)
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			if !a.waiting.Load() {
				a.pending.Store(true)
			}
		},
	}), a
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
// but those that the end of the context or a failure to authenticate cut short.
func (a *attempts) repeat(resp *http.Response, err error) bool {
	if err == nil {
		a.applied = a.applied || mayHaveApplied(resp)
	} else {
		a.applied = a.applied || a.pending.Load()
	}
	again := a.wanted(resp, err)
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
func (a *attempts) wanted(resp *http.Response, err error) bool {
	if a.retry.ShouldRetry != nil {
		return a.retry.ShouldRetry(resp, err)
	}
	if err != nil {
		return true
	}
	codes := a.retry.StatusCodes
	if codes == nil {
		codes = repeatedStatus
	}
	status := resp.StatusCode
	if status == http.StatusAccepted {
		status = transactionAnswer(resp).status
	}
	return slices.Contains(codes, status)
}

// repeatedStatus are the status codes that policy.RetryOptions names as default.
var repeatedStatus = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// mayHaveApplied reports whether a request that was answered by resp may have
// changed something, or may yet.
func mayHaveApplied(resp *http.Response) bool {
	status := resp.StatusCode
	if status == http.StatusAccepted {
		status = transactionAnswer(resp).status
	}
	switch {
	case status < 300, status == http.StatusRequestTimeout:
		return true
	case status == http.StatusServiceUnavailable:
		// The service turns requests away with this code before it executes them; a
		// proxy's 503 says nothing of the kind.
		// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
		return code(runtime.NewResponseError(resp)) != codeServerBusy
	}
	return status >= 500
}

// uncertain reports whether the call, which ended with err, may have changed
// something.
func (a *attempts) uncertain(err error) bool {
	if answerOf(err).status != 0 || a.last != nil && errors.Is(err, a.last) || refusedCredential(err) {
		return a.applied // repeat has seen the last attempt, or there was none
	}
	return a.applied || a.pending.Load()
}
