package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	firestore "cloud.google.com/go/firestore/apiv1"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

const (
	// DefaultShards is the default number of shards of a collection.
	DefaultShards = 1

	// MaxShards is the greatest number of shards. A scan reads all shards at once.
	MaxShards = 256

	defaultDatabase = "(default)"
	defaultTimeout  = time.Minute
)

// Options are the options of [New] and [EnsureWith].
type Options struct {
	// Database is the ID of the database. Empty means "(default)".
	Database string

	// Layout says how the entries are stored in the collection. It is fixed when the
	// collection is first used. With the zero Layout, New opens a collection that already
	// has [provider.LayoutSkykv], and EnsureWith sets up that layout. With
	// [provider.LayoutAlien] programs of the Alien platform share the collection: see
	// docs/alien.md.
	Layout provider.Layout

	// Shards is the number of ranges of documents over which the keys are spread, from 1 to
	// [MaxShards]. Zero means [DefaultShards]. It is fixed when the collection is first
	// used. The package comment says when several shards are worth their cost. With
	// [provider.LayoutAlien] the number is 1.
	Shards int

	// Timeout ends calls whose context has no deadline, with an error that matches
	// kv.ErrUnavailable and context.DeadlineExceeded. In scans it applies to each request,
	// including its retries. Every batch ends after this time without any progress. Zero
	// means one minute. EnsureWith does not use it for the settings.
	//
	// An attempt at a request may take a third of the remaining time, at least 1 s and at
	// most 10 s. Attempts at batches and pages may take three times as long. An attempt
	// that takes longer is cut off, and skykv makes another one.
	Timeout time.Duration
}

// New returns a store over a root collection. The store uses the program's own client, and
// does not close it. The client must be from apiv1.NewClient, which uses gRPC. Nil options
// mean the defaults.
//
// New reads the collection's layout document and, if there is none, the first document of
// the collection. If the options name [provider.LayoutSkykv], New creates the layout
// document in an empty collection. Besides context errors it returns
//   - [kv.ErrInvalidOption] for an invalid client, ID or option,
//   - [kv.ErrNotProvisioned] if the database does not exist or is in Datastore mode, or if
//     the collection is empty and the options name no layout,
//   - [kv.ErrIncompatible] if the collection has a different layout, number of shards or
//     format, or documents of another program,
//   - [kv.ErrPermission] if the service refuses the credentials, the read or the creation
//     of the layout document,
//   - [kv.ErrThrottled] and [kv.ErrUnavailable] as all operations do.
func New(ctx context.Context, client *firestore.Client, project, collection string, opts *Options) (*kv.Store, error) {
	d, err := newDriver("open", client, project, collection, opts)
	if err != nil {
		return nil, err
	}
	return d.open(ctx)
}

// open checks the collection's layout and returns the store.
func (d *driver) open(ctx context.Context) (*kv.Store, error) {
	if err := d.checkLayout(ctx); err != nil {
		return nil, opError("open", err)
	}
	return kv.New(d), nil
}

// newDriver checks its arguments and returns a driver. It does no I/O.
func newDriver(op string, client *firestore.Client, project, collection string, opts *Options) (*driver, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Shards == 0 {
		o.Shards = DefaultShards
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Database == "" {
		o.Database = defaultDatabase
	}
	if err := checkIDs(project, collection, o.Database); err != nil {
		return nil, errInvalid(op, "%w", err)
	}
	switch {
	case client == nil:
		return nil, errInvalid(op, "the client is nil; want one from apiv1.NewClient")
	case client.Connection() == nil: //lint:ignore SA1019 only it shows the kind of the client
		return nil, errInvalid(op, "the client uses REST, which hides failed attempts; want one from apiv1.NewClient")
	case o.Layout.Check() != nil:
		return nil, errInvalid(op, "%w", o.Layout.Check())
	case o.Layout == provider.LayoutAlien && o.Shards != 1:
		return nil, errInvalid(op, "the number of shards is %d; want 1, or zero, in layout %s", o.Shards, o.Layout)
	case o.Shards < 1 || o.Shards > MaxShards:
		return nil, errInvalid(op, "the number of shards is %d; want 1 to %d, or zero for %d", o.Shards, MaxShards, DefaultShards)
	case o.Timeout < 0:
		return nil, errInvalid(op, "the timeout is %s; want a positive duration, or zero for %s", o.Timeout, defaultTimeout)
	}
	l, maxValueLen := newLayout(project, o.Database, collection, o.Shards), kv.MaxLargeValueLen
	if o.Layout == provider.LayoutAlien {
		l, maxValueLen = newAlienLayout(project, o.Database, collection), kv.MaxValueLen // the limit of the other programs
	}
	// Google routes requests by these headers: see the type headers. The high-level client
	// sends the same ones.
	prefix := []string{"google-cloud-resource-prefix", l.database}
	routing := "project_id=" + url.QueryEscape(project) + "&database_id=" + url.QueryEscape(o.Database)
	return &driver{
		client: client,
		layout: l,
		claims: o.Layout != "",
		info: kv.Info{
			Name: l.driver, Shards: l.shards(), Shard: l.shard, ShardOfPrefix: l.shardOfPrefix,
			MaxValueLen: maxValueLen, MaxAtomicWrites: maxAtomicWrites, ReservedKey: l.reservedKey(),
			EndsCalls: true, // Close ends running calls
		},
		timeout:    o.Timeout,
		firstPause: firstPause,
		headers:    newHeaders(prefix...),
		getHeaders: newHeaders(append(prefix, "x-goog-request-params", routing)...),
	}, nil
}

var (
	projectID  = regexp.MustCompile(`^[a-z0-9][-a-z0-9.:]*$`)
	databaseID = regexp.MustCompile(`^(\(default\)|[a-z0-9][-a-z0-9]*)$`)
)

// checkIDs returns an error if a part of the collection's resource name is invalid.
func checkIDs(project, collection, database string) error {
	switch {
	case !projectID.MatchString(project):
		return fmt.Errorf("the project %q is not an ID; want one of a-z 0-9 -", project)
	case collection == "":
		return errors.New("the collection is missing")
	case strings.Contains(collection, "/"):
		return fmt.Errorf("the collection %q is not a root collection; want an ID without slashes", collection)
	case len(collection) > 1500 || !utf8.ValidString(collection) || isReserved(collection):
		// https://firebase.google.com/docs/firestore/quotas#collections_documents_and_fields
		return fmt.Errorf("the collection %.64q is not an ID; want up to 1500 bytes of UTF-8, but not ., .. or __x__", collection)
	case !databaseID.MatchString(database):
		return fmt.Errorf("the database %q is not an ID; want %q or an ID of a-z 0-9 -", database, defaultDatabase)
	}
	return nil
}
