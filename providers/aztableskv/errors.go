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

// These are error codes that aztables does not declare.
// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
const (
	codeServerBusy                = "ServerBusy"
	codeInvalidAuthenticationInfo = "InvalidAuthenticationInfo"
)

// failRead returns the store's error for a read that ended with err.
func (a *attempts) failRead(err error) *kv.Error {
	switch {
	case refusedCredential(err):
		return &kv.Error{Kind: kv.ErrPermission, Err: errNoToken(redact(err))}
	case a.over == nil || !errors.Is(err, a.over):
		return &kv.Error{Kind: kindOf(err), Err: redact(err)}
	case a.timedOut && a.last == nil:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: attempt.ErrStoreTimeout}
	case a.timedOut:
		return &kv.Error{Kind: kindOf(a.last), Err: fmt.Errorf("%w; the last attempt ended with: %w", attempt.ErrStoreTimeout, redact(a.last))}
	case a.last == nil:
		return &kv.Error{Err: redact(err)}
	}
	// The context ended after at least one failed attempt. The error of that attempt says why
	// the call took so long.
	return &kv.Error{Kind: kindOf(a.last), Err: fmt.Errorf("%w; the last attempt ended with: %w", redact(err), redact(a.last))}
}

// failWrite is like failRead, for a write.
func (a *attempts) failWrite(err error) *kv.Error {
	e := a.failRead(err)
	e.MayHaveApplied = a.mayHaveApplied(err)
	return e
}

// kindOf returns the sentinel that describes an error of the SDK, or nil if no sentinel does. err
// must not be the error of the call's context.
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

// opError adds the operation and the provider to the error of a function such as New or
// Sweep. The kv.Store does this for its own methods.
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

// errForeign returns the error for data that skykv did not write.
func errForeign(what, want string) error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("%s is not what skykv writes; want %s", what, want)}
}

// errAnswer returns the error of a read whose response the service cannot have sent.
func errAnswer(err error) error { return &kv.Error{Kind: kv.ErrUnavailable, Err: err} }

// These are the errors of responses that the service cannot have sent.
var (
	errNoETag     = errors.New("the response is not from the service: it has no valid ETag")
	errNoList     = errors.New("the response is not from the service: it has no list of entities")
	errOther      = errors.New("the response is not from the service: it has an entity that was not requested")
	errUnreadable = errors.New("the response is not from the service: it cannot be read")
	errRedirected = errors.New("the response is not from the service: the HTTP client followed a redirect")
)

// errNotProvisioned returns err. If err says that the table is missing, errNotProvisioned
// adds to its text that Ensure creates the table.
func (d *driver) errNotProvisioned(err error) error {
	if own, ok := err.(*kv.Error); ok && own.Kind == kv.ErrNotProvisioned {
		own.Err = fmt.Errorf("there is no table %s; providers.Ensure creates it: %w", d.name, own.Err)
	}
	return err
}

// errNoToken returns err with a text that says how to get credentials.
func errNoToken(err error) error {
	return fmt.Errorf("there is no token for the account: set "+envConnectionString+", "+envKey+" or "+envSAS+", or log in, for example by az login: %w", err)
}

// refusedCredential reports whether err says that there is no token for the request. The
// request was not sent in this case.
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

// credentialUnavailable is the type of the errors of missing credentials. azidentity exports
// only the type's constructor.
var credentialUnavailable = reflect.TypeOf(azidentity.NewCredentialUnavailableError(""))

// answer is the content of the response to a request.
type answer struct {
	status int // 0 without a response
	code   aztables.TableErrorCode

	// These are set only by the response to a transaction.
	index int      // index of the operation that made the transaction fail, or -1
	etags []string // the ETags of the operations, "" for a deletion
}

// mayHaveApplied reports whether the request may have been applied, or may yet be applied.
func (a answer) mayHaveApplied() bool {
	switch {
	case a.status < 400, // a success, or a redirect, which the service never sends
		a.status == http.StatusRequestTimeout:
		return true
	case a.status == http.StatusServiceUnavailable:
		// The service sends ServerBusy before it executes a request. A 503 of a proxy does
		// not have this code.
		// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
		return a.code != codeServerBusy
	}
	return a.status >= 500
}

// complete adds the code and status of a failed transaction to the SDK's error. The SDK does
// not read them, because they are in the response's body.
func (a answer) complete(err error) error {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok && e.StatusCode == http.StatusAccepted {
		e.StatusCode, e.ErrorCode = a.status, string(a.code)
	}
	return err
}

// answerOf returns the answer that err describes. It ignores an error code in a successful
// response or a redirect.
func answerOf(err error) answer {
	a := answer{index: -1}
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		if a.status = e.StatusCode; a.status >= 400 {
			a.code = aztables.TableErrorCode(e.ErrorCode)
		}
	}
	return a
}

// codeOf returns the service's error code in err, or "" if there is none.
func codeOf(err error) aztables.TableErrorCode { return answerOf(err).code }

// absent reports whether code says that there is no such entity.
func absent(code aztables.TableErrorCode) bool {
	return code == aztables.ResourceNotFound || code == aztables.EntityNotFound
}

// refused reports whether code says that a condition of this kind failed.
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

// faultOfOne reports whether the service may have refused a transaction because of a single
// write. The other writes may then succeed without it.
func (a answer) faultOfOne() bool {
	return a.status >= 400 && a.status < 500 && a.kind() == nil
}

// readTransaction reads a response to a transaction with the status 202. The service sends this
// status even if the transaction fails: the result is in the parts of the body. If the response
// cannot be read completely, the answer has the status 202 and nothing else from the response.
// https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
func readTransaction(resp *http.Response) answer {
	unreadable := answer{status: resp.StatusCode, index: -1}
	body, err := runtime.Payload(resp) // the SDK has already read the body
	if err != nil {
		return unreadable
	}
	if told := readError(body); told.Code != "" { // the service refused the request as malformed, without trying any operation
		return answer{status: http.StatusBadRequest, code: told.Code, index: -1}
	}
	// The whole body has one part. The responses to the operations are the parts of that
	// part. The closing boundary of the whole body may be missing: Azure Cosmos DB sends none.
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
		case status >= 400: // if one operation fails, the transaction fails
			told := readError(text)
			a.status, a.code, a.index = status, told.Code, told.index()
		case a.status == 0:
			a.status = status
		}
		a.etags = append(a.etags, one.Header.Get("ETag"))
	}
}

// carriedOut reports whether the answer says that a transaction of these operations was
// carried out. Such an answer has one successful part for each operation. Each part has an
// ETag, unless the operation is a deletion.
func (a answer) carriedOut(actions []aztables.TransactionAction) bool {
	if a.status >= 300 || len(a.etags) != len(actions) {
		return false
	}
	for i, etag := range a.etags {
		if actions[i].ActionType != aztables.TransactionTypeDelete && !isETag(etag) {
			return false
		}
	}
	return true
}

// multipartReader returns a reader of the parts of a body. If the header has no boundary,
// there are no parts.
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

// index returns the index of an operation at the beginning of the message, or -1 if there is
// none. It is 3 in "3:The specified resource does not exist."
func (e serviceError) index() int {
	at, _, _ := strings.Cut(e.Message.Value, ":")
	if n, err := strconv.Atoi(at); err == nil && n >= 0 {
		return n
	}
	return -1
}
