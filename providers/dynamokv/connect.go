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

// Provider returns the provider, which opens, sets up and inspects tables by URL.
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
// All parameters are optional. The default region and the credentials come from the same
// sources as for the AWS command line: the environment, the shared files, or the role of
// the machine or container. The endpoint is for an emulator or a private connection.
// LAYOUT (skykv or alien), N and DURATION (such as 10s) set Layout, Shards and Timeout of
// [Options]. BYTES is the argument of [kv.MaxValue].
//
// Over https, the store sends credentials to DynamoDB, to the endpoint in
// AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_DYNAMODB or the shared files, and to the hosts in
// SKYKV_TRUSTED_HOSTS. That variable has names separated by commas, such as
// proxy.example.com, or *.example.com for all names below example.com. For any other
// endpoint in the URL, Open returns kv.ErrInvalidOption.
//
// An endpoint with http instead of https counts as an emulator. It gets the credentials only on
// two conditions. The credentials must be an access key from the environment or the shared files,
// without a session token. The host must be this machine or in a private network: an address such
// as 10.0.0.5, or a name that has no dot or is below localhost, local or internal. Otherwise the
// emulator gets placeholders: DynamoDB Local needs credentials, but does not check them. If the
// URL has such an endpoint, skykv does not ask the metadata service of EC2, and the region is
// "us-east-1" if none is configured.
//
// An attempt at a request may take a third of the remaining time, at least 1 s and at
// most 10 s. Attempts at batches, transactions and pages may take three times as long. An
// attempt that takes longer is cut off, and the SDK makes another one. The service may
// have carried out the attempt that was cut off.
//
// The errors are those of [New]. Before any request to DynamoDB, Open also returns
// kv.ErrInvalidOption for an invalid URL or configuration, and kv.ErrPermission if there
// are no credentials.
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

// Ensure does the same as [EnsureWith] for the table of a URL. For the URL see [Open].
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

// Connection is a client made from a store's URL and the environment. Its fields are the
// arguments for [New] and [EnsureWith].
type Connection struct {
	Client  *dynamodb.Client
	Table   string
	Options Options

	endpoint  string // where the client sends its requests
	transport *http.Transport
	missing   error // the error of missing credentials, or nil
	stand     bool  // the credentials are placeholders, because the endpoint is not encrypted
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

// Identity returns a text that is the same for all URLs of the table in this environment.
// See [provider.Connection]. All endpoints of AWS in a region count as one, because they
// have the same tables.
func (c *Connection) Identity() string {
	endpoint := c.endpoint
	if u, err := url.Parse(endpoint); err == nil && isService(u.Hostname()) {
		endpoint = ""
	}
	return provider.Identity(name, endpoint, c.Client.Options().Region, c.Table)
}

// Connect reads a URL and the environment as [Open] does, and returns the client. It
// sends nothing to DynamoDB, but may do I/O to find credentials. The errors are those
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

// connect does the same as Connect, except that it returns no error for missing
// credentials. It sets the field missing instead.
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
	// The endpoint from the environment or the shared files.
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

// isRegion reports whether region is empty or can be part of a host name. The SDK puts the
// region into the name of the host to which it sends requests.
func isRegion(region string) bool {
	return len(region) <= 63 && !strings.ContainsFunc(region, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	})
}

// config returns the configuration of the environment and the shared files, with a
// region.
func (u storeURL) config(ctx context.Context, opts ...func(*config.LoadOptions) error) (aws.Config, error) {
	// The SDK does not read the whole body of a response that reports a failed condition.
	// Its own logger would then print a warning about a wrong checksum.
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

// placeholder takes the place of real credentials if there are none or they must not be sent.
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

// isPlain reports whether an endpoint has no encryption. It returns false for "", which
// means that no endpoint is set.
func isPlain(endpoint string) bool {
	return endpoint != "" && !strings.HasPrefix(strings.ToLower(endpoint), "https:")
}

// mayGetKey reports whether credentials may go to an endpoint without encryption. The
// credentials must be an access key without a session token, and the host must be near, as
// trust.Near defines. An emulator on such a host may have separate data for every access
// key, so a placeholder is not enough. mayGetKey does no I/O.
func mayGetKey(ctx context.Context, endpoint string, found aws.CredentialsProvider) bool {
	u, err := url.Parse(endpoint)
	if err != nil || !trust.Near(u.Host) || !aws.IsCredentialsProvider(found, credentials.StaticCredentialsProvider{}) {
		return false // credentials of roles and logins, which are not static, have session tokens
	}
	static, err := found.Retrieve(ctx)
	return err == nil && static.SessionToken == ""
}

// isTrusted reports whether credentials may go to an https endpoint that the store's URL
// names. configured is the endpoint from the environment or the shared files.
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

// isService reports whether a host belongs to DynamoDB, with or without FIPS, including
// hosts of accounts and private connections. Other hosts in AWS's domains, such as the
// hosts of API Gateway, may belong to anybody. See
// https://docs.aws.amazon.com/general/latest/gr/ddb.html
func isService(host string) bool {
	labels := strings.Split(strings.ToLower(host), ".")
	return trust.Below(host, awsDomains...) && slices.ContainsFunc(labels, func(label string) bool {
		return label == "dynamodb" || label == "dynamodb-fips" || label == "ddb"
	})
}

// idleConns is the greatest number of idle connections that a client keeps. The SDK's
// default is 10. A scan uses as many connections as there are shards, and batches also
// use several. If the client kept fewer, concurrent calls would dial again and again.
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
			// A request is signed for one host, so it cannot be redirected.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
	})
	return client, transport
}

// endpointOf returns the URL to which a client sends the requests for a table. Only the
// client knows this URL, because it depends on the region, on the account of the
// credentials, on FIPS and dual stack, and on the endpoints in the store's URL, the
// environment and the shared files. endpointOf makes the client prepare a request, and
// does not send it.
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
		o.EndpointDiscovery.EnableEndpointDiscovery = aws.EndpointDiscoveryDisabled // discovery would send a request
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("skykv:Endpoint", prepare), middleware.Before)
		})
	})
	if err == nil && endpoint == "" {
		err = errors.New("the SDK prepares requests in an unknown way")
	}
	return endpoint, err
}
