package dynamokv

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

func layoutJSON(format, shards string) string {
	return fmt.Sprintf(`{"pk":{"S":"layout"},"sk":{"S":"skykv"},"format":%s,"shards":%s}`, format, shards)
}

var layout16 = layoutJSON(`{"N":"2"}`, `{"N":"16"}`)

func TestNewChecksTheLayout(t *testing.T) {
	t.Parallel()
	found := func(item string) answer { return ok(`{"Item":` + item + `}`) }
	absent := ok(`{}`)
	denied := refuse(400, "AccessDeniedException", "not authorized")
	get, put := "GetItem", "PutItem"
	for _, test := range []struct {
		name    string
		shards  int
		answers []answer
		ops     []string
		kind    error
		parts   []string
	}{
		{"there", 0, []answer{found(layout16)}, []string{get}, nil, nil},
		{"there, 16 asked for", 16, []answer{found(layout16)}, []string{get}, nil, nil},
		{"absent", 0, []answer{absent, ok("{}")}, []string{get, put}, nil, nil},
		{"absent, created by somebody else", 0, []answer{absent, conditionFailed(layout16)}, []string{get, put}, nil, nil},
		{"absent, lost response", 0, []answer{absent, cut, conditionFailed(layout16)}, []string{get, put, put}, nil, nil},
		{"absent, created otherwise by somebody else", 4, []answer{absent, conditionFailed(layout16)}, []string{get, put}, kv.ErrIncompatible, []string{"16 shards", "opened with 4"}},
		{"other shards", 4, []answer{found(layout16)}, []string{get}, kv.ErrIncompatible, []string{`"table"`, "16 shards", "opened with 4"}},
		{"other format", 0, []answer{found(layoutJSON(`{"N":"3"}`, `{"N":"16"}`))}, []string{get}, kv.ErrIncompatible, []string{"format 3", "knows format 2"}},
		{"format 1", 0, []answer{found(layoutJSON(`{"N":"1"}`, `{"N":"16"}`))}, []string{get}, kv.ErrIncompatible, []string{"format 1", "knows format 2"}},
		{"something else", 0, []answer{found(`{"pk":{"S":"layout"},"sk":{"S":"skykv"}}`)}, []string{get}, kv.ErrIncompatible, []string{"no layout record"}},
		{"something else of the same names", 0, []answer{found(layoutJSON(`{"S":"2"}`, `{"S":"16"}`))}, []string{get}, kv.ErrIncompatible, []string{"no layout record"}},
		{"missing table", 0, []answer{refuse(400, "ResourceNotFoundException", "Requested resource not found")}, []string{get}, kv.ErrNotProvisioned, []string{`"table"`, "Ensure"}},
		{"other primary key", 0, []answer{refuse(400, "ValidationException", "The provided key element does not match the schema")}, []string{get}, kv.ErrIncompatible, []string{"pk and sk, both strings"}},
		{"reading denied", 0, []answer{denied}, []string{get}, kv.ErrPermission, []string{"not authorized"}},
		{"creation denied", 0, []answer{absent, denied}, []string{get, put}, kv.ErrPermission, []string{"no layout record yet", "not authorized"}},
		{"throttled", 0, []answer{refuse(400, "ThrottlingException", "slow down")}, []string{get, get, get}, kv.ErrThrottled, nil},
		{"unavailable", 0, []answer{cut}, []string{get, get, get}, kv.ErrUnavailable, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, test.answers...)
			store, err := New(t.Context(), f.client(), "table", &Options{Shards: test.shards})
			switch {
			case test.kind != nil:
				wantError(t, "New", err, test.kind, false, append(test.parts, "open")...)
			case err != nil:
				t.Errorf("New: %v", err)
			case store.Info().Shards != 16 || store.Info().Name != "dynamodb":
				t.Errorf("the store is %+v", store.Info())
			}
			f.wantOps(t, test.ops...)
			if f.call(0).body["ConsistentRead"] != true {
				t.Error("rule: the layout record is read consistently")
			}
			if len(test.ops) > 1 && test.ops[1] == put && f.call(1).body["ConditionExpression"] != "attribute_not_exists(sk)" {
				t.Error("rule: the layout record is created only if it is absent")
			}
		})
	}
}

func TestNewRefusesBeforeIO(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, table string
		opts        *Options
		part        string
	}{
		{"no table", "", nil, "3 to 255 bytes"},
		{"short table", "ab", nil, "3 to 255 bytes"},
		{"long table", strings.Repeat("t", 256), nil, "3 to 255 bytes"},
		{"table with a slash", "a/table", nil, `"a/table"`},
		{"table of another alphabet", "täble", nil, "a-z A-Z 0-9 _ - ."},
		{"negative shards", "table", &Options{Shards: -1}, "-1; want 1 to 256"},
		{"many shards", "table", &Options{Shards: 257}, "257; want 1 to 256"},
	} {
		f := newFake(t, ok("{}"))
		_, err := New(t.Context(), f.client(), test.table, test.opts)
		wantError(t, "New with "+test.name, err, kv.ErrInvalidOption, false, test.part)
		err = EnsureWith(t.Context(), f.client(), test.table, test.opts)
		wantError(t, "EnsureWith with "+test.name, err, kv.ErrInvalidOption, false, test.part)
		f.wantOps(t)
	}
	_, err := New(t.Context(), nil, "table", nil)
	wantError(t, "New with a nil client", err, kv.ErrInvalidOption, false, "nil", "dynamodb.NewFromConfig")
}

func TestNewTakesAnARN(t *testing.T) {
	t.Parallel()
	arn := "arn:aws:dynamodb:us-east-1:123456789012:table/other-account"
	f := newFake(t, ok(`{"Item":`+layout16+`}`))
	if _, err := New(t.Context(), f.client(), arn, nil); err != nil {
		t.Fatal(err)
	}
	if got := f.call(0).body["TableName"]; got != arn {
		t.Errorf("TableName: %v", got)
	}
}

func TestOpenRefusesBeforeIO(t *testing.T) {
	t.Parallel()
	for url, part := range map[string]string{
		"dynamo://table":                            "scheme",
		"dynamodb:table":                            "dynamodb://TABLE?",
		"dynamodb://":                               "3 to 255 bytes",
		"dynamodb://ab":                             "3 to 255 bytes",
		"dynamodb://table:8000":                     `"table:8000"`,
		"dynamodb://table/path":                     "path",
		"dynamodb://key:session@table":              "credentials",
		"dynamodb://table?shard=4":                  `"shard" is unknown`,
		"dynamodb://table?region=":                  `"region" must have one value`,
		"dynamodb://table?region=us/east":           `"region"`,
		"dynamodb://table?region=US-EAST-1":         `"region"`,
		"dynamodb://table?region=a.example.com%23":  `"region"`,
		"dynamodb://table?shards=0":                 "1 to 256",
		"dynamodb://table?shards=257":               "1 to 256",
		"dynamodb://table?shards=many":              "1 to 256",
		"dynamodb://table?endpoint=localhost:8000":  `"endpoint"`,
		"dynamodb://table?endpoint=http://a:b@host": `"endpoint"`,
		"dynamodb://table?shards=4&shards=5":        "one value",
		"dynamodb://table?accessKeyId=session":      "unknown",
	} {
		store, err := Open(t.Context(), url)
		if store != nil {
			t.Errorf("Open(%q) returned a store", url)
		}
		wantError(t, url, err, kv.ErrInvalidOption, false, "open", part, urlForm)
	}
}

// clearAWS hides the AWS configuration of the machine from Open.
func clearAWS(t *testing.T, set map[string]string) {
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_DYNAMODB", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CA_BUNDLE",
	} {
		t.Setenv(name, set[name])
	}
	nowhere := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", nowhere)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestOpenWithoutConfiguration(t *testing.T) {
	clearAWS(t, nil)
	_, err := Open(t.Context(), "dynamodb://table")
	wantError(t, "Open without a region", err, kv.ErrInvalidOption, false, "no region", "AWS_REGION", `"region"`)
	_, err = Open(t.Context(), "dynamodb://table?region=eu-west-1")
	wantError(t, "Open without credentials", err, kv.ErrPermission, false, "no AWS credentials")

	// An emulator needs neither.
	var header http.Header
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, c call) {
		header = r.Header.Clone()
		ok(`{"Item":`+layout16+`}`)(w, r, c)
	})
	store, err := Open(t.Context(), "dynamodb://table?endpoint="+f.url)
	if err != nil {
		t.Fatal(err)
	}
	if auth := header.Get("Authorization"); !strings.Contains(auth, "Credential=skykv/") || !strings.Contains(auth, "/us-east-1/dynamodb/") {
		t.Errorf("rule: an emulator gets placeholders where there are no credentials and no region; got %s", auth)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenWithConfiguration(t *testing.T) {
	clearAWS(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1"})
	var header http.Header
	f := newFake(t, func(w http.ResponseWriter, r *http.Request, c call) {
		header = r.Header.Clone()
		ok(`{"Item":`+layoutJSON(`{"N":"2"}`, `{"N":"4"}`)+`}`)(w, r, c)
	})
	for params, want := range map[string]string{"": "/eu-central-1/dynamodb/", "&region=ap-south-1": "/ap-south-1/dynamodb/"} {
		store, err := Open(t.Context(), "dynamodb://table?shards=4&endpoint="+f.url+params)
		if err != nil {
			t.Fatal(err)
		}
		if got := store.Info().Shards; got != 4 {
			t.Errorf("%d shards; want 4", got)
		}
		if auth := header.Get("Authorization"); !strings.Contains(auth, "Credential=AKIDOWN/") || !strings.Contains(auth, want) {
			t.Errorf("rule: the environment's credentials and region are used, and the URL's region before it; got %s", auth)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := Open(t.Context(), "dynamodb://table?endpoint="+f.url)
	wantError(t, "Open with other shards", err, kv.ErrIncompatible, false, "4 shards", "opened with 16")
}

func TestOpenUnreachable(t *testing.T) {
	clearAWS(t, nil)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := Open(ctx, "dynamodb://table?endpoint=http://127.0.0.1:1")
	wantError(t, "Open", err, kv.ErrUnavailable, false, "connection refused")
}

// Close ends the connections of Open, and leaves those of New alone.
func TestCloseEndsWhatOpenOpened(t *testing.T) {
	clearAWS(t, nil)
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	closed := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(&fake{answers: []answer{ok(`{"Item":` + layout16 + `}`)}})
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if open[conn] = state != http.StateClosed; state == http.StateClosed {
			delete(open, conn)
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	store, err := Open(t.Context(), "dynamodb://table?endpoint="+server.URL)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if len(open) != 1 {
		t.Errorf("%d connections; want 1, kept for the next request", len(open))
	}
	mu.Unlock()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	<-closed // or the test times out

	given := &countingClient{HTTPClient: http.DefaultClient}
	fake := newFake(t, ok(`{"Item":`+layout16+`}`))
	client := dynamodb.New(fake.client().Options(), func(o *dynamodb.Options) { o.HTTPClient = given })
	store, err = New(t.Context(), client, "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if _, err := New(t.Context(), client, "table", nil); err != nil || given.closed {
		t.Errorf("rule: a client that New was given stays open; got %v", err)
	}
}

type countingClient struct {
	dynamodb.HTTPClient
	closed bool
}

func (c *countingClient) CloseIdleConnections() { c.closed = true }
