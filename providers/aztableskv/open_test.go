package aztableskv

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/trust"
	"github.com/skykv/skykv/kv"
)

var discard = log.New(io.Discard, "", 0)

// The rule: New refuses invalid arguments, and writes nothing. The error says what is wrong
// and what New wants.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	client := f.client()
	if _, err := New(t.Context(), nil, "kv1", nil); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("nil client: %v; want ErrInvalidOption", err)
	}
	for _, table := range []string{"", "ab", "1ab", "a-b", "a_b", "tablé", "a/b", strings.Repeat("t", 64), "a'b"} {
		_, err := New(t.Context(), client, table, nil)
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), tableNameRule) {
			t.Errorf("table %q: %v; want ErrInvalidOption with the rule", table, err)
		}
		if err := EnsureWith(t.Context(), client, table, nil); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("EnsureWith of %q: %v; want ErrInvalidOption", table, err)
		}
	}
	if _, err := New(t.Context(), client, "kv1", &Options{Timeout: -time.Second}); !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "the timeout is -1s; want a positive duration") {
		t.Errorf("a negative timeout: %v; want ErrInvalidOption", err)
	}
	for _, shards := range []int{-1, MaxShards + 1} {
		_, err := New(t.Context(), client, "kv1", &Options{Shards: shards})
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "1 to 256") {
			t.Errorf("%d shards: %v; want ErrInvalidOption with the range", shards, err)
		}
	}
	if requests := f.take(); len(requests) > 0 {
		t.Errorf("invalid arguments make the requests %q", requests)
	}
	if _, err := New(t.Context(), client, "other", nil); !errors.Is(err, kv.ErrNotProvisioned) || !strings.Contains(err.Error(), "Ensure") {
		t.Errorf("missing table: %v; want ErrNotProvisioned that names Ensure", err)
	}
	f.setFault(func(r *http.Request) fault { return fault{status: 404, code: "ResourceNotFound"} })
	if _, err := New(t.Context(), client, "other", nil); !errors.Is(err, kv.ErrNotProvisioned) || !strings.Contains(err.Error(), "Ensure") {
		t.Errorf("missing table that is called a resource: %v; want ErrNotProvisioned that names Ensure", err)
	}
}

// The rule: a table can only be opened with the layout with which it was first opened. New
// does not change the layout.
func TestLayout(t *testing.T) {
	t.Parallel()
	client := azurite(t)
	table := newTable(t, client)
	raw := client.NewClient(table)
	stored := func() string {
		resp, err := raw.GetEntity(t.Context(), layoutPartition, layoutRow, nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(resp.Value)
	}
	if _, err := New(t.Context(), client, table, claiming(&Options{Shards: 4})); err != nil {
		t.Fatal(err)
	}
	before := stored()
	if _, err := New(t.Context(), client, table, &Options{Shards: 4}); err != nil {
		t.Errorf("opening again: %v", err)
	}
	if _, err := New(t.Context(), client, table, nil); !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "has 4 shards and was opened with 16") {
		t.Errorf("opening with another number of shards: %v; want ErrIncompatible with both numbers", err)
	}
	if got := stored(); got != before {
		t.Errorf("the layout record changed from %s to %s", before, got)
	}
	for _, properties := range []map[string]any{
		{}, {"format": 1, "shards": 16}, {"format": 3, "shards": 16}, {"format": 2}, {"format": "2", "shards": "16"}, {"format": 2, "shards": 0}, {"format": 2, "shards": 257}, {"format": 2, "shards": 1.5},
	} {
		plant(t, raw, layoutPartition, layoutRow, properties)
		before := stored()
		if _, err := New(t.Context(), client, table, nil); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("layout record %v: %v; want ErrIncompatible", properties, err)
		}
		if err := EnsureWith(t.Context(), client, table, nil); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("EnsureWith over the layout record %v: %v; want ErrIncompatible", properties, err)
		}
		if _, err := SweepWith(t.Context(), client, table, nil); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("sweeping under the layout record %v: %v; want ErrIncompatible", properties, err)
		}
		if got := stored(); got != before {
			t.Errorf("the layout record changed from %s to %s", before, got)
		}
	}
}

// The rule: if several programs open a new table at once, all succeed if their options
// agree.
func TestOpenRace(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	client := f.client()
	f.setFault(func(r *http.Request) fault {
		if r.Method == "POST" { // another program has just written the record
			f.write(fakeKey{layoutPartition, layoutRow}, rawProperties(t, map[string]any{"format": 2, "shards": 16}))
		}
		return fault{}
	})
	if _, err := New(t.Context(), client, "kv1", claiming(nil)); err != nil {
		t.Error(err)
	}
	if got := f.take(); !slices.Equal(got, []string{"GET list", "GET list", "POST entity", "GET list"}) {
		t.Errorf("the requests are %q", got)
	}
}

// The rule: credentials that may only read can open a table that has its layout record, but
// no other table.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	client := f.client()
	denied := func(r *http.Request) fault {
		if r.Method != "GET" {
			return fault{status: 403, code: "AuthorizationPermissionMismatch", index: -1}
		}
		return fault{}
	}
	f.setFault(denied)
	if _, err := New(t.Context(), client, "kv1", claiming(nil)); !errors.Is(err, kv.ErrPermission) {
		t.Errorf("opening a new table: %v; want ErrPermission", err)
	}
	f.setFault(nil)
	if _, err := New(t.Context(), client, "kv1", claiming(nil)); err != nil {
		t.Fatal(err)
	}
	f.setFault(denied)
	if _, err := New(t.Context(), client, "kv1", nil); err != nil {
		t.Errorf("opening a table that has its layout record: %v", err)
	}
}

// The rule: Close does not close the client of New.
func TestCloseLeavesTheClientOpen(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	client := f.client()
	for range 2 {
		s, err := New(t.Context(), client, "kv1", claiming(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

const (
	someKey = "c2VjcmV0LWtleS1zZWNyZXQ="
	someSAS = "sv=2019-02-02&ss=t&sp=rwdlacu&sig=s3cr3t%3D"
)

// The rule: invalid URLs and variables are refused before any I/O. No message contains a
// secret.
func TestConnectRefuses(t *testing.T) {
	const connection = "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=" + someKey + ";EndpointSuffix=core.windows.net"
	for _, test := range []struct {
		url  string
		env  map[string]string
		says string
	}{
		{url: "aztables://account/tab?x=1", says: `parameter "x" is unknown`},
		{url: "aztables://account/tab?sig=s3cr3t", says: `parameter "sig" is unknown`},
		{url: "aztables://user:s3cr3t@account/tab", says: "credentials do not belong in the URL"},
		{url: "aztables://Account/tab", says: "3 to 24 lower-case letters and digits"},
		{url: "aztables://ac/tab", says: "3 to 24 lower-case letters and digits"},
		{url: "aztables://" + strings.Repeat("a", 25) + "/tab", says: "3 to 24 lower-case letters and digits"},
		{url: "aztables://acc.table.core.windows.net/tab", says: "3 to 24 lower-case letters and digits"},
		{url: "aztables://acc:443/tab", says: "3 to 24 lower-case letters and digits"},
		{url: "aztables:///tab", says: "3 to 24 lower-case letters and digits"},
		{url: "aztables://account", says: tableNameRule},
		{url: "aztables://account/", says: tableNameRule},
		{url: "aztables://account/a-b", says: tableNameRule},
		{url: "aztables://account/tab/more", says: tableNameRule},
		{url: "aztables://account/tab?shards=0", says: "from 1 to 256"},
		{url: "aztables://account/tab?shards=257", says: "from 1 to 256"},
		{url: "aztables://account/tab?shards=many", says: "from 1 to 256"},
		{url: "aztables://account/tab?timeout=0", says: "positive duration"},
		{url: "aztables://account/tab?timeout=-1s", says: "positive duration"},
		{url: "aztables://account/tab?endpoint=ftp://x", says: "endpoint"},
		{url: "aztables://account/tab?endpoint=http://u:s3cr3t@x", says: "endpoint"},
		{url: "aztables://account/tab?endpoint=http://x?sig=s3cr3t", says: "endpoint"},
		{url: "dynamodb://table", says: "scheme"},
		{url: "aztables://%zz/s3cr3t", says: "cannot be parsed"},
		{url: "aztables://account/tab?endpoint=http://127.0.0.1:1", says: "https"},
		{url: "aztables://devstoreaccount1/tab?endpoint=http://127.0.0.1:10002", says: "ends with the account, as in http://127.0.0.1:10002/devstoreaccount1"},
		{url: "aztables:account/tab", says: "no // after the scheme"},
		{url: "aztables://account/tab", env: map[string]string{envKey: "not s3cr3t base64"}, says: "base64"},
		{url: "aztables://account/tab", env: map[string]string{envSAS: "s3cr3t"}, says: "sig parameter"},
		{url: "aztables://account/tab", env: map[string]string{envSAS: "sig=%zzs3cr3t"}, says: "sig parameter"},
		{url: "aztables://account/tab", env: map[string]string{envConnectionString: connection}, says: "is for account acc, the URL for account"},
		{url: "aztables://account/tab", env: map[string]string{envConnectionString: "s3cr3t"}, says: "malformed"},
		{url: "aztables://account/tab", env: map[string]string{envConnectionString: "AccountKey=s3cr3t"}, says: "is incomplete"},
		{url: "aztables://account/tab", env: map[string]string{envConnectionString: "AccountName=account"}, says: "is incomplete"},
		{url: "aztables://account/tab", env: map[string]string{envConnectionString: "AccountName=account;AccountKey=" + someKey + ";TableEndpoint=ftp://s3cr3t"}, says: "endpoint"},
		{url: "aztables://account/tab", env: map[string]string{envConnectionString: "AccountName=account;AccountKey=s3cr3t!"}, says: "base64"},
	} {
		clearEnvironment(t)
		for name, value := range test.env {
			t.Setenv(name, value)
		}
		_, err := Open(t.Context(), test.url)
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s with %v: %v; want ErrInvalidOption that says %q", test.url, test.env, err, test.says)
		}
		shows(t, err, "s3cr3t")
	}
}

// The rule: each kind of credentials is found in the documented place. Requests go to the
// endpoint of the URL. Without one, they go to the endpoint of the connection string, and
// without that to the account's default endpoint. The credentials of each case below may be
// sent to its endpoint.
func TestConnect(t *testing.T) {
	const named = "AccountName=account;AccountKey=" + someKey + ";TableEndpoint="
	const key, sas = "SharedKeyLite account:", "sig=s3cr3t%3D"
	for _, test := range []struct {
		name, url string
		env       map[string]string
		endpoint  string // endpoint of the requests
		auth      string // prefix of the Authorization header, or a part of the query
	}{
		{"key", "aztables://account/kv1", map[string]string{envKey: someKey}, "https://account.table.core.windows.net/", key},
		{"SAS", "aztables://account/kv1", map[string]string{envSAS: "?" + someSAS}, "https://account.table.core.windows.net/", sas},
		{"key before SAS", "aztables://account/kv1", map[string]string{envKey: someKey, envSAS: someSAS}, "https://account.table.core.windows.net/", key},
		{"private link", "aztables://account/kv1?endpoint=https://account.privatelink.table.core.windows.net", map[string]string{envSAS: someSAS}, "https://account.privatelink.table.core.windows.net/", sas},
		{"government", "aztables://account/kv1?endpoint=https://account.table.core.usgovcloudapi.net", map[string]string{envKey: someKey}, "https://account.table.core.usgovcloudapi.net/", key},
		{"DNS zone", "aztables://account/kv1?endpoint=https://account.z07.table.storage.azure.net", map[string]string{envKey: someKey}, "https://account.z07.table.storage.azure.net/", key},
		{"trusted host", "aztables://account/kv1?endpoint=https://proxy.example/account", map[string]string{envSAS: someSAS, trust.EnvHosts: "proxy.example"}, "https://proxy.example/account/", sas},
		{"connection string", "aztables://account/kv1", map[string]string{
			envConnectionString: "DefaultEndpointsProtocol=https;AccountName=account;AccountKey=" + someKey + ";EndpointSuffix=core.chinacloudapi.cn;",
			envKey:              "b3RoZXI=",
		}, "https://account.table.core.chinacloudapi.cn/", key},
		{"connection string with an endpoint", "aztables://account/kv1", map[string]string{envConnectionString: named + "http://127.0.0.1:1/account/"}, "http://127.0.0.1:1/account/", key},
		{"connection string with a private endpoint", "aztables://account/kv1", map[string]string{envConnectionString: named + "https://stack.example/account"}, "https://stack.example/account/", key},
		{"endpoint before connection string", "aztables://account/kv1?endpoint=https://account.table.core.windows.net", map[string]string{envConnectionString: named + "http://127.0.0.1:1"}, "https://account.table.core.windows.net/", key},
		{"endpoint of the connection string", "aztables://account/kv1?endpoint=http://127.0.0.1:1/other", map[string]string{envConnectionString: named + "http://127.0.0.1:1/account"}, "http://127.0.0.1:1/other/", key},
		{"connection string with a SAS", "aztables://account/kv1", map[string]string{
			envConnectionString: "TableEndpoint=https://account.table.core.windows.net/;SharedAccessSignature=" + someSAS,
		}, "https://account.table.core.windows.net/", sas},
		{"Azurite", "aztables://devstoreaccount1/kv1", nil, "http://127.0.0.1:10002/devstoreaccount1/", "SharedKeyLite devstoreaccount1:"},
		{"Azurite elsewhere", "aztables://devstoreaccount1/kv1?endpoint=http://h:1/devstoreaccount1", nil, "http://h:1/devstoreaccount1/", "SharedKeyLite devstoreaccount1:"},
		{"Azurite beside an account of Azure", "aztables://devstoreaccount1/kv1", map[string]string{envKey: someKey, envSAS: someSAS, envConnectionString: named + "https://account.table.core.windows.net"},
			"http://127.0.0.1:10002/devstoreaccount1/", "SharedKeyLite devstoreaccount1:"},
		{"development storage", "aztables://devstoreaccount1/kv1", map[string]string{envConnectionString: "UseDevelopmentStorage=true"},
			"http://127.0.0.1:10002/devstoreaccount1/", "SharedKeyLite devstoreaccount1:"},
	} {
		clearEnvironment(t)
		for name, value := range test.env {
			t.Setenv(name, value)
		}
		c, err := Connect(t.Context(), test.url+moreParams(test.url))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if c.Table != "kv1" || c.Options.Shards != 5 || c.Options.Timeout != 90*time.Second {
			t.Errorf("%s: table %q, %d shards, a timeout of %s; want kv1, 5 and 1m30s", test.name, c.Table, c.Options.Shards, c.Options.Timeout)
		}
		var sent *http.Request
		c.transport.RegisterProtocol("https", tripper(func(r *http.Request) { sent = r }))
		c.transport.RegisterProtocol("http", tripper(func(r *http.Request) { sent = r }))
		d, err := newDriver("open", c.Client, c.Table, &Options{Shards: 1, Retry: quick})
		if err != nil {
			t.Fatal(err)
		}
		kv.New(d).Get(t.Context(), "a")
		if sent == nil || !strings.HasPrefix(sent.URL.String(), test.endpoint+"kv1(") {
			t.Errorf("%s: the request is %v; want it to start with %s", test.name, sent, test.endpoint)
			continue
		}
		if !strings.HasPrefix(sent.Header.Get("Authorization"), test.auth) && !strings.Contains(sent.URL.RawQuery, test.auth) {
			t.Errorf("%s: the request to %s has no %s", test.name, sent.URL, test.auth)
		}
		c.Close()
	}
}

// The rule: a URL cannot make the store send the environment's credentials to a host that is
// not trusted, or over http. Accounts of Azure Cosmos DB are refused.
func TestConnectTrusts(t *testing.T) {
	const named = "AccountName=account;AccountKey=" + someKey + ";TableEndpoint="
	const https, http, untrusted, cosmos = "sent to https endpoints only", "an account key is sent over http to the endpoint that " + envConnectionString + " names", "name it in " + trust.EnvHosts, "Cosmos DB"
	for _, test := range []struct {
		endpoint string
		env      map[string]string
		says     string
	}{
		{"https://example.com", map[string]string{envKey: someKey}, untrusted},
		{"https://example.com", map[string]string{envSAS: someSAS}, untrusted},
		{"https://example.com", nil, untrusted},
		{"https://example.com", map[string]string{envConnectionString: named + "https://account.table.core.windows.net"}, untrusted},
		{"https://table.core.windows.net.example.com", map[string]string{envKey: someKey}, untrusted},
		{"https://eviltable.core.windows.net", map[string]string{envKey: someKey}, untrusted},
		{"https://proxy.example:8443", map[string]string{envKey: someKey, trust.EnvHosts: "other.example"}, untrusted},
		{"https://127.0.0.1:1", map[string]string{envKey: someKey}, untrusted},
		{"http://account.table.core.windows.net", map[string]string{envKey: someKey}, http},
		{"http://127.0.0.1:1", map[string]string{envKey: someKey, trust.EnvHosts: "127.0.0.1"}, http},
		{"http://127.0.0.1:2", map[string]string{envConnectionString: named + "http://127.0.0.1:1"}, http},
		{"http://127.0.0.1:1", map[string]string{envConnectionString: named + "https://127.0.0.1:1"}, http},
		{"http://127.0.0.1:1", map[string]string{envSAS: someSAS, trust.EnvHosts: "127.0.0.1"}, https},
		{"http://127.0.0.1:1", map[string]string{envConnectionString: "AccountName=account;SharedAccessSignature=" + someSAS + ";TableEndpoint=http://127.0.0.1:1"}, https},
		{"", map[string]string{envConnectionString: "AccountName=account;SharedAccessSignature=" + someSAS + ";TableEndpoint=http://127.0.0.1:1"}, https},
		{"http://127.0.0.1:1", map[string]string{trust.EnvHosts: "127.0.0.1"}, https},
		{"https://account.table.cosmos.azure.com:443", map[string]string{envKey: someKey}, cosmos},
		{"https://account.Table.Cosmos.azure.cn", map[string]string{envKey: someKey}, cosmos},
		{"https://account.table.cosmosdb.azure.com", nil, cosmos},
		{"", map[string]string{envConnectionString: named + "https://account.table.cosmos.azure.com:443/"}, cosmos},
		{"https://account.table.cosmos.azure.com", map[string]string{envKey: someKey, trust.EnvHosts: "*.azure.com"}, cosmos},
	} {
		clearEnvironment(t)
		for name, value := range test.env {
			t.Setenv(name, value)
		}
		address := "aztables://account/kv1"
		if test.endpoint != "" {
			address += "?endpoint=" + test.endpoint
		}
		for name, open := range map[string]func() error{
			"Open":    func() error { _, err := Open(t.Context(), address); return err },
			"Connect": func() error { _, err := Connect(t.Context(), address); return err },
			"Ensure":  func() error { return Ensure(t.Context(), address) },
			"Sweep":   func() error { _, err := Sweep(t.Context(), address, nil); return err },
			"Inspect": func() error {
				for c := range Inspect(t.Context(), address) {
					return c.Err
				}
				return nil
			},
		} {
			err := open()
			if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s of %s with %v: %v; want ErrInvalidOption that says %q", name, address, test.env, err, test.says)
			}
			shows(t, err, "s3cr3t")
			shows(t, err, someKey)
		}
	}
}

// The rule: New, EnsureWith and SweepWith refuse a client for an account of Azure Cosmos DB
// after one read.
func TestNewRefusesCosmos(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*aztables.ServiceClient) error{
		"New":        func(c *aztables.ServiceClient) error { _, err := New(t.Context(), c, "kv1", nil); return err },
		"EnsureWith": func(c *aztables.ServiceClient) error { return EnsureWith(t.Context(), c, "kv1", nil) },
		"SweepWith":  func(c *aztables.ServiceClient) error { _, err := SweepWith(t.Context(), c, "kv1", nil); return err },
	} {
		for _, table := range []string{"", "kv1"} { // the name of the existing table, if there is one
			f := newFake(t, table)
			client := fakeClient(t, "https://account.table.cosmos.azure.com:443", transport(func(r *http.Request) (*http.Response, error) {
				resp, err := f.Do(r)
				if err == nil {
					resp.Request = r
				}
				return resp, err
			}))
			err := open(client)
			if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "Cosmos DB") {
				t.Errorf("%s, table %q: %v; want ErrInvalidOption that says why", name, table, err)
			}
			if got := f.take(); !slices.Equal(got, []string{"GET list"}) {
				t.Errorf("%s, table %q, makes the requests %q; want one read", name, table, got)
			}
		}
	}
}

func moreParams(address string) string {
	const more = "shards=5&timeout=1m30s"
	if strings.Contains(address, "?") {
		return "&" + more
	}
	return "?" + more
}

// The rule: Connect succeeds without credentials in the environment. The client then uses
// azidentity's chain.
func TestConnectDefaultCredential(t *testing.T) {
	clearEnvironment(t)
	c, err := Connect(t.Context(), "aztables://account/kv1")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

type tripper func(*http.Request)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{StatusCode: 404, Header: http.Header{"X-Ms-Error-Code": {"ResourceNotFound"}}, Body: http.NoBody, Request: r}, nil
}

// The rule: Open returns a store that works with the emulator.
func TestOpen(t *testing.T) {
	endpoint := emulator.AzureTables(t)
	client := azurite(t)
	table := newTable(t, client)
	clearEnvironment(t)
	address := "aztables://" + emulator.AzureAccount + "/" + table + "?layout=skykv&shards=3&endpoint=" + endpoint
	s, err := Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	version, err := s.Put(t.Context(), "a", []byte("1"), kv.IfNotExists())
	if err != nil {
		t.Fatal(err)
	}
	if s.Info().Shards != 3 || s.Info().Name != "aztables" {
		t.Errorf("the store is %+v; want 3 shards of aztables", s.Info())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("after Close: %v; want ErrClosed", err)
	}
	t.Setenv(envKey, emulator.AzureKey)
	if s, err = Open(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || e.Version != version {
		t.Errorf("opened again: %v, %v", e, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	t.Setenv(envConnectionString, "AccountName="+emulator.AzureAccount+";AccountKey="+someKey+";TableEndpoint="+endpoint)
	if _, err := Open(t.Context(), address); !errors.Is(err, kv.ErrPermission) {
		t.Errorf("with a wrong key: %v; want ErrPermission", err)
	}
	clearEnvironment(t)
	if _, err := Open(t.Context(), strings.Replace(address, table, newTableName(), 1)); !errors.Is(err, kv.ErrNotProvisioned) {
		t.Errorf("missing table: %v; want ErrNotProvisioned", err)
	}
}

// The rule: a SAS for the account or for the table is enough for the operations below, if it has
// the permissions in doc.go. It is not enough to create a table.
func TestSAS(t *testing.T) {
	t.Parallel()
	endpoint := emulator.AzureTables(t)
	client := azurite(t)
	cred, err := aztables.NewSharedKeyCredential(emulator.AzureAccount, emulator.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	start, end := time.Now().Add(-time.Hour).UTC(), time.Now().Add(time.Hour).UTC()
	for _, scope := range []string{"table", "account"} {
		table := newTable(t, client)
		address, err := client.NewClient(table).GetTableSASURL(aztables.SASPermissions{Read: true, Add: true, Update: true, Delete: true}, start, end)
		_, sas, _ := strings.Cut(address, "?")
		if scope == "account" {
			var signed aztables.SASQueryParameters
			signed, err = aztables.AccountSASSignatureValues{
				Protocol: aztables.SASProtocolHTTPSandHTTP, Services: "t", ResourceTypes: "co", Permissions: "raud", StartTime: start, ExpiryTime: end,
			}.Sign(cred)
			sas = signed.Encode()
		}
		if err != nil {
			t.Fatal(err)
		}
		params, err := url.ParseQuery(sas)
		if err != nil {
			t.Fatal(err)
		}
		// Open would not send a SAS over http, so make the client directly.
		limited, err := account{name: emulator.AzureAccount, endpoint: endpoint, sas: sas}.client(newTransport())
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(t.Context(), limited, table, claiming(&Options{Shards: 2}))
		if err != nil {
			t.Fatal(err)
		}
		var version kv.Version
		ops := operations(t.Context(), s, version)
		for _, op := range []string{"put if absent", "get", "exists", "scan", "get many", "put many", "delete many", "put", "delete"} {
			if scope == "table" && strings.HasSuffix(op, "e many") || scope == "table" && op == "put many" {
				continue // Azurite finds no table in the URL of a transaction, so it refuses the transaction
			}
			if err := ops[op](); err != nil {
				t.Errorf("%s, with the SAS of the %s: %v", op, scope, err)
			}
		}
		if version, err = s.Put(t.Context(), "a", []byte("1"), kv.IfNotExists()); err != nil {
			t.Error(err)
		}
		if version, err = s.Put(t.Context(), "a", []byte("2"), kv.IfVersion(version)); err != nil {
			t.Error(err)
		}
		if err := s.Delete(t.Context(), "a", kv.IfVersion(version)); err != nil {
			t.Error(err)
		}
		if _, err := SweepWith(t.Context(), limited, table, nil); err != nil {
			t.Error(err)
		}
		if err := EnsureWith(t.Context(), limited, table, &Options{Shards: 2}); err != nil {
			t.Errorf("EnsureWith of what is there, with the SAS of the %s: %v", scope, err)
		}
		err = EnsureWith(t.Context(), limited, table+"2", nil)
		if !errors.Is(err, kv.ErrPermission) {
			t.Errorf("EnsureWith with the SAS of the %s: %v; want ErrPermission", scope, err)
		}
		shows(t, err, params.Get("sig"))
		shows(t, err, url.QueryEscape(params.Get("sig")))
	}
}
