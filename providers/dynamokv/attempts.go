package dynamokv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// attempts records the attempts that the SDK makes at one request. The SDK does not show
// its retries to a caller, but they decide whether a failed write may have been applied,
// and which version a write stores. attempts is also the context of the request, which
// saves allocations.
type attempts struct {
	context.Context // the caller's, or one derived from it with the store's timeout

	driver *driver
	meter  *kv.Meter
	most   int64 // greatest number of bytes of a response

	alarm    *alarm // set when the caller has no deadline
	deadline time.Time

	records int // number of records that each attempt stores; each attempt has new tokens for them
	number  int // number of the next attempt, for kv.AttemptToken

	sent int  // number of attempts that the HTTP client received
	lost bool // the service may have carried out an attempt that failed or was repeated; also set for reads

	prompt bool // the SDK must not repeat the request after an attempt that may have been applied

	last   error // error of the latest attempt
	status int   // HTTP status of the latest attempt, 0 without a response

	connection atomic.Int32 // whether the latest attempt has a connection: a constant below
	trace      httptrace.ClientTrace
	body       body // body of the latest response
}

const (
	connectionUntold  = iota // unknown: an HTTP client other than net/http's does not report it
	connectionPending        // no connection yet, so nothing was sent
	connectionMade
)

type attemptsKey struct{}

// Value returns the attempts themselves for an attemptsKey. The driver's middleware calls
// Value to find the attempts of a request.
func (a *attempts) Value(key any) any {
	if _, ok := key.(attemptsKey); ok {
		return a
	}
	return a.Context.Value(key)
}

// Deadline includes the store's timeout, so that attempt.Client can divide the remaining
// time among the attempts.
func (a *attempts) Deadline() (time.Time, bool) {
	if a.alarm != nil {
		return a.deadline, true
	}
	return a.Context.Deadline()
}

// alarm ends a request whose caller set no deadline. Its timer serves many requests, one
// after another, which makes fewer allocations than context.WithTimeout.
type alarm struct {
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// watch prepares a request for one entry. The driver's client must make the request
// with the returned context. The caller must call end. The meter, which may be nil,
// counts the request and its attempts.
func (d *driver) watch(ctx context.Context, meter *kv.Meter) *attempts {
	a := &attempts{Context: ctx, driver: d, meter: meter, most: attempt.MaxBytes(attempt.One)}
	if _, has := ctx.Deadline(); has {
		return a
	}
	var ok bool
	if a.alarm, ok = d.alarms.Get().(*alarm); !ok {
		alarm := new(alarm)
		alarm.timer = time.AfterFunc(time.Hour, func() { alarm.cancel(attempt.ErrStoreTimeout) })
		alarm.timer.Stop()
		a.alarm = alarm
	}
	a.Context, a.alarm.cancel = context.WithCancelCause(ctx)
	a.deadline = time.Now().Add(d.timeout)
	a.alarm.timer.Reset(d.timeout)
	return a
}

// The greatest sizes of responses. The service ends a page at 1 MiB, and a batch has up
// to 16 MiB. A transaction that is refused returns the items of up to 100 failed conditions,
// of 400 KB each. In JSON, values grow by a third, and strings may be escaped.
const (
	mostPage   = 8 << 20
	mostBatch  = 32 << 20
	mostAtomic = 64 << 20
)

// watchMany is watch for a batch, a transaction or a page, which may take longer. The argument
// most is the greatest size of the response.
func (d *driver) watchMany(ctx context.Context, meter *kv.Meter, most int64) *attempts {
	a := d.watch(attempt.With(ctx, attempt.Many), meter)
	a.most = most
	return a
}

// The method end ends the request's context, if watch made one. If the alarm has not fired, end
// keeps the alarm for other requests.
func (a *attempts) end() {
	if a.alarm == nil {
		return
	}
	unused := a.alarm.timer.Stop()
	a.alarm.cancel(nil)
	if unused {
		a.alarm.cancel = nil // frees the context for the garbage collector
		a.driver.alarms.Put(a.alarm)
	}
}

// late reports whether the store's timeout ended the request.
func (a *attempts) late() bool { return context.Cause(a) == attempt.ErrStoreTimeout }

// watched returns a client for requests whose context is an [attempts]. The client
// records every attempt there, and checks the responses. It uses the connections of the
// program's own client.
func watched(client *dynamodb.Client) *dynamodb.Client {
	own := client.Options()
	return dynamodb.New(own, func(o *dynamodb.Options) {
		o.EnableAcceptEncodingGzip = false // a small response could become a large one
		o.HTTPClient = judge{own.HTTPClient}
		if r, ok := retry.AddWithErrorCodes(own.Retryer, conflicts...).(aws.RetryerV2); ok {
			o.Retryer = retryer{r}
		}
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			// This step runs in every attempt, just before the body is signed.
			return stack.Finalize.Insert(watcher{}, (*v4.ComputePayloadSHA256)(nil).ID(), middleware.Before)
		})
	})
}

// conflicts are the codes of the errors that the service returns while another request
// for the same item runs in a transaction or in another region of a global table. By
// default, the SDK does not retry them.
var conflicts = []string{"TransactionConflictException", "ReplicatedWriteConflictException"}

// retryer retries conflicts as often as other errors, but sooner: the conflicting
// request takes milliseconds.
type retryer struct{ aws.RetryerV2 }

const conflictPause = 50 * time.Millisecond

func (r retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	delay, failed := r.RetryerV2.RetryDelay(attempt, err)
	if api, ok := errors.AsType[smithy.APIError](err); ok && failed == nil {
		for _, code := range conflicts {
			if api.ErrorCode() == code {
				delay = min(delay, rand.N(conflictPause<<min(attempt, 5)))
			}
		}
	}
	return delay, failed
}

// errPrompt ends a request whose field prompt is set, after an attempt that may have been
// applied. Its text is empty, because the SDK appends it to the error of that attempt.
var errPrompt = errors.New("")

// GetRetryToken is called by the SDK before each attempt except the first. An error of
// GetRetryToken ends the request.
func (r retryer) GetRetryToken(ctx context.Context, err error) (func(error) error, error) {
	if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok && a.prompt && a.mayHaveApplied(err) {
		return nil, errPrompt
	}
	return r.RetryerV2.GetRetryToken(ctx, err)
}

// watcher is the middleware that sees each attempt. Before each attempt except the first, it
// replaces the tokens in the encoded request, because the SDK encodes the request once for all
// attempts.
type watcher struct{}

func (watcher) ID() string { return "skykv:Attempts" }

func (watcher) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, metadata middleware.Metadata, err error,
) {
	a, ok := ctx.Value(attemptsKey{}).(*attempts)
	if !ok {
		return next.HandleFinalize(ctx, in)
	}
	if a.records > 0 {
		if a.number > 0 {
			if in.Request, err = a.retoken(in.Request); err != nil {
				return out, metadata, err
			}
		}
		a.number++
	}
	trace, before := &a.trace, a.sent
	if before > 0 { // the HTTP client may still use the trace of the previous attempt
		trace = new(httptrace.ClientTrace)
	}
	trace.GetConn = func(string) { a.connection.Store(connectionPending) }
	trace.GotConn = func(httptrace.GotConnInfo) { a.connection.Store(connectionMade) }
	out, metadata, err = next.HandleFinalize(httptrace.WithClientTrace(ctx, trace), in)
	if a.sent == before { // the attempt failed before it was sent
		return out, metadata, err
	}
	if a.last = err; err != nil && !a.refused() {
		a.lost = true
	}
	requests := 0
	if before == 0 {
		requests = 1
	}
	a.meter.Add(requests, 1)
	return out, metadata, err
}

// begin notes that the HTTP client receives an attempt.
func (a *attempts) begin() {
	if a.sent > 0 && a.last == nil {
		a.lost = true // the SDK repeats an attempt that the service carried out
	}
	a.sent++
	a.status = 0
	a.connection.Store(connectionUntold)
}

// mayHaveApplied reports whether the service may have applied an attempt that the SDK does
// not report as a success. err is the error of the request, or of its latest attempt while the
// request goes on, or nil.
func (a *attempts) mayHaveApplied(err error) bool {
	// The client's middleware may turn a success into an error.
	return a.lost || err != nil && a.sent > 0 && a.last == nil
}

// refused reports whether a failed attempt was certainly not applied: it never had a
// connection, or the response says so.
func (a *attempts) refused() bool {
	if a.status != 0 {
		// 408 is a timeout, and 5xx says nothing about the write. All other refusals of
		// DynamoDB are 400:
		// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
		return a.status >= 300 && a.status < 500 && a.status != 408
	}
	return a.connection.Load() == connectionPending
}

// stored returns the token that the latest attempt stored. token is the token of the first
// attempt.
func (a *attempts) stored(token string) string {
	return kv.AttemptToken(token, max(a.number-1, 0))
}

// retoken replaces the token of each record in the encoded request, for the attempt that is
// about to be sent. It returns an error if it does not find one token for each record.
func (a *attempts) retoken(request any) (any, error) {
	r, ok := request.(*smithyhttp.Request)
	if !ok {
		return nil, fmt.Errorf("the request is a %T", request)
	}
	body, err := io.ReadAll(r.GetStream())
	if err != nil {
		return nil, err
	}
	if a.driver.layout.retoken(body, a.number) != a.records {
		return nil, errors.New("the SDK encodes requests in an unknown way, so the write cannot be retried")
	}
	return r.SetStream(bytes.NewReader(body))
}
