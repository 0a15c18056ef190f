package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// kinds has the sentinels of package kv for error codes of DynamoDB. The codes for throttling are
// from a list of the SDK, and the other codes from
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html and
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html.
var kinds = func() map[string]error {
	kinds := map[string]error{
		"ResourceNotFoundException": kv.ErrNotProvisioned,

		// The driver's requests are valid, so the table or the service must be
		// incompatible.
		"ValidationException": kv.ErrIncompatible,

		"AccessDenied":                        kv.ErrPermission,
		"AccessDeniedException":               kv.ErrPermission,
		"ExpiredToken":                        kv.ErrPermission,
		"ExpiredTokenException":               kv.ErrPermission,
		"IncompleteSignature":                 kv.ErrPermission,
		"IncompleteSignatureException":        kv.ErrPermission,
		"InvalidAccessKeyId":                  kv.ErrPermission,
		"InvalidClientTokenId":                kv.ErrPermission,
		"InvalidSignatureException":           kv.ErrPermission,
		"MissingAuthenticationToken":          kv.ErrPermission,
		"MissingAuthenticationTokenException": kv.ErrPermission,
		"NotAuthorized":                       kv.ErrPermission,
		"OptInRequired":                       kv.ErrPermission,
		"RequestExpired":                      kv.ErrPermission,
		"SignatureDoesNotMatch":               kv.ErrPermission,
		"UnrecognizedClientException":         kv.ErrPermission,

		"InternalFailure":                  kv.ErrUnavailable,
		"InternalServerError":              kv.ErrUnavailable,
		"ReplicatedWriteConflictException": kv.ErrUnavailable,
		"ResourceInUseException":           kv.ErrUnavailable,
		"ServiceUnavailable":               kv.ErrUnavailable,
		"ServiceUnavailableException":      kv.ErrUnavailable,
		"TransactionConflictException":     kv.ErrUnavailable,
	}
	for code := range retry.DefaultThrottleErrorCodes {
		kinds[code] = kv.ErrThrottled
	}
	return kinds
}()

// failRead returns the error of a read whose request failed with err.
func (a *attempts) failRead(err error) *kv.Error {
	ended := a.Err()
	if ended == nil || !errors.Is(err, ended) {
		return a.describe(err)
	}
	var why error = ended
	if a.late() {
		why = attempt.ErrStoreTimeout
	}
	switch {
	case a.last != nil && !errors.Is(a.last, ended):
		// The context ended before another attempt. The error of the last attempt says
		// why the call took so long.
		e := a.describe(a.last)
		e.Err = fmt.Errorf("%w; the last attempt ended with: %w", why, e.Err)
		return e
	case errors.Is(why, context.DeadlineExceeded) && a.sent > 0 && a.connection.Load() == connectionPending:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("no connection to the service was made in time: %w", why)}
	case a.late():
		return &kv.Error{Kind: kv.ErrUnavailable, Err: why}
	}
	return &kv.Error{Err: safe(err)}
}

// failWrite is failRead for a write: it also sets MayHaveApplied.
func (a *attempts) failWrite(err error) *kv.Error {
	e := a.failRead(err)
	e.MayHaveApplied = a.mayHaveApplied(err)
	return e
}

// describe converts an error of the SDK. The result has the Kind of the error, and a
// message without secrets. If the table is missing or has another primary key, the message
// also says what is needed.
func (a *attempts) describe(err error) *kv.Error {
	e := &kv.Error{Kind: kindOf(err), Err: safe(err)}
	switch e.Kind {
	case kv.ErrNotProvisioned:
		e.Err = fmt.Errorf("there is no table %q in this account and region; providers.Ensure creates it: %w", *a.driver.table, e.Err)
	case kv.ErrIncompatible:
		if aboutPrimaryKey(err) {
			e.Err = fmt.Errorf(keyRule+": %w", *a.driver.table, e.Err)
		}
	}
	return e
}

// aboutPrimaryKey reports whether a ValidationException means that the table has a
// different primary key. Only the text of the exception shows this:
//
//	The provided key element does not match the schema
//	One or more parameter values were invalid: Missing the key id in the item
//	One or more parameter values were invalid: Type mismatch for key sk expected: N actual: S
//	Query condition missed key schema element: id
//	One of the required keys was not given a value
//	The number of conditions on the keys is invalid
func aboutPrimaryKey(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	for _, part := range []string{"schema", "Missing the key", "mismatch for key", "required keys", "conditions on the keys"} {
		if strings.Contains(api.ErrorMessage(), part) {
			return true
		}
	}
	return false
}

// kindOf returns the sentinel that describes an error of the SDK, or nil if none does.
func kindOf(err error) error {
	// An error about credentials may wrap a response of STS, SSO or another service. The
	// codes of such a response have other meanings. The SDK has no type for these errors,
	// so kindOf recognises them by their text.
	credentials := strings.Contains(err.Error(), "get identity: get credentials: ")
	api, isAPI := errors.AsType[smithy.APIError](err)
	if isAPI {
		kind := kinds[api.ErrorCode()]
		if kind != nil && (!credentials || kind == kv.ErrThrottled || kind == kv.ErrUnavailable) {
			return kind
		}
	}
	resp, isResp := errors.AsType[*smithyhttp.ResponseError](err)
	switch {
	case isResp && (resp.HTTPStatusCode() == 401 || resp.HTTPStatusCode() == 403):
		return kv.ErrPermission
	case isResp && resp.HTTPStatusCode() == 429:
		return kv.ErrThrottled
	case isResp && (resp.HTTPStatusCode() == 408 || resp.HTTPStatusCode() >= 500):
		return kv.ErrUnavailable
	case isAPI && !credentials:
		return nil
	case isSending(err):
		return kv.ErrUnavailable
	case credentials:
		return kv.ErrPermission
	}
	return nil
}

// isDenied reports whether the service refused a request because the credentials, although
// valid, do not permit it.
func isDenied(err error) bool {
	return isCode(err, "AccessDeniedException")
}

// isCode reports whether the service refused a request with this error code.
func isCode(err error, code string) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == code
}

// isSending reports whether sending the request or reading the response failed. It
// returns false for an error that the response reports, and for an error before the request
// was sent.
func isSending(err error) bool {
	_, sending := errors.AsType[*smithyhttp.RequestSendError](err)
	_, reading := errors.AsType[*smithy.DeserializationError](err)
	return sending || reading
}

// safe returns err, or a different error in its place if the message of err may contain a
// value or a secret.
func safe(err error) error {
	request := "no request ID"
	if resp, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		request = fmt.Sprintf("status %d, request ID %q", resp.HTTPStatusCode(), resp.RequestID)
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		// The message may quote the response. The messages of the following causes do
		// not.
		const msg = "the service's response cannot be read (%s)"
		if broken, ok := errors.AsType[*net.OpError](err); ok {
			return fmt.Errorf(msg+": %w", request, broken)
		}
		if late, ok := errors.AsType[*attempt.TimeoutError](err); ok {
			return fmt.Errorf(msg+": %w", request, late)
		}
		if none, ok := errors.AsType[noAnswer](err); ok {
			return fmt.Errorf(msg+": %w", request, none)
		}
		for _, broken := range []error{io.ErrUnexpectedEOF, attempt.ErrTooLarge, context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, broken) {
				return fmt.Errorf(msg+": %w", request, broken)
			}
		}
		return fmt.Errorf(msg, request)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && strings.Contains(api.ErrorCode(), "Signature") {
		// Messages about signatures quote the signed request, including its session token.
		return &smithy.GenericAPIError{
			Code:    api.ErrorCode(),
			Message: fmt.Sprintf("the service does not accept the signature made with these credentials (%s)", request),
			Fault:   api.ErrorFault(),
		}
	}
	return err
}

// errNoItem is the error of a failed condition if the response does not have the item
// that made it fail.
var errNoItem = &kv.Error{
	Kind: kv.ErrIncompatible,
	Err:  errors.New("the service reported a failed condition without the item: want support for ReturnValuesOnConditionCheckFailure"),
}

// errForeign returns the error for an item that skykv did not write. attr is the attribute
// that shows this, and want describes the attribute that skykv writes.
func errForeign(attr, want string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("skykv did not write the item under this key: its attribute %q is not %s", attr, want)}
}

// errInvalid returns the error of an invalid argument.
func errInvalid(op, format string, args ...any) *kv.Error {
	return &kv.Error{Op: op, Provider: name, Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)}
}

// opError sets Op and Provider in the error of a function that is not a method of the
// store.
func opError(op string, err error) error {
	e := kv.Error{Err: err}
	if own, ok := err.(*kv.Error); ok {
		e = *own
	}
	e.Op, e.Provider = op, name
	return &e
}
