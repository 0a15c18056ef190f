package dynamokv

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// attempts watches the requests that the SDK makes for one call: its retries are
// invisible from outside, and decide what an error says about a write.
type attempts struct {
	sent    int   // requests that were handed to the HTTP client
	unknown bool  // one of them failed, and may have been carried out all the same
	last    error // what the latest of them ended with

	connection atomic.Int32 // how far the latest of them got
}

const (
	connectionUntold  = iota // the HTTP client does not say: it is not net/http's
	connectionPending        // there is none yet, so that nothing was sent
	connectionMade
)

type attemptsKey struct{}

// watch prepares a call, which is to be made with the returned context and the
// options of watched.
func watch(ctx context.Context) (*attempts, context.Context) {
	a := new(attempts)
	return a, context.WithValue(ctx, attemptsKey{}, a)
}

// watched are the options of a watched call. They work in clients of any make.
var watched = []func(*dynamodb.Options){func(o *dynamodb.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		// Everything of the Deserialize step is inside the loop of retries; in
		// front of it, the error is the decoded one.
		return stack.Deserialize.Add(watcher{}, middleware.Before)
	})
}}

// watcher is the middleware that sees each attempt.
type watcher struct{}

func (watcher) ID() string { return "skykv:Attempts" }

func (watcher) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	a, ok := ctx.Value(attemptsKey{}).(*attempts)
	if !ok {
		return next.HandleDeserialize(ctx, in)
	}
	a.unknown = a.uncertain() // somebody repeats what has succeeded
	a.sent++
	a.connection.Store(connectionUntold)
	out, metadata, err := next.HandleDeserialize(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { a.connection.Store(connectionPending) },
		GotConn: func(httptrace.GotConnInfo) { a.connection.Store(connectionMade) },
	}), in)
	if a.last = err; err != nil && !a.refused(out) {
		a.unknown = true
	}
	return out, metadata, err
}

// uncertain reports whether the call, which ended with an error, may have been
// carried out by one of its attempts.
func (a *attempts) uncertain() bool {
	// A success that ends as an error is the doing of the client's middleware.
	return a.unknown || a.sent > 0 && a.last == nil
}

// refused reports whether an attempt that failed is known not to have been
// carried out: it never had a connection, or the answer says so.
func (a *attempts) refused(out middleware.DeserializeOutput) bool {
	if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp.StatusCode != 0 {
		// 408 is a timeout, and 5xx says nothing about what was done. All other
		// refusals of DynamoDB are 400:
		// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
		return resp.StatusCode >= 300 && resp.StatusCode < 500 && resp.StatusCode != 408
	}
	return a.connection.Load() == connectionPending
}
