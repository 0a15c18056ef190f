package dynamokv

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

// fake is a server that speaks DynamoDB's protocol. It sends the prepared responses one
// after another, and repeats the last one for all further requests.
type fake struct {
	url string

	mu      sync.Mutex
	answers []answer
	calls   []call
}

// call is a request that a fake received.
type call struct {
	op      string         // such as "GetItem"
	attempt int            // the number of the attempt, as counted by the SDK
	body    map[string]any // the JSON of the request
}

type answer func(w http.ResponseWriter, r *http.Request, c call)

func newFake(t testing.TB, answers ...answer) *fake {
	f := &fake{answers: answers}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// newTLSFake does the same as newFake, with https and a certificate that Open trusts.
func newTLSFake(t *testing.T, answers ...answer) *fake {
	f := &fake{answers: answers}
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	f.url = server.URL
	file := filepath.Join(t.TempDir(), "certificates.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", file)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := call{op: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.")}
	_, _ = fmt.Sscanf(r.Header.Get("Amz-Sdk-Request"), "attempt=%d", &c.attempt)
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	_ = json.Unmarshal(body, &c.body)
	f.mu.Lock()
	answer := f.answers[min(len(f.calls), len(f.answers)-1)]
	f.calls = append(f.calls, c)
	f.mu.Unlock()
	answer(w, r, c)
}

// ops returns the operations that were requested.
func (f *fake) ops() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ops []string
	for _, c := range f.calls {
		ops = append(ops, c.op)
	}
	return ops
}

func (f *fake) call(n int) call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[n]
}

func (f *fake) wantOps(t *testing.T, want ...string) {
	t.Helper()
	if got := f.ops(); !slices.Equal(got, want) {
		t.Errorf("requests: %v; want %v", got, want)
	}
}

// client returns a client that makes up to three attempts, the default number, without pauses.
func (f *fake) client() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(f.url),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "session"),
	}, retrying(nil))
}

// driver returns a driver over a table, without reading the layout record. The driver
// does not pause for unprocessed items: its clock advances by fakePause instead.
func (f *fake) driver(t testing.TB) *driver {
	d, err := newDriver("open", f.client(), "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64
	d.now = func() time.Time { return time.Unix(0, clock.Load()) }
	d.pause = func(ctx context.Context, n int) error {
		clock.Add(int64(fakePause))
		return ctx.Err()
	}
	return d
}

const fakePause = 5 * time.Second

func (f *fake) store(t testing.TB) *kv.Store { return kv.New(f.driver(t)) }

// ok responds with JSON.
func ok(body string) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ call) {
		respond(w, 200, body)
	}
}

func respond(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-RequestId", "REQUEST1")
	w.Header().Set("X-Amz-Crc32", fmt.Sprint(crc32.ChecksumIEEE([]byte(body))))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// refuse responds with an error of the service. The argument more is JSON that follows
// the message.
func refuse(status int, code, message string, more ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ call) {
		respond(w, status, fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":%q%s}`, code, message, strings.Join(more, "")))
	}
}

// conditionFailed responds that the condition failed. The response has the item, unless
// item is "".
func conditionFailed(item string) answer {
	if item != "" {
		item = `,"Item":` + item
	}
	return refuse(400, "ConditionalCheckFailedException", "The conditional request failed", item)
}

// cut closes the connection instead of responding.
func cut(w http.ResponseWriter, _ *http.Request, _ call) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// The answer own has a failed condition and the item that the call itself
// wanted to put, as if an earlier attempt had put it.
func own(w http.ResponseWriter, r *http.Request, c call) {
	item, _ := json.Marshal(c.body["Item"])
	conditionFailed(string(item))(w, r, c)
}

// put returns the request of a put, as a store sends it to a driver.
func put(key string, cond kv.Condition) kv.WriteRequest {
	return kv.WriteRequest{
		Write: kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: key, Value: []byte("payload"), Token: token}, Condition: cond},
		Now:   1234,
	}
}

const token = "0123456789abcdefghijkl"

// itemJSON returns an item of skykv, without expiry if x is 0.
func itemJSON(key, value, token string, x int64) string {
	expiry := ""
	if x != 0 {
		expiry = fmt.Sprintf(`,"x":{"N":"%d"},"ttl":{"N":"%d"}`, x, (x+999)/1000+3600)
	}
	return fmt.Sprintf(`{"pk":{"S":"%d"},"sk":{"S":%q},"v":{"B":%q},"t":{"S":%q}%s}`,
		kv.Shard(key, DefaultShards), key, base64.StdEncoding.EncodeToString([]byte(value)), token, expiry)
}
