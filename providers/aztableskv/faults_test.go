package aztableskv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

const secretValue = "the value that no message may contain"

// operations returns calls of a store's methods, by name. A call for one key has the key "a".
// A put stores secretValue. A call "by version" has the condition IfVersion(version).
func operations(ctx context.Context, s *kv.Store, version kv.Version) map[string]func() error {
	value := []byte(secretValue)
	return map[string]func() error{
		"get":               func() error { _, err := s.Get(ctx, "a"); return err },
		"exists":            func() error { _, err := s.Exists(ctx, "a"); return err },
		"scan":              func() error { _, err := s.ScanPage(ctx, "", 10, ""); return err },
		"get many":          func() error { _, err := s.GetMany(ctx, []string{"a", "b"}); return err },
		"put":               func() error { _, err := s.Put(ctx, "a", value); return err },
		"put if absent":     func() error { _, err := s.Put(ctx, "a", value, kv.IfNotExists()); return err },
		"put by version":    func() error { _, err := s.Put(ctx, "a", value, kv.IfVersion(version)); return err },
		"delete":            func() error { return s.Delete(ctx, "a") },
		"delete by version": func() error { return s.Delete(ctx, "a", kv.IfVersion(version)) },
		"touch":             func() error { _, err := s.Touch(ctx, "a", kv.TTL(time.Hour)); return err },
		"touch by version": func() error {
			_, err := s.Touch(ctx, "a", kv.TTL(time.Hour), kv.IfVersion(version))
			return err
		},
		"atomic write": func() error {
			_, err := s.AtomicWrite(ctx, kv.PutOp("a", value), kv.PutOp("a::b", value))
			return err
		},
		"put many":      func() error { _, err := s.PutMany(ctx, sameShard(10, value)); return err },
		"delete many":   func() error { return s.DeleteMany(ctx, keysOf(sameShard(10, nil))) },
		"delete prefix": func() error { _, err := s.DeletePrefix(ctx, "a"); return err },
	}
}

// sameShard returns items whose keys are all in one shard, if the store has the default
// number of shards. A store then puts up to 100 of them in one transaction.
func sameShard(n int, value []byte) []kv.Item {
	var items []kv.Item
	for i := 0; len(items) < n; i++ {
		if key := fmt.Sprintf("k%d", i); kv.Shard(key, DefaultShards) == 3 {
			items = append(items, kv.Item{Key: key, Value: value})
		}
	}
	return items
}

func keysOf(items []kv.Item) []string {
	var keys []string
	for _, item := range items {
		keys = append(keys, item.Key)
	}
	return keys
}

// The function writes reports whether the first request of an operation is a write. A touch
// without a version begins with a read. A deletion by prefix does so too, but writes returns true
// for it.
func writes(op string) bool {
	return strings.Contains(op, "put") || strings.Contains(op, "delete") || op == "touch by version" || op == "atomic write"
}

// The rule: the error of a refusal has the sentinel of its kind, if there is one, and no other
// sentinel except ErrIndeterminate. If the service refused a write before executing it, the
// write is not indeterminate. If the service failed while executing the write, the write is
// indeterminate. No message contains a value or the service's text.
func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		fault         fault
		kind          error // nil if there is no sentinel
		indeterminate bool
		attempts      int
	}{
		{"server busy", fault{status: 503, code: "ServerBusy"}, kv.ErrThrottled, false, 4},
		{"too many requests", fault{status: 429, code: "TooManyRequests"}, kv.ErrThrottled, false, 4},
		{"too many requests, by a proxy", fault{status: 429, plain: true}, kv.ErrThrottled, false, 4},
		{"internal error", fault{status: 500, code: "InternalError"}, kv.ErrUnavailable, true, 4},
		{"timed out", fault{status: 500, code: "OperationTimedOut"}, kv.ErrUnavailable, true, 4},
		{"unavailable, by a proxy", fault{status: 503, plain: true}, kv.ErrUnavailable, true, 4},
		{"bad gateway", fault{status: 502, plain: true}, kv.ErrUnavailable, true, 4},
		{"request timeout", fault{status: 408, plain: true}, kv.ErrUnavailable, true, 4},
		{"wrong key", fault{status: 403, code: "AuthenticationFailed"}, kv.ErrPermission, false, 1},
		{"no permission", fault{status: 403, code: "AuthorizationPermissionMismatch"}, kv.ErrPermission, false, 1},
		{"disabled account", fault{status: 403, code: "AccountIsDisabled"}, kv.ErrPermission, false, 1},
		{"expired token", fault{status: 401, code: "InvalidAuthenticationInfo"}, kv.ErrPermission, false, 1},
		{"malformed credentials", fault{status: 400, code: "InvalidAuthenticationInfo"}, kv.ErrPermission, false, 1},
		{"missing table", fault{status: 404, code: "TableNotFound"}, kv.ErrNotProvisioned, false, 1},
		{"table being deleted", fault{status: 409, code: "TableBeingDeleted"}, kv.ErrNotProvisioned, false, 1},
		{"bad input", fault{status: 400, code: "InvalidInput"}, nil, false, 1},
		{"too large", fault{status: 413, code: "RequestBodyTooLarge"}, nil, false, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "kv1")
			s := f.store(nil)
			version, err := s.Put(t.Context(), "a", []byte(secretValue))
			if err != nil {
				t.Fatal(err)
			}
			test.fault.text = "text with " + secretValue
			test.fault.index = -1 // refuse a transaction as a whole, like other requests
			ops := operations(t.Context(), s, version)
			f.setFault(func(*http.Request) fault { return test.fault })
			for _, op := range []string{"get", "exists", "put", "put if absent", "put by version", "delete", "delete by version", "touch", "touch by version"} {
				f.take()
				ops[op]()
				if requests := f.take(); len(requests) != test.attempts {
					t.Errorf("%s makes %d requests, want %d", op, len(requests), test.attempts)
				}
			}
			for op, do := range ops {
				err := do()
				for _, kind := range kinds {
					if want := kind == test.kind || kind == kv.ErrIndeterminate && test.indeterminate && writes(op) && op != "delete prefix"; errors.Is(err, kind) != want {
						t.Errorf("%s: errors.Is(err, %q) is %t; want %t: %v", op, kind, !want, want, err)
					}
				}
				answer, ok := errors.AsType[*azcore.ResponseError](err)
				if !ok || answer.StatusCode != test.fault.status || answer.ErrorCode != test.fault.code {
					t.Errorf("%s: the SDK's error is %v; want status %d and code %q", op, answer, test.fault.status, test.fault.code)
				}
				shows(t, err, secretValue)
			}
		})
	}
}

// kinds are the sentinels with which TestRefusals compares each error.
var kinds = []error{
	kv.ErrNotFound, kv.ErrConditionFailed, kv.ErrNotProvisioned, kv.ErrIncompatible, kv.ErrPermission,
	kv.ErrThrottled, kv.ErrUnavailable, kv.ErrIndeterminate, kv.ErrInvalidOption,
}

// shows makes the test fail if there is no error, or if the message of err, or of an error that
// it wraps, contains text.
func shows(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil {
		t.Error("there is no error")
		return
	}
	for _, format := range []string{"%v", "%+v", "%s"} {
		if message := fmt.Sprintf(format, err); strings.Contains(message, text) {
			t.Errorf("a %T shows %q: %s", err, text, message)
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			shows(t, cause, text)
		}
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			shows(t, cause, text)
		}
	}
}

// The rule: if a condition fails after attempts that were refused, the error is only
// ErrConditionFailed.
func TestConflictAfterThrottling(t *testing.T) {
	t.Parallel()
	for _, busy := range []fault{{status: 503, code: "ServerBusy"}, {status: 429, plain: true}} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		ctx := t.Context()
		stale, err := s.Put(ctx, "a", []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(ctx, "a", []byte("2")); err != nil {
			t.Fatal(err)
		}
		for op, do := range operations(ctx, s, stale) {
			if op != "put if absent" && op != "put by version" && op != "delete by version" && op != "touch by version" {
				continue
			}
			n := 0
			f.setFault(func(*http.Request) fault {
				if n++; n == 1 {
					return busy
				}
				return fault{}
			})
			if err := do(); !errors.Is(err, kv.ErrConditionFailed) || errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("%s after status %d: %v; want ErrConditionFailed alone", op, busy.status, err)
			}
		}
	}
}

// lost are the ways to lose the response to a request.
var lost = map[string]fault{
	"connection cut":  {serve: true, cut: true},
	"internal error":  {serve: true, status: 500, code: "InternalError"},
	"gateway timeout": {serve: true, status: 504, plain: true},
	"proxy's 503":     {serve: true, status: 503, plain: true},
}

// The rule: after an attempt whose response was lost, every later error of the write is
// ErrIndeterminate, even if the retry was refused.
func TestLostAnswerThenRefused(t *testing.T) {
	t.Parallel()
	for _, refusal := range []fault{
		{status: 403, code: "AuthenticationFailed"}, {status: 503, code: "ServerBusy"},
		{status: 400, code: "InvalidInput", index: -1}, {status: 404, code: "TableNotFound", index: -1},
	} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		version, err := s.Put(t.Context(), "a", []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		for op, do := range operations(t.Context(), s, version) {
			if !writes(op) || op == "delete prefix" {
				continue
			}
			n := 0
			f.setFault(func(r *http.Request) fault {
				if r.Method == "GET" { // possibly a late request of the previous operation
					return refusal
				}
				if n++; n == 1 {
					return fault{cut: true}
				}
				return refusal
			})
			if err := do(); !errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("%s, cut and then refused with %s: %v; want ErrIndeterminate", op, refusal.code, err)
			}
		}
	}
}

// The rule: if the read after a failed condition fails, the write is indeterminate only if
// an earlier attempt may have been applied.
func TestConflictThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		stale, err := s.Put(t.Context(), "a", []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "a", []byte("2")); err != nil {
			t.Fatal(err)
		}
		for op, do := range operations(t.Context(), s, stale) {
			if op != "put if absent" && op != "put by version" && op != "delete by version" && op != "touch by version" {
				continue
			}
			n := 0
			f.setFault(func(r *http.Request) fault {
				switch n++; {
				case r.Method == "GET":
					return fault{status: 403, code: "AuthorizationPermissionMismatch"}
				case n == 1 && lost:
					return fault{cut: true}
				}
				return fault{}
			})
			if err := do(); !errors.Is(err, kv.ErrPermission) || errors.Is(err, kv.ErrIndeterminate) != lost {
				t.Errorf("%s, first attempt lost: %t: %v; want ErrPermission, ErrIndeterminate: %t", op, lost, err, lost)
			}
		}
	}
}

// The rule: a write that was never sent is not indeterminate. If an endpoint cannot be
// reached, the error is ErrUnavailable, even if the context ends before all attempts were
// made. No message contains the signature of a SAS.
func TestDeadEndpoint(t *testing.T) {
	t.Parallel()
	// No program listens on this port. The port of a closed server might be reused.
	const dead = "http://127.0.0.1:1"
	const secret = "s3cr3t%2Fsignature"
	client, err := aztables.NewServiceClientWithNoCredential(dead+"?sv=2019-02-02&sp=raud&sig="+secret, &aztables.ClientOptions{
		// A program may add its own policies to the client. This one wraps errors and puts
		// the URL, with the signature, into their text.
		ClientOptions: policy.ClientOptions{PerCallPolicies: []policy.Policy{wrapping{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for op := range operations(t.Context(), nil, kv.Version{}) {
		if strings.Contains(op, "version") {
			continue
		}
		for _, ends := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			retry := quick
			if ends { // the context ends after the first attempt
				retry.ShouldRetry = func(*http.Response, error) bool { cancel(); return true }
			}
			d, err := newDriver("open", client, "kv1", &Options{Retry: retry})
			if err != nil {
				t.Fatal(err)
			}
			err = operations(ctx, kv.New(d), kv.Version{})[op]()
			cancel()
			if ends && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v; want context.Canceled", op, err)
			}
			if ends && (op == "scan" || op == "delete prefix") {
				continue // the store may return the context's error without waiting for the shards
			}
			if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("%s: %v; want ErrUnavailable, and not ErrIndeterminate: nothing was sent", op, err)
			}
			if _, ok := errors.AsType[*url.Error](err); !ok {
				t.Errorf("%s: the error has no *url.Error in it: %v", op, err)
			}
			shows(t, err, "s3cr3t")
		}
	}
	_, err = New(t.Context(), client, "kv1", claiming(&Options{Retry: quick}))
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("New: %v; want ErrUnavailable", err)
	}
	shows(t, err, "s3cr3t")
}

type wrapping struct{}

func (wrapping) Do(req *policy.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err != nil {
		err = fmt.Errorf("a user's policy on %s: %w", req.Raw().URL, err)
	}
	return resp, err
}

// The rule: if the context ends during a write, the error is ErrIndeterminate. If the context
// had ended before the write, the error is not ErrIndeterminate.
func TestCancelledWrites(t *testing.T) {
	t.Parallel()
	for op := range operations(t.Context(), nil, kv.Version{}) {
		f := newFake(t, "kv1") // one for each operation: a scan's requests may outlive the scan
		s := f.store(nil)
		version, err := s.Put(t.Context(), "a", []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		f.take()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = operations(ctx, s, version)[op]()
		if !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("%s, cancelled before: %v; want context.Canceled alone", op, err)
		}
		if requests := f.take(); len(requests) > 0 {
			t.Errorf("%s, cancelled before, makes the requests %q", op, requests)
		}
		ctx, cancel = context.WithCancel(t.Context())
		f.setFault(func(r *http.Request) fault {
			cancel()
			<-r.Context().Done() // until the client hangs up
			return fault{}
		})
		err = operations(ctx, s, version)[op]()
		if want := writes(op) && op != "delete prefix"; !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrIndeterminate) != want {
			t.Errorf("%s, cancelled while it runs: %v; want context.Canceled, and ErrIndeterminate: %t", op, err, want)
		}
	}
}

// The rule: Options.Retry has the same effect as retry options have in the SDK's client.
func TestRetryOptions(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	for _, test := range []struct {
		retry policy.RetryOptions
		want  int
	}{
		{policy.RetryOptions{RetryDelay: time.Millisecond}, 4},
		{policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetries: 5}, 6},
		{policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetries: -1}, 1},
		{policy.RetryOptions{RetryDelay: time.Millisecond, StatusCodes: []int{500}}, 1},
		{policy.RetryOptions{RetryDelay: time.Millisecond, StatusCodes: []int{503}}, 4},
		{policy.RetryOptions{RetryDelay: time.Millisecond, ShouldRetry: func(*http.Response, error) bool { return false }}, 1},
	} {
		s := f.store(&Options{Retry: test.retry})
		f.setFault(func(*http.Request) fault { return fault{status: 503, code: "ServerBusy"} })
		if _, err := s.Put(t.Context(), "a", nil); !errors.Is(err, kv.ErrThrottled) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("%+v: %v; want ErrThrottled alone", test.retry, err)
		}
		f.setFault(nil)
		if got := len(f.take()); got != test.want {
			t.Errorf("%+v: %d attempts; want %d", test.retry, got, test.want)
		}
	}
}

// The rule: without options, a throttled store retries like the SDK. It waits for as long as
// the service requests.
func TestDefaultRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "kv1")
		s, err := New(t.Context(), fakeClient(t, "http://account.example", f), "kv1", claiming(nil))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		f.setFault(func(*http.Request) fault {
			if n++; n <= 3 {
				return fault{status: 503, code: "ServerBusy", headers: http.Header{"Retry-After": {"7"}}}
			}
			return fault{}
		})
		start := time.Now()
		if _, err := s.Put(t.Context(), "a", nil); err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited != 21*time.Second || n != 4 {
			t.Errorf("%d attempts in %v; want 4 in 21s", n, waited)
		}
	})
}

// The rule: if the response to a put or a read has no ETag, the operation returns an error. It
// has no version to return.
func TestMissingETag(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(nil)
	f.setFault(func(*http.Request) fault { return fault{noETag: true} })
	if _, err := s.Put(t.Context(), "a", nil); !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("put: %v; want ErrUnavailable and ErrIndeterminate", err)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("get: %v; want ErrUnavailable", err)
	}
}

// The rule: if the credentials get no token, the error is ErrPermission, and no part of the
// write was sent.
func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	identity := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no", http.StatusBadRequest)
	}))
	t.Cleanup(identity.Close)
	for name, cred := range map[string]azcore.TokenCredential{
		"unavailable": tokens(func(ctx context.Context) error {
			// Real credentials make requests too, for example to the endpoint of managed
			// identities on a machine that has no identity.
			r, err := http.NewRequestWithContext(ctx, "GET", identity.URL, nil)
			if err != nil {
				return err
			}
			resp, err := identity.Client().Do(r)
			if err != nil {
				return err
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return azidentity.NewCredentialUnavailableError("no identity here\n------\ntried it")
		}),
		"refused": tokens(func(context.Context) error { return &azidentity.AuthenticationFailedError{} }),
	} {
		client, err := aztables.NewServiceClient(server.URL, cred, &aztables.ClientOptions{ClientOptions: policy.ClientOptions{Transport: server.Client()}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDriver("open", client, "kv1", &Options{Retry: quick})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.New(d).Put(t.Context(), "a", nil); !errors.Is(err, kv.ErrPermission) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("%s: %v; want ErrPermission alone", name, err)
		} else if !strings.Contains(err.Error(), envKey) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "---") {
			t.Errorf("%s: rule: the message says how to get credentials, in one line; got %v", name, err)
		}
		meter := kv.NewMeter(nil)
		_, _ = d.Get(t.Context(), kv.GetRequest{Key: "a", WithValue: true, Meter: meter})
		_, _ = d.Write(t.Context(), kv.WriteRequest{Write: putting("a", kv.Condition{}), Meter: meter})
		if meter.Requests() != 0 || meter.Attempts() != 0 {
			t.Errorf("%s: rule: a meter counts requests that were sent; without a token it has %d requests, %d attempts", name, meter.Requests(), meter.Attempts())
		}
	}
	if requests := f.take(); len(requests) > 0 {
		t.Errorf("without a token the requests %q were made", slices.Compact(requests))
	}
}

// The rule: if a write still waits for a token when its context ends, it was not sent. It is
// indeterminate only if an earlier attempt may have been applied. With a client that does
// not report what it sends, the write is always indeterminate.
func TestTokensThatAreAwaited(t *testing.T) {
	t.Parallel()
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200) }))
	t.Cleanup(identity.Close)
	for _, test := range []struct {
		name          string
		traces        bool // whether the client reports what it sends, as Open's client does
		sent          int  // number of requests that are sent before the wait for a token
		fault         fault
		indeterminate bool
	}{
		{"at once", true, 0, fault{}, false},
		{"after a lost response", true, 1, fault{serve: true, cut: true}, true},
		{"after throttling", true, 1, fault{status: 503, code: "ServerBusy"}, false},
		{"at once, by a client of one's own", false, 0, fault{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for op := range operations(t.Context(), nil, kv.Version{}) {
				if !writes(op) || op == "delete prefix" || strings.Contains(op, "version") {
					continue
				}
				f := newFake(t, "kv1")
				f.setFault(func(*http.Request) fault { return test.fault })
				server := httptest.NewTLSServer(f)
				t.Cleanup(server.Close)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				asked := 0
				cred := tokens(func(ctx context.Context) error {
					// Credentials use their own connections, but the call's context.
					r, err := http.NewRequestWithContext(ctx, "GET", identity.URL, nil)
					if err != nil {
						return err
					}
					resp, err := http.DefaultClient.Do(r)
					if err != nil {
						return err
					}
					resp.Body.Close()
					if asked++; asked > test.sent {
						cancel()
						return ctx.Err()
					}
					return nil
				})
				client, err := aztables.NewServiceClient(server.URL, cred, &aztables.ClientOptions{ClientOptions: policy.ClientOptions{Transport: tracer{server.Client()}}})
				if err != nil {
					t.Fatal(err)
				}
				d, err := newDriver("open", client, "kv1", &Options{Retry: quick})
				if err != nil {
					t.Fatal(err)
				}
				d.traces = test.traces
				err = operations(ctx, kv.New(d), kv.Version{})[op]()
				if !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrIndeterminate) != test.indeterminate {
					t.Errorf("%s: %v; want context.Canceled, and ErrIndeterminate: %t", op, err, test.indeterminate)
				}
				if got := len(f.take()); got != test.sent {
					t.Errorf("%s made %d requests; want %d", op, got, test.sent)
				}
			}
		})
	}
}

// The rule: the client of Open reports what it sends. If the context ends while a write is
// under way, the write may have been applied.
func TestOpenTraces(t *testing.T) {
	f := newFake(t, "kv1")
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	trusting(t, server.URL)
	s, err := Open(t.Context(), "aztables://account/kv1?layout=skykv&endpoint="+url.QueryEscape(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for op := range operations(t.Context(), s, kv.Version{}) {
		if !writes(op) || op == "delete prefix" || strings.Contains(op, "version") {
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		f.setFault(func(r *http.Request) fault {
			cancel()
			<-r.Context().Done() // until the client hangs up
			return fault{}
		})
		if err := operations(ctx, s, kv.Version{})[op](); !errors.Is(err, context.Canceled) || !errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("%s, cancelled while it runs: %v; want context.Canceled and ErrIndeterminate", op, err)
		}
	}
}

type tokens func(context.Context) error

func (get tokens) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, get(ctx)
}

// The rule: a timeout of the client itself does not count as the end of the call's context.
// The error is ErrUnavailable.
func TestClientTimeout(t *testing.T) {
	t.Parallel()
	hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	transport := newTransport()
	t.Cleanup(transport.CloseIdleConnections)
	for name, service := range map[string]struct {
		client *http.Client
		retry  policy.RetryOptions
	}{
		"of an attempt": {&http.Client{Transport: transport}, policy.RetryOptions{TryTimeout: 300 * time.Millisecond, MaxRetries: -1}},
		"of the client": {&http.Client{Transport: transport, Timeout: 300 * time.Millisecond}, policy.RetryOptions{MaxRetries: -1}},
	} {
		d, err := newDriver("open", fakeClient(t, hanging.URL, service.client), "kv1", &Options{Shards: 1, Retry: service.retry})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.New(d).Put(t.Context(), "a", nil); !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("timeout %s: %v; want ErrUnavailable and ErrIndeterminate", name, err)
		}
	}
}
