package aztableskv

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// signature starts the secret of a shared access signature (SAS), which the
// SDK's client has in the query of every URL.
const signature = "sig="

// redact returns err with nothing in its messages, nor in those of the errors it
// wraps, that they must not show: the signature of a SAS, and the bodies of
// answers, which may repeat parts of a request. *url.Error and
// *azcore.ResponseError stay in the chain for callers to find.
func redact(err error) error {
	clean, _ := redacted(err)
	return clean
}

func redacted(err error) (clean error, changed bool) {
	switch e := err.(type) {
	case nil:
		return nil, false
	case *azcore.ResponseError:
		return describe(e), true
	case *url.Error:
		address, _, _ := strings.Cut(e.URL, "?")
		return &url.Error{Op: e.Op, URL: withoutSignature(address), Err: redact(e.Err)}, true
	}
	var causes []error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		causes = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		causes = slices.Clone(e.Unwrap())
	}
	causes = slices.DeleteFunc(causes, func(cause error) bool { return cause == nil })
	message := err.Error()
	for i, cause := range causes {
		if cause, dirty := redacted(cause); dirty {
			message = strings.ReplaceAll(message, causes[i].Error(), cause.Error())
			causes[i], changed = cause, true
		}
	}
	if !changed && !strings.Contains(message, signature) {
		return err, false
	}
	return &redactedError{message: withoutSignature(message), causes: causes}, true
}

// redactedError stands for an error whose message, or that of an error below it,
// had to be changed.
type redactedError struct {
	message string
	causes  []error
}

func (e *redactedError) Error() string   { return e.message }
func (e *redactedError) Unwrap() []error { return e.causes }

// withoutSignature removes the value of every sig parameter.
func withoutSignature(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, signature)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString(signature + "REDACTED")
		end := strings.IndexAny(after, "& \t\r\n\"'`<>")
		if end < 0 {
			return b.String()
		}
		s = after[end:]
	}
}

// word is what error codes and the ids of requests look like. A service that puts
// something else there is not repeated.
var word = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// describe returns the service's answer without its body, which the SDK's own
// message quotes: in one line, with what Microsoft's support asks for.
func describe(e *azcore.ResponseError) *azcore.ResponseError {
	a := answerOf(e)
	if !word.MatchString(string(a.code)) {
		a.code = ""
	}
	message := fmt.Sprintf("the service answered %d %s", a.status, http.StatusText(a.status))
	if a.code != "" {
		message += fmt.Sprintf(", %s", a.code)
	}
	shown := http.Response{Status: http.StatusText(a.status), StatusCode: a.status, Header: http.Header{}, Body: http.NoBody}
	if e.RawResponse != nil {
		shown.Header = e.RawResponse.Header
		if id := shown.Header.Get("x-ms-request-id"); word.MatchString(id) {
			message += " (request " + id + ")"
		}
	}
	// Its message can be set no other way.
	text, _ := json.Marshal(map[string]any{"errorCode": a.code, "statusCode": a.status, "errorMessage": message})
	clean := new(azcore.ResponseError)
	if err := json.Unmarshal(text, clean); err != nil {
		clean = &azcore.ResponseError{ErrorCode: string(a.code), StatusCode: a.status}
	}
	clean.RawResponse = &shown
	return clean
}
