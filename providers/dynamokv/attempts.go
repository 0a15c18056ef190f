package dynamokv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptrace"
	"sync/atomic"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/skykv/skykv/kv"
)

// attempts watches the attempts that the SDK makes at one request. Its retries are
// invisible from outside, and they decide what an error says about a write and which
// version it stores.
type attempts struct {
	driver *driver
	meter  *kv.Meter

	records int // how many records each attempt stores, with tokens of its own
	number  int // of the next attempt's tokens, as kv.AttemptToken has it

	sent int   // attempts that were handed to the HTTP client
	lost bool  // one of them failed, and may have been applied all the same
	last error // what the latest of them ended with

	connection atomic.Int32 // how far the latest of them got
}

const (
	connectionUntold  = iota // the HTTP client does not say: it is not net/http's
	connectionPending        // there is none yet, so that nothing was sent
	connectionMade
)

type attemptsKey struct{}

// watch prepares a request, which is to be made with the returned context and the
// options of watched. The meter, which may be nil, counts the request and its attempts.
func (d *driver) watch(ctx context.Context, meter *kv.Meter) (context.Context, *attempts) {
	a := &attempts{driver: d, meter: meter}
	return context.WithValue(ctx, attemptsKey{}, a), a
}

// watched are the options of a watched request. They work in clients of any make.
var watched = []func(*dynamodb.Options){func(o *dynamodb.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		// Everything of the Deserialize step is inside the loop of retries; in
		// front of it, the error is the decoded one.
		if err := stack.Deserialize.Add(watcher{}, middleware.Before); err != nil {
			return err
		}
		// Inside the loop as well, and the last moment before the body is signed.
		return stack.Finalize.Insert(tokens{}, (*v4.ComputePayloadSHA256)(nil).ID(), middleware.Before)
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
	requests := 0
	if a.sent == 0 {
		requests = 1
	} else if a.last == nil {
		a.lost = true // somebody repeats what has succeeded
	}
	a.sent++
	a.connection.Store(connectionUntold)
	out, metadata, err := next.HandleDeserialize(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { a.connection.Store(connectionPending) },
		GotConn: func(httptrace.GotConnInfo) { a.connection.Store(connectionMade) },
	}), in)
	if a.last = err; err != nil && !a.refused(out) {
		a.lost = true
	}
	a.meter.Add(requests, 1)
	return out, metadata, err
}

// mayHaveApplied reports whether an attempt may have been applied of which the
// request, which ended with err, does not tell.
func (a *attempts) mayHaveApplied(err error) bool {
	// A success that ends as an error is the doing of the client's middleware.
	return a.lost || err != nil && a.sent > 0 && a.last == nil
}

// refused reports whether an attempt that failed is known not to have been
// applied: it never had a connection, or the answer says so.
func (a *attempts) refused(out middleware.DeserializeOutput) bool {
	if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp.StatusCode != 0 {
		// 408 is a timeout, and 5xx says nothing about what was done. All other
		// refusals of DynamoDB are 400:
		// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
		return resp.StatusCode >= 300 && resp.StatusCode < 500 && resp.StatusCode != 408
	}
	return a.connection.Load() == connectionPending
}

// tokens is the middleware that gives the records of each attempt tokens of their
// own. The SDK has encoded the request by then, once for all attempts.
type tokens struct{}

func (tokens) ID() string { return "skykv:Tokens" }

func (tokens) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, metadata middleware.Metadata, err error,
) {
	if a, ok := ctx.Value(attemptsKey{}).(*attempts); ok && a.records > 0 {
		if a.number > 0 {
			if in.Request, err = a.retoken(in.Request); err != nil {
				return out, metadata, err
			}
		}
		a.number++
	}
	return next.HandleFinalize(ctx, in)
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
