package dynamokv

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/internal/pages"
	"github.com/skykv/skykv/kv"
)

// raw sends a response as it is, from the status line on, and closes the connection.
func raw(response string) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ call) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, response)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn) // until the client also closes it
			_ = conn.Close()
		}
	}
}

// storeCalls has calls of a store that need at least one request each.
var storeCalls = map[string]struct {
	do    func(context.Context, *kv.Store) error
	write bool
}{
	"Get":    {func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "key"); return err }, false},
	"Exists": {func(ctx context.Context, s *kv.Store) error { _, err := s.Exists(ctx, "key"); return err }, false},
	"GetMany": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.GetMany(ctx, names(2*maxBatchGet+1))
		return err
	}, false},
	"Scan":       {func(ctx context.Context, s *kv.Store) error { return drain(s.Scan(ctx, "key")) }, false},
	"Scan group": {func(ctx context.Context, s *kv.Store) error { return drain(s.Scan(ctx, "group::", kv.KeysOnly())) }, false},
	"Count":      {func(ctx context.Context, s *kv.Store) error { _, err := s.Count(ctx, "key"); return err }, false},
	"ScanPage":   {func(ctx context.Context, s *kv.Store) error { _, err := s.ScanPage(ctx, "key", 3, ""); return err }, false},
	"Put": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.Put(ctx, "key", []byte("payload"))
		return err
	}, true},
	"Put if absent": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.Put(ctx, "key", []byte("payload"), kv.IfNotExists())
		return err
	}, true},
	"Delete": {func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, "key") }, true},
	"PutMany": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.PutMany(ctx, items(names(2*maxBatchWrite+1)))
		return err
	}, true},
	"Touch": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.Touch(ctx, "key", kv.TTL(time.Hour))
		return err
	}, true},
	"AtomicWrite": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.AtomicWrite(ctx, kv.PutOp("key", nil), kv.DeleteOp("key::a"))
		return err
	}, true},
	"DeleteMany":   {func(ctx context.Context, s *kv.Store) error { return s.DeleteMany(ctx, names(3)) }, true},
	"DeletePrefix": {func(ctx context.Context, s *kv.Store) error { _, err := s.DeletePrefix(ctx, "key"); return err }, false},
}

func drain(entries func(func(kv.Entry, error) bool)) (last error) {
	for _, err := range entries {
		last = err
	}
	return last
}

// setUp has the calls that inspect a table and set it up.
var setUp = map[string]func(context.Context, *driver) error{
	"New":        func(ctx context.Context, d *driver) error { _, err := d.open(ctx); return err },
	"EnsureWith": func(ctx context.Context, d *driver) error { return d.ensure(ctx) },
	"Inspect": func(ctx context.Context, d *driver) error {
		described, err := d.describeTable(ctx)
		if described == nil && err == nil {
			return kv.ErrNotProvisioned
		}
		if check := d.inspectTable(described, err); check.Err != nil {
			return check.Err
		}
		ttl, err := d.describeTTL(ctx)
		if check := d.inspectTTL(ttl, err); check.Err != nil {
			return check.Err
		}
		d.countForeign(ctx)
		return d.inspectLayout(ctx).Err
	},
}

// bomb is a gzip file of an item. Decompressed, it has 64 MiB.
var bomb = func() []byte {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = io.WriteString(w, `{"Item":{"sk":{"S":"key"},"v":{"B":"`)
	_, _ = io.Copy(w, io.LimitReader(letters{}, 64<<20))
	_, _ = io.WriteString(w, `"}}}`)
	_ = w.Close()
	return packed.Bytes()
}()

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

// The rule: after a response that is not from the service, every call returns
// ErrUnavailable. The error of a write also matches ErrIndeterminate. No call panics.
func TestNoAnswers(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.0\r\n"
	for name, test := range map[string]struct {
		answer answer
		part   string
	}{
		"an empty body":                    {ok(""), "it is empty"},
		"an empty body without a length":   {raw(head + "\r\n"), "it is empty"},
		"white space":                      {ok(" \r\n"), "it is empty"},
		"null":                             {ok("null"), "not a JSON object"},
		"a list":                           {ok("[]"), "not a JSON object"},
		"a text":                           {ok(`"payload"`), "not a JSON object"},
		"an HTML page":                     {ok("<html>payload</html>"), "not a JSON object"},
		"an object and more":               {ok("{}\npayload"), "not a JSON object"},
		"a body cut before its first byte": {raw(head + "Content-Length: 50\r\n\r\n"), "EOF"},
		"a body cut within":                {raw(head + "Content-Length: 50\r\n\r\n{\"Item\":{"), "EOF"},
		"a body without a length, cut":     {raw(head + "\r\n{\"Item\":{\"sk\":{\"S\":\"key\"}"), "cannot be read"},
		"a body without a length, cut in a string": {raw(head + "\r\n{\"Item\":{\"sk\":{\"S\":\"ke"), "not a JSON object"},
		"a chunked body, cut":                      {raw(head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), "EOF"},
		"another checksum":                         {raw(head + "X-Amz-Crc32: 1\r\nContent-Length: 2\r\n\r\n{}"), "checksum"},
		"gzip that was not requested": {func(w http.ResponseWriter, r *http.Request, _ call) {
			if got := r.Header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("rule: requests do not accept gzip; this one accepts %q", got)
			}
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}, "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, call := range storeCalls {
				f := newFake(t, test.answer)
				err := call.do(t.Context(), f.store(t))
				wantError(t, what, err, kv.ErrUnavailable, call.write, test.part)
			}
			for what, call := range setUp {
				f := newFake(t, test.answer)
				if err := call(t.Context(), f.driver(t)); !errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("%s: %v; want ErrUnavailable", what, err)
				}
			}
		})
	}
}

// The rule: a response without an expected member is not a success.
func TestNilMembers(t *testing.T) {
	t.Parallel()
	item := itemJSON("key", "value", token, 0)
	other := itemJSON("other", "value", token, 0)
	for op, test := range map[string]struct {
		calls  []string
		bodies []string
	}{
		"GetItem": {[]string{"Get", "Exists"}, []string{
			`{"Item":null}`, `{"Item":{}}`, `{"Item":{"sk":null}}`, `{"Item":{"sk":{"S":null}}}`, `{"Item":{"sk":{"N":"1"}}}`, `{"Item":` + other + `}`,
		}},
		"Query of a count": {[]string{"Count"}, []string{
			`{"Items":[]}`, `{"Items":[],"Count":1,"ScannedCount":1}`, `{"Items":[],"Count":0,"ScannedCount":-1}`, `{"Items":[{}],"Count":1,"ScannedCount":1}`,
			`{"Items":[` + item + `],"Count":1,"ScannedCount":0}`, `{"Items":[` + item + `],"Count":0,"ScannedCount":5}`,
		}},
		"Query": {[]string{"Scan", "Scan group", "ScanPage", "Count", "DeletePrefix"}, []string{
			`{}`, `{"Items":null}`, `{"Items":[null]}`, `{"Items":[{}]}`, `{"Items":[{"sk":null}]}`, `{"Count":0,"ScannedCount":0}`,
			`{"Items":[],"LastEvaluatedKey":{"pk":{"S":"1"},"sk":null}}`, `{"Items":[],"LastEvaluatedKey":{"sk":{"S":"key"}}}`, `{"Items":[],"LastEvaluatedKey":{"pk":{"S":"1"},"sk":{"N":"1"}}}`,
		}},
		"BatchGetItem": {[]string{"GetMany"}, []string{
			`{}`, `{"Responses":null}`, `{"Responses":{}}`, `{"Responses":{"table":null}}`, `{"Responses":{},"UnprocessedKeys":{}}`,
			`{"Responses":{"table":[null]}}`, `{"Responses":{"table":[{}]}}`, `{"Responses":{"table":[{"sk":null}]}}`,
			`{"UnprocessedKeys":{"table":null}}`, `{"UnprocessedKeys":{"table":{}}}`,
			`{"Responses":{"table":[]}}`, `{"Responses":{"table":[]},"UnprocessedKeys":null}`, `{"Responses":{"table":[]},"UnprocessedKeys":{"table":null}}`, `{"Responses":{"table":[]},"UnprocessedKeys":{"table":{}}}`,
			`{"Responses":{"table":[]},"UnprocessedKeys":{"table":{"Keys":[null]}}}`, `{"Responses":{"table":[]},"UnprocessedKeys":{"table":{"Keys":[` + other + `]}}}`,
		}},
		"BatchWriteItem": {[]string{"PutMany", "DeleteMany"}, []string{
			`{}`, `{"UnprocessedItems":null}`, `{"UnprocessedItems":{"table":null}}`, `{"UnprocessedItems":{"table":[null]}}`, `{"UnprocessedItems":{"table":[{}]}}`,
			`{"UnprocessedItems":{"table":[{"PutRequest":null}]}}`, `{"UnprocessedItems":{"table":[{"PutRequest":{}}]}}`, `{"UnprocessedItems":{"table":[{"PutRequest":{"Item":null}}]}}`,
			`{"UnprocessedItems":{"table":[{"DeleteRequest":{"Key":null}}]}}`, `{"UnprocessedItems":{"table":[{"PutRequest":{"Item":` + other + `}}]}}`,
		}},
	} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			for _, body := range test.bodies {
				for _, what := range test.calls {
					call := storeCalls[what]
					f := newFake(t, ok(body))
					wantError(t, what+" answered by "+body, call.do(t.Context(), f.store(t)), kv.ErrUnavailable, call.write, "not from the service")
				}
			}
		})
	}
	t.Run("failed conditions", func(t *testing.T) {
		t.Parallel()
		for _, found := range []string{`{}`, `{"sk":null}`, other} {
			for _, what := range []string{"Put", "Put if absent", "Delete"} {
				err := storeCalls[what].do(t.Context(), newFake(t, conditionFailed(found)).store(t))
				wantError(t, what+" that found "+found, err, kv.ErrUnavailable, true, "not from the service")
			}
		}
	})
	t.Run("setting up", func(t *testing.T) {
		t.Parallel()
		good := map[string]string{
			"DescribeTable":      `{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"pk","KeyType":"HASH"},{"AttributeName":"sk","KeyType":"RANGE"}],"AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"},{"AttributeName":"sk","AttributeType":"S"}]}}`,
			"DescribeTimeToLive": `{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}`,
			"UpdateTimeToLive":   ttlSwitched, "Scan": `{"Items":[]}`, "GetItem": `{}`, "PutItem": `{}`,
		}
		for op, bodies := range map[string][]string{
			"DescribeTable": {`{}`, `{"Table":null}`, `{"Table":{}}`, `{"Table":{"TableStatus":"ACTIVE"}}`, `{"Table":{"TableStatus":"ACTIVE","KeySchema":null}}`,
				`{"Table":{"KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}]}}`},
			"DescribeTimeToLive": {`{}`, `{"TimeToLiveDescription":null}`, `{"TimeToLiveDescription":{}}`},
			"UpdateTimeToLive":   {`{}`, `{"TimeToLiveSpecification":null}`},
			"Scan":               {`{}`, `{"Items":null}`, `{"Count":0}`, `{"Items":[],"LastEvaluatedKey":{"pk":null}}`},
			"GetItem":            {`{"Item":null}`, `{"Item":{}}`, `{"Item":{"pk":{"S":"layout"}}}`, `{"Item":` + item + `}`},
		} {
			for _, body := range bodies {
				answers := make(map[string]answer)
				for op, body := range good {
					answers[op] = ok(body)
				}
				answers[op] = ok(body)
				for what, call := range setUp {
					err := call(t.Context(), newFake(t, byOp(answers)).driver(t))
					unasked := what == "New" && strings.Contains("DescribeTable DescribeTimeToLive", op) || what != "EnsureWith" && op == "UpdateTimeToLive"
					if !unasked && !errors.Is(err, kv.ErrUnavailable) {
						t.Errorf("rule: a missing member is not a result; %s, whose %s gets %s, returns %v", what, op, body, err)
					}
				}
			}
		}
		// The contents of the description are checked too, and nothing panics.
		for _, body := range []string{
			`{"Table":{"TableStatus":"ACTIVE","KeySchema":[null]}}`, `{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":null}],"AttributeDefinitions":[null]}}`,
		} {
			for what, call := range setUp {
				if err := call(t.Context(), newFake(t, byOp(map[string]answer{"DescribeTable": ok(body)})).driver(t)); what != "New" && !errors.Is(err, kv.ErrIncompatible) {
					t.Errorf("%s, whose table is described by %s, returns %v; want ErrIncompatible", what, body, err)
				}
			}
		}
		f := newFake(t, refuse(400, "ResourceNotFoundException", "no"), ok(`{}`))
		if err := f.driver(t).ensure(t.Context()); !errors.Is(err, kv.ErrIndeterminate) || !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: a table whose creation has no response may or may not exist; EnsureWith returns %v", err)
		}
	})
}

// The rule: a response is read only up to the greatest size that it may have. If it is
// larger, the request is not retried.
func TestEndlessAnswers(t *testing.T) {
	t.Parallel()
	const buffers = 8 << 20 // bytes that may be in network buffers when the client closes the connection
	for what, most := range map[string]int64{
		"Get": attempt.MaxBytes(attempt.One), "Put": attempt.MaxBytes(attempt.One), "Scan group": mostPage, "DeleteMany": mostBatch,
	} {
		sent := make(chan int64, 10)
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request, _ call) {
			_, _ = io.WriteString(w, `{"Item":{"sk":{"S":"key"},"v":{"B":"`)
			n, _ := io.Copy(w, io.LimitReader(letters{}, 1<<30))
			sent <- n
		})
		call := storeCalls[what]
		wantError(t, what, call.do(t.Context(), f.store(t)), kv.ErrUnavailable, call.write, attempt.ErrTooLarge.Error())
		if n := <-sent; n > most+buffers || len(f.ops()) != 1 {
			t.Errorf("rule: at most %d bytes of an endless response are read, once; %s read %d in %d requests", most, what, n, len(f.ops()))
		}
	}
}

// The rule: the client of Open follows no redirects. If another HTTP client follows one,
// what it receives does not count as a response from the service.
func TestRedirects(t *testing.T) {
	clearAWS(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"})
	for _, code := range []int{301, 302, 303, 307, 308} {
		elsewhere := newFake(t, ok(`{"Items":[],"Responses":{"table":[]}}`))
		redirecting := func(w http.ResponseWriter, r *http.Request, _ call) {
			http.Redirect(w, r, elsewhere.url, code)
		}
		c, err := Connect(t.Context(), "dynamodb://table?endpoint="+newFake(t, redirecting).url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		standard := newFake(t, redirecting).client() // the SDK's own HTTP client
		for name, client := range map[string]*dynamodb.Client{"the client of Open": c.Client, "the SDK's client": standard} {
			d, err := newDriver("open", dynamodb.New(client.Options(), retrying(nil)), "table", nil)
			if err != nil {
				t.Fatal(err)
			}
			for what, call := range storeCalls {
				if err := call.do(t.Context(), kv.New(d)); err == nil || errors.Is(err, kv.ErrNotFound) {
					t.Errorf("rule: a redirect, %d, is not a response; %s with %s returns %v", code, what, name, err)
				}
			}
			elsewhere.wantOps(t)
		}

		following := dynamodb.New(standard.Options(), retrying(nil), func(o *dynamodb.Options) { o.HTTPClient = &http.Client{} })
		d, err := newDriver("open", following, "table", nil)
		if err != nil {
			t.Fatal(err)
		}
		for what, call := range storeCalls {
			before := len(elsewhere.ops())
			err := call.do(t.Context(), kv.New(d))
			if followed := len(elsewhere.ops()) > before; followed {
				wantError(t, what, err, kv.ErrUnavailable, call.write, "followed a redirect")
			} else if err == nil || errors.Is(err, kv.ErrNotFound) {
				t.Errorf("rule: a redirect, %d, is not a response; %s returns %v", code, what, err)
			}
		}
	}
}

// The rule: a scan ends, even if the service's pages lead in a circle.
func TestCirclesOfPages(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]answer{
		"empty pages that continue at the same key": {page("b")},
		"one page again and again":                  {page("b", itemJSON("b", "1", token, 0))},
		"two alternating empty pages": {func() answer {
			var n atomic.Int64
			return func(w http.ResponseWriter, r *http.Request, c call) {
				page([]string{"b", "c"}[n.Add(1)%2])(w, r, c)
			}
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answers...)
			var last error
			for _, err := range f.driver(t).Scan(t.Context(), all) {
				last = err
			}
			if !errors.Is(last, kv.ErrUnavailable) || !errors.Is(last, pages.ErrRepeated) {
				t.Errorf("rule: a continuation that repeats is ErrUnavailable; got %v", last)
			}
			if n := len(f.ops()); n > 10 {
				t.Errorf("rule: a circle is detected soon; it took %d requests", n)
			}
			// A scan through the store ends with an error too.
			if err := drain(newFake(t, answers...).store(t).Scan(t.Context(), "group::")); !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("rule: a scan ends; the store's scan returns %v", err)
			}
		})
	}
	f := newFake(t, ok(`{"Items":[],"LastEvaluatedKey":{"pk":{"S":"a"},"sk":{"S":"b"}}}`))
	if _, err := f.driver(t).firstItem(t.Context()); !errors.Is(err, pages.ErrRepeated) {
		t.Errorf("rule: the search for items ends; it returns %v", err)
	}
}

// The rule: the store yields keys in order, and only from their own shard. It skips sort
// keys that are not valid keys.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	a, b := groupItem("group::a"), groupItem("group::b")
	for name, test := range map[string]struct {
		items []string
		keys  string
		kind  error
	}{
		"in order":                      {[]string{a, b}, "group::a group::b", nil},
		"another order":                 {[]string{b, a}, "group::b", kv.ErrUnavailable},
		"one key twice":                 {[]string{a, a}, "group::a", kv.ErrUnavailable},
		"a key out of range":            {[]string{a, groupItem("h")}, "group::a", kv.ErrUnavailable},
		"a name with a line break":      {[]string{a, groupItem("group::a\\n"), b}, "group::a group::b", nil},
		"a name with an escape":         {[]string{a, groupItem("group::a\\u001b[2J"), b}, "group::a group::b", nil},
		"a name that is not UTF-8 text": {[]string{a, groupItem("group::a\\ufffd"), b}, "group::a group::b", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var keys []string
			var last error
			for entry, err := range newFake(t, page("", test.items...)).store(t).Scan(t.Context(), "group::") {
				if last = err; err == nil {
					keys = append(keys, entry.Key)
				}
			}
			if strings.Join(keys, " ") != test.keys || test.kind == nil && last != nil || !errors.Is(last, test.kind) {
				t.Errorf("got %q, %v; want %q, %v", keys, last, test.keys, test.kind)
			}
		})
	}
	t.Run("a key in another shard", func(t *testing.T) {
		t.Parallel()
		const key = "misplaced"
		f := newFake(t, func(w http.ResponseWriter, r *http.Request, c call) {
			if at(c.body, "ExpressionAttributeValues", ":p", "S") == fmt.Sprint((kv.Shard(key, DefaultShards)+1)%DefaultShards) {
				page("", itemJSON(key, "foreign", token, 0))(w, r, c)
				return
			}
			page("")(w, r, c)
		})
		n := 0
		for entry, err := range f.store(t).Scan(t.Context(), "") {
			n++
			wantError(t, "Scan", err, kv.ErrIncompatible, false, "another shard")
			if entry.Key != key {
				t.Errorf("the error is about %q; want %q", entry.Key, key)
			}
		}
		if n != 1 {
			t.Errorf("rule: a key in another shard is ErrIncompatible with that key; got %d errors", n)
		}
	})
}

func groupItem(key string) string {
	return fmt.Sprintf(`{"pk":{"S":"1"},"sk":{"S":"%s"},"v":{"B":""},"t":{"S":%q}}`, key, token)
}

// hung returns a client like the client of Open, for synctest. The client's service does
// not respond to the first requests. unanswered is the number of these requests. To all
// later requests, the service responds as f does.
func hung(t *testing.T, f *fake, unanswered int64) *dynamodb.Client {
	client, transport := newClient(aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}, "http://dynamodb.invalid")
	listener := newPipes()
	transport.DialContext = listener.dial
	var seen atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen.Add(1) <= unanswered {
			_, _ = io.Copy(io.Discard, r.Body) // otherwise the server does not notice that the client disconnects
			<-r.Context().Done()
			return
		}
		f.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
	})
	return dynamodb.New(client.Options(), retrying(nil), func(o *dynamodb.Options) { o.HTTPClient = client.Options().HTTPClient })
}

// pipes is a listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.closed); return nil }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// The rule: an attempt that gets no response is cut off early enough to leave time for another
// attempt. If it was a write, it may have been applied.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what  string
		never int64
		left  time.Duration // 0 means no deadline
		took  time.Duration
		kind  error
	}{
		{"Get", 1, 15 * time.Second, 5 * time.Second, nil},
		{"Get", 1, time.Hour, 10 * time.Second, nil},
		{"Get", 1, 0, 10 * time.Second, nil},
		{"Scan group", 1, 0, 30 * time.Second, nil},
		{"Put", 1, 3 * time.Second, time.Second, nil},
		{"Put", 3, 0, 30 * time.Second, kv.ErrUnavailable},
		{"Get", 3, 2500 * time.Millisecond, 2500 * time.Millisecond, context.DeadlineExceeded},
		{"Scan group", 3, 0, defaultTimeout, errors.Join(kv.ErrUnavailable, context.DeadlineExceeded)},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{answers: []answer{ok(`{"Item":` + itemJSON("key", "value", token, 0) + `,"Items":[]}`)}}
			d, err := newDriver("open", hung(t, f, test.never), "table", nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			if test.left > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, test.left)
				defer cancel()
			}
			begun := time.Now()
			call := storeCalls[test.what]
			err = call.do(ctx, kv.New(d))
			if took := time.Since(begun); took != test.took {
				t.Errorf("rule: an attempt has a third of the time; %s with %s left, %d of whose requests hang, took %s, want %s", test.what, test.left, test.never, took, test.took)
			}
			switch {
			case test.kind != nil:
				wantError(t, test.what, err, test.kind, call.write)
			case err != nil:
				t.Errorf("%s with %s left, %d of whose requests hang: %v", test.what, test.left, test.never, err)
			}
		})
	}
}

// The rule: each request of a call whose context has no deadline ends after the store's timeout.
// A batch ends when the service has processed nothing of it for that long.
func TestTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 7 * time.Second
	for what, call := range storeCalls {
		for name, respond := range map[string]httpClientFunc{
			"never responds": func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			},
			"is throttled all the time": func(r *http.Request) (*http.Response, error) {
				body := `{"__type":"ThrottlingException","message":"slow down"}`
				return &http.Response{StatusCode: 400, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				d, err := newDriver("open", dynamodb.New(dynamodb.Options{
					Region: "us-east-1", BaseEndpoint: aws.String("http://dynamodb.invalid"), Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
					HTTPClient: respond, RetryMaxAttempts: 1000,
				}), "table", &Options{Timeout: timeout})
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				err = call.do(context.Background(), kv.New(d))
				took := time.Since(begun)
				throttled := name != "never responds"
				if batch := strings.Contains(what, "Many"); throttled && batch {
					if !errors.Is(err, kv.ErrThrottled) || took < timeout || took > 4*timeout {
						t.Errorf("rule: a batch ends when nothing is processed for the store's timeout; %s ends after %s with %v", what, took, err)
					}
					return
				}
				kind := errors.Join(kv.ErrUnavailable, context.DeadlineExceeded)
				if throttled {
					kind = errors.Join(kv.ErrThrottled, context.DeadlineExceeded)
				}
				wantError(t, what+" of a service that "+name, err, kind, call.write && !throttled, "within the store's timeout")
				most := timeout
				if what == "AtomicWrite" && !throttled {
					most *= 2 // after the timeout the store reads the entries, to find out whether it wrote them
				}
				if took != most {
					t.Errorf("rule: a call without a deadline ends after the store's timeout, %s; %s of a service that %s took %s", timeout, what, name, took)
				}
			})
		}
	}
	_, err := New(t.Context(), newFake(t, ok("{}")).client(), "table", &Options{Timeout: -time.Second})
	wantError(t, "New", err, kv.ErrInvalidOption, false, "the timeout is -1s", "1m0s")
	u, err := parseURL("dynamodb://table?timeout=5s")
	if err != nil || u.timeout != 5*time.Second {
		t.Errorf("the timeout of a URL is %s, %v; want 5s", u.timeout, err)
	}
}

// The rule: if the service throttles a whole batch with an error, the batch is sent again until
// the context's deadline. Without a deadline, it is sent again until the store's timeout has passed.
func TestThrottledBatches(t *testing.T) {
	t.Parallel()
	const times = 30 // far more than the SDK's attempts
	for what, code := range map[string]string{
		"GetMany": "ProvisionedThroughputExceededException", "PutMany": "ThrottlingException", "DeleteMany": "RequestLimitExceeded",
	} {
		throttled, good := refuse(400, code, "slow down"), batch(func(string, int) bool { return false })
		for _, deadline := range []bool{false, true} {
			f := newFake(t, append(slices.Repeat([]answer{throttled}, times), good)...)
			d, ctx := f.driver(t), t.Context()
			d.timeout = time.Hour
			if deadline {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Hour)
				defer cancel()
				d.timeout = time.Second // must not end this call, because the call has a deadline
			}
			if err := storeCalls[what].do(ctx, kv.New(d)); err != nil {
				t.Errorf("rule: a batch that is completely throttled is sent again, until its deadline if it has one (%t); %s after %s returns %v", deadline, what, code, err)
			}
		}
	}
}

// The rule: a conflict with a transaction or another region is temporary. The request is retried
// after short pauses, a limited number of times.
func TestConflicts(t *testing.T) {
	t.Parallel()
	for _, code := range conflicts {
		conflict := refuse(400, code, "busy")
		for what, call := range storeCalls {
			if strings.Contains(what, "Many") || strings.Contains(what, "Scan") || what == "DeletePrefix" || what == "Count" {
				continue // only requests for one item are tested
			}
			f := newFake(t, conflict, conflict, ok(`{"Item":`+itemJSON("key", "value", token, 0)+`}`))
			if err := call.do(t.Context(), f.store(t)); err != nil || len(f.ops()) != 3 {
				t.Errorf("rule: conflicts are retried; %s after two of %s returns %v after %d requests", what, code, err, len(f.ops()))
			}
			f = newFake(t, conflict)
			wantError(t, what, call.do(t.Context(), f.store(t)), kv.ErrUnavailable, false, code)
			f.wantOps(t, slices.Repeat(f.ops()[:1], 3)...)
		}
	}
	r := watched(dynamodb.New(dynamodb.Options{Region: "us-east-1"})).Options().Retryer
	for n := 1; n <= 3; n++ {
		for range 100 {
			delay, err := r.RetryDelay(n, &smithy.OperationError{Err: &types.TransactionConflictException{}})
			if most := conflictPause << n; err != nil || delay > most {
				t.Errorf("rule: the pause after conflict %d is at most %s; it is %s, %v", n, most, delay, err)
			}
		}
	}
}

// The rule: only errors about the primary key are reported as such.
func TestOtherValidationExceptions(t *testing.T) {
	t.Parallel()
	for message, about := range map[string]bool{
		"The provided key element does not match the schema":                                            true,
		"One or more parameter values were invalid: Missing the key id in the item":                     true,
		"One or more parameter values were invalid: Type mismatch for key sk expected: N actual: S":     true,
		"Query condition missed key schema element: id":                                                 true,
		"Time to live has been modified multiple times within a fixed interval":                         false,
		"TimeToLive is not supported":                                                                   false,
		"Item size has exceeded the maximum allowed size":                                               false,
		"Invalid ConditionExpression: Syntax error":                                                     false,
		"One or more parameter values were invalid: unsupported value for ReturnValuesOnConditionCheck": false,
	} {
		for what, call := range storeCalls {
			err := call.do(t.Context(), newFake(t, refuse(400, "ValidationException", message)).store(t))
			if said := strings.Contains(err.Error(), "the primary key of table"); said != about || !errors.Is(err, kv.ErrIncompatible) {
				t.Errorf("rule: %q is about the primary key: %t; %s returns %v", message, about, what, err)
			}
		}
	}
}
