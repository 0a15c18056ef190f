package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// login is the fix for missing and refused credentials.
const login = "log in by gcloud auth application-default login, with the role roles/datastore.user"

// inspectTimeout limits each part of the inspection, such as the reads of the documents and
// the reads of the settings. Retries are part of this time.
const inspectTimeout = 15 * time.Second

// notConnected returns the check for an error of Connect or newDriver.
func notConnected(err error) provider.Check {
	if errors.Is(err, kv.ErrPermission) {
		return provider.Failed(provider.CheckCredentials, err, login)
	}
	return provider.Failed("url", err, "see: skykv help")
}

// inspect yields the checks. It ends after a failure that prevents the other checks.
func (c *Connection) inspect(ctx context.Context, yield func(provider.Check) bool) {
	d, err := newDriver("inspect", c.Client, c.Project, c.Collection, &c.Options)
	if err != nil {
		yield(notConnected(err))
		return
	}
	if c.byEnv && !yield(provider.Check{
		Name: "emulator", Status: provider.OK, Detail: "the environment variable " + envEmulator + " is set: the store is in the emulator at " + c.endpoint.Host,
	}) {
		return
	}
	transport := newTransport()
	defer transport.CloseIdleConnections()
	for _, check := range provider.Reach(ctx, transport, c.address()) {
		if !yield(check) || check.Status == provider.Fail && check.Name != "clock" {
			return
		}
	}
	database, record := inspectDatabase(ctx, d)
	for _, check := range database {
		if !yield(check) || check.Status == provider.Fail {
			return
		}
	}
	for _, check := range c.inspectSettings(ctx, d.layout) {
		if !yield(check) {
			return
		}
	}
	if !yield(record) || record.Status != provider.OK {
		return
	}
	if n, of := d.countForeign(ctx); n > 0 {
		yield(provider.Check{
			Name: "records", Status: provider.Warn, Detail: fmt.Sprintf("%d of the first %d documents are not skykv's, or are in the wrong place", n, of),
			Fix: "delete them, or keep them in another collection",
		})
	}
}

// foreignSample is the greatest number of documents that countForeign reads. Firestore bills
// each of them as a read.
const foreignSample = 100

// countForeign reads the first documents of the collection with one query. It returns how many
// of them no store can read by a key (n), and how many it read (total). If the query fails,
// both are 0.
func (d *driver) countForeign(ctx context.Context) (n, total int) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	query := d.layout.queryAll()
	query.Limit = wrapperspb.Int32(foreignSample)
	page, err := d.page(ctx, query, pageBytes, nil)
	if err != nil {
		return 0, 0
	}
	for _, doc := range page.docs {
		key := d.layout.keyOf(doc.GetName())
		_, err := d.layout.decode(key, doc, false)
		if err != nil || kv.ValidateKey(key) != nil || d.layout.shared && isReserved(key) || d.layout.docName(key) != doc.GetName() {
			n++
		}
	}
	return n, len(page.docs)
}

// newTransport returns a transport that chooses proxies as gRPC does. It takes the proxy from
// HTTPS_PROXY even for requests without TLS.
func newTransport() *http.Transport {
	return &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) {
		secure := *r.URL
		secure.Scheme = "https"
		return http.ProxyFromEnvironment(&http.Request{URL: &secure})
	}}
}

// address returns the URL of the server that the client calls.
func (c *Connection) address() string {
	target := c.Client.Connection().Target() //lint:ignore SA1019 the connections of a client have one target
	if _, host, ok := strings.Cut(target, ":///"); ok {
		target = host
	}
	if c.emulator() {
		return "http://" + target
	}
	return "https://" + strings.TrimSuffix(target, ":443")
}

// inspectDatabase reads the layout document. It returns the checks of the credentials and
// the database, and record, the check of the layout document. If the read fails, the last
// of the checks is a failure, and record is empty.
func inspectDatabase(ctx context.Context, d *driver) (checks []provider.Check, record provider.Check) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	found, shards, err := d.findLayout(ctx)
	project, database := d.layout.projectAndDatabase()
	switch {
	case errors.Is(err, kv.ErrIncompatible):
		record = provider.ForeignLayout(err)
	case errors.Is(err, kv.ErrPermission):
		return []provider.Check{provider.Failed(provider.CheckCredentials, err, login)}, record
	case errors.Is(err, kv.ErrNotProvisioned):
		return []provider.Check{provider.Failed("database", err, fmt.Sprintf("create it: gcloud firestore databases create --location=LOCATION --database='%s' --project='%s'", database, project))}, record
	case err != nil:
		return []provider.Check{provider.Failed("database", err, "see the message")}, record
	case found == "" && d.layout.shared:
		record = provider.LayoutWithoutRecord(d.layout.name, "the collection is empty")
	case found == "":
		record = provider.NoLayout()
	case found != d.layout.name:
		record = provider.OtherLayout(d.layout.errOtherLayout(found), found)
	case d.layout.shared:
		record = provider.LayoutWithoutRecord(d.layout.name, "a document shows it")
	default:
		record = provider.LayoutRecord(shards, d.layout.shards())
	}
	return []provider.Check{
		{Name: provider.CheckCredentials, Status: provider.OK, Detail: "accepted by the service"},
		{Name: "database", Status: provider.OK, Detail: d.layout.database + " answers"},
	}, record
}

// inspectSettings checks the settings that ensureSettings makes. A store works without
// them.
func (c *Connection) inspectSettings(ctx context.Context, l *layout) (checks []provider.Check) {
	const name = "fields"
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	client, err := c.AdminClient(ctx)
	if err != nil {
		return []provider.Check{provider.Failed(name, err, login)}
	}
	defer client.Close()
	enterprise := isEnterprise(ctx, client, l)
	for i, field := range l.fields() {
		have, err := settingsOf(ctx, client, l, field)
		switch code(err) {
		case codes.OK:
		case codes.Unimplemented:
			return []provider.Check{{Name: name, Status: provider.OK, Detail: "an emulator has no TTL policies and index settings"}}
		case codes.PermissionDenied:
			return []provider.Check{{
				Name: name, Status: provider.Warn, Detail: "the settings cannot be read",
				Fix: "grant datastore.indexes.get, of the role roles/datastore.indexAdmin",
			}}
		default:
			return append(checks, provider.Failed(name, err, "see the message"))
		}
		if i == 0 {
			checks = append(checks, policyCheck(l, have.GetTtlConfig()))
		}
		index := provider.Check{Name: "index " + field, Status: provider.OK, Detail: "field " + field + " is exempt from indexes"}
		if !enterprise && !exempt(have) {
			index.Status, index.Detail = provider.Warn, "field "+field+" is indexed, which makes writes more expensive and limits their rate"
			index.Fix, index.Step = provider.Provision, "exempt field "+field+" from indexes"
		}
		checks = append(checks, index)
	}
	return checks
}

func policyCheck(l *layout, have *adminpb.Field_TtlConfig) provider.Check {
	field := l.fields()[0]
	if otherOffset(have) {
		return provider.Check{Name: "ttl", Status: provider.Warn, Detail: offsetProblem(field, have), Fix: offsetFix(l)}
	}
	if problem := policyProblem(have); problem != "" {
		return provider.Check{
			Name: "ttl", Status: provider.Warn, Detail: "on field " + field + " " + problem, Fix: provider.Provision,
			Step: fmt.Sprintf("set a TTL policy on field %s, with an expiration offset of %s", field, kv.ExpiryGrace),
		}
	}
	return provider.Check{Name: "ttl", Status: provider.OK, Detail: "a policy on field " + field + ", " + strings.ToLower(have.GetState().String())}
}
