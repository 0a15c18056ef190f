package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/kv"
)

// Options are those of [New] and [EnsureCollection]. Nil stands for the zero
// Options.
type Options struct {
	// Database is the ID of the database; empty stands for "(default)".
	Database string

	// Timeout ends calls whose context has no deadline, with an error that matches
	// kv.ErrUnavailable and context.DeadlineExceeded. Batches have it for each of
	// their requests, and scans for each wait for the service; all retries lie
	// within. Zero stands for one minute, the Firestore client's own limit.
	// EnsureCollection does not use it.
	Timeout time.Duration
}

const (
	defaultDatabase = "(default)"
	defaultTimeout  = time.Minute
)

// New returns a store of the documents in a root collection, read and written
// through client: one of gRPC, from apiv1.NewClient, with the credentials,
// interceptors and metrics that the program gave it. The store's Close does not
// close it.
//
// New reads the collection's layout document, and creates it in a collection
// without one. It returns [kv.ErrInvalidOption] for IDs that Firestore does not
// allow, [kv.ErrNotProvisioned] when the database does not exist,
// [kv.ErrIncompatible] when the collection has another format, and
// [kv.ErrPermission] when reading or creating the document is denied.
func New(ctx context.Context, client *firestore.Client, project, collection string, opts *Options) (*kv.Store, error) {
	return open(ctx, client, false, project, collection, opts)
}

// urlForm is what Open takes.
const urlForm = "firestore://PROJECT/COLLECTION?database=ID&endpoint=URL"

// connections is the number of gRPC connections of a client that Open makes.
// Google's front ends take about 100 calls at a time on each.
const connections = 4

// alive finds connections that swallow what is sent, as those of a network that
// forgot them do, within 40 seconds of a call's wait. Google's front ends take pings
// this often; an emulator's server may not.
var alive = option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{
	Time: 30 * time.Second, Timeout: 10 * time.Second,
}))

// Open opens the store named by a URL such as
//
//	firestore://my-project/kv
//	firestore://my-project/kv?database=orders
//	firestore://any-project/kv?endpoint=http://localhost:8080
//
// The database is "(default)" unless given. Credentials are the application
// default ones (https://cloud.google.com/docs/authentication/application-default-credentials).
//
// An endpoint of scheme http is an emulator: it is spoken to without TLS and as
// its "owner", whom security rules do not concern. One of scheme https replaces
// firestore.googleapis.com. The environment variable FIRESTORE_EMULATOR_HOST is not
// looked at.
//
// Errors are those of [New], and [kv.ErrInvalidOption] for any other URL.
func Open(ctx context.Context, rawURL string) (*kv.Store, error) {
	u, err := provider.ParseURL(name, urlForm, rawURL)
	if err != nil {
		return nil, err
	}
	opts := Options{Database: u.Get("database")}
	if err := checkIDs(u.Host, u.Path, opts.Database); err != nil {
		return nil, u.Errorf("%v", err)
	}
	endpoint, err := u.Endpoint("endpoint")
	if err != nil {
		return nil, err
	}
	client, err := dial(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	store, err := open(ctx, client, true, u.Host, u.Path, &opts)
	if err != nil {
		client.Close() // nothing was written through it
		return nil, err
	}
	return store, nil
}

func dial(ctx context.Context, endpoint string) (*firestore.Client, error) {
	var opts []option.ClientOption
	if u, err := url.Parse(endpoint); err != nil || endpoint == "" {
		opts = []option.ClientOption{alive, option.WithGRPCConnectionPool(connections)}
	} else if strings.Trim(u.Path, "/") != "" {
		return nil, openError(kv.ErrInvalidOption, errors.New(`parameter "endpoint" has a path; allowed is a URL such as http://localhost:8080`))
	} else if u.Scheme == "https" {
		opts = []option.ClientOption{alive, option.WithGRPCConnectionPool(connections), option.WithEndpoint(hostPort(u, "443"))}
	} else {
		conn, err := grpc.NewClient("dns:///"+hostPort(u, "80"),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithPerRPCCredentials(owner{}))
		if err != nil {
			return nil, openError(kv.ErrInvalidOption, errors.New(`parameter "endpoint" has no host that can be connected to`))
		}
		opts = []option.ClientOption{option.WithGRPCConn(conn)}
	}
	client, err := firestore.NewClient(ctx, opts...)
	if err != nil { // nothing was connected yet: it is about the credentials
		return nil, openError(kv.ErrPermission, err)
	}
	return client, nil
}

func hostPort(u *url.URL, port string) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":" + port
}

// owner is what the emulator takes for an administrator.
type owner struct{}

func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (owner) RequireTransportSecurity() bool { return false }

func open(ctx context.Context, client *firestore.Client, opened bool, project, collection string, opts *Options) (*kv.Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if err := checkIDs(project, collection, o.Database); err != nil {
		return nil, openError(kv.ErrInvalidOption, err)
	}
	switch {
	case client == nil:
		return nil, openError(kv.ErrInvalidOption, errors.New("the client is nil; allowed is one of apiv1.NewClient"))
	case client.Connection() == nil: //lint:ignore SA1019 it is what tells the kinds of clients apart
		return nil, openError(kv.ErrInvalidOption, errors.New("the client is one of REST, which hides what becomes of a request; allowed is one of apiv1.NewClient"))
	case o.Timeout < 0:
		return nil, openError(kv.ErrInvalidOption, fmt.Errorf("the timeout is %s; allowed is a positive one, or zero for %s", o.Timeout, defaultTimeout))
	case o.Timeout == 0:
		o.Timeout = defaultTimeout
	}
	d := newDriver(client, project, collection, o)
	d.opened = opened
	if err := d.checkLayout(ctx); err != nil {
		return nil, openError(err.Kind, err.Err)
	}
	return kv.New(d), nil
}

func newDriver(client *firestore.Client, project, collection string, o Options) *driver {
	if o.Database == "" {
		o.Database = defaultDatabase
	}
	database := "projects/" + project + "/databases/" + o.Database
	parent := database + "/documents"
	// As in the high-level client, whose requests are known to reach every database.
	prefix := []string{"google-cloud-resource-prefix", database}
	routing := "project_id=" + url.QueryEscape(project) + "&database_id=" + url.QueryEscape(o.Database)
	return &driver{
		client:     client,
		database:   database,
		parent:     parent,
		collection: collection,
		prefix:     parent + "/" + collection + "/" + letter,
		timeout:    o.Timeout,
		firstPause: firstPause,
		limits:     sync.Pool{New: newLimit},
		headers:    newHeaders(prefix...),
		getHeaders: newHeaders(append(prefix, "x-goog-request-params", routing)...),
	}
}

// checkLayout compares the layout document with this package's format, and creates
// it if there is none.
func (d *driver) checkLayout(ctx context.Context) *kv.Error {
	a := d.begin(ctx)
	defer a.end(d)
	docName := d.parent + "/" + d.collection + "/" + layoutID
	doc, err := d.read(&a, docName, nil)
	if err == nil && doc == nil {
		doc = &pb.Document{Name: docName, Fields: map[string]*pb.Value{
			formatField: {ValueType: &pb.Value_IntegerValue{IntegerValue: format}},
		}}
		a.succeeded(d)
		_, err = d.commit(&a, &pb.Write{Operation: &pb.Write_Update{Update: doc}, CurrentDocument: notExists})
		if err != nil && conditionFailed(notExists, err) { // somebody was faster
			a.succeeded(d)
			doc, err = d.read(&a, docName, nil)
		}
	}
	if err != nil {
		e := a.fail(err)
		if code(err) == codes.InvalidArgument {
			e.Kind = kv.ErrInvalidOption // the ID of the project or of the database
		}
		return e
	}
	found, ok := doc.GetFields()[formatField].GetValueType().(*pb.Value_IntegerValue)
	if !ok {
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the document %q of collection %q is not skykv's", layoutID, d.collection)}
	}
	if found.IntegerValue != format {
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("collection %q has format %d; this version of skykv knows format %d", d.collection, found.IntegerValue, format)}
	}
	return nil
}

func openError(kind, err error) error {
	return &kv.Error{Op: "open", Provider: name, Kind: kind, Err: err}
}

var (
	projectID  = regexp.MustCompile(`^[a-z0-9][-a-z0-9.:]*$`)
	databaseID = regexp.MustCompile(`^(\(default\)|[a-z0-9][-a-z0-9]*)$`)
	reservedID = regexp.MustCompile(`^(\.|\.\.|__.*__)$`)
)

// checkIDs checks what becomes part of resource names. An empty database stands
// for the default one.
func checkIDs(project, collection, database string) error {
	switch {
	case !projectID.MatchString(project):
		return fmt.Errorf("the project %q is not an ID, of a-z 0-9 -", project)
	case collection == "":
		return errors.New("the collection is missing")
	case strings.Contains(collection, "/"):
		return fmt.Errorf("the collection %q is not a root collection; allowed is an ID without slashes", collection)
	case len(collection) > 1500 || !utf8.ValidString(collection) || reservedID.MatchString(collection):
		// https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields
		return fmt.Errorf("the collection %.64q is not an ID; allowed are up to 1500 bytes of UTF-8 but for ., .. and __x__", collection)
	case database != "" && !databaseID.MatchString(database):
		return fmt.Errorf("the database %q is not an ID; allowed are %q and IDs of a-z 0-9 -", database, defaultDatabase)
	}
	return nil
}
