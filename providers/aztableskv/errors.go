package aztableskv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

const name = "aztables"

// Error codes beside those that aztables declares.
// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
const (
	codeServerBusy                = "ServerBusy"
	codeInvalidAuthenticationInfo = "InvalidAuthenticationInfo"
)

// read gives the error of a failed read as the store wants it.
func (a *attempts) read(ctx context.Context, err error) error {
	return a.failure(ctx, err)
}

// write is read for a call that may have changed something.
func (a *attempts) write(ctx context.Context, err error) error {
	e := a.failure(ctx, err)
	e.MayHaveApplied = a.uncertain(err)
	return e
}

func (a *attempts) failure(ctx context.Context, err error) *kv.Error {
	if ended := ctx.Err(); ended == nil || !errors.Is(err, ended) {
		return &kv.Error{Kind: kind(err), Err: redact(err)}
	}
	if a.last == nil {
		return &kv.Error{Err: redact(err)}
	}
	// The end of the context hides why the call took that long.
	return &kv.Error{Kind: kind(a.last), Err: fmt.Errorf("%w after an attempt that failed: %w", redact(err), redact(a.last))}
}

// failed is the error of an operation outside of any store.
func failed(op string, err error) error {
	e := &kv.Error{Err: err}
	if own, ok := err.(*kv.Error); ok {
		e = own
	}
	e.Op, e.Provider = op, name
	return e
}

// invalid is the error of an argument.
func invalid(op, format string, args ...any) error {
	return failed(op, &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)})
}

// code gives the service's error code behind err, "" when there is none.
func code(err error) aztables.TableErrorCode {
	return answerOf(err).code
}

// absent reports whether code says that there is no such entity.
func absent(code aztables.TableErrorCode) bool {
	return code == aztables.ResourceNotFound || code == aztables.EntityNotFound
}

// kind gives the sentinel that an error of the SDK matches, when it is not the
// end of the call's context.
func kind(err error) error {
	answer := answerOf(err)
	switch {
	case answer.status != 0:
		return answer.kind()
	case refusedCredential(err):
		return kv.ErrPermission
	}
	return kv.ErrUnavailable
}

func (a answer) kind() error {
	switch a.code {
	case aztables.TableNotFound, aztables.TableBeingDeleted:
		return kv.ErrNotProvisioned
	case codeServerBusy:
		return kv.ErrThrottled
	case codeInvalidAuthenticationInfo:
		return kv.ErrPermission
	}
	switch {
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return kv.ErrPermission
	case a.status == http.StatusTooManyRequests:
		return kv.ErrThrottled
	case a.status == http.StatusRequestTimeout, a.status >= 500:
		return kv.ErrUnavailable
	}
	return nil
}

// refusedCredential reports whether err says that there is no token for the
// request, which then was not sent.
func refusedCredential(err error) bool {
	if _, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		return true
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if reflect.TypeOf(err) == credentialUnavailable {
			return true
		}
	}
	return false
}

// credentialUnavailable is the type of the errors of credentials that have
// nothing to offer; azidentity exports no more than their constructor.
var credentialUnavailable = reflect.TypeOf(azidentity.NewCredentialUnavailableError(""))

// answer is what the service said to a request.
type answer struct {
	status int // 0 without an answer
	code   aztables.TableErrorCode
	index  int // of the operation that made a transaction fail, or -1
}

// answerOf gives the answer that err describes.
func answerOf(err error) answer {
	e, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return answer{index: -1}
	}
	if e.StatusCode == http.StatusAccepted && e.RawResponse != nil {
		return transactionAnswer(e.RawResponse)
	}
	return answer{status: e.StatusCode, code: aztables.TableErrorCode(e.ErrorCode), index: -1}
}

// transactionAnswer reads the answer to a transaction, which has the status 202
// in any case: what became of it stands in the first part of the body.
// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
func transactionAnswer(resp *http.Response) answer {
	a := answer{status: resp.StatusCode, index: -1}
	body, _ := runtime.Payload(resp) // the SDK has read it already
	if bytes.HasPrefix(body, []byte("{")) {
		a.status = http.StatusBadRequest // the transaction itself was malformed
	} else if _, part, ok := bytes.Cut(body, []byte("HTTP/1.1 ")); ok && len(part) > 3 {
		if status, err := strconv.Atoi(string(part[:3])); err == nil {
			a.status, body = status, part
		}
	}
	if a.status < 300 {
		return a
	}
	var told struct {
		Error struct {
			Code    aztables.TableErrorCode `json:"code"`
			Message struct {
				Value string `json:"value"`
			} `json:"message"`
		} `json:"odata.error"`
	}
	if _, object, ok := bytes.Cut(body, []byte("{")); ok {
		// Behind the object comes the end of the multipart body.
		object = body[len(body)-len(object)-1:]
		if json.NewDecoder(bytes.NewReader(object)).Decode(&told) == nil {
			a.code = told.Error.Code
		}
	}
	// The message starts with the index: "3:The specified resource does not exist."
	at, _, _ := strings.Cut(told.Error.Message.Value, ":")
	if n, err := strconv.Atoi(at); err == nil && n >= 0 {
		a.index = n
	}
	return a
}
