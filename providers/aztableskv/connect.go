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

// Connection has a client, made from a store's URL and the environment. Its exported fields
// are arguments of [New], [EnsureWith] and [SweepWith].
type Connection struct {
	Client  *aztables.ServiceClient
	Table   string
	Options Options

	account   account
	transport *http.Transport
	store     []kv.StoreOption
}

// Connect reads a URL and the environment as [Open] does, and makes a client. It sends
// nothing. The credentials are used for the first time in the first request. The errors
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

// Close closes the idle connections to the service.
func (c *Connection) Close() { c.transport.CloseIdleConnections() }

// Open returns the store of the URL, with the errors of [New]. Closing the store leaves c open.
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

// Identity returns a text that is the same for all URLs of the table in this environment,
// even if they differ in the case of the table's name, which the service ignores. See
// [provider.Connection].
func (c *Connection) Identity() string {
	return provider.Identity(name, c.account.endpoint, strings.ToLower(c.Table))
}

// driver returns a driver that uses c.Client. Its writes are traced, because the transport
// of c.Client is a tracer.
func (c *Connection) driver(op string) (*driver, error) {
	d, err := newDriver(op, c.Client, c.Table, &c.Options)
	if err != nil {
		return nil, err
	}
	d.traces = true
	return d, nil
}

// Provider returns the provider, which opens, sets up, inspects, describes and sweeps tables by
// URL.
func Provider() provider.Provider {
	return provider.Provider{
		Scheme: name, Form: urlForm, Summary: "Azure Tables",
		Open: Open, Ensure: Ensure, Inspect: Inspect, Terraform: Terraform, Sweep: Sweep,
		Connect: func(ctx context.Context, url string) (provider.Connection, error) { return Connect(ctx, url) },
	}
}

// Open returns a store over the table of a URL:
//
//	aztables://ACCOUNT/TABLE?endpoint=URL&layout=LAYOUT&shards=N&timeout=DURATION&max-value=BYTES
//
// ACCOUNT is a storage account (3 to 24 lower-case letters and digits). All parameters are
// optional. The endpoint is needed only if the account's table service is not at
// https://ACCOUNT.table.core.windows.net: for Azurite, and for sovereign and private clouds.
// LAYOUT (skykv or alien) sets the Layout in [Options], N sets Shards, and DURATION (such as
// 10s) sets Timeout. BYTES sets [kv.MaxValue].
//
// Open uses the first credentials that it finds in the environment: in
// AZURE_STORAGE_CONNECTION_STRING (the parameter endpoint replaces the endpoint there), in
// AZURE_STORAGE_KEY (an account key), or in AZURE_STORAGE_SAS_TOKEN. If there are none, it
// uses the credentials that [azidentity.NewDefaultAzureCredential] finds. Azurite's
// devstoreaccount1 needs none, because its key is public. For that account, Open ignores all
// credentials in the environment except a connection string of that account.
//
// Over https, the store sends credentials only to Azure's own hosts, to the endpoint of the
// connection string in the environment, and to the hosts in SKYKV_TRUSTED_HOSTS, such as
// proxy.example.com,*.private.example. Over http, it sends an account key only to the
// endpoint of the connection string, and never sends shared access signatures or tokens.
// Azurite's key may go to any host. Open refuses any other endpoint before any I/O.
//
// Each attempt at a request has a time limit: a third of the time that is left, but at least
// 1 s and at most 10 s. For a batch, a page or a transaction the limit is three times that.
// The service may have carried out an attempt that was cut off. The client follows no
// redirects, and does not request compressed responses.
//
// For an invalid URL or variable, a refused endpoint, or an account of Azure Cosmos DB, Open
// returns kv.ErrInvalidOption. The other errors are those of [New].
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

// address is a parsed URL of a store.
type address struct {
	account, table string
	endpoint       string // "" if the URL has none
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
		return address{}, u.Errorf("the account's name is %q; want 3 to 24 lower-case letters and digits", at.account)
	case !tableName.MatchString(at.table):
		return address{}, u.Errorf("the table's name is %q; want %s", at.table, tableNameRule)
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

// accountName matches the account names that the service permits.
// https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-name
var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// account is a storage account and the URL of its table service. The client uses its key, if it
// has one, or else its SAS. With neither, the client uses tokens of Microsoft Entra ID.
type account struct {
	name, endpoint, key, sas string

	named string // the endpoint of the connection string in the environment
}

// These environment variables have credentials. Their names are those of the Azure CLI.
// https://learn.microsoft.com/cli/azure/storage#az-storage
const (
	envConnectionString = "AZURE_STORAGE_CONNECTION_STRING"
	envKey              = "AZURE_STORAGE_KEY"
	envSAS              = "AZURE_STORAGE_SAS_TOKEN"
)

// azuriteAccount is Azurite's default account, with its public key.
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
var azuriteAccount = account{
	name:     "devstoreaccount1",
	endpoint: "http://127.0.0.1:10002/devstoreaccount1",
	key:      "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
}

// findAccount completes the account of a URL with credentials and an endpoint from the
// environment. Its errors contain no secrets from the environment variables.
func findAccount(name, endpoint string, getenv func(string) string) (account, error) {
	found := account{name: name, key: getenv(envKey), sas: getenv(envSAS)}
	text := getenv(envConnectionString)
	if text != "" {
		var err error
		if found, err = parseConnectionString(text); err != nil {
			return account{}, err
		}
		found.named = found.endpoint
	}
	switch {
	case name == azuriteAccount.name && (text == "" || found.name != name):
		found = azuriteAccount // the environment's credentials are for a different account
	case text != "" && found.name != name:
		return account{}, errors.New(envConnectionString + " is for account " + found.name + ", the URL for " + name)
	}
	if endpoint != "" {
		found.endpoint = endpoint
	}
	if found.endpoint == "" {
		found.endpoint = "https://" + name + ".table.core.windows.net"
	}
	return found, found.check()
}

// clouds are the domains of the table service: one for each of Azure's clouds, and one for
// accounts whose endpoint is in a DNS zone.
// https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-endpoints
var clouds = []string{"table.core.windows.net", "table.core.chinacloudapi.cn", "table.core.usgovcloudapi.net", "table.storage.azure.net"}

// check returns an error if the endpoint is invalid or belongs to Azure Cosmos DB, or if the
// account's credentials must not be sent to it.
func (a account) check() error {
	u, err := url.Parse(a.endpoint)
	if err != nil {
		return errors.New("the endpoint is not a URL")
	}
	open := u.Scheme != "https"
	switch {
	case a.name == azuriteAccount.name && strings.Trim(u.Path, "/") == "" && !strings.HasPrefix(u.Host, a.name+"."):
		return errors.New("Azurite's endpoint ends with the account, as in " + azuriteAccount.endpoint)
	case isCosmos(u.Host):
		return errCosmos
	case a.key == azuriteAccount.key: // this key is public
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

// isCosmos reports whether a host belongs to Azure Cosmos DB, by the rule of the SDK.
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
		// The service sends no redirects. Following one would send the value, and a SAS in
		// the Referer, to a different host, and would turn a write into a read.
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
// https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string. The
// SDK's own function does not know UseDevelopmentStorage=true, which means Azurite, and
// ignores the TableEndpoint of a connection string that has a SAS.
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
		// A connection string with a SAS may name only endpoints, and no account.
		if u, err := url.Parse(a.endpoint); err == nil {
			a.name, _, _ = strings.Cut(u.Host, ".")
		}
	}
	if !accountName.MatchString(a.name) || a.key == "" && a.sas == "" {
		return account{}, errors.New(envConnectionString + " is incomplete; want an AccountName (3 to 24 lower-case letters and digits) or a TableEndpoint, with an AccountKey or a SharedAccessSignature")
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
		return account{}, errors.New(envConnectionString + " has an invalid endpoint; want a URL such as https://ACCOUNT.table.core.windows.net")
	}
	return a, nil
}

// newTransport returns a transport like the SDK's, with these differences. It keeps more idle
// connections: the SDK's transport keeps ten to a host, so a busy program would often dial
// new ones. It does not request compressed responses, because a response may become a
// thousand times as large when it is decompressed. It uses neither HTTP/2 nor TLS
// renegotiation.
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

// idleConnections is meant to be greater than the number of requests that a program makes at
// once.
const idleConnections = 512
