package aztableskv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// many is an error that == cannot compare.
type many []error

func (m many) Error() string   { return "many: " + errors.Join(m...).Error() }
func (m many) Unwrap() []error { return m }

// silent wraps an error, and leaves that error out of its own message.
type silent struct{ err error }

func (silent) Error() string   { return "something failed" }
func (s silent) Unwrap() error { return s.err }

// The rule: redact removes the signature of a SAS from every message in a chain of errors.
// The chain still has the errors that callers look for.
func TestRedact(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	const address = "https://account.table.core.windows.net/kv1(PartitionKey='00',RowKey='a')?se=2030&sig=" + secret + "%3D&sp=r"
	reset := &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}
	base := &url.Error{Op: "Get", URL: address, Err: reset}
	for _, err := range []error{
		base,
		fmt.Errorf("wrapped: %w", base),
		fmt.Errorf("twice: %w", fmt.Errorf("wrapped: %w", base)),
		errors.Join(errors.New("other"), base),
		many{errors.New("other"), base},
		silent{base},
		silent{many{silent{base}}},
		&url.Error{Op: "parse", URL: address, Err: base},
		&url.Error{Op: "Get", URL: address, Err: fmt.Errorf("Get %q: %w", address, reset)},
		fmt.Errorf("%s: %w", address, base),
	} {
		clean := redact(err)
		shows(t, clean, secret)
		if op, ok := errors.AsType[*net.OpError](clean); !ok || op != reset {
			t.Errorf("%T %v lost its cause", err, clean)
		}
		if u, ok := errors.AsType[*url.Error](clean); !ok || strings.Contains(u.URL, "?") || !strings.Contains(u.URL, "RowKey='a'") {
			t.Errorf("%T %v lost its *url.Error", err, clean)
		}
	}
	answer := runtime.NewResponseError(&http.Response{StatusCode: 400, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(secretValue))})
	for _, err := range []error{answer, fmt.Errorf("a user's policy: %w", answer), errors.Join(answer, base)} {
		shows(t, redact(err), secretValue)
		if e, ok := errors.AsType[*azcore.ResponseError](redact(err)); !ok || e.StatusCode != 400 {
			t.Errorf("%T lost the SDK's error", err)
		}
	}
	text := errors.New(`three sig=` + secret + ` "sig=` + secret + `" <sig=` + secret + `>`)
	shows(t, redact(text), secret)
	if got, want := redact(text).Error(), `three sig=REDACTED "sig=REDACTED" <sig=REDACTED>`; got != want {
		t.Errorf("text is redacted to %s, want %s", got, want)
	}
	for _, err := range []error{reset, context.Canceled, fmt.Errorf("plain: %w", context.DeadlineExceeded), nil} {
		if clean := redact(err); clean != err {
			t.Errorf("%v became %v, though it shows nothing", err, clean)
		}
	}
}

// The rule: a response may repeat the request's signature or value. No message of an error
// contains them.
func TestAnswersAreNotQuoted(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-ms-error-code", "AuthenticationFailed")
		w.Header().Set("x-ms-request-id", "request-17")
		if r.URL.Query().Get("quote") != "" { // even the error code and the request's ID repeat secrets
			w.Header().Set("x-ms-error-code", secretValue)
			w.Header().Set("x-ms-request-id", r.URL.RawQuery)
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "<error><message>%s %s %s</message></error>", r.URL, r.URL.Query().Get("sig"), secretValue)
	}))
	t.Cleanup(server.Close)
	client, err := aztables.NewServiceClientWithNoCredential(server.URL+"/?sp=r&sig="+secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newDriver("open", client, "kv1", &Options{Retry: quick})
	if err != nil {
		t.Fatal(err)
	}
	quoting, err := aztables.NewServiceClientWithNoCredential(server.URL+"/?quote=1&sig="+secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = EnsureWith(t.Context(), quoting, "kv1", nil)
	if !errors.Is(err, kv.ErrPermission) {
		t.Errorf("%v; want ErrPermission", err)
	}
	shows(t, err, secret)
	shows(t, err, secretValue)
	for op, do := range operations(t.Context(), kv.New(d), kv.Version{}) {
		if strings.Contains(op, "version") {
			continue
		}
		err := do()
		if !errors.Is(err, kv.ErrPermission) || !strings.Contains(err.Error(), "403 Forbidden, AuthenticationFailed (request request-17)") {
			t.Errorf("%s: %v; want ErrPermission, with the status, the code and the request's id", op, err)
		}
		shows(t, err, secret)
		shows(t, err, secretValue)
		answer, ok := errors.AsType[*azcore.ResponseError](err)
		if !ok || answer.StatusCode != 403 || answer.ErrorCode != "AuthenticationFailed" || answer.RawResponse.Header.Get("x-ms-request-id") != "request-17" {
			t.Errorf("%s: the SDK's error is %+v", op, answer)
		}
	}
}

// The rule: if the client cannot read a response, the message does not quote the response.
func TestUnreadableAnswersAreNotQuoted(t *testing.T) {
	t.Parallel()
	const parts = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n\r\n"
	for name, answer := range map[string]http.HandlerFunc{
		"in the header": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", secretValue)
			w.WriteHeader(success(r))
		},
		"in the first line of a part": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "multipart/mixed; boundary=b")
			w.WriteHeader(success(r))
			io.WriteString(w, parts+secretValue+"\r\n\r\n--c--\r\n--b--\r\n")
		},
		"in the header of a part": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "multipart/mixed; boundary=b")
			w.WriteHeader(success(r))
			io.WriteString(w, parts+"HTTP/1.1 204 No Content\r\n"+secretValue+"\r\n\r\n--c--\r\n--b--\r\n")
		},
	} {
		f := newFake(t, "kv1")
		s, answers := hostile(t, f, &Options{Retry: quick})
		answers.Store(&answer)
		for op, do := range operations(t.Context(), s, kv.Version{}) {
			if strings.Contains(op, "version") {
				continue
			}
			if err := do(); err != nil {
				shows(t, err, secretValue)
			}
		}
		if err := operations(t.Context(), s, kv.Version{})["put many"](); !errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("a batch, with a value %s: %v; want ErrIndeterminate", name, err)
		}
	}
}

// The rule: if a server has no TLS or a wrong certificate, a write returns ErrUnavailable. It
// does not return ErrIndeterminate, because it was not sent.
func TestBrokenTLS(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	self := httptest.NewUnstartedServer(http.NotFoundHandler())
	self.TLS = &tls.Config{}
	self.Config.ErrorLog = discard
	self.StartTLS()
	t.Cleanup(self.Close)
	for _, address := range []string{strings.Replace(plain.URL, "http:", "https:", 1), self.URL} {
		client := fakeClient(t, address, &http.Client{Transport: newTransport()})
		d, err := newDriver("open", client, "kv1", &Options{Shards: 1, Retry: quick})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.New(d).Put(t.Context(), "a", nil); !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("%v; want ErrUnavailable alone", err)
		}
	}
}
