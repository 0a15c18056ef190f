package aztableskv

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// Error codes that aztables does not declare.
// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
const (
	codeServerBusy                = "ServerBusy"
	codeInvalidAuthenticationInfo = "InvalidAuthenticationInfo"
)

// failRead returns the error of a request that ended with err.
func (a *attempts) failRead(err error) *kv.Error {
	switch {
	case a.over == nil || !errors.Is(err, a.over):
		return &kv.Error{Kind: kindOf(err), Err: redact(err)}
	case a.timedOut && a.last == nil:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: attempt.ErrStoreTimeout}
	case a.timedOut:
		return &kv.Error{Kind: kindOf(a.last), Err: fmt.Errorf("%w; the last attempt ended with: %w", attempt.ErrStoreTimeout, redact(a.last))}
	case a.last == nil:
		return &kv.Error{Err: redact(err)}
	}
	// The context ended before another attempt: the last attempt's error says why it
	// took so long.
	return &kv.Error{Kind: kindOf(a.last), Err: fmt.Errorf("%w; the last attempt ended with: %w", redact(err), redact(a.last))}
}

// failWrite is failRead for a write.
func (a *attempts) failWrite(err error) *kv.Error {
	e := a.failRead(err)
	e.MayHaveApplied = a.mayHaveApplied(err)
	return e
}

// kindOf returns the sentinel of an error of the SDK, other than the end of the call's
// context.
func kindOf(err error) error {
	answer := answerOf(err)
	switch {
	case answer.status != 0:
		return answer.kind()
	case refusedCredential(err):
		return kv.ErrPermission
	}
	return kv.ErrUnavailable
}

// opError completes the error of a function that is not an operation of a store.
func opError(op string, err error) error {
	e := kv.Error{Err: err}
	if own, ok := err.(*kv.Error); ok {
		e = *own
	}
	e.Op, e.Provider = op, name
	return &e
}

// errInvalid returns the error of an invalid argument.
func errInvalid(op, format string, args ...any) error {
	return opError(op, &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)})
}

// errForeign says what is not skykv's.
func errForeign(what, want string) error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("%s is not what skykv writes; want %s", what, want)}
}

// errAnswer returns the error of a read whose response the service cannot have sent.
func errAnswer(err error) error { return &kv.Error{Kind: kv.ErrUnavailable, Err: err} }

// The errors of responses that the service cannot have sent.
var (
	errNoETag     = errors.New("the response is not from the service: it has no ETag")
	errNoList     = errors.New("the response is not from the service: it has no list of entities")
	errOther      = errors.New("the response is not from the service: it has an entity that was not requested")
	errRedirected = errors.New("the response is not from the service: the HTTP client followed a redirect")
)

// errNotProvisioned adds to the error of a missing table that Ensure creates it.
func (d *driver) errNotProvisioned(err error) error {
	if own, ok := err.(*kv.Error); ok && own.Kind == kv.ErrNotProvisioned {
		own.Err = fmt.Errorf("there is no table %s; Ensure creates it: %w", d.name, own.Err)
	}
	return err
}

// refusedCredential reports whether err says that there is no token for the request. The
// request was not sent then.
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

// credentialUnavailable is the type of the errors of missing credentials. azidentity
// exports only its constructor.
var credentialUnavailable = reflect.TypeOf(azidentity.NewCredentialUnavailableError(""))

// answer is what the response to a request says.
type answer struct {
	status int // 0 without a response
	code   aztables.TableErrorCode

	// These are set by the response to a transaction.
	index int      // index of the operation that made it fail, or -1
	etags []string // the ETags of its operations, "" for a deletion
}

// mayHaveApplied reports whether the request may have been applied, or may still be.
func (a answer) mayHaveApplied() bool {
	switch {
	case a.status < 400, // the service sends no redirects
		a.status == http.StatusRequestTimeout:
		return true
	case a.status == http.StatusServiceUnavailable:
		// The service refuses requests with this code before it executes them. A 503
		// of a proxy does not say so.
		// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
		return a.code != codeServerBusy
	}
	return a.status >= 500
}

// complete adds the code and status of a failed transaction, which are in the response's
// body, to the SDK's error.
func (a answer) complete(err error) error {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok && e.StatusCode == http.StatusAccepted {
		e.StatusCode, e.ErrorCode = a.status, string(a.code)
	}
	return err
}

// answerOf returns the answer that err describes. An error code in a successful response
// or a redirect means nothing.
func answerOf(err error) answer {
	a := answer{index: -1}
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		if a.status = e.StatusCode; a.status >= 400 {
			a.code = aztables.TableErrorCode(e.ErrorCode)
		}
	}
	return a
}

// codeOf returns the service's error code in err, "" if there is none.
func codeOf(err error) aztables.TableErrorCode { return answerOf(err).code }

// absent reports whether code says that there is no such entity.
func absent(code aztables.TableErrorCode) bool {
	return code == aztables.ResourceNotFound || code == aztables.EntityNotFound
}

// refused reports whether code says that a condition failed.
func refused(code aztables.TableErrorCode, cond kv.ConditionKind) bool {
	switch cond {
	case kv.CondAbsent:
		return code == aztables.EntityAlreadyExists
	case kv.CondVersion:
		return code == aztables.UpdateConditionNotSatisfied || absent(code)
	}
	return false
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
	case a.status < 400, a.status == http.StatusRequestTimeout, a.status >= 500:
		return kv.ErrUnavailable // below 400, the response is not from the service
	}
	return nil
}

// faultOfOne reports whether the service refused a transaction because of a single write,
// so that the other writes may succeed without it.
func (a answer) faultOfOne() bool {
	return a.status >= 400 && a.status < 500 && a.kind() == nil
}

// readTransaction reads the response to a transaction. Its status is always 202; the
// result is in the parts of the body. An incomplete response keeps the status 202, and
// nothing of it counts.
// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
func readTransaction(resp *http.Response) answer {
	unreadable := answer{status: resp.StatusCode, index: -1}
	body, err := runtime.Payload(resp) // the SDK has read it already
	if err != nil {
		return unreadable
	}
	if told := readError(body); told.Code != "" { // the transaction itself was malformed
		return answer{status: http.StatusBadRequest, code: told.Code, index: -1}
	}
	// The operations' responses are the parts of the only part. The bytes after their
	// closing boundary do not matter: Azure Cosmos DB sends none.
	whole, err := multipartReader(resp.Header, body).NextPart()
	if err != nil {
		return unreadable
	}
	if body, err = io.ReadAll(whole); err != nil && err != io.ErrUnexpectedEOF {
		return unreadable
	}
	a := answer{index: -1}
	parts, buffer := multipartReader(http.Header(whole.Header), body), bufio.NewReaderSize(nil, 1<<10)
	for {
		part, err := parts.NextPart()
		if err == io.EOF && a.status != 0 { // only this error means that the closing boundary was read
			return a
		}
		if err != nil {
			return unreadable
		}
		buffer.Reset(part)
		one, err := http.ReadResponse(buffer, nil)
		if err != nil {
			return unreadable
		}
		text, err := io.ReadAll(one.Body)
		switch status := one.StatusCode; {
		case err != nil, status < 200, status >= 300 && status < 400:
			return unreadable
		case status >= 400: // if one fails, all fail
			told := readError(text)
			a.status, a.code, a.index = status, told.Code, told.index()
		case a.status == 0:
			a.status = status
		}
		a.etags = append(a.etags, one.Header.Get("ETag"))
	}
}

// carriedOut reports whether the answer says that a transaction of these operations was
// carried out: it has one successful part for each operation, with an ETag unless the
// operation is a deletion.
func (a answer) carriedOut(actions []aztables.TransactionAction) bool {
	if a.status >= 300 || len(a.etags) != len(actions) {
		return false
	}
	for i, etag := range a.etags {
		if etag == "" && actions[i].ActionType != aztables.TransactionTypeDelete {
			return false
		}
	}
	return true
}

// multipartReader returns a reader of the parts of a body. Without a boundary in the
// header there are none.
func multipartReader(header http.Header, body []byte) *multipart.Reader {
	_, params, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return multipart.NewReader(bytes.NewReader(body), params["boundary"])
}

// serviceError is an error in the service's JSON.
type serviceError struct {
	Code    aztables.TableErrorCode `json:"code"`
	Message struct {
		Value string `json:"value"`
	} `json:"message"`
}

func readError(body []byte) serviceError {
	var told struct {
		Error serviceError `json:"odata.error"`
	}
	if json.Unmarshal(body, &told) != nil {
		return serviceError{}
	}
	return told.Error
}

// index returns the index of an operation at the start of the message, such as
// "3:The specified resource does not exist.", or -1.
func (e serviceError) index() int {
	at, _, _ := strings.Cut(e.Message.Value, ":")
	if n, err := strconv.Atoi(at); err == nil && n >= 0 {
		return n
	}
	return -1
}
