package dynamokv

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/skykv/skykv/kv"
)

var sentinels = []error{
	kv.ErrNotFound, kv.ErrConditionFailed, kv.ErrInvalidKey, kv.ErrValueTooLarge, kv.ErrInvalidOption,
	kv.ErrInvalidCursor, kv.ErrInvalidVersion, kv.ErrNotProvisioned, kv.ErrIncompatible, kv.ErrPermission,
	kv.ErrThrottled, kv.ErrUnavailable, kv.ErrClosed, context.Canceled, context.DeadlineExceeded,
}

// wantError checks that err matches kind and no other sentinel. If kind is nil, err must
// match no sentinel. wantError also checks whether err is indeterminate, and that its
// message has all the parts.
func wantError(t *testing.T, what string, err, kind error, indeterminate bool, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error; want %v", what, kind)
		return
	}
	for _, sentinel := range sentinels {
		if got := errors.Is(err, sentinel); got != (kind != nil && errors.Is(kind, sentinel)) {
			t.Errorf("%s: errors.Is(err, %q) = %v: %v", what, sentinel, got, err)
		}
	}
	if got := errors.Is(err, kv.ErrIndeterminate); got != indeterminate {
		t.Errorf("%s: indeterminate: %v; want %v: %v", what, got, indeterminate, err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the message does not contain %q: %v", what, part, err)
		}
	}
	if !strings.Contains(err.Error(), "dynamodb") {
		t.Errorf("%s: the message does not name the provider: %v", what, err)
	}
	wantNoSecret(t, err)
}

// wantNoSecret looks for values and credentials in all messages of a tree of errors.
func wantNoSecret(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{"payload", "cGF5bG9hZ", "session", "AWS4-HMAC-SHA256"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("a message contains %q: %v", secret, err)
		}
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		if inner := err.Unwrap(); inner != nil {
			wantNoSecret(t, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range err.Unwrap() {
			wantNoSecret(t, inner)
		}
	}
}

// canonical is the service's explanation of a signature that does not match.
const canonical = "The request signature we calculated does not match the signature you provided.\n\n" +
	"The Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:session\n'"

func TestErrorsOfTheService(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		answer         answer
		kind           error
		mayHaveApplied bool
		parts          []string
	}{
		{"missing table", refuse(400, "ResourceNotFoundException", "Requested resource not found"), kv.ErrNotProvisioned, false,
			[]string{`"table"`, "Ensure", "Requested resource not found"}},
		{"other key schema", refuse(400, "ValidationException", "The provided key element does not match the schema"), kv.ErrIncompatible, false,
			[]string{`"table"`, "pk and sk", "does not match the schema"}},
		{"denied", refuse(400, "AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:PutItem"), kv.ErrPermission, false,
			[]string{"not authorized to perform"}},
		{"unknown credentials", refuse(400, "UnrecognizedClientException", "The security token included in the request is invalid."), kv.ErrPermission, false,
			[]string{"UnrecognizedClientException"}},
		{"expired credentials", refuse(400, "ExpiredTokenException", "The security token included in the request is expired"), kv.ErrPermission, false,
			[]string{"ExpiredTokenException"}},
		{"wrong signature", refuse(400, "InvalidSignatureException", canonical), kv.ErrPermission, false,
			[]string{"InvalidSignatureException", "does not accept the signature", "REQUEST1"}},
		{"damaged signature", refuse(403, "IncompleteSignature", "'AWS4-HMAC-SHA256 …' is no valid header"), kv.ErrPermission, false,
			[]string{"IncompleteSignature"}},
		{"no signature", refuse(400, "MissingAuthenticationTokenException", "Request is missing Authentication Token"), kv.ErrPermission, false, nil},
		{"forbidden by a proxy", status(403), kv.ErrPermission, false, nil},
		{"throttled table", refuse(400, "ProvisionedThroughputExceededException", "The level of configured provisioned throughput was exceeded"), kv.ErrThrottled, false,
			[]string{"exceeded maximum number of attempts, 3"}},
		{"throttled account", refuse(400, "RequestLimitExceeded", "Throughput exceeds the current throughput limit"), kv.ErrThrottled, false, nil},
		{"throttled control plane", refuse(400, "ThrottlingException", "Rate exceeded"), kv.ErrThrottled, false, nil},
		{"throttled by a proxy", status(429), kv.ErrThrottled, false, nil},
		{"transaction of another program", refuse(400, "TransactionConflictException", "Transaction is ongoing for the item"), kv.ErrUnavailable, false, nil},
		{"unknown error", refuse(400, "SomeNewException", "No."), nil, false, []string{"SomeNewException"}},
		{"failed", refuse(500, "InternalServerError", "The request could not be processed"), kv.ErrUnavailable, true,
			[]string{"exceeded maximum number of attempts, 3", "InternalServerError"}},
		{"overloaded", refuse(503, "ServiceUnavailable", "The service is currently unavailable"), kv.ErrUnavailable, true, nil},
		{"timed out", refuse(408, "RequestTimeoutException", "Too slow"), kv.ErrUnavailable, true, nil},
		{"bad gateway", status(502), kv.ErrUnavailable, true, []string{"502"}},
		{"lost responses", cut, kv.ErrUnavailable, true, []string{"EOF"}},
		{"undecodable response", ok(`{"Item":"payload","Attributes":"payload"}`), kv.ErrUnavailable, true, []string{"cannot be read", "REQUEST1"}},
		{"response cut off", func(w http.ResponseWriter, r *http.Request, c call) {
			w.Header().Set("Content-Length", "100")
			ok(`{"Item":{`)(w, r, c)
		}, kv.ErrUnavailable, true, []string{"cannot be read", "unexpected EOF"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := newFake(t, test.answer).store(t)
			ctx := t.Context()

			_, err := store.Get(ctx, "key")
			wantError(t, "Get", err, test.kind, false, append(test.parts, `"key"`)...)
			_, err = store.Exists(ctx, "key")
			wantError(t, "Exists", err, test.kind, false, test.parts...)
			if !strings.Contains(test.name, "undecodable") { // the responses to these calls have no Item and no Attributes
				for _, err := range store.Scan(ctx, "key") {
					wantError(t, "Scan", err, test.kind, false, test.parts...)
				}
				_, err = store.GetMany(ctx, []string{"key"})
				wantError(t, "GetMany", err, test.kind, false, test.parts...)
				_, err = store.PutMany(ctx, []kv.Item{{Key: "key", Value: []byte("payload")}})
				wantError(t, "PutMany", err, test.kind, test.mayHaveApplied, test.parts...)
			}
			for name, opts := range map[string][]kv.PutOption{"Put": nil, "Put if absent": {kv.IfNotExists()}} {
				_, err = store.Put(ctx, "key", []byte("payload"), opts...)
				wantError(t, name, err, test.kind, test.mayHaveApplied, append(test.parts, `"key"`)...)
			}
			wantError(t, "Delete", store.Delete(ctx, "key"), test.kind, test.mayHaveApplied, test.parts...)
		})
	}
}

// The rule: if the service that has the credentials, such as STS or SSO, is busy or cannot be
// reached, the call returns ErrThrottled or ErrUnavailable. After any other error of that
// service, it returns ErrPermission. Nothing was written.
func TestErrorsOfCredentials(t *testing.T) {
	t.Parallel()
	answered := func(status int, code string) error {
		return &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
			Err:      &smithy.GenericAPIError{Code: code, Message: "no"},
		}}
	}
	for _, test := range []struct {
		name string
		err  error
		kind error
	}{
		{"bad identity", answered(400, "InvalidIdentityToken"), kv.ErrPermission},
		{"no such session", answered(404, "ResourceNotFoundException"), kv.ErrPermission},
		{"bad request", answered(400, "ValidationException"), kv.ErrPermission},
		{"bad request without a status", &smithy.GenericAPIError{Code: "ValidationException"}, kv.ErrPermission},
		{"denied", answered(403, "AccessDenied"), kv.ErrPermission},
		{"no provider", errors.New("no EC2 IMDS role found"), kv.ErrPermission},
		{"throttled", answered(400, "ThrottlingException"), kv.ErrThrottled},
		{"too many requests", answered(429, "SomeNewException"), kv.ErrThrottled},
		{"failed", answered(500, "SomeNewException"), kv.ErrUnavailable},
		{"unreachable", &smithyhttp.RequestSendError{Err: errors.New("connection refused")}, kv.ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, ok("{}"))
			client := dynamodb.New(f.client().Options(), func(o *dynamodb.Options) {
				o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, test.err })
			})
			d, err := newDriver("open", client, "table", nil)
			if err != nil {
				t.Fatal(err)
			}
			store := kv.New(d)
			_, err = store.Get(t.Context(), "key")
			wantError(t, "Get", err, test.kind, false, "get credentials")
			_, err = store.Put(t.Context(), "key", []byte("payload"))
			wantError(t, "Put", err, test.kind, false, "get credentials")
			for _, part := range []string{"Ensure", "primary key"} {
				if strings.Contains(err.Error(), part) {
					t.Errorf("rule: an error of another service is not reported as the table's; got %v", err)
				}
			}
			f.wantOps(t)
		})
	}
}

// status responds as a server that is not DynamoDB.
func status(code int) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ call) {
		http.Error(w, "<html>payload</html>", code)
	}
}

func TestErrorsKeepTheSDKs(t *testing.T) {
	t.Parallel()
	store := newFake(t, refuse(400, "AccessDeniedException", "no")).store(t)
	_, err := store.Get(t.Context(), "key")
	if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "AccessDeniedException" {
		t.Errorf("rule: the SDK's own error is reachable; got %v", err)
	}
}

// The rule: the result of a write depends on all of its attempts.
func TestFateOfAWrite(t *testing.T) {
	t.Parallel()
	const now = 1_700_000_000_000
	throttled := refuse(400, "ProvisionedThroughputExceededException", "slow down")
	failed := refuse(500, "InternalServerError", "oops")
	denied := refuse(400, "AccessDeniedException", "no")
	theirs := conditionFailed(itemJSON("key", "theirs", token, 0))
	gone := conditionFailed("")
	for _, test := range []struct {
		name          string
		answers       []answer
		put, absent   error // of an unconditional Put, and of a Put with IfNotExists
		version       error // of a Put with IfVersion
		del           error // of a Delete with IfVersion
		indeterminate bool
	}{
		{"at once", []answer{ok("{}")}, nil, nil, nil, nil, false},
		{"after throttling", []answer{throttled, throttled, ok("{}")}, nil, nil, nil, nil, false},
		{"after failures", []answer{failed, cut, ok("{}")}, nil, nil, nil, nil, false},
		{"condition failed", []answer{theirs}, errNone, kv.ErrConditionFailed, kv.ErrConditionFailed, kv.ErrConditionFailed, false},
		{"condition failed after throttling", []answer{throttled, theirs}, errNone, kv.ErrConditionFailed, kv.ErrConditionFailed, kv.ErrConditionFailed, false},
		{"condition failed after a failure", []answer{failed, theirs}, errNone, errNone, errNone, errNone, true},
		{"condition failed after a lost response", []answer{cut, theirs}, errNone, errNone, errNone, errNone, true},
		{"own write found after a lost response", []answer{cut, own}, errNone, nil, nil, errNone, true},
		{"own write found after a failure", []answer{failed, throttled, own}, errNone, nil, nil, errNone, true},
		{"no item", []answer{gone}, errNone, errNone, kv.ErrConditionFailed, kv.ErrConditionFailed, false},
		{"no item after a lost response", []answer{cut, gone}, errNone, errNone, errNone, errNone, true},
		{"denied after a lost response", []answer{cut, denied}, kv.ErrPermission, kv.ErrPermission, kv.ErrPermission, kv.ErrPermission, true},
		{"denied after throttling", []answer{throttled, denied}, kv.ErrPermission, kv.ErrPermission, kv.ErrPermission, kv.ErrPermission, false},
		{"throttled after a lost response", []answer{cut, throttled, throttled}, kv.ErrThrottled, kv.ErrThrottled, kv.ErrThrottled, kv.ErrThrottled, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			check := func(what string, want error, do func(*kv.Store, kv.Version) error) {
				t.Helper()
				f := newFake(t, append([]answer{ok(`{"Item":` + itemJSON("key", "old", "an-earlier-token-22-byt", 0) + `}`)}, test.answers...)...)
				store := f.store(t).With(kv.Clock(func() time.Time { return time.UnixMilli(now) }))
				entry, err := store.Get(t.Context(), "key")
				if err != nil {
					t.Fatal(err)
				}
				err = do(store, entry.Version)
				if len(f.ops()) != 1+len(test.answers) {
					t.Errorf("%s made %d attempts; want %d", what, len(f.ops())-1, len(test.answers))
				}
				switch {
				case want == nil && err != nil:
					t.Errorf("%s: %v", what, err)
				case want == errNone:
					wantError(t, what, err, nil, test.indeterminate)
				case want != nil:
					wantError(t, what, err, want, test.indeterminate)
				}
			}
			put := func(opts func(kv.Version) []kv.PutOption) func(*kv.Store, kv.Version) error {
				return func(s *kv.Store, v kv.Version) error {
					_, err := s.Put(t.Context(), "key", []byte("payload"), opts(v)...)
					return err
				}
			}
			if test.put != errNone {
				check("Put", test.put, put(func(kv.Version) []kv.PutOption { return nil }))
			}
			if test.absent != errNone || test.indeterminate && !strings.Contains(test.name, "no item") {
				check("Put if absent", test.absent, put(func(kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfNotExists()} }))
			}
			check("Put if version", test.version, put(func(v kv.Version) []kv.PutOption { return []kv.PutOption{kv.IfVersion(v)} }))
			if !strings.Contains(test.name, "own write") {
				check("Delete if version", test.del, func(s *kv.Store, v kv.Version) error {
					return s.Delete(t.Context(), "key", kv.IfVersion(v))
				})
			}
		})
	}
}

// errNone stands for an error that matches no sentinel, or for a case that is impossible.
var errNone = errors.New("none")

// The rule: a Put with IfNotExists replaces an expired item in a single request. The
// condition of that request contains the time of the store's clock.
func TestAbsentConditionCarriesTheClock(t *testing.T) {
	t.Parallel()
	f := newFake(t, ok("{}"))
	store := f.store(t).With(kv.Clock(func() time.Time { return time.UnixMilli(1234) }))
	if _, err := store.Put(t.Context(), "key", nil, kv.IfNotExists()); err != nil {
		t.Fatal(err)
	}
	c := f.call(0)
	if expr := c.body["ConditionExpression"].(string); !strings.HasPrefix(expr, "attribute_not_exists(sk) OR ") || !strings.Contains(expr, "x <= :now") {
		t.Errorf("condition: %s", expr)
	}
	if now := c.body["ExpressionAttributeValues"].(map[string]any)[":now"].(map[string]any)["N"]; now != "1234" {
		t.Errorf(":now = %v; want the store's clock", now)
	}
}

func TestItemsThatSkykvDidNotWrite(t *testing.T) {
	t.Parallel()
	foreign := `{"pk":{"S":"1"},"sk":{"S":"key"},"v":{"S":"payload"},"t":{"S":"` + token + `"}}`
	for _, test := range []struct {
		name string
		do   func(*kv.Store) error
		answer
	}{
		{"Get", func(s *kv.Store) error { _, err := s.Get(t.Context(), "key"); return err }, ok(`{"Item":` + foreign + `}`)},
		{"Put", func(s *kv.Store) error { _, err := s.Put(t.Context(), "key", nil); return err }, conditionFailed(foreign)},
		{"Put if absent", func(s *kv.Store) error {
			_, err := s.Put(t.Context(), "key", nil, kv.IfNotExists())
			return err
		}, conditionFailed(foreign)},
		{"Delete", func(s *kv.Store) error { return s.Delete(t.Context(), "key") }, conditionFailed(foreign)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, test.answer)
			wantError(t, test.name, test.do(f.store(t)), kv.ErrIncompatible, false, `"key"`, "skykv did not write", `"v"`)
			if len(f.ops()) != 1 {
				t.Errorf("%s made %d requests; want 1", test.name, len(f.ops()))
			}
		})
	}
}

func TestServiceWithoutItemsOfFailedConditions(t *testing.T) {
	t.Parallel()
	for _, answers := range [][]answer{{conditionFailed("")}, {cut, conditionFailed("")}} {
		store := newFake(t, answers...).store(t)
		_, err := store.Put(t.Context(), "key", nil, kv.IfNotExists())
		wantError(t, "Put if absent", err, kv.ErrIncompatible, len(answers) == 2, "ReturnValuesOnConditionCheckFailure")
	}
}

// endable is a context that ends when the test calls end. From then on, its error is the field
// how. A real deadline would pass too early on a busy machine.
type endable struct {
	context.Context
	done chan struct{}
	end  func()
	how  error
}

func newEndable(t *testing.T, how error) *endable {
	ctx := &endable{Context: t.Context(), done: make(chan struct{}), how: how}
	ctx.end = sync.OnceFunc(func() { close(ctx.done) })
	return ctx
}

func (c *endable) Done() <-chan struct{} { return c.done }

func (c *endable) Err() error {
	select {
	case <-c.done:
		return c.how
	default:
		return nil
	}
}

// retrying returns an option for a client that makes up to three attempts without pauses. If
// pausing is not nil, the client calls it between two attempts, and then pauses for an hour.
func retrying(pausing func()) func(*dynamodb.Options) {
	return func(o *dynamodb.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) {
				if pausing == nil {
					return 0, nil
				}
				pausing()
				return time.Hour, nil
			})
		})
	}
}

func TestUnreachableEndpoint(t *testing.T) {
	t.Parallel()
	refusing := func(*endable, context.Context) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	silent := func(ctx *endable, dial context.Context) error {
		ctx.end()
		<-dial.Done()
		return dial.Err()
	}
	late := errors.Join(kv.ErrUnavailable, context.DeadlineExceeded)
	for _, test := range []struct {
		name   string
		dial   func(*endable, context.Context) error
		pauses bool // the deadline passes between two attempts
		kind   error
		part   string
	}{
		{"refused", refusing, false, kv.ErrUnavailable, "connection refused"},
		{"refused until the deadline", refusing, true, late, "connection refused"},
		{"silent until the deadline", silent, false, late, "no connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for what, do := range map[string]func(context.Context, *kv.Store) error{
				"Get":    func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "key"); return err },
				"Delete": func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, "key") },
				"Put": func(ctx context.Context, s *kv.Store) error {
					_, err := s.Put(ctx, "key", []byte("payload"))
					return err
				},
			} {
				ctx := newEndable(t, context.DeadlineExceeded)
				var pausing func()
				if test.pauses {
					pausing = ctx.end
				}
				d, err := newDriver("open", dynamodb.New(dynamodb.Options{
					Region: "us-east-1", BaseEndpoint: aws.String("http://dynamodb.invalid"),
					Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
					HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(dial context.Context, _, _ string) (net.Conn, error) {
						return nil, test.dial(ctx, dial)
					}}},
				}, retrying(pausing)), "table", nil)
				if err != nil {
					t.Fatal(err)
				}
				// Nothing was sent, so no write was carried out.
				wantError(t, what, do(ctx, kv.New(d)), test.kind, false, test.part)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	t.Run("before the first attempt", func(t *testing.T) {
		t.Parallel()
		f := newFake(t, ok("{}"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		// Call the driver: the store would check the context itself.
		_, err := f.driver(t).Write(ctx, put("key", kv.Condition{}))
		if e, ok := err.(*kv.Error); !ok || e.MayHaveApplied || !errors.Is(err, context.Canceled) {
			t.Errorf("rule: a context that ended before the first attempt leaves nothing indeterminate; got %#v", err)
		}
		f.wantOps(t)
	})
	for name, before := range map[string][]answer{"during the wait for the response": nil, "after a lost response": {cut}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, how := range []error{context.Canceled, context.DeadlineExceeded} {
				ctx := newEndable(t, how)
				f := newFake(t, append(before, func(_ http.ResponseWriter, r *http.Request, _ call) {
					ctx.end()
					<-r.Context().Done()
				})...)
				_, err := f.store(t).Put(ctx, "key", []byte("payload"))
				wantError(t, "Put", err, how, true)
			}
		})
	}
	t.Run("while the response is read, with a reason of the caller", func(t *testing.T) {
		t.Parallel()
		for what, test := range storeCalls {
			ctx, cancel := context.WithCancelCause(t.Context())
			client := newFake(t, func(w http.ResponseWriter, r *http.Request, _ call) {
				_, _ = io.WriteString(w, `{"Item":`)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}).client()
			d, err := newDriver("open", dynamodb.New(client.Options(), func(o *dynamodb.Options) {
				own := o.HTTPClient
				o.HTTPClient = httpClientFunc(func(r *http.Request) (*http.Response, error) {
					resp, err := own.Do(r)
					cancel(errors.New("a reason of the caller"))
					return resp, err
				})
			}), "table", &Options{Shards: 1})
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, what, test.do(ctx, kv.New(d)), context.Canceled, test.write)
		}
	})
	t.Run("while throttled", func(t *testing.T) {
		t.Parallel()
		ctx := newEndable(t, context.DeadlineExceeded)
		f := newFake(t, refuse(400, "ThrottlingException", "slow down"))
		d, err := newDriver("open", dynamodb.New(f.client().Options(), retrying(ctx.end)), "table", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = kv.New(d).Put(ctx, "key", nil)
		wantError(t, "Put", err, errors.Join(context.DeadlineExceeded, kv.ErrThrottled), false, "slow down")
	})
}

// The rule: an HTTP client that is not net/http's may have sent the request before it
// failed.
func TestUnknownHTTPClient(t *testing.T) {
	t.Parallel()
	f := newFake(t, ok("{}"))
	client := dynamodb.New(f.client().Options(), func(o *dynamodb.Options) {
		o.HTTPClient = httpClientFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("who knows") })
	})
	d, err := newDriver("open", client, "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kv.New(d).Put(t.Context(), "key", []byte("payload"))
	wantError(t, "Put", err, kv.ErrUnavailable, true, "who knows")
}

type httpClientFunc func(*http.Request) (*http.Response, error)

func (f httpClientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

// The rule: a write is indeterminate if the client's own middleware turns its success
// into an error.
func TestErrorAfterASuccess(t *testing.T) {
	t.Parallel()
	f := newFake(t, ok("{}"))
	client := dynamodb.New(f.client().Options(), func(o *dynamodb.Options) {
		o.APIOptions = append(o.APIOptions, failAfterwards)
	})
	d, err := newDriver("open", client, "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kv.New(d).Put(t.Context(), "key", nil)
	wantError(t, "Put", err, nil, true, "audit failed")
}

// failAfterwards adds middleware that turns every success into an error. A program may
// have such middleware in its client.
func failAfterwards(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("audit",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
			out middleware.InitializeOutput, metadata middleware.Metadata, err error,
		) {
			if out, metadata, err = next.HandleInitialize(ctx, in); err == nil {
				err = errors.New("audit failed")
			}
			return out, metadata, err
		}), middleware.Before)
}

// The rule: with every client, reading a closed body of a request is not an error, but
// reports the end of the body. The SDK closes the body when the response arrives. net/http
// may still be reading the body, and would drop the connection after an error: see plainBody.
func TestBodyThatIsClosedEarly(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex // scans read shards in parallel
	var sent []io.Reader
	client := dynamodb.New(newFake(t, ok(`{}`)).client().Options(), func(o *dynamodb.Options) {
		own := o.HTTPClient
		o.HTTPClient = httpClientFunc(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			sent = append(sent, r.Body)
			mu.Unlock()
			return own.Do(r)
		})
	})
	d, err := newDriver("open", client, "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, call := range storeCalls {
		_ = call.do(t.Context(), kv.New(d))
		mu.Lock()
		if len(sent) == 0 {
			t.Errorf("%s sent no request", what)
		}
		for _, body := range sent {
			if n, err := io.Copy(io.Discard, body); n != 0 || err != nil {
				t.Errorf("rule: a closed body is at its end, whatever method reads it; after %s it has %d bytes and %v", what, n, err)
			}
		}
		sent = nil
		mu.Unlock()
	}
}
