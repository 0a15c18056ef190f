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

// attempts watches the attempts that the SDK makes at one request. The SDK's retries
// are not visible from outside, and they decide what an error says about a write and
// which version it stores. attempts is also the context of the request, which saves
// allocations.
type attempts struct {
	context.Context // the caller's, or one derived from it that ends by the store's timeout

	driver *driver
	meter  *kv.Meter
	most   int64 // greatest number of bytes of a response

	alarm    *alarm // set when the caller has no deadline
	deadline time.Time

	records int // records is the number of records that each attempt stores, with its own tokens.
	number  int // of the next attempt, for kv.AttemptToken

	sent   int   // attempts that the HTTP client received
	lost   bool  // one of them failed and may have been applied
	last   error // error of the latest attempt
	status int   // status of its response, 0 without one

	connection atomic.Int32 // progress of the latest attempt
	trace      httptrace.ClientTrace
	body       body // body of the latest response
}

const (
	connectionUntold  = iota // unknown: the HTTP client is not net/http's
	connectionPending        // no connection yet, so nothing was sent
	connectionMade
)

type attemptsKey struct{}

// Value returns the attempts themselves to the driver's middleware.
func (a *attempts) Value(key any) any {
	if _, ok := key.(attemptsKey); ok {
		return a
	}
	return a.Context.Value(key)
}

// Deadline includes the store's timeout, for code that divides the remaining time.
func (a *attempts) Deadline() (time.Time, bool) {
	if a.alarm != nil {
		return a.deadline, true
	}
	return a.Context.Deadline()
}

// alarm ends a request whose caller has no deadline. One timer serves many requests,
// which makes fewer allocations than context.WithTimeout.
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

// The service ends a page at 1 MiB, and accepts and returns batches of 16 MiB. In JSON
// values grow by a third, and names may be escaped.
const (
	mostPage  = 8 << 20
	mostBatch = 32 << 20
)

// watchMany is watch for a batch or a page, which may take longer.
func (d *driver) watchMany(ctx context.Context, meter *kv.Meter, most int64) *attempts {
	a := d.watch(attempt.With(ctx, attempt.Many), meter)
	a.most = most
	return a
}

// end ends the request's context.
func (a *attempts) end() {
	if a.alarm == nil {
		return
	}
	unused := a.alarm.timer.Stop()
	a.alarm.cancel(nil)
	if unused {
		a.alarm.cancel = nil // frees it for the garbage collector
		a.driver.alarms.Put(a.alarm)
	}
}

// late reports whether the store's timeout ended the request.
func (a *attempts) late() bool { return a.alarm != nil && context.Cause(a) == attempt.ErrStoreTimeout }

// watched returns a client that watches its attempts and checks their responses. It
// uses the connections of the program's own client.
func watched(client *dynamodb.Client) *dynamodb.Client {
	own := client.Options()
	return dynamodb.New(own, func(o *dynamodb.Options) {
		o.EnableAcceptEncodingGzip = false // a small response could become a large one
		o.HTTPClient = judge{own.HTTPClient}
		if r, ok := retry.AddWithErrorCodes(own.Retryer, conflicts...).(aws.RetryerV2); ok {
			o.Retryer = retryer{r}
		}
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			// This is inside the retry loop, at the last moment before the body is
			// signed.
			return stack.Finalize.Insert(watcher{}, (*v4.ComputePayloadSHA256)(nil).ID(), middleware.Before)
		})
	})
}

// conflicts are the errors of a request that conflicts with another one for the same
// item, in a transaction or in another region of a global table. The SDK does not retry
// them.
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

// watcher is the middleware that sees each attempt. It sets new tokens in the records
// of each attempt: the SDK has encoded the request by then, once for all attempts.
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
	if before > 0 { // an HTTP client may still use the body of the attempt before
		trace = new(httptrace.ClientTrace)
	}
	trace.GetConn = func(string) { a.connection.Store(connectionPending) }
	trace.GotConn = func(httptrace.GotConnInfo) { a.connection.Store(connectionMade) }
	out, metadata, err = next.HandleFinalize(httptrace.WithClientTrace(ctx, trace), in)
	if a.sent == before { // it failed before it was sent
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
		a.lost = true // a successful attempt is repeated
	}
	a.sent++
	a.status = 0
	a.connection.Store(connectionUntold)
}

// mayHaveApplied reports whether an attempt may have been applied although the
// request's result err does not say so.
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

// stored returns the token that the latest attempt stored in place of token.
func (a *attempts) stored(token string) string {
	return kv.AttemptToken(token, max(a.number-1, 0))
}

// retoken returns the request with the tokens of this attempt.
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
