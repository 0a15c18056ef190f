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

// attempts watches the attempts that the SDK makes at one request. Its retries are
// invisible from outside, and they decide what an error says about a write and which
// version it stores. It is the context of the request as well, which saves allocations.
type attempts struct {
	context.Context // the caller's, or one below that ends by the store's timeout

	driver *driver
	meter  *kv.Meter
	most   int64 // bytes of an answer

	alarm    *alarm // set when the caller has no deadline
	deadline time.Time

	records int // how many records each attempt stores, with tokens of its own
	number  int // of the next attempt's tokens, as kv.AttemptToken has it

	sent   int   // attempts that were handed to the HTTP client
	lost   bool  // one of them failed, and may have been applied all the same
	last   error // what the latest of them ended with
	status int   // of its answer, 0 without one

	connection atomic.Int32 // how far the latest of them got
	trace      httptrace.ClientTrace
	body       body // of the latest answer
}

const (
	connectionUntold  = iota // the HTTP client does not say: it is not net/http's
	connectionPending        // there is none yet, so that nothing was sent
	connectionMade
)

type attemptsKey struct{}

// Value returns the attempts themselves to the middleware below.
func (a *attempts) Value(key any) any {
	if _, ok := key.(attemptsKey); ok {
		return a
	}
	return a.Context.Value(key)
}

// Deadline tells those who share out the time of the store's timeout as well.
func (a *attempts) Deadline() (time.Time, bool) {
	if a.alarm != nil {
		return a.deadline, true
	}
	return a.Context.Deadline()
}

// alarm ends a request whose caller has no deadline. Its timer serves many requests,
// which takes fewer allocations than context.WithTimeout.
type alarm struct {
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// watch prepares a request for one entry. The result is the context that the request
// must be made with, by the driver's client. The caller must call end. The meter, which
// may be nil, counts the request and its attempts.
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

// The service ends a page at 1 MiB, and takes and returns batches of 16 MiB. In JSON
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
		a.alarm.cancel = nil // the garbage collector may have it
		a.driver.alarms.Put(a.alarm)
	}
}

// late reports whether the request ended by the store's timeout.
func (a *attempts) late() bool { return a.alarm != nil && context.Cause(a) == attempt.ErrStoreTimeout }

// watched returns a client that watches its attempts and judges their answers. It uses
// the connections of the program's own client.
func watched(client *dynamodb.Client) *dynamodb.Client {
	own := client.Options()
	return dynamodb.New(own, func(o *dynamodb.Options) {
		o.EnableAcceptEncodingGzip = false // a small answer would become a large one
		o.HTTPClient = judge{own.HTTPClient}
		if r, ok := retry.AddWithErrorCodes(own.Retryer, conflicts...).(aws.RetryerV2); ok {
			o.Retryer = retryer{r}
		}
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			// Inside the loop of retries, and the last moment before the body is signed.
			return stack.Finalize.Insert(watcher{}, (*v4.ComputePayloadSHA256)(nil).ID(), middleware.Before)
		})
	})
}

// conflicts are the errors of a request that met another one for the same item, within
// a transaction or in another region of a global table. The SDK does not repeat them.
var conflicts = []string{"TransactionConflictException", "ReplicatedWriteConflictException"}

// retryer repeats conflicts as often as other errors, but sooner: what is in the way
// takes milliseconds.
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

// watcher is the middleware that sees each attempt. It gives the records of each tokens
// of their own; the SDK has encoded the request by then, once for all attempts.
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
	if before > 0 { // an HTTP client may still use the one of the attempt before
		trace = new(httptrace.ClientTrace)
	}
	trace.GetConn = func(string) { a.connection.Store(connectionPending) }
	trace.GotConn = func(httptrace.GotConnInfo) { a.connection.Store(connectionMade) }
	out, metadata, err = next.HandleFinalize(httptrace.WithClientTrace(ctx, trace), in)
	if a.sent == before { // it came to nothing before it was sent
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

// begin notes that the HTTP client gets an attempt.
func (a *attempts) begin() {
	if a.sent > 0 && a.last == nil {
		a.lost = true // somebody repeats what has succeeded
	}
	a.sent++
	a.status = 0
	a.connection.Store(connectionUntold)
}

// mayHaveApplied reports whether an attempt may have been applied of which the
// request, which ended with err, does not tell.
func (a *attempts) mayHaveApplied(err error) bool {
	// A success that ends as an error is the doing of the client's middleware.
	return a.lost || err != nil && a.sent > 0 && a.last == nil
}

// refused reports whether an attempt that failed is known not to have been
// applied: it never had a connection, or the answer says so.
func (a *attempts) refused() bool {
	if a.status != 0 {
		// 408 is a timeout, and 5xx says nothing about what was done. All other
		// refusals of DynamoDB are 400:
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
		return nil, errors.New("the SDK encodes requests in a way that is not known, so that the write cannot be repeated")
	}
	return r.SetStream(bytes.NewReader(body))
}
