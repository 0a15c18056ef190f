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

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/kv"
)

// The variables that credentials come from, named as the Azure CLI names them.
// https://learn.microsoft.com/cli/azure/storage#az-storage
const (
	envConnectionString = "AZURE_STORAGE_CONNECTION_STRING"
	envKey              = "AZURE_STORAGE_KEY"
	envSAS              = "AZURE_STORAGE_SAS_TOKEN"
)

// The account that every Azurite has, with its public key.
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
const (
	azuriteAccount  = "devstoreaccount1"
	azuriteEndpoint = "http://127.0.0.1:10002/devstoreaccount1"
	azuriteKey      = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

const urlForm = "aztables://ACCOUNT/TABLE?endpoint=URL&shards=N"

// Open opens the store that a URL of the form
//
//	aztables://ACCOUNT/TABLE?endpoint=URL&shards=N
//
// names, as [New] does: ACCOUNT is a storage account (3 to 24 lower-case letters
// and digits), TABLE a table in it. Both parameters may be left out: endpoint is
// the URL of the account's table service where that is not
// https://ACCOUNT.table.core.windows.net (Azurite, a sovereign or private
// cloud), shards is [Options].Shards.
//
// Credentials are the first that the environment offers of
// AZURE_STORAGE_CONNECTION_STRING (whose endpoint the parameter overrides),
// AZURE_STORAGE_KEY (an account key) and AZURE_STORAGE_SAS_TOKEN, else those that
// [azidentity.NewDefaultAzureCredential] finds. Azurite's devstoreaccount1 needs
// none: its key is public.
//
// A URL or variable that is malformed is an error that matches
// [kv.ErrInvalidOption]; the other errors are those of New.
func Open(ctx context.Context, url string) (*kv.Store, error) {
	c, err := Connect(url)
	if err != nil {
		return nil, err
	}
	d, err := newDriver("open", c.Client, c.Table, policy.RetryOptions{})
	if err == nil {
		d.traces, d.close = true, c.Close
		d.setShards(c.Options.Shards)
		err = d.checkLayout(ctx)
	}
	if err != nil {
		c.Close()
		return nil, failed("open", err)
	}
	return kv.New(d), nil
}

// Connection is what a store's URL names, for [EnsureTable] and [Sweep].
type Connection struct {
	Client  *aztables.ServiceClient
	Table   string
	Options Options

	transport *http.Transport
}

// Close closes the connections to the service that are idle.
func (c *Connection) Close() { c.transport.CloseIdleConnections() }

// Connect reads a store's URL, and the environment, as [Open] does, but sends
// nothing to the service. Its errors match [kv.ErrInvalidOption].
func Connect(url string) (*Connection, error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return nil, err
	}
	switch {
	case !accountName.MatchString(u.Host):
		return nil, u.Errorf("the account's name is %q; it must be 3 to 24 lower-case letters and digits", u.Host)
	case !tableName.MatchString(u.Path):
		return nil, u.Errorf("the table's name is %q; it must be %s", u.Path, tableNameRule)
	}
	shards, err := u.Int("shards", DefaultShards, 1, MaxShards)
	if err != nil {
		return nil, err
	}
	endpoint, err := u.Endpoint("endpoint")
	if err != nil {
		return nil, err
	}
	transport := newTransport()
	client, err := connect(u.Host, endpoint, os.Getenv, transport)
	if err != nil {
		return nil, invalid("open", "%w", redact(err))
	}
	return &Connection{Client: client, Table: u.Path, Options: Options{Shards: shards}, transport: transport}, nil
}

// accountName is the service's rule.
// https://learn.microsoft.com/azure/storage/common/storage-account-overview#storage-account-name
var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// connect makes the client for account out of what the environment offers.
// Nothing in its errors repeats the text of a variable.
func connect(account, endpoint string, getenv func(string) string, transport *http.Transport) (*aztables.ServiceClient, error) {
	key, sas := getenv(envKey), getenv(envSAS)
	if text := getenv(envConnectionString); text != "" {
		conn, err := parseConnectionString(text)
		switch {
		case err != nil:
			return nil, err
		case conn.account != account:
			return nil, errors.New(envConnectionString + " is for account " + conn.account + ", the URL for " + account)
		case endpoint == "":
			endpoint = conn.endpoint
		}
		key, sas = conn.key, conn.sas
	} else if key == "" && sas == "" && account == azuriteAccount {
		key = azuriteKey
		if endpoint == "" {
			endpoint = azuriteEndpoint
		}
	}
	if endpoint == "" {
		endpoint = "https://" + account + ".table.core.windows.net"
	}
	opts := &aztables.ClientOptions{ClientOptions: policy.ClientOptions{Transport: tracer{&http.Client{Transport: transport}}}}
	switch {
	case key != "":
		cred, err := aztables.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, errors.New("the account key is not base64")
		}
		return aztables.NewServiceClientWithSharedKey(endpoint, cred, opts)
	case sas != "":
		sas = strings.TrimPrefix(sas, "?")
		if params, err := url.ParseQuery(sas); err != nil || params.Get("sig") == "" {
			return nil, errors.New("the shared access signature has no sig parameter; allowed is the query of a SAS URL")
		}
		return aztables.NewServiceClientWithNoCredential(endpoint+"?"+sas, opts)
	case !strings.HasPrefix(endpoint, "https:"):
		return nil, errors.New("the environment has no key and no SAS (" + envConnectionString + ", " + envKey + ", " + envSAS +
			"), and tokens of Microsoft Entra ID are sent to https endpoints only")
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return aztables.NewServiceClient(endpoint, cred, opts)
}

// connectionString is what a connection string says about tables.
type connectionString struct{ account, endpoint, key, sas string }

// parseConnectionString reads text by the rules of
// https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string.
// The SDK's own function knows neither Azurite nor another endpoint for a SAS.
func parseConnectionString(text string) (connectionString, error) {
	var c connectionString
	fields := make(map[string]string)
	for field := range strings.SplitSeq(text, ";") {
		name, value, ok := strings.Cut(field, "=")
		if !ok && strings.TrimSpace(field) != "" {
			return c, errors.New(envConnectionString + " is malformed; allowed are NAME=VALUE pairs with semicolons between them")
		}
		fields[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	if strings.EqualFold(fields["usedevelopmentstorage"], "true") {
		return connectionString{account: azuriteAccount, endpoint: azuriteEndpoint, key: azuriteKey}, nil
	}
	c = connectionString{
		account:  fields["accountname"],
		endpoint: fields["tableendpoint"],
		key:      fields["accountkey"],
		sas:      fields["sharedaccesssignature"],
	}
	if c.account == "" {
		// A SAS is shown with endpoints and without the account that they belong to.
		if u, err := url.Parse(c.endpoint); err == nil {
			c.account, _, _ = strings.Cut(u.Host, ".")
		}
	}
	if !accountName.MatchString(c.account) || c.key == "" && c.sas == "" {
		return c, errors.New(envConnectionString + " lacks something; allowed are an AccountName (3 to 24 lower-case letters and digits) or a TableEndpoint, with an AccountKey or a SharedAccessSignature")
	}
	if c.endpoint == "" {
		protocol, suffix := fields["defaultendpointsprotocol"], fields["endpointsuffix"]
		if protocol == "" {
			protocol = "https"
		}
		if suffix == "" {
			suffix = "core.windows.net"
		}
		c.endpoint = protocol + "://" + c.account + ".table." + suffix
	}
	c.endpoint = strings.TrimSuffix(c.endpoint, "/")
	if u, err := url.Parse(c.endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return c, errors.New(envConnectionString + " names an endpoint that is none; allowed is a URL such as https://ACCOUNT.table.core.windows.net")
	}
	return c, nil
}

// newTransport is the SDK's transport with room for idle connections: net/http
// keeps ten for a host there, and dials anew for every request beyond them.
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
	}
}

// idleConnections is more than the requests that a busy program has under way.
const idleConnections = 512
