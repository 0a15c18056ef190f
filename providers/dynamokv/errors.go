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

	"github.com/skykv/skykv/kv"
)

// kinds are the sentinels of DynamoDB's error codes; those that ask to slow down
// are the SDK's list. See
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
// and https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html.
var kinds = func() map[string]error {
	kinds := map[string]error{
		"ResourceNotFoundException": kv.ErrNotProvisioned,

		// All requests are well-formed: it is the table that they do not suit.
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

// failRead turns the error of a watched call into the one to return.
func (d *driver) failRead(ctx context.Context, a *attempts, err error) *kv.Error {
	stopped := ctx.Err()
	if stopped == nil || !errors.Is(err, stopped) {
		return d.describe(err)
	}
	switch {
	case a.last != nil && !errors.Is(a.last, stopped):
		// Stopped on the way to another attempt: the last one tells why it took so long.
		e := d.describe(a.last)
		e.Err = fmt.Errorf("%w, the last attempt having ended with: %w", stopped, e.Err)
		return e
	case errors.Is(stopped, context.DeadlineExceeded) && a.sent > 0 && a.connection.Load() == connectionPending:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("no connection to the service was made in time: %w", err)}
	}
	return &kv.Error{Err: safe(err)}
}

// failWrite is failRead for a write.
func (d *driver) failWrite(ctx context.Context, a *attempts, err error) *kv.Error {
	e := d.failRead(ctx, a, err)
	e.MayHaveApplied = a.uncertain()
	return e
}

// describe gives the kind of an error of the SDK and a cause that holds no secret.
func (d *driver) describe(err error) *kv.Error {
	e := &kv.Error{Err: safe(err)}
	// An error on the way to credentials may hold an answer of STS, SSO and others,
	// whose codes mean something else there. The SDK has no type for it.
	credentials := strings.Contains(err.Error(), "get identity: get credentials: ")
	api, isAPI := errors.AsType[smithy.APIError](err)
	if isAPI {
		e.Kind = kinds[api.ErrorCode()]
	}
	if credentials && e.Kind != kv.ErrThrottled && e.Kind != kv.ErrUnavailable {
		e.Kind = nil
	}
	resp, isResp := errors.AsType[*smithyhttp.ResponseError](err)
	switch {
	case e.Kind == kv.ErrNotProvisioned:
		e.Err = fmt.Errorf("there is no table %q in this account and region; EnsureTable creates it: %w", *d.table, e.Err)
	case e.Kind == kv.ErrIncompatible:
		e.Err = fmt.Errorf("the primary key of table %q must be pk and sk, both strings: %w", *d.table, e.Err)
	case e.Kind != nil:
	case isResp && (resp.HTTPStatusCode() == 401 || resp.HTTPStatusCode() == 403):
		e.Kind = kv.ErrPermission
	case isResp && resp.HTTPStatusCode() == 429:
		e.Kind = kv.ErrThrottled
	case isResp && (resp.HTTPStatusCode() == 408 || resp.HTTPStatusCode() >= 500):
		e.Kind = kv.ErrUnavailable
	case isAPI && !credentials:
	case isSending(err):
		e.Kind = kv.ErrUnavailable
	case credentials:
		e.Kind = kv.ErrPermission
	}
	return e
}

// isSending reports whether err is about sending the request or reading the
// answer, rather than about the answer or the preparation of the request.
func isSending(err error) bool {
	_, sending := errors.AsType[*smithyhttp.RequestSendError](err)
	_, reading := errors.AsType[*smithy.DeserializationError](err)
	return sending || reading
}

// safe gives err, or another in its place if its message may hold a value or a
// secret.
func safe(err error) error {
	request := "no request ID"
	if resp, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		request = fmt.Sprintf("status %d, request ID %q", resp.HTTPStatusCode(), resp.RequestID)
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		// What cannot be decoded may be quoted. What broke the connection is safe.
		const msg = "the service's answer cannot be read (%s)"
		if broken, ok := errors.AsType[*net.OpError](err); ok {
			return fmt.Errorf(msg+": %w", request, broken)
		}
		for _, broken := range []error{io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, broken) {
				return fmt.Errorf(msg+": %w", request, broken)
			}
		}
		return fmt.Errorf(msg, request)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && strings.Contains(api.ErrorCode(), "Signature") {
		// These quote the signed request, with its session token.
		return &smithy.GenericAPIError{
			Code:    api.ErrorCode(),
			Message: fmt.Sprintf("the service does not accept the signature made with these credentials (%s)", request),
			Fault:   api.ErrorFault(),
		}
	}
	return err
}
