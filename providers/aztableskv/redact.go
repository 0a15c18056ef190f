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

// signature is the text before the secret of a shared access signature (SAS). The URLs of a
// client with a SAS have the secret in their query.
const signature = "sig="

// redact returns err without secrets in its message and in the messages of the errors that
// it wraps. It removes the signature of a SAS. It also removes the bodies of responses,
// because a body may repeat parts of the request. If err wraps a *url.Error or an
// *azcore.ResponseError, the result wraps a clean copy of it.
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

// redactedError replaces an error if its message, or one of its causes, was changed.
type redactedError struct {
	message string
	causes  []error
}

func (e *redactedError) Error() string   { return e.message }
func (e *redactedError) Unwrap() []error { return e.causes }

// withoutSignature replaces the value of every sig parameter.
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

// word matches error codes and the IDs of requests. The messages of describe contain no other
// text from the service.
var word = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// describe returns a copy of the error of a response, without the response's body, which the
// SDK's own message quotes. The message is one line. It has the ID of the request, because
// Microsoft's support asks for the ID.
func describe(e *azcore.ResponseError) *azcore.ResponseError {
	a := answerOf(e)
	if !word.MatchString(string(a.code)) {
		a.code = ""
	}
	message := fmt.Sprintf("the service responded %d %s", a.status, http.StatusText(a.status))
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
	// The SDK has no other way to set the error's message.
	text, _ := json.Marshal(map[string]any{"errorCode": a.code, "statusCode": a.status, "errorMessage": message})
	clean := new(azcore.ResponseError)
	if err := json.Unmarshal(text, clean); err != nil {
		clean = &azcore.ResponseError{ErrorCode: string(a.code), StatusCode: a.status}
	}
	clean.RawResponse = &shown
	return clean
}
