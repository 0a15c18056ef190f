package dynamokv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/internal/trust"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// urlForm is the form of the URLs.
const urlForm = "dynamodb://TABLE?region=REGION&endpoint=URL&layout=LAYOUT&shards=N&timeout=DURATION&max-value=BYTES"

// Provider opens, sets up and inspects tables by URL.
func Provider() provider.Provider {
	return provider.Provider{
		Scheme: name, Form: urlForm, Summary: "AWS DynamoDB",
		Open: Open, Ensure: Ensure, Inspect: Inspect, Terraform: Terraform,
		Connect: func(ctx context.Context, url string) (provider.Connection, error) { return Connect(ctx, url) },
	}
}

// Open returns a store over the table of a URL:
//
//	dynamodb://TABLE?region=REGION&endpoint=URL&layout=LAYOUT&shards=N&timeout=DURATION&max-value=BYTES
//
// All parameters are optional. The region and the credentials come from the sources of
// the AWS command line: the environment, the shared files, the role of the machine or
// container. The endpoint is for an emulator or a private connection. LAYOUT, which is
// skykv or alien, N and DURATION, such as 10s, are [Options].Layout, Shards and
// Timeout. BYTES is [kv.MaxValue].
//
// Over https, the store sends credentials to DynamoDB, to the endpoint in
// AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB or the shared files, and to the hosts in
// SKYKV_TRUSTED_HOSTS: names separated by commas, such as proxy.example.com, or
// *.example.com for all names below it. Any other endpoint in the URL is
// kv.ErrInvalidOption.
//
// An endpoint with http, without s, counts as an emulator. It gets the credentials if
// they are an access key of the environment or the shared files, without a session
// token, and the host is this one or in a private network: an address such as 10.0.0.5,
// or a name without a dot or below localhost, local or internal. Otherwise it gets
// placeholders, which DynamoDB Local needs and does not check. If the URL has such an
// endpoint and no region is set, the region is "us-east-1". Then the metadata service
// of EC2 is not asked.
//
// An attempt at a request takes at most a third of the remaining time, at least 1 s and
// at most 10 s, and three times that for batches and pages. Then the SDK makes another
// attempt. The service may have carried out the one that was cut off.
//
// The errors are the errors of [New]. An invalid URL or configuration is
// kv.ErrInvalidOption, and missing credentials are kv.ErrPermission, before any request
// to DynamoDB.
func Open(ctx context.Context, url string) (*kv.Store, error) {
	c, err := Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	d, err := newDriver("open", c.Client, c.Table, &c.Options)
	if err == nil {
		d.close = c.Close
		var store *kv.Store
		if store, err = d.open(ctx); err == nil {
			return store.With(c.store...), nil
		}
	}
	c.Close()
	return nil, err
}

// Ensure is [EnsureWith] for the table of a URL: see [Open].
func Ensure(ctx context.Context, url string) error {
	c, err := Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	return EnsureWith(ctx, c.Client, c.Table, &c.Options)
}

// Inspect checks everything that the store of a URL needs: whether the service
// responds, its clock, the credentials, the table, its TTL and the layout record. It
// uses the client that [Open] uses, and changes nothing. See [provider.Provider].
func Inspect(ctx context.Context, url string) iter.Seq[provider.Check] {
	return func(yield func(provider.Check) bool) {
		c, err := connect(ctx, url)
		if err != nil {
			yield(provider.Failed("url", err, "see: skykv help"))
			return
		}
		defer c.Close()
		c.inspect(ctx, yield)
	}
}

// Connection is a client from a store's URL and the environment. Its fields are
// arguments of [New] and [EnsureWith].
type Connection struct {
	Client  *dynamodb.Client
	Table   string
	Options Options

	endpoint  string // where the client sends its requests
	transport *http.Transport
	missing   error // error if there are no credentials
	stand     bool  // the credentials are placeholders
	store     []kv.StoreOption
}

// Close closes the idle connections to the service.
func (c *Connection) Close() { c.transport.CloseIdleConnections() }

// Open returns the store, as [New] does.
func (c *Connection) Open(ctx context.Context) (*kv.Store, error) {
	store, err := New(ctx, c.Client, c.Table, &c.Options)
	if err != nil {
		return nil, err
	}
	return store.With(c.store...), nil
}

// Identity returns a text that is the same for all URLs of the table in this
// environment. See [provider.Connection]. All endpoints of a region of AWS have the same
// tables.
func (c *Connection) Identity() string {
	endpoint := c.endpoint
	if u, err := url.Parse(endpoint); err == nil && isService(u.Hostname()) {
		endpoint = ""
	}
	return provider.Identity(name, endpoint, c.Client.Options().Region, c.Table)
}

// Connect reads a URL and the environment as [Open] does, and returns the client. It
// sends nothing to DynamoDB. Looking for credentials may be I/O. The errors are those
// that Open returns before it sends a request.
func Connect(ctx context.Context, url string) (*Connection, error) {
	c, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	if c.missing != nil {
		return nil, opError("open", c.missing)
	}
	return c, nil
}

// connect is Connect without an error for missing credentials.
func connect(ctx context.Context, url string) (*Connection, error) {
	u, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	cfg, err := u.config(ctx)
	if err != nil {
		return nil, opError("open", err)
	}
	c := &Connection{Table: u.table, Options: Options{Layout: u.layout, Shards: u.shards, Timeout: u.timeout}, store: u.store}
	// The endpoint in the environment and the shared files.
	configured := aws.ToString(dynamodb.NewFromConfig(cfg).Options().BaseEndpoint)
	switch endpoint := cmp.Or(u.endpoint, configured); {
	case isPlain(endpoint):
		if !mayGetKey(ctx, endpoint, cfg.Credentials) {
			c.stand, cfg.Credentials = true, placeholder
		}
	case u.endpoint != "" && !isTrusted(u.endpoint, configured):
		return nil, errInvalid("open", "%w", trust.Refused(u.endpoint))
	default:
		if c.missing = findCredentials(ctx, cfg.Credentials); c.missing != nil {
			if ctx.Err() != nil {
				return nil, opError("open", c.missing)
			}
			cfg.Credentials = placeholder
		}
	}
	c.Client, c.transport = newClient(cfg, u.endpoint)
	if c.endpoint, err = endpointOf(ctx, c.Client, c.Table); err != nil {
		return nil, errInvalid("open", "the AWS configuration has no endpoint: %w", safe(err))
	}
	return c, nil
}

// storeURL is a parsed URL of a store.
type storeURL struct {
	table, region, endpoint string
	layout                  provider.Layout
	shards                  int
	timeout                 time.Duration
	store                   []kv.StoreOption
}

func parseURL(url string) (storeURL, error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return storeURL{}, err
	}
	if u.Path != "" {
		return storeURL{}, u.Errorf("there is a path after the table")
	}
	if problem := checkTable(u.Host); problem != "" {
		return storeURL{}, u.Errorf("%s", problem)
	}
	s := storeURL{table: u.Host, region: u.Get("region")}
	if !isRegion(s.region) {
		return storeURL{}, u.Errorf(`parameter "region" must be the name of a region such as us-east-1`)
	}
	if s.layout, err = u.Layout("layout"); err != nil {
		return storeURL{}, err
	}
	if s.shards, err = u.Int("shards", DefaultShards, 1, MaxShards); err != nil {
		return storeURL{}, err
	}
	if s.endpoint, err = u.Endpoint("endpoint"); err != nil {
		return storeURL{}, err
	}
	if s.timeout, err = u.Duration("timeout", defaultTimeout); err != nil {
		return storeURL{}, err
	}
	if s.store, err = u.StoreOptions(); err != nil {
		return storeURL{}, err
	}
	return s, nil
}

// isRegion reports whether a text can be part of a host name.
func isRegion(region string) bool {
	return len(region) <= 63 && !strings.ContainsFunc(region, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	})
}

// config returns the configuration of the environment and the shared files, with a
// region.
func (u storeURL) config(ctx context.Context, opts ...func(*config.LoadOptions) error) (aws.Config, error) {
	// The SDK's own logger would warn on standard error about every failed condition:
	// that the checksum of its body, which nobody read, differs from the header's.
	opts = append(opts, config.WithRegion(u.region), config.WithLogger(logging.Nop{}))
	if isPlain(u.endpoint) {
		opts = append(opts, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return cfg, &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the AWS configuration cannot be loaded: %w", err)}
	}
	if cfg.Region == "" {
		if !isPlain(u.endpoint) {
			return cfg, &kv.Error{Kind: kv.ErrInvalidOption, Err: errors.New(`there is no region; want parameter "region", AWS_REGION, or a region in the shared AWS files`)}
		}
		cfg.Region = "us-east-1"
	}
	return cfg, nil
}

// placeholder replaces credentials where none are needed.
var placeholder = credentials.NewStaticCredentialsProvider("skykv", "skykv", "")

// findCredentials returns an error if there are no credentials.
func findCredentials(ctx context.Context, found aws.CredentialsProvider) error {
	_, err := found.Retrieve(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &kv.Error{Err: fmt.Errorf("no AWS credentials were found in time: %w", err)}
	}
	return &kv.Error{Kind: kv.ErrPermission, Err: fmt.Errorf("no AWS credentials were found in the environment, the shared files or the role: %w", err)}
}

// isPlain reports whether an endpoint has no encryption.
func isPlain(endpoint string) bool {
	return endpoint != "" && !strings.HasPrefix(strings.ToLower(endpoint), "https:")
}

// mayGetKey reports whether credentials may go to an endpoint without encryption: an
// access key without a session token may go to a near host, which may store its data by
// the key. It makes no I/O.
func mayGetKey(ctx context.Context, endpoint string, found aws.CredentialsProvider) bool {
	u, err := url.Parse(endpoint)
	if err != nil || !trust.Near(u.Host) || !aws.IsCredentialsProvider(found, credentials.StaticCredentialsProvider{}) {
		return false // roles and logins have session tokens
	}
	static, err := found.Retrieve(ctx)
	return err == nil && static.SessionToken == ""
}

// isTrusted reports whether credentials may go to an encrypted endpoint from a URL.
// configured is the endpoint in the environment and the shared files.
func isTrusted(endpoint, configured string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (isService(u.Hostname()) || trust.Same(endpoint, configured) || trust.Listed(u.Host))
}

// awsDomains are the domains of all partitions of AWS that the SDK knows.
var awsDomains = []string{
	"amazonaws.com", "api.aws",
	"amazonaws.com.cn", "api.amazonwebservices.com.cn",
	"amazonaws.eu", "api.amazonwebservices.eu",
	"c2s.ic.gov", "api.aws.ic.gov",
	"sc2s.sgov.gov", "api.aws.scloud",
	"csp.hci.ic.gov", "api.aws.hci.ic.gov",
	"cloud.adc-e.uk", "api.cloud-aws.adc-e.uk",
}

// isService reports whether a host is DynamoDB, with or without FIPS, by account or by
// a private connection. Other hosts of the same domains may belong to anybody, such as
// those of API Gateway: https://docs.aws.amazon.com/general/latest/gr/ddb.html
func isService(host string) bool {
	labels := strings.Split(strings.ToLower(host), ".")
	return trust.Below(host, awsDomains...) && slices.ContainsFunc(labels, func(label string) bool {
		return label == "dynamodb" || label == "dynamodb-fips" || label == "ddb"
	})
}

// idleConns is the number of idle connections that are kept. The SDK keeps 10. It is
// more than a scan's shards and a batch's requests, so that concurrent calls do not
// dial again and again.
const idleConns = 512

// newClient returns a client and the transport that only this client uses.
func newClient(cfg aws.Config, endpoint string) (*dynamodb.Client, *http.Transport) {
	var transport *http.Transport
	client := dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		// The configuration may have a client with the certificates of AWS_CA_BUNDLE.
		sdk, ok := o.HTTPClient.(*awshttp.BuildableClient)
		if !ok {
			sdk = awshttp.NewBuildableClient()
		}
		transport = sdk.GetTransport()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = idleConns, idleConns
		o.HTTPClient = attempt.Client{HTTP: &http.Client{
			Transport: transport,
			Timeout:   sdk.GetTimeout(),
			// Requests are signed for one host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
	})
	return client, transport
}

// endpointOf returns the URL to which a client sends the requests for a table. Only the
// client knows it: it depends on the region, on the account of the credentials, on FIPS
// and dual stack, and on the endpoints in the URL, the environment and the shared
// files. So the client prepares a request, which is not sent.
func endpointOf(ctx context.Context, client *dynamodb.Client, table string) (string, error) {
	endpoint := ""
	prepare := func(_ context.Context, in middleware.DeserializeInput, _ middleware.DeserializeHandler) (
		out middleware.DeserializeOutput, metadata middleware.Metadata, err error,
	) {
		if r, ok := in.Request.(*smithyhttp.Request); ok {
			endpoint = strings.TrimSuffix(r.URL.String(), "/")
		}
		out.Result = new(dynamodb.GetItemOutput)
		return out, metadata, nil
	}
	_, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: item{}}, func(o *dynamodb.Options) {
		o.EndpointDiscovery.EnableEndpointDiscovery = aws.EndpointDiscoveryDisabled // discovery would ask the service
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("skykv:Endpoint", prepare), middleware.Before)
		})
	})
	if err == nil && endpoint == "" {
		err = errors.New("the SDK prepares requests in an unknown way")
	}
	return endpoint, err
}
