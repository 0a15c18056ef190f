package firestorekv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/internal/trust"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

func TestOpenURL(t *testing.T) {
	t.Setenv(envEmulator, nobody) // an endpoint in the URL has precedence
	f := &fake{}
	addr := f.start(t)
	s, err := Open(t.Context(), "firestore://my-project/c%20d?database=orders&layout=skykv&endpoint=http://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", []byte("v")); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	for _, call := range f.calls {
		if got := call.header.Get("authorization"); !slices.Equal(got, []string{"Bearer owner"}) {
			t.Errorf("rule: the emulator is called as its owner; %s has %q", call.method, got)
		}
	}
	for docName := range f.docs {
		if !strings.HasPrefix(docName, "projects/my-project/databases/orders/documents/c d/") {
			t.Errorf("a document was stored as %q", docName)
		}
	}
	f.mu.Unlock()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
}

func TestOpenBadURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                              "the scheme is",
		"dynamodb://table":              "the scheme is",
		"firestore:kv":                  "no // after the scheme",
		"firestore:///kv":               "the project",
		"firestore://My_Project/kv":     "the project",
		"firestore://project":           "the collection is missing",
		"firestore://project/":          "the collection is missing",
		"firestore://project/a/b/c":     "not a root collection",
		"firestore://project/__x__":     "the collection",
		"firestore://project/..":        "the collection",
		"firestore://project/kv?x=y":    `parameter "x" is unknown`,
		"firestore://user:pw@p/kv":      "credentials do not belong",
		"firestore://p/kv?database=a/b": "the database",
		"firestore://p/kv?database=":    `parameter "database" must have one value`,
		"firestore://p/kv?shards=0":     `parameter "shards" must be a number from 1 to 256`,
		"firestore://p/kv?shards=257":   `parameter "shards" must be a number from 1 to 256`,
		"firestore://p/kv?timeout=10":   `parameter "timeout" must be a positive duration such as 10s`,
		"firestore://p/kv?timeout=-1s":  `parameter "timeout" must be a positive duration such as 10s`,
		"firestore://p/kv?database=%28default%29&endpoint=http://localhost:1/v1": `"endpoint" has a path`,
		"firestore://p/kv?endpoint=localhost:8080":                               `parameter "endpoint" must be a URL`,
		"firestore://p/kv?endpoint=http://a:b@localhost:8080":                    `parameter "endpoint" must be a URL`,
	} {
		_, err := Open(t.Context(), url)
		_, terraform := Terraform(url)
		for op, other := range map[string]error{"Ensure": Ensure(t.Context(), url), "Terraform": terraform} {
			if fmt.Sprint(other) != fmt.Sprint(err) {
				t.Errorf("rule: all functions read a URL alike; Open returns %v, %s %v", err, op, other)
			}
		}
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "want a URL of the form firestore://PROJECT/COLLECTION") {
			t.Errorf("rule: an invalid URL is ErrInvalidOption, and the message says what is wrong and wanted; %q: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("rule: no message holds a secret; %v", err)
		}
	}
}

// userCredentials returns the path of a file with user credentials. They contain secrets,
// which no error may contain.
func userCredentials(t *testing.T) string {
	t.Helper()
	const secrets = `{"type":"authorized_user","client_id":"id","client_secret":"s3cr3t","refresh_token":"t0k3n"}`
	file := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(file, []byte(secrets), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOpenCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	_, err := Open(t.Context(), "firestore://p/kv")
	if !errors.Is(err, kv.ErrPermission) {
		t.Errorf("without credentials: %v, want ErrPermission", err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", userCredentials(t))
	t.Setenv(trust.EnvHosts, "127.0.0.1")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = Open(ctx, "firestore://p/kv?endpoint=https://"+nobody)
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("at a closed port: %v, want ErrUnavailable", err)
	}
	if err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "t0k3n")) {
		t.Errorf("rule: no message holds a secret; %v", err)
	}
}

// TestTrustedHosts: a URL alone cannot make Open send an access token to an arbitrary host.
func TestTrustedHosts(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", userCredentials(t))
	connects := func(host string) bool {
		t.Helper()
		c, err := Connect(t.Context(), "firestore://p/kv?endpoint=https://"+host)
		if err == nil {
			c.Close()
			return true
		}
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), trust.EnvHosts) {
			t.Errorf("rule: a host that is not trusted is ErrInvalidOption, with the host and what to do; got %v", err)
		}
		for op, other := range map[string]func(context.Context, string) error{
			"Open":   func(ctx context.Context, url string) error { _, err := Open(ctx, url); return err },
			"Ensure": Ensure,
		} {
			if got := other(t.Context(), "firestore://p/kv?endpoint=https://"+host); fmt.Sprint(got) != fmt.Sprint(err) {
				t.Errorf("%s: %v, want %v", op, got, err)
			}
		}
		return false
	}
	check := func(when string, hosts map[string]bool) {
		t.Helper()
		for host, want := range hosts {
			if connects(host) != want {
				t.Errorf("rule: a URL names hosts of the universe domain, and those that %s names; %s, %s is trusted: %t", trust.EnvHosts, when, host, !want)
			}
		}
	}
	check("by default", map[string]bool{
		"firestore.googleapis.com": true, "europe-west3-firestore.googleapis.com:443": true, "x-firestore.p.googleapis.com": true,
		"evil.example": false, "firestore.googleapis.com.evil.example": false, "evilgoogleapis.com": false, "127.0.0.1": false, "localhost:8443": false,
	})
	t.Setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "universe.example")
	check("in another universe", map[string]bool{"firestore.universe.example": true, "firestore.other.example": false})
	t.Setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "")
	t.Setenv(trust.EnvHosts, "proxy.example, *.corp.example")
	check("with some named", map[string]bool{"proxy.example:8443": true, "a.corp.example": true, "other.example": false})
	t.Setenv(trust.EnvHosts, "")
	file := filepath.Join(t.TempDir(), "credentials.json")
	const ofUniverse = `{"type":"authorized_user","client_id":"id","client_secret":"s3cr3t","refresh_token":"t0k3n","universe_domain":"cloud.example"}`
	if err := os.WriteFile(file, []byte(ofUniverse), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	check("with credentials of another universe", map[string]bool{"firestore.cloud.example": true, "firestore.other.example": false})
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	check("without credentials", map[string]bool{"firestore.other.example": false})
}

// TestEmulatorByEnvironment: if the environment names an emulator, as for Google's own
// clients, the store is in the emulator, and not in a real project.
func TestEmulatorByEnvironment(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", userCredentials(t)) // as for a real project
	docs := new(fake)
	storeURL := serveDatabase(t, docs, &fakeAdmin{fail: status.Error(codes.Unimplemented, "an emulator")})
	_, endpoint, _ := strings.Cut(storeURL, "endpoint=http%3A%2F%2F")
	host := strings.Replace(endpoint, "%3A", ":", 1)
	t.Setenv(envEmulator, host)
	plain := "firestore://" + testProject + "/" + testCollection
	if err := Ensure(t.Context(), plain); err != nil {
		t.Errorf("ensure: %v", err)
	}
	s, err := Open(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Put(t.Context(), "a", nil); err != nil {
		t.Error(err)
	}
	if got := docs.ids(); !slices.Equal(got, []string{"00a", layoutID}) {
		t.Errorf("rule: %s names the emulator that has the store; it has %q", envEmulator, got)
	}
	docs.mu.Lock()
	for _, call := range docs.calls {
		if got := call.header.Get("authorization"); !slices.Equal(got, []string{"Bearer owner"}) {
			t.Errorf("rule: an emulator gets no credentials; %s has %q", call.method, got)
		}
	}
	docs.mu.Unlock()
	for _, host := range []string{"http://localhost:8080", "localhost:8080/path", "user:s3cr3t@localhost:8080", ":8080", "a b"} {
		t.Setenv(envEmulator, host)
		if _, err := Open(t.Context(), plain); !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), envEmulator) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("rule: a value that is not a host is ErrInvalidOption, with the variable; %q: %v", host, err)
		}
	}
}

// TestTimeoutInURL: the parameter timeout of a URL sets the timeout of the driver.
func TestTimeoutInURL(t *testing.T) {
	t.Parallel()
	for storeURL, want := range map[string]time.Duration{
		"firestore://p/kv?endpoint=http://" + nobody:               time.Minute,
		"firestore://p/kv?timeout=1m30s&endpoint=http://" + nobody: 90 * time.Second,
	} {
		c, err := Connect(t.Context(), storeURL)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		d, err := newDriver("open", c.Client, c.Project, c.Collection, &c.Options)
		if err != nil || d.timeout != want {
			t.Errorf("the timeout of %s is %v, %v; want %v", storeURL, d.timeout, err, want)
		}
	}
	_, err := Open(t.Context(), "firestore://p/kv?timeout=50ms&endpoint=http://"+nobody)
	if !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("rule: the timeout ends calls without a deadline; open: %v", err)
	}
}

func TestNewBadArguments(t *testing.T) {
	t.Parallel()
	f := &fake{}
	client := connect(t, f.start(t))
	rest, err := firestore.NewRESTClient(t.Context(), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	for want, open := range map[string]func() (*kv.Store, error){
		"the client is nil":    func() (*kv.Store, error) { return New(t.Context(), nil, "p", "c", nil) },
		"the client uses REST": func() (*kv.Store, error) { return New(t.Context(), rest, "p", "c", nil) },
		"the project":          func() (*kv.Store, error) { return New(t.Context(), client, "p/q", "c", nil) },
		"the collection":       func() (*kv.Store, error) { return New(t.Context(), client, "p", "c/d", nil) },
		"the database": func() (*kv.Store, error) {
			return New(t.Context(), client, "p", "c", &Options{Database: "a b"})
		},
		"the timeout": func() (*kv.Store, error) {
			return New(t.Context(), client, "p", "c", &Options{Timeout: -time.Second})
		},
		"the number of shards is -1": func() (*kv.Store, error) {
			return New(t.Context(), client, "p", "c", &Options{Shards: -1})
		},
		"the number of shards is 257": func() (*kv.Store, error) {
			return New(t.Context(), client, "p", "c", &Options{Shards: MaxShards + 1})
		},
	} {
		if _, err := open(); !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrInvalidOption with %q", err, want)
		}
	}
	if got := f.count(); got != "" {
		t.Errorf("rule: arguments are checked before any I/O; made %s", got)
	}
}

// TestCloseLeavesClient: Close of the store does not close a client that was passed to New.
func TestCloseLeavesClient(t *testing.T) {
	t.Parallel()
	f := &fake{}
	client := connect(t, f.start(t))
	first, err := New(t.Context(), client, "p", "c", &Options{Layout: provider.LayoutSkykv})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := New(t.Context(), client, "p", "c", &Options{})
	if err != nil {
		t.Fatalf("rule: Close leaves a client that was given open; got %v", err)
	}
	if _, err := second.Put(t.Context(), "a", nil); err != nil {
		t.Error(err)
	}
}

// TestCloseClosesOwnClient: Close of the store closes the client that Open made.
func TestCloseClosesOwnClient(t *testing.T) {
	t.Parallel()
	f := &fake{}
	c, err := Connect(t.Context(), "firestore://p/c?layout=skykv&endpoint=http://"+f.start(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.count(); got != "" {
		t.Errorf("rule: Connect sends nothing; it made %s", got)
	}
	s, err := c.open(t.Context()) // as Open does
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), c.Client, "p", "c", nil); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("rule: Close closes the client that skykv opened; the client still works: %v", err)
	}
}

// TestLayoutIsMadeOnce opens a new collection in many goroutines, and then again.
func TestLayoutIsMadeOnce(t *testing.T) {
	t.Parallel()
	f := &fake{}
	client := connect(t, f.start(t))
	errs := make([]error, 16)
	var opening sync.WaitGroup
	for i := range errs {
		opening.Go(func() { _, errs[i] = New(t.Context(), client, "p", "c", &Options{Layout: provider.LayoutSkykv}) })
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := f.ids(); !slices.Equal(got, []string{layoutID}) {
		t.Errorf("stored are %q, want the layout alone", got)
	}
	f.reset()
	if _, err := New(t.Context(), client, "p", "c", nil); err != nil {
		t.Fatal(err)
	}
	if got := f.count(); got != "1 BatchGetDocuments" {
		t.Errorf("rule: opening makes one consistent read; made %s", got)
	}
}

func TestOpenRefused(t *testing.T) {
	t.Parallel()
	number := func(n int64) *pb.Value { return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: n}} }
	const noDatabase = "The database orders does not exist for project p"
	tests := []struct {
		name   string
		refuse func(context.Context, string, int) error
		layout map[string]*pb.Value
		want   error
		text   string
	}{
		{"missing database", always("BatchGetDocuments", status.Error(codes.NotFound, noDatabase)), nil, kv.ErrNotProvisioned, noDatabase},
		{"database in Datastore mode", always("BatchGetDocuments", status.Error(codes.FailedPrecondition, "Datastore mode")), nil, kv.ErrNotProvisioned, "Datastore mode"},
		{"unknown project", always("BatchGetDocuments", status.Error(codes.InvalidArgument, "Invalid project id")), nil, kv.ErrInvalidOption, "Invalid project id"},
		{"denied reading", always("BatchGetDocuments", status.Error(codes.PermissionDenied, "denied")), nil, kv.ErrPermission, "denied"},
		{"expired credentials", always("BatchGetDocuments", status.Error(codes.Unauthenticated, "expired")), nil, kv.ErrPermission, "expired"},
		{"denied creation", always("Commit", status.Error(codes.PermissionDenied, "denied")), nil, kv.ErrPermission, "denied"},
		{"older format", nil, map[string]*pb.Value{"format": number(1)}, kv.ErrIncompatible, "format 1; this version of skykv knows format 2"},
		{"newer format", nil, map[string]*pb.Value{"format": number(3)}, kv.ErrIncompatible, "format 3; this version of skykv knows format 2"},
		{"other shards", nil, map[string]*pb.Value{"format": number(2), "shards": number(16)}, kv.ErrIncompatible, "has 16 shards and was opened with 1"},
		{"foreign document", nil, map[string]*pb.Value{"name": {}}, kv.ErrIncompatible, layoutID},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			client := connect(t, f.start(t))
			f.refuse = test.refuse
			if test.layout != nil {
				f.put(layoutID, test.layout)
			}
			before := f.clock
			_, err := New(t.Context(), client, testProject, testCollection, &Options{Layout: provider.LayoutSkykv})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %v with %q", err, test.want, test.text)
			}
			if e, ok := errors.AsType[*kv.Error](err); !ok || e.Op != "open" || e.Provider != name || e.MayHaveApplied {
				t.Errorf("got %#v, want an *kv.Error of open", err)
			}
			if f.clock != before {
				t.Error("rule: a refused open changes nothing")
			}
		})
	}
}

// TestMissingDatabase: for a conditional write, NotFound means a missing document or a missing
// database, and the driver finds out which.
func TestMissingDatabase(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	version, err := s.Put(t.Context(), "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a", kv.IfVersion(version)); !errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("missing document: %v, want ErrConditionFailed", err)
	}
	f.refuse = func(context.Context, string, int) error { return status.Error(codes.NotFound, "no such database") }
	err = s.Delete(t.Context(), "a", kv.IfVersion(version))
	if !errors.Is(err, kv.ErrNotProvisioned) || errors.Is(err, kv.ErrConditionFailed) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("missing database: %v, want ErrNotProvisioned", err)
	}
	if _, err = s.Get(t.Context(), "a"); !errors.Is(err, kv.ErrNotProvisioned) || errors.Is(err, kv.ErrNotFound) {
		t.Errorf("rule: a missing database is not a missing key; get: %v", err)
	}
}

// TestForeignDocuments puts documents of other programs among skykv's.
func TestForeignDocuments(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newStore(t, f)
	foreignDocuments(t, s, func(id string, fields map[string]*pb.Value) { f.put(id, fields) })
}

func foreignDocuments(t *testing.T, s *kv.Store, put func(id string, fields map[string]*pb.Value)) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.PutMany(ctx, []kv.Item{{Key: "a1", Value: []byte("1")}, {Key: "a3"}, {Key: "b"}}); err != nil {
		t.Fatal(err)
	}
	foreign := map[string]*pb.Value{"name": {ValueType: &pb.Value_StringValue{StringValue: "theirs"}}}
	for _, id := range []string{"00a2", "00ä", "00", "00a 2", "01a2", "a2", "zzz"} {
		put(id, foreign)
	}
	named := func(op string, err error) {
		t.Helper()
		if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(fmt.Sprint(err), `"a2"`) {
			t.Errorf("rule: a document that skykv did not write is ErrIncompatible and named; %s: %v", op, err)
		}
	}
	_, err := s.Get(ctx, "a2")
	named("get", err)
	_, err = s.Exists(ctx, "a2")
	named("exists", err)
	_, err = s.Put(ctx, "a2", nil, kv.IfNotExists())
	named("put if not exists", err)
	entries, err := s.GetMany(ctx, []string{"a1", "a2", "a3"})
	named("get many", err)
	if len(entries) != 2 {
		t.Errorf("get many: %d entries, want the other 2", len(entries))
	}
	for _, opts := range [][]kv.ScanOption{nil, {kv.KeysOnly()}} {
		keys, errs := keysOf(ctx, s, "", opts...)
		if !slices.Equal(keys, []string{"a1", "a3", "b"}) || len(errs) != 1 {
			t.Errorf("rule: a scan goes on after documents that skykv did not write; got %q, %v", keys, errs)
		}
		named("scan", errors.Join(errs...))
	}
	n, err := s.DeletePrefix(ctx, "a")
	named("delete prefix", err)
	if n != 2 {
		t.Errorf("delete prefix: %d, want 2", n)
	}
	_, err = s.Get(ctx, "a2")
	named("rule: DeletePrefix leaves it alone; get", err)
	if keys, _ := keysOf(ctx, s, ""); !slices.Equal(keys, []string{"b"}) {
		t.Errorf("left are %q, want b", keys)
	}
}
