package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// failRead returns the error of a read whose last attempt failed with err.
func (a *attempts) failRead(err error) *kv.Error {
	if e, ok := err.(*kv.Error); ok { // the error is about a document that was read
		return &kv.Error{Kind: e.Kind, Err: e.Err}
	}
	c := code(err)
	e := &kv.Error{Kind: kindOf(err), Err: err}
	late := a.late || c == codes.Canceled && a.past()
	why := a.over()
	if why == nil && late {
		why = context.DeadlineExceeded
	}
	switch {
	case why == nil:
	case a.own && late:
		e.Err = fmt.Errorf("%w: %w", attempt.ErrStoreTimeout, err)
	default:
		if c == codes.Canceled || c == codes.DeadlineExceeded {
			e.Kind = nil // the cause is the caller, not the service
		}
		e.Err = fmt.Errorf("%w: %w", why, err)
	}
	return e
}

// failWrite is failRead for a write: it also sets MayHaveApplied.
func (a *attempts) failWrite(err error) *kv.Error {
	e := a.failRead(err)
	e.MayHaveApplied = a.mayHaveApplied()
	return e
}

// kindOf returns the sentinel that describes err, or nil if none does. The caller has already
// checked that err does not mean a failed condition.
func kindOf(err error) error {
	//lint:ignore SA1019 its code, Canceled, has other causes too
	if errors.Is(err, grpc.ErrClientConnClosing) {
		return kv.ErrClosed
	}
	switch code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		return kv.ErrPermission
	case codes.ResourceExhausted, codes.Aborted:
		return kv.ErrThrottled
	case codes.NotFound, // no such database; a missing document is not an error of a read
		codes.FailedPrecondition: // a database in Datastore mode, for example
		return kv.ErrNotProvisioned
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.DataLoss, codes.DeadlineExceeded, codes.Canceled:
		return kv.ErrUnavailable
	}
	return nil
}

// The function passing reports whether err may be temporary, so that the same request may
// succeed later: the connection was lost or refused, a quota is used up, there is contention
// on the document, or the service or the network failed, was slow, or sent an invalid
// response. The caller must check first that its own deadline has not passed.
func passing(err error) bool {
	if _, ok := err.(*kv.Error); ok {
		return false
	}
	switch code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.Aborted,
		codes.Internal, codes.Unknown, codes.DataLoss, codes.DeadlineExceeded:
		return true
	}
	return false
}

// throttled reports whether the service refused a request, or one of its writes, because there
// are too many. Firestore reports this as ResourceExhausted or, for too many writes to a range
// of documents, as contention (Aborted).
func throttled(err error) bool {
	c := code(err)
	return c == codes.ResourceExhausted || c == codes.Aborted
}

// refused reports whether the service says that the write was not applied. After any
// other error, a write that was sent may have been applied:
//
//   - Unavailable: the connection broke, or a server on the way was overloaded.
//     The response may be lost after the commit.
//   - DeadlineExceeded, Canceled: the call did not wait for the response.
//   - Internal, Unknown, DataLoss: the service does not know, or does not say.
//
// The table of Firestore's errors is at
// https://cloud.google.com/firestore/docs/understand-error-codes.
func refused(err error) bool {
	switch code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.Unimplemented, // the request is invalid
		codes.PermissionDenied, codes.Unauthenticated,
		codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, // the condition failed, or there is no database
		codes.Aborted,           // other writers of the document won; a commit is atomic
		codes.ResourceExhausted: // a quota, which the service checks before the write
		return true
	}
	return false
}

// conditionFailed reports whether err means that cond failed. NotFound may also mean that the
// database is missing: a read of the document shows which.
func conditionFailed(cond *pb.Precondition, err error) bool {
	switch cond.GetConditionType().(type) {
	case *pb.Precondition_Exists:
		return code(err) == codes.AlreadyExists
	case *pb.Precondition_UpdateTime:
		// The codes for a different update time and for a missing document.
		return code(err) == codes.FailedPrecondition || code(err) == codes.NotFound
	}
	return false
}

// code returns the gRPC code of err.
func code(err error) codes.Code {
	s, ok := status.FromError(err)
	switch {
	case !ok:
		return status.FromContextError(err).Code() // err may be from an interceptor
	case strings.Contains(s.Message(), "per-RPC creds failed"):
		return tokenCode(s.Message())
	case (s.Code() == codes.ResourceExhausted || s.Code() == codes.PermissionDenied) && grpcs.MatchString(s.Message()):
		return codes.Internal
	}
	return s.Code()
}

// grpcs matches the text of errors that come from gRPC and not from the service: a stream was
// reset, or a message is larger than the limit.
var grpcs = regexp.MustCompile(`RST_STREAM|^grpc: (received )?message .*larger than max`)

// tokenCode returns the code of a call that was not made because there was no access token.
// gRPC has the same code for all causes of this, and keeps only the text of the cause.
func tokenCode(text string) codes.Code {
	switch {
	case strings.HasSuffix(text, context.Canceled.Error()):
		return codes.Canceled
	case strings.HasSuffix(text, context.DeadlineExceeded.Error()):
		return codes.DeadlineExceeded
	case noToken.MatchString(text):
		return codes.Unavailable
	}
	return codes.Unauthenticated
}

// noToken matches the text of errors that say that the service for tokens cannot be reached
// or failed. The text is from url.Error, net.OpError or, for the statuses 429 and 5xx, from
// cloud.google.com/go/auth and cloud.google.com/go/compute/metadata.
var noToken = regexp.MustCompile(`(Get|Post|Put) "https?://[^"]*": |dial tcp|(cannot fetch token: |compute: Received )(429|5\d\d)\b`)

// The errors of responses that the service cannot have sent. Their code is Unknown, so reads
// return [kv.ErrUnavailable], and writes [kv.ErrIndeterminate].
var (
	errNoVersion = errors.New("the response is not from the service: it has no valid update time of the document")
	errResults   = errors.New("the response is not from the service: it does not have one result for each write")
	errOther     = errors.New("the response is not from the service: it is about a document that was not requested")
	errOrder     = errors.New("the response is not from the service: its documents are not in the order or the range that was requested")
	errEndless   = errors.New("the response is not from the service: it is larger than any response to the request")
)

// errForeign returns the error for a document with a field that shows that skykv did not write
// it. The text what names the field, and the text want its correct form. The message contains
// no text of the document.
func errForeign(what, want string) error {
	return errIncompatible("skykv did not write the document under this key: its %s is missing or of another type; want %s", what, want)
}

// errIncompatible returns the error for documents that another program wrote, or that have a
// different format.
func errIncompatible(format string, args ...any) error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf(format, args...)}
}

// errInvalid returns the error of an invalid argument.
func errInvalid(op, format string, args ...any) error {
	return opError(op, &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)})
}

// opError sets Op and Provider in the error of a function that is not a method of the store.
func opError(op string, err error) error {
	e, ok := err.(*kv.Error)
	if !ok {
		e = &kv.Error{Err: err}
	}
	return &kv.Error{Op: op, Provider: name, Kind: e.Kind, MayHaveApplied: e.MayHaveApplied, Err: e.Err}
}
