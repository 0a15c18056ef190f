package firestorekv

import (
	"cmp"
	"context"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/auth/credentials"
	firestore "cloud.google.com/go/firestore/apiv1"
	admin "cloud.google.com/go/firestore/apiv1/admin"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/skykv/skykv/internal/trust"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// urlForm is the form of the URLs.
const urlForm = "firestore://PROJECT/COLLECTION?database=ID&layout=LAYOUT&shards=N&timeout=DURATION&max-value=BYTES&endpoint=URL"

// envEmulator is the environment variable with the host of an emulator. Google's own clients
// use it too.
const envEmulator = "FIRESTORE_EMULATOR_HOST"

// Provider returns the provider, which opens, sets up and inspects stores by URL.
func Provider() provider.Provider {
	return provider.Provider{
		Scheme: name, Form: urlForm, Summary: "Google Cloud Firestore",
		Open: Open, Ensure: Ensure, Inspect: Inspect, Terraform: Terraform,
		Connect: func(ctx context.Context, url string) (provider.Connection, error) { return Connect(ctx, url) },
	}
}

// Open returns a store over the collection of a URL such as
//
//	firestore://my-project/kv
//	firestore://my-project/kv?database=orders&layout=skykv&shards=16&timeout=10s
//	firestore://any-project/kv?endpoint=http://localhost:8080
//
// All parameters are optional. The default database is "(default)". The parameters layout
// (skykv or alien), shards and timeout set Layout, Shards and Timeout of [Options].
// max-value=BYTES sets [kv.MaxValue]. Open uses the application default credentials
// (https://cloud.google.com/docs/authentication/application-default-credentials).
//
// An endpoint with http instead of https counts as an emulator. Open uses no TLS, and sends
// no credentials. It calls the emulator as its "owner", to whom security rules do not apply.
// Without an endpoint, Open uses the emulator in the environment variable
// FIRESTORE_EMULATOR_HOST, like Google's own clients.
//
// An endpoint with https replaces firestore.googleapis.com. Open sends credentials to hosts
// below googleapis.com, below the universe domain of the credentials or of
// GOOGLE_CLOUD_UNIVERSE_DOMAIN, and to the hosts in SKYKV_TRUSTED_HOSTS, such as
// "proxy.example.com,*.corp.example". For any other host in the URL, Open returns
// [kv.ErrInvalidOption], because a URL alone must not make Open send an access token. A
// client for [New] may have any endpoint.
//
// The errors are those of [New]. Before any request to Firestore, Open also returns
// kv.ErrInvalidOption for an invalid URL, and [kv.ErrPermission] if there are no credentials.
func Open(ctx context.Context, url string) (*kv.Store, error) {
	c, err := Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	store, err := c.open(ctx)
	if err != nil {
		c.Close()
		return nil, err
	}
	return store, nil
}

// Ensure does the same as [EnsureWith] for the collection of a URL. For the URL see [Open].
// On an emulator, which has no settings, it only writes the layout document.
func Ensure(ctx context.Context, url string) error {
	c, err := Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.ensure(ctx)
}

// Inspect checks everything that the store of a URL needs: whether the service responds,
// its clock, the credentials, the database, the settings of [EnsureWith] and the layout
// document. It reads up to 100 documents, and counts those that skykv did not write or that
// are in the wrong place. It uses the same kind of client as [Open], and changes nothing. See
// [provider.Provider].
func Inspect(ctx context.Context, url string) iter.Seq[provider.Check] {
	return func(yield func(provider.Check) bool) {
		c, err := Connect(ctx, url)
		if err != nil {
			yield(notConnected(err))
			return
		}
		defer c.Close()
		c.inspect(ctx, yield)
	}
}

// Connection is a client made from a store's URL and the environment. Its fields are the
// arguments for [New] and [EnsureWith].
type Connection struct {
	Client     *firestore.Client
	Project    string
	Collection string
	Options    Options

	endpoint *url.URL // nil for firestore.googleapis.com
	byEnv    bool     // the endpoint is from envEmulator
	store    []kv.StoreOption
}

// Connect reads a URL and the environment as [Open] does, and returns the client. It sends
// nothing to Firestore. The errors are those that Open returns before it sends a request.
func Connect(ctx context.Context, url string) (*Connection, error) {
	c, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if err := c.fromEnv(); err != nil {
		return nil, err
	}
	if c.endpoint != nil && !c.emulator() && !trusted(ctx, c.endpoint.Host) {
		return nil, errInvalid("open", "%w", trust.Refused(c.endpoint.String()))
	}
	opts, err := c.clientOptions()
	if err != nil {
		return nil, err
	}
	if c.Client, err = firestore.NewClient(ctx, opts...); err != nil {
		return nil, errNoClient(err)
	}
	return c, nil
}

// fromEnv sets the endpoint from the environment unless the URL has one.
func (c *Connection) fromEnv() error {
	host := os.Getenv(envEmulator)
	if host == "" || c.endpoint != nil {
		return nil
	}
	u, err := url.Parse("http://" + host)
	if err != nil || u.Host != host || u.Hostname() == "" {
		return errInvalid("open", "the environment variable %s is not a host; want a host such as localhost:8080", envEmulator)
	}
	c.endpoint, c.byEnv = u, true
	return nil
}

// trusted reports whether the host of a URL may get the credentials of the environment.
func trusted(ctx context.Context, host string) bool {
	domains := []string{"googleapis.com"}
	if domain := os.Getenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN"); domain != "" {
		domains = append(domains, domain)
	}
	if trust.Below(host, domains...) || trust.Listed(host) {
		return true
	}
	creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: firestore.DefaultAuthScopes()})
	if err != nil {
		return false
	}
	domain, err := creds.UniverseDomain(ctx)
	return err == nil && trust.Below(host, domain)
}

// AdminClient returns a new client for the settings, with the endpoint and the credentials of
// c.Client. The caller must close it.
func (c *Connection) AdminClient(ctx context.Context) (*admin.FirestoreAdminClient, error) {
	opts, err := c.clientOptions()
	if err != nil {
		return nil, err
	}
	client, err := admin.NewFirestoreAdminClient(ctx, opts...)
	if err != nil {
		return nil, errNoClient(err)
	}
	return client, nil
}

// errNoClient returns the error for a client that the SDK could not make. The SDK does not
// connect while it makes a client, so the reason is the credentials.
func errNoClient(err error) error {
	return opError("open", &kv.Error{Kind: kv.ErrPermission, Err: err})
}

// Close closes c.Client.
func (c *Connection) Close() { _ = c.Client.Close() }

// Open returns the store, as [New] does.
func (c *Connection) Open(ctx context.Context) (*kv.Store, error) {
	store, err := New(ctx, c.Client, c.Project, c.Collection, &c.Options)
	if err != nil {
		return nil, err
	}
	return store.With(c.store...), nil
}

// Identity returns a text that is the same for all URLs of the collection in this
// environment. See [provider.Connection]. All endpoints of Google count as one, because they
// have the same projects.
func (c *Connection) Identity() string {
	endpoint := ""
	if c.endpoint != nil && !trust.Below(c.endpoint.Host, "googleapis.com") {
		endpoint = c.endpoint.String()
	}
	return provider.Identity(name, endpoint, c.Project, c.Options.Database, c.Collection)
}

// open returns a store that closes c.
func (c *Connection) open(ctx context.Context) (*kv.Store, error) {
	d, err := newDriver("open", c.Client, c.Project, c.Collection, &c.Options)
	if err != nil {
		return nil, err
	}
	d.close = c.Close
	store, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	return store.With(c.store...), nil
}

// parseURL reads a store's URL. The Connection that it returns has no client yet.
func parseURL(raw string) (*Connection, error) {
	u, err := provider.ParseURL(name, urlForm, raw)
	if err != nil {
		return nil, err
	}
	c := &Connection{Project: u.Host, Collection: u.Path, Options: Options{Database: cmp.Or(u.Get("database"), defaultDatabase)}}
	if err := checkIDs(c.Project, c.Collection, c.Options.Database); err != nil {
		return nil, u.Errorf("%v", err)
	}
	if c.Options.Layout, err = u.Layout("layout"); err != nil {
		return nil, err
	}
	if c.Options.Shards, err = u.Int("shards", DefaultShards, 1, MaxShards); err != nil {
		return nil, err
	}
	if c.Options.Timeout, err = u.Duration("timeout", defaultTimeout); err != nil {
		return nil, err
	}
	if c.store, err = u.StoreOptions(); err != nil {
		return nil, err
	}
	text, err := u.Endpoint("endpoint")
	if err != nil || text == "" {
		return c, err
	}
	if c.endpoint, err = url.Parse(text); err != nil || strings.Trim(c.endpoint.Path, "/") != "" {
		return nil, u.Errorf(`parameter "endpoint" has a path; want a URL such as http://localhost:8080`)
	}
	return c, nil
}

// emulator reports whether the endpoint is an emulator.
func (c *Connection) emulator() bool { return c.endpoint != nil && c.endpoint.Scheme == "http" }

// connections is the number of gRPC connections of a client. Google's front ends take
// about 100 calls at a time on each connection.
const connections = 4

// alive closes a connection that the network has dropped, within 40 seconds of a call.
// Google's front ends accept pings this often. The server of an emulator may not, so the
// client of an emulator does not use alive.
var alive = option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{
	Time: 30 * time.Second, Timeout: 10 * time.Second,
}))

// clientOptions returns the options of one client. The options may contain a connection, which
// the client closes.
func (c *Connection) clientOptions() ([]option.ClientOption, error) {
	opts := []option.ClientOption{alive, option.WithGRPCConnectionPool(connections)}
	switch {
	case c.endpoint == nil:
		return opts, nil
	case !c.emulator():
		return append(opts, option.WithEndpoint(hostPort(c.endpoint, "443"))), nil
	}
	conn, err := grpc.NewClient("dns:///"+hostPort(c.endpoint, "80"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(owner{}))
	if err != nil {
		return nil, errInvalid("open", `the endpoint has an invalid host; want a URL such as http://localhost:8080`)
	}
	return []option.ClientOption{option.WithGRPCConn(conn)}, nil
}

func hostPort(u *url.URL, port string) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":" + port
}

// owner has the credentials of an emulator's administrator.
type owner struct{}

func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (owner) RequireTransportSecurity() bool { return false }
