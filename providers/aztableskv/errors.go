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

// Error codes beside those that aztables declares.
// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
const (
	codeServerBusy                = "ServerBusy"
	codeInvalidAuthenticationInfo = "InvalidAuthenticationInfo"
)

// failRead returns the error of a failed read as the store wants it.
func (a *attempts) failRead(err error) *kv.Error {
	switch {
	case a.over == nil || !errors.Is(err, a.over):
		return &kv.Error{Kind: kindOf(err), Err: redact(err)}
	case a.timedOut && a.last == nil:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: attempt.ErrStoreTimeout}
	case a.timedOut:
		return &kv.Error{Kind: kindOf(a.last), Err: fmt.Errorf("%w after an attempt that failed: %w", attempt.ErrStoreTimeout, redact(a.last))}
	case a.last == nil:
		return &kv.Error{Err: redact(err)}
	}
	// The end of the context hides why the call took that long.
	return &kv.Error{Kind: kindOf(a.last), Err: fmt.Errorf("%w after an attempt that failed: %w", redact(err), redact(a.last))}
}

// failWrite is failRead for a call that may have changed something.
func (a *attempts) failWrite(err error) *kv.Error {
	e := a.failRead(err)
	e.MayHaveApplied = a.mayHaveApplied(err)
	return e
}

// kindOf returns the sentinel that an error of the SDK matches, when it is not the
// end of the call's context.
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

// opError is the error of an operation outside of any store.
func opError(op string, err error) error {
	e := kv.Error{Err: err}
	if own, ok := err.(*kv.Error); ok {
		e = *own
	}
	e.Op, e.Provider = op, name
	return &e
}

// errInvalid is the error of an argument.
func errInvalid(op, format string, args ...any) error {
	return opError(op, &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)})
}

// errForeign is the error of something that skykv did not write.
func errForeign(what, want string) error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("%s is not what skykv writes; want %s", what, want)}
}

// errAnswer is the error of an answer to a read that cannot be the service's.
func errAnswer(err error) error { return &kv.Error{Kind: kv.ErrUnavailable, Err: err} }

// What an answer that cannot be the service's lacks, or has too much.
var (
	errNoETag     = errors.New("the service's answer has no ETag")
	errNoList     = errors.New("the service's answer has no list of entities")
	errOther      = errors.New("the service's answer has an entity that was not asked for")
	errRedirected = errors.New("the answer is not the service's: the client followed a redirect")
)

// errNotProvisioned adds to an error that there is no table what creates it.
func (d *driver) errNotProvisioned(err error) error {
	if own, ok := err.(*kv.Error); ok && own.Kind == kv.ErrNotProvisioned {
		own.Err = fmt.Errorf("there is no table %s, Ensure creates it: %w", d.name, own.Err)
	}
	return err
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

	// Of the answer to a transaction:
	index int      // of the operation that made it fail, or -1
	etags []string // of its operations, "" for a deletion
}

// mayHaveApplied reports whether the request may have changed something, or may yet.
func (a answer) mayHaveApplied() bool {
	switch {
	case a.status < 400, // a redirect is no answer of the service's
		a.status == http.StatusRequestTimeout:
		return true
	case a.status == http.StatusServiceUnavailable:
		// The service turns requests away with this code before it executes them; a
		// proxy's 503 says nothing of the kind.
		// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
		return a.code != codeServerBusy
	}
	return a.status >= 500
}

// complete completes the SDK's error for the answer: what a transaction failed with is
// in the answer's body, which is not read again.
func (a answer) complete(err error) error {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok && e.StatusCode == http.StatusAccepted {
		e.StatusCode, e.ErrorCode = a.status, string(a.code)
	}
	return err
}

// answerOf returns the answer that err describes. An error's code in the answer to a success
// or a redirect says nothing.
func answerOf(err error) answer {
	a := answer{index: -1}
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		if a.status = e.StatusCode; a.status >= 400 {
			a.code = aztables.TableErrorCode(e.ErrorCode)
		}
	}
	return a
}

// codeOf returns the service's error code behind err, "" when there is none.
func codeOf(err error) aztables.TableErrorCode { return answerOf(err).code }

// absent reports whether code says that there is no such entity.
func absent(code aztables.TableErrorCode) bool {
	return code == aztables.ResourceNotFound || code == aztables.EntityNotFound
}

// refused reports whether code says that a condition does not hold.
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
		return kv.ErrUnavailable // below 400, the answer cannot be the service's
	}
	return nil
}

// faultOfOne reports whether the service refused a transaction for what is wrong
// with a single write, so that the others have a chance without it.
func (a answer) faultOfOne() bool {
	return a.status >= 400 && a.status < 500 && a.kind() == nil
}

// readTransaction reads the answer to a transaction, which has the status 202 in any
// case: what became of it is in the parts of the body. Nothing is believed of an answer
// that is not complete, and it keeps the status 202.
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
	// The operations' answers are the parts of the one part that there is. What comes
	// after their closing boundary is of no interest: Azure Cosmos DB sends nothing.
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
		if err == io.EOF && a.status != 0 { // exactly this error tells that the last boundary was there
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
		case status >= 400: // the failure of one is that of all
			told := readError(text)
			a.status, a.code, a.index = status, told.Code, told.index()
		case a.status == 0:
			a.status = status
		}
		a.etags = append(a.etags, one.Header.Get("ETag"))
	}
}

// carriedOut reports whether the answer tells that a transaction of these operations was
// carried out: as many parts as operations, each a success, and an ETag in all but
// those of deletions.
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

// multipartReader reads the parts of a body, of which there are none unless its header
// names a boundary.
func multipartReader(header http.Header, body []byte) *multipart.Reader {
	_, params, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return multipart.NewReader(bytes.NewReader(body), params["boundary"])
}

// serviceError is an error as the service writes it.
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

// index returns the index of an operation that the message starts with, such as
// "3:The specified resource does not exist.", or -1.
func (e serviceError) index() int {
	at, _, _ := strings.Cut(e.Message.Value, ":")
	if n, err := strconv.Atoi(at); err == nil && n >= 0 {
		return n
	}
	return -1
}
