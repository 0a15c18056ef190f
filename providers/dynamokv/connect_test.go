package dynamokv

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

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
		"dynamodb://table?timeout=0s":               `"timeout" must be a positive duration`,
		"dynamodb://table?timeout=10":               `"timeout" must be a positive duration`,
		"dynamodb://table?accessKeyId=session":      "unknown",
	} {
		store, err := Open(t.Context(), url)
		if store != nil {
			t.Errorf("Open(%q) returned a store", url)
		}
		wantError(t, url, err, kv.ErrInvalidOption, false, "open", part, urlForm)
	}
}

// clearAWS hides the machine's AWS configuration from Open, and sets the variables in the
// map set.
func clearAWS(t *testing.T, set map[string]string) {
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_DYNAMODB", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CA_BUNDLE",
		"AWS_ACCOUNT_ID", "AWS_ACCOUNT_ID_ENDPOINT_MODE", "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT",
		"AWS_ENABLE_ENDPOINT_DISCOVERY", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "SKYKV_TRUSTED_HOSTS",
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

	// For an emulator, Open needs neither a region nor credentials.
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
		t.Errorf("rule: an emulator gets placeholders if there are no credentials and no region; got %s", auth)
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
			t.Errorf("rule: the environment's credentials are used, and the URL's region before the environment's; got %s", auth)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := Open(t.Context(), "dynamodb://table?endpoint="+f.url)
	wantError(t, "Open with other shards", err, kv.ErrIncompatible, false, "4 shards", "opened with 16")
}

// The rule: a URL cannot send credentials to an arbitrary host. They go to DynamoDB, and to
// endpoints and trusted hosts in the environment. Without encryption, only an access key is sent,
// and only to this machine or a private network.
func TestWhereCredentialsGo(t *testing.T) {
	key := map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret"}
	session := map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session"}
	with := func(more ...string) map[string]string {
		env := maps.Clone(session)
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	// A service that has the credentials of a role.
	var asked atomic.Int64
	roles := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"AccessKeyId":"AKIDROLE","SecretAccessKey":"secret","Token":"session","Expiration":"2099-01-01T00:00:00Z"}`)
	}))
	defer roles.Close()
	role := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": roles.URL}
	const own, ofRole, stand, refused = "AKIDOWN", "AKIDROLE", "skykv", ""
	for _, test := range []struct {
		endpoint string
		env      map[string]string
		want     string // the access key that Open sends
	}{
		{"", session, own},
		{"", role, ofRole},
		{"https://dynamodb.eu-west-1.amazonaws.com", session, own},
		{"https://DynamoDB.eu-west-1.amazonaws.com:443", session, own},
		{"https://dynamodb-fips.us-east-1.amazonaws.com", session, own},
		{"https://vpce-1.dynamodb.us-east-1.vpce.amazonaws.com", role, ofRole},
		{"https://123456789012.ddb.us-east-1.amazonaws.com", session, own},
		{"https://dynamodb.cn-north-1.amazonaws.com.cn", session, own},

		{"https://dynamodb.evil.example", session, refused},
		{"https://dynamodb.evil.example", key, refused},
		{"https://dynamodb.evil.example", role, refused},
		{"https://dynamodb.evil.example", nil, refused},
		{"https://dynamodb.evilamazonaws.com", session, refused},
		{"https://dynamodb.us-east-1.amazonaws.com.evil.example", session, refused},
		{"https://abc.execute-api.us-east-1.amazonaws.com", session, refused},
		{"https://127.0.0.1:8000", session, refused},
		{"https://127.0.0.1:8000", with("SKYKV_TRUSTED_HOSTS", "127.0.0.1"), own},
		{"https://a.proxy.example", with("SKYKV_TRUSTED_HOSTS", "*.proxy.example"), own},
		{"https://proxy.example", with("AWS_ENDPOINT_URL", "https://proxy.example:443"), own},
		{"https://proxy.example", with("AWS_ENDPOINT_URL_DYNAMODB", "https://proxy.example/"), own},
		{"https://proxy.example", with("AWS_ENDPOINT_URL", "http://proxy.example"), refused},
		{"", with("AWS_ENDPOINT_URL", "https://proxy.example"), own},

		{"http://127.0.0.1:8000", key, own},
		{"http://[::1]:8000", key, own},
		{"http://10.1.2.3", key, own},
		{"http://dynamodb:8000", key, own},
		{"http://127.0.0.1:8000", session, stand},
		{"http://127.0.0.1:8000", role, stand},
		{"HTTP://127.0.0.1:8000", session, stand},
		{"http://127.0.0.1:8000", nil, stand},
		{"http://dynamodb.us-east-1.amazonaws.com", key, stand},
		{"HTTP://dynamodb.us-east-1.amazonaws.com", session, stand},
		{"http://127.0.0.1.evil.example", key, stand},
		{"http://evil。example", key, stand}, // net/http connects to evil.example
		{"http://evil.example", with("SKYKV_TRUSTED_HOSTS", "evil.example"), stand},
		{"", with("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"), stand},
		{"", with("AWS_ENDPOINT_URL", "http://proxy.example"), stand},
		{"", map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, own},
	} {
		t.Run(test.endpoint, func(t *testing.T) {
			clearAWS(t, nil)
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			asked.Store(0)
			u := "dynamodb://table?region=us-east-1"
			if test.endpoint != "" {
				u += "&endpoint=" + url.QueryEscape(test.endpoint)
			}
			c, err := Connect(t.Context(), u)
			if n := asked.Load(); test.want != ofRole && n != 0 {
				t.Errorf("rule: there is no I/O for credentials that must not be sent; there were %d requests", n)
			}
			if test.want == refused {
				wantError(t, "Connect", err, kv.ErrInvalidOption, false, "open", "SKYKV_TRUSTED_HOSTS")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := c.Client.Options().Credentials.Retrieve(t.Context())
			if err != nil || got.AccessKeyID != test.want || test.want == stand && got.SessionToken != "" {
				t.Errorf("rule: credentials go only where they may; with %v the key is %s, want %s, %v", slices.Sorted(maps.Keys(test.env)), got.AccessKeyID, test.want, err)
			}
		})
	}
}

// The rule: isService accepts every endpoint of DynamoDB that the SDK knows.
func TestDomainsOfTheSDK(t *testing.T) {
	t.Parallel()
	for _, region := range []string{
		"us-east-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "us-isof-south-1", "eu-isoe-west-1", "eusc-de-east-1",
	} {
		for _, dual := range []bool{false, true} {
			found, err := dynamodb.NewDefaultEndpointResolverV2().ResolveEndpoint(t.Context(), dynamodb.EndpointParameters{
				Region: &region, UseDualStack: &dual, UseFIPS: new(bool),
			})
			if err != nil {
				t.Logf("%s, dual stack %t: %v", region, dual, err) // the region has no such endpoint
				continue
			}
			if !isService(found.URI.Hostname()) {
				t.Errorf("rule: every endpoint of the SDK's resolver is DynamoDB; %s is not", found.URI.Host)
			}
		}
	}
}

func TestOpenUnreachable(t *testing.T) {
	clearAWS(t, nil)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := Open(ctx, "dynamodb://table?endpoint=http://127.0.0.1:1")
	wantError(t, "Open", err, kv.ErrUnavailable, false, "refused")
}

// The rule: the endpoint that Inspect checks is the one that the client uses.
func TestConnectKnowsTheEndpoint(t *testing.T) {
	for _, test := range []struct {
		name, url string
		env       map[string]string
		want      string
	}{
		{"region", "dynamodb://table?region=eu-central-1", nil, "https://dynamodb.eu-central-1.amazonaws.com"},
		{"region of another partition", "dynamodb://table?region=cn-north-1", nil, "https://dynamodb.cn-north-1.amazonaws.com.cn"},
		{"account", "dynamodb://table?region=us-east-1", map[string]string{"AWS_ACCOUNT_ID": "123456789012"}, "https://123456789012.ddb.us-east-1.amazonaws.com"},
		{"account, disabled", "dynamodb://table?region=us-east-1", map[string]string{"AWS_ACCOUNT_ID": "123456789012", "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled"}, "https://dynamodb.us-east-1.amazonaws.com"},
		{"FIPS", "dynamodb://table?region=us-east-1", map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"}, "https://dynamodb-fips.us-east-1.amazonaws.com"},
		{"dual stack", "dynamodb://table?region=us-east-1", map[string]string{"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://dynamodb.us-east-1.api.aws"},
		{"environment", "dynamodb://table?region=us-east-1", map[string]string{"AWS_ENDPOINT_URL": "http://proxy.internal:8000"}, "http://proxy.internal:8000"},
		{"environment, for DynamoDB", "dynamodb://table?region=us-east-1", map[string]string{"AWS_ENDPOINT_URL": "http://proxy.internal:8000", "AWS_ENDPOINT_URL_DYNAMODB": "https://dynamodb.internal/path"}, "https://dynamodb.internal/path"},
		{"URL", "dynamodb://table?region=us-east-1&endpoint=https://vpce-1.dynamodb.us-east-1.vpce.amazonaws.com", map[string]string{"AWS_ENDPOINT_URL": "http://proxy.internal:8000"}, "https://vpce-1.dynamodb.us-east-1.vpce.amazonaws.com"},
		{"discovery", "dynamodb://table?region=us-east-1", map[string]string{"AWS_ENABLE_ENDPOINT_DISCOVERY": "true"}, "https://dynamodb.us-east-1.amazonaws.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clearAWS(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret"})
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			c, err := Connect(t.Context(), test.url)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.endpoint != test.want {
				t.Errorf("rule: Inspect checks the endpoint that the client uses; it is %s, want %s", c.endpoint, test.want)
			}
			// The client sends its requests to that endpoint.
			sent := make(chan string, 10)
			client := dynamodb.New(c.Client.Options(), retrying(nil), func(o *dynamodb.Options) {
				o.HTTPClient = httpClientFunc(func(r *http.Request) (*http.Response, error) {
					sent <- strings.TrimSuffix(r.URL.String(), "/")
					return nil, context.Canceled
				})
			})
			if _, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &c.Table, Key: newLayout(1).primaryKey("key")}); err == nil {
				t.Error("the request was not sent")
			}
			if got := <-sent; got != test.want {
				t.Errorf("the client sends to %q; want %s", got, test.want)
			}
		})
	}
}

func TestConnectRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		kind error
		part string
	}{
		{"no credentials", map[string]string{"AWS_ACCESS_KEY_ID": ""}, kv.ErrPermission, "no AWS credentials"},
		{"FIPS and another endpoint", map[string]string{"AWS_USE_FIPS_ENDPOINT": "true", "AWS_ENDPOINT_URL": "http://proxy.internal:8000"}, kv.ErrInvalidOption, "has no endpoint"},
		{"an account that is unknown", map[string]string{"AWS_ACCOUNT_ID_ENDPOINT_MODE": "required"}, kv.ErrInvalidOption, "has no endpoint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clearAWS(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKIDOWN", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"})
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			_, err := Connect(t.Context(), "dynamodb://table")
			wantError(t, "Connect", err, test.kind, false, "open", test.part)
		})
	}
}
