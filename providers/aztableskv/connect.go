package aztableskv

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/internal/trust"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

const (
	name    = "aztables"
	urlForm = "aztables://ACCOUNT/TABLE?endpoint=URL&layout=LAYOUT&shards=N&timeout=DURATION&max-value=BYTES"
)

// Connection is what a store's URL names, for [New], [EnsureWith] and [SweepWith].
type Connection struct {
	Client  *aztables.ServiceClient
	Table   string
	Options Options

	account   account
	transport *http.Transport
	store     []kv.StoreOption
}

// Connect reads a store's URL, and the environment, as [Open] does, but sends
// nothing to the service. Credentials are first used by the first request. Its errors
// match [kv.ErrInvalidOption].
func Connect(_ context.Context, url string) (*Connection, error) {
	at, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	c := &Connection{Table: at.table, Options: Options{Layout: at.layout, Shards: at.shards, Timeout: at.timeout}, transport: newTransport(), store: at.store}
	if c.account, err = findAccount(at.account, at.endpoint, os.Getenv); err == nil {
		c.Client, err = c.account.client(c.transport)
	}
	if err != nil {
		return nil, errInvalid("open", "%w", redact(err))
	}
	return c, nil
}

// Close closes the connections to the service that are idle.
func (c *Connection) Close() { c.transport.CloseIdleConnections() }

// Open returns the store, as [New] does.
func (c *Connection) Open(ctx context.Context) (*kv.Store, error) {
	const op = "open"
	d, err := c.driver(op)
	if err == nil {
		err = d.checkLayout(ctx)
	}
	if err != nil {
		return nil, opError(op, err)
	}
	return kv.New(d).With(c.store...), nil
}

// Identity returns a text that is the same for all URLs of the table in this
// environment. The service ignores the case of a table's name. See [provider.Connection].
func (c *Connection) Identity() string {
	return provider.Identity(name, c.account.endpoint, strings.ToLower(c.Table))
}

// driver returns the driver that the functions by URL work with.
func (c *Connection) driver(op string) (*driver, error) {
	d, err := newDriver(op, c.Client, c.Table, &c.Options)
	if err != nil {
		return nil, err
	}
	d.traces = true
	return d, nil
}

// Provider opens, sets up, looks at and sweeps stores by URL.
func Provider() provider.Provider {
	return provider.Provider{
		Scheme: name, Form: urlForm, Summary: "Azure Tables",
		Open: Open, Ensure: Ensure, Inspect: Inspect, Terraform: Terraform, Sweep: Sweep,
		Connect: func(ctx context.Context, url string) (provider.Connection, error) { return Connect(ctx, url) },
	}
}

// Open opens the store that a URL of the form
//
//	aztables://ACCOUNT/TABLE?endpoint=URL&layout=LAYOUT&shards=N&timeout=DURATION&max-value=BYTES
//
// names, as [New] does: ACCOUNT is a storage account (3 to 24 lower-case letters
// and digits), TABLE a table in it. The parameters may be left out: endpoint is
// the URL of the account's table service where that is not
// https://ACCOUNT.table.core.windows.net (Azurite, a sovereign or private
// cloud), layout, which is skykv or alien, is [Options].Layout, shards is
// [Options].Shards, timeout is [Options].Timeout, such as 10s, and
// max-value is [kv.MaxValue].
//
// Credentials are the first that the environment offers of
// AZURE_STORAGE_CONNECTION_STRING (whose endpoint the parameter overrides),
// AZURE_STORAGE_KEY (an account key) and AZURE_STORAGE_SAS_TOKEN, else those that
// [azidentity.NewDefaultAzureCredential] finds. Azurite's devstoreaccount1 needs
// none: its key is public.
//
// A URL cannot send credentials anywhere. They go over https to Azure's own hosts, to
// the endpoint that the connection string in the environment names, and to the hosts
// that the variable SKYKV_TRUSTED_HOSTS names, such as
// proxy.example.com,*.private.example. An account key goes over http to the endpoint of
// the connection string, and Azurite's key anywhere. Shared access signatures and tokens
// never go over http. Any other endpoint is refused before any I/O.
//
// Open's client ends an attempt whose answer is late, after a third of the time that is
// left for the call: at least 1 and at most 10 seconds, three times that for a batch, a
// page or a transaction. A write whose attempt was ended may have been applied. The
// client follows no redirects, and does not ask for compressed answers.
//
// A URL or variable that is malformed, an endpoint that credentials may not go to, and an
// account of Azure Cosmos DB are errors that match [kv.ErrInvalidOption]; the other errors
// are those of New.
func Open(ctx context.Context, url string) (*kv.Store, error) {
	const op = "open"
	c, err := Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	d, err := c.driver(op)
	if err == nil {
		d.close = c.Close
		err = d.checkLayout(ctx)
	}
	if err != nil {
		c.Close()
		return nil, opError(op, err)
	}
	return kv.New(d).With(c.store...), nil
}

// address is what a URL says.
type address struct {
	account, table string
	endpoint       string // "" when the URL does not say
	layout         provider.Layout
	shards         int
	timeout        time.Duration
	store          []kv.StoreOption
}

func parseURL(url string) (address, error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return address{}, err
	}
	at := address{account: u.Host, table: u.Path}
	switch {
	case !accountName.MatchString(at.account):
		return address{}, u.Errorf("the account's name is %q; it must be 3 to 24 lower-case letters and digits", at.account)
	case !tableName.MatchString(at.table):
		return address{}, u.Errorf("the table's name is %q; it must be %s", at.table, tableNameRule)
	}
	if at.layout, err = u.Layout("layout"); err != nil {
		return address{}, err
	}
	if at.shards, err = u.Int("shards", DefaultShards, 1, MaxShards); err != nil {
		return address{}, err
	}
	if at.timeout, err = u.Duration("timeout", defaultTimeout); err != nil {
		return address{}, err
	}
	if at.store, err = u.StoreOptions(); err != nil {
		return address{}, err
	}
	if at.endpoint, err = u.Endpoint("endpoint"); err != nil {
		return address{}, err
	}
	return at, nil
}

// accountName is the service's rule.
// https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-name
var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// account is a storage account, the URL of its table service, and the first of its key
// and its SAS that is set. Without either, tokens of Microsoft Entra ID are used.
type account struct {
	name, endpoint, key, sas string

	named string // the endpoint that the connection string in the environment names
}

// The variables that credentials come from, named as the Azure CLI names them.
// https://learn.microsoft.com/cli/azure/storage#az-storage
const (
	envConnectionString = "AZURE_STORAGE_CONNECTION_STRING"
	envKey              = "AZURE_STORAGE_KEY"
	envSAS              = "AZURE_STORAGE_SAS_TOKEN"
)

// azuriteAccount is the account that every Azurite has, with its public key.
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
var azuriteAccount = account{
	name:     "devstoreaccount1",
	endpoint: "http://127.0.0.1:10002/devstoreaccount1",
	key:      "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
}

// findAccount completes what a URL says of an account by what the environment offers.
// Nothing in its errors repeats the text of a variable.
func findAccount(name, endpoint string, getenv func(string) string) (account, error) {
	found := account{name: name, key: getenv(envKey), sas: getenv(envSAS)}
	if text := getenv(envConnectionString); text != "" {
		var err error
		if found, err = parseConnectionString(text); err != nil {
			return account{}, err
		}
		if found.name != name {
			return account{}, errors.New(envConnectionString + " is for account " + found.name + ", the URL for " + name)
		}
		found.named = found.endpoint
	} else if found.key == "" && found.sas == "" && name == azuriteAccount.name {
		found = azuriteAccount
	}
	if endpoint != "" {
		found.endpoint = endpoint
	}
	if found.endpoint == "" {
		found.endpoint = "https://" + name + ".table.core.windows.net"
	}
	return found, found.check()
}

// clouds are the domains below which the table services of Azure's clouds are, and those
// of accounts in DNS zones.
// https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-endpoints
var clouds = []string{"table.core.windows.net", "table.core.chinacloudapi.cn", "table.core.usgovcloudapi.net", "table.storage.azure.net"}

// check returns an error if the endpoint is none of Azure Table storage, or the account's
// credentials may not go there.
func (a account) check() error {
	u, err := url.Parse(a.endpoint)
	if err != nil {
		return errors.New("the endpoint is not a URL")
	}
	open := u.Scheme != "https"
	switch {
	case isCosmos(u.Host):
		return errCosmos
	case a.key == azuriteAccount.key: // everybody knows it
		return nil
	case open && a.key == "" && a.sas == "":
		return errors.New("the environment has no key and no SAS (" + envConnectionString + ", " + envKey + ", " + envSAS +
			"), and tokens of Microsoft Entra ID are sent to https endpoints only")
	case open && a.key == "":
		return errors.New("the endpoint is not https, and a shared access signature is sent to https endpoints only")
	case a.named != "" && trust.Same(a.endpoint, a.named):
		return nil
	case open:
		return errors.New("the endpoint is not https, and an account key is sent over http to the endpoint that " + envConnectionString + " names, and to no other")
	case trust.Below(u.Host, clouds...), trust.Listed(u.Host):
		return nil
	}
	return trust.Refused(a.endpoint)
}

// isCosmos reports whether a host is that of an account of Azure Cosmos DB, by the rule
// of the SDK.
func isCosmos(host string) bool {
	host = strings.ToLower(host)
	return strings.Contains(host, ".table.cosmos.") || strings.Contains(host, ".table.cosmosdb.")
}

var errCosmos = errors.New("the endpoint is one of Azure Cosmos DB for Table, which does not return entities in the order of their keys" +
	" and takes keys of at most 255 bytes; want the table service of a storage account")

// client returns a client of the account's table service.
func (a account) client(transport *http.Transport) (*aztables.ServiceClient, error) {
	sender := &http.Client{
		Transport: transport,
		// The service sends no redirects. To follow one hands the value, and in the
		// Referer a SAS, to another host, and turns a write into a read.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	opts := &aztables.ClientOptions{ClientOptions: policy.ClientOptions{Transport: tracer{attempt.Client{HTTP: sender}}}}
	switch {
	case a.key != "":
		cred, err := aztables.NewSharedKeyCredential(a.name, a.key)
		if err != nil {
			return nil, errors.New("the account key is not base64")
		}
		return aztables.NewServiceClientWithSharedKey(a.endpoint, cred, opts)
	case a.sas != "":
		sas := strings.TrimPrefix(a.sas, "?")
		if params, err := url.ParseQuery(sas); err != nil || params.Get("sig") == "" {
			return nil, errors.New("the shared access signature has no sig parameter; want the query of a SAS URL")
		}
		return aztables.NewServiceClientWithNoCredential(a.endpoint+"?"+sas, opts)
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return aztables.NewServiceClient(a.endpoint, cred, opts)
}

// parseConnectionString reads text by the rules of
// https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string.
// The SDK's own function knows neither Azurite nor another endpoint for a SAS.
func parseConnectionString(text string) (account, error) {
	fields := make(map[string]string)
	for field := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(field, "=")
		if !ok && strings.TrimSpace(field) != "" {
			return account{}, errors.New(envConnectionString + " is malformed; want NAME=VALUE pairs with semicolons between them")
		}
		fields[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	if strings.EqualFold(fields["usedevelopmentstorage"], "true") {
		return azuriteAccount, nil
	}
	a := account{
		name:     fields["accountname"],
		endpoint: fields["tableendpoint"],
		key:      fields["accountkey"],
		sas:      fields["sharedaccesssignature"],
	}
	if a.name == "" {
		// A SAS is shown with endpoints and without the account that they belong to.
		if u, err := url.Parse(a.endpoint); err == nil {
			a.name, _, _ = strings.Cut(u.Host, ".")
		}
	}
	if !accountName.MatchString(a.name) || a.key == "" && a.sas == "" {
		return account{}, errors.New(envConnectionString + " lacks something; want an AccountName (3 to 24 lower-case letters and digits) or a TableEndpoint, with an AccountKey or a SharedAccessSignature")
	}
	if a.endpoint == "" {
		protocol, suffix := fields["defaultendpointsprotocol"], fields["endpointsuffix"]
		if protocol == "" {
			protocol = "https"
		}
		if suffix == "" {
			suffix = "core.windows.net"
		}
		a.endpoint = protocol + "://" + a.name + ".table." + suffix
	}
	a.endpoint = strings.TrimSuffix(a.endpoint, "/")
	if u, err := url.Parse(a.endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return account{}, errors.New(envConnectionString + " names an endpoint that is none; want a URL such as https://ACCOUNT.table.core.windows.net")
	}
	return a, nil
}

// newTransport is the SDK's transport with room for idle connections: net/http
// keeps ten for a host there, and dials anew for every request beyond them. It does not
// ask for compressed answers, which may be a thousand times as large as what was sent.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:          idleConnections,
		MaxIdleConnsPerHost:   idleConnections,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		DisableCompression:    true,
	}
}

// idleConnections is more than the requests that a busy program has under way.
const idleConnections = 512
