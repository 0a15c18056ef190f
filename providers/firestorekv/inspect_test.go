package firestorekv

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/internal/trust"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// serveDatabase runs a service with a database and its settings, and returns the URL of a
// store in that database. Like Firestore, the service also responds to HTTP requests.
func serveDatabase(t *testing.T, docs *fake, settings *fakeAdmin) string {
	t.Helper()
	calls := grpc.NewServer()
	docs.register(calls)
	settings.register(calls)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			calls.ServeHTTP(w, r)
		}
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "firestore://" + testProject + "/" + testCollection + "?endpoint=" + url.QueryEscape("http://"+listener.Addr().String())
}

func TestInspect(t *testing.T) {
	t.Parallel()
	integer := func(n int64) *pb.Value { return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: n}} }
	set := map[string]*adminpb.Field{
		testFields + "x": exemptField(activePolicy()), testFields + "v": exemptField(nil),
		testFields + "t": exemptField(nil), testFields + "p": exemptField(nil),
	}
	layout := map[string]*pb.Value{"format": integer(2), "shards": integer(1)}
	answers := []string{"ok reachable", "ok clock agrees", "ok credentials accepted", "ok database answers"}
	good := append(answers, "ok ttl active", "ok index x", "ok index v", "ok index t", "ok index p")
	for name, c := range map[string]struct {
		settings *fakeAdmin
		layout   map[string]*pb.Value
		refuse   error
		want     []string
	}{
		"nothing set": {
			settings: &fakeAdmin{},
			want:     append(answers, "warn ttl no policy", "warn index x", "warn index v", "warn index t", "warn index p", "warn layout no layout record"),
		},
		"all set": {
			settings: &fakeAdmin{fields: set}, layout: layout,
			want: append(good, "ok layout 1 shard"),
		},
		"half set": {
			settings: &fakeAdmin{fields: map[string]*adminpb.Field{
				testFields + "x": exemptField(&adminpb.Field_TtlConfig{State: adminpb.Field_TtlConfig_ACTIVE}),
				testFields + "v": {IndexConfig: &adminpb.Field_IndexConfig{UsesAncestorConfig: true}},
				testFields + "t": {IndexConfig: &adminpb.Field_IndexConfig{Reverting: true}},
			}},
			layout: layout,
			want:   append(answers, "warn ttl offset of 0s; want 1h0m0s", "ok index x", "warn index v", "warn index t", "warn index p", "ok layout"),
		},
		"the Enterprise edition": {
			settings: &fakeAdmin{edition: adminpb.Database_ENTERPRISE, fields: map[string]*adminpb.Field{testFields + "x": {TtlConfig: activePolicy()}}}, layout: layout,
			want: append(good, "ok layout 1 shard"),
		},
		"settings denied": {
			settings: &fakeAdmin{fail: status.Error(codes.PermissionDenied, "not allowed")}, layout: layout,
			want: append(answers, "warn fields cannot be read", "ok layout"),
		},
		"settings of an emulator": {
			settings: &fakeAdmin{fail: status.Error(codes.Unimplemented, "none")}, layout: layout,
			want: append(answers, "ok fields an emulator has no", "ok layout"),
		},
		"settings fail": {
			settings: &fakeAdmin{fail: status.Error(codes.InvalidArgument, "told to")}, layout: layout,
			want: append(answers, "fail fields told to", "ok layout"),
		},
		"other shards": {
			settings: &fakeAdmin{fields: set}, layout: map[string]*pb.Value{"format": integer(2), "shards": integer(16)},
			want: append(good, "fail layout 16 shards; the URL says 1"),
		},
		"another format": {
			settings: &fakeAdmin{fields: set}, layout: map[string]*pb.Value{"format": integer(1)},
			want: append(good, "fail layout format 1; this version of skykv knows format 2"),
		},
		"a document of another program": {
			settings: &fakeAdmin{fields: set}, layout: map[string]*pb.Value{"name": {}},
			want: append(good, "fail layout not a layout document of skykv"),
		},
		"documents denied": {
			settings: &fakeAdmin{fields: set}, refuse: status.Error(codes.PermissionDenied, "not allowed"),
			want: []string{"ok reachable", "ok clock", "fail credentials not allowed"},
		},
		"no database": {
			settings: &fakeAdmin{fields: set}, refuse: status.Error(codes.NotFound, "no such database"),
			want: []string{"ok reachable", "ok clock", "fail database no such database"},
		},
		"no such project": {
			settings: &fakeAdmin{fields: set}, refuse: status.Error(codes.InvalidArgument, "told to"),
			want: []string{"ok reachable", "ok clock", "fail database told to"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs := &fake{}
			if c.refuse != nil {
				docs.refuse = func(context.Context, string, int) error { return c.refuse }
			}
			storeURL := serveDatabase(t, docs, c.settings)
			if c.layout != nil {
				docs.put(layoutID, c.layout)
			}
			before := docs.clock
			wantChecks(t, storeURL, c.want...)
			if docs.clock != before || c.settings.updates != nil {
				t.Error("rule: Inspect changes nothing")
			}
		})
	}
}

// TestInspectLayoutAlien: layout alien has no layout document, so an entry shows the
// layout.
func TestInspectLayoutAlien(t *testing.T) {
	t.Parallel()
	checks := []string{"ok reachable", "ok clock", "ok credentials", "ok database", "ok fields"}
	for name, test := range map[string]struct {
		docs map[string]map[string]*pb.Value
		want []string // the last check with layout alien, and with layout skykv
	}{
		"empty":             {nil, []string{"ok layout layout alien, which has no record: the collection is empty", "warn layout no layout record"}},
		"an entry":          {docsOf("a", theirFields), []string{"ok layout layout alien, which has no record: a document shows it", "fail layout want layout=alien"}},
		"a layout document": {docsOf(layoutID, testLayout(1).record().GetFields()), []string{"fail layout want layout=skykv", "ok layout 1 shard"}},
		"others' documents": {docsOf("a", nil), []string{"fail layout belongs to another program", "fail layout belongs to another program"}},
	} {
		for i, layout := range []string{"alien", "skykv"} {
			docs := new(fake)
			storeURL := serveDatabase(t, docs, &fakeAdmin{fail: status.Error(codes.Unimplemented, "none")}) + "&layout=" + layout
			for id, fields := range test.docs {
				docs.put(id, fields)
			}
			t.Log(name, layout)
			wantChecks(t, storeURL, append(checks, test.want[i])...)
		}
	}
	docs := new(fake)
	storeURL := serveDatabase(t, docs, &fakeAdmin{fail: status.Error(codes.Unimplemented, "none")}) + "&layout=alien"
	for _, id := range []string{"a", layoutID, "..", "a b", "__y__"} { // the service refuses two of these IDs
		docs.put(id, theirFields)
	}
	docs.put("b", nil)
	wantChecks(t, storeURL, append(checks, "ok layout", "warn records 4 of the first 6 documents are not skykv's")...)
}

// TestInspectCountsForeignDocuments: Inspect counts the documents that no store finds by
// their keys, even those that scans skip without an error.
func TestInspectCountsForeignDocuments(t *testing.T) {
	t.Parallel()
	docs := new(fake)
	storeURL := serveDatabase(t, docs, &fakeAdmin{fail: status.Error(codes.Unimplemented, "none")}) + "&layout=skykv&shards=2"
	store, err := Open(t.Context(), storeURL)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.PutMany(t.Context(), itemsOf([]string{"a", "b", "c"})); err != nil {
		t.Fatal(err)
	}
	checks := []string{"ok reachable", "ok clock", "ok credentials", "ok database", "ok fields", "ok layout 2 shards"}
	wantChecks(t, storeURL, checks...)
	l := testLayout(2)
	docs.put("00foreign", nil)
	docs.put("00no key", l.encode(kv.Record{Key: "x", Token: testToken}, testNow).Update.GetFields())
	docs.put(fmt.Sprintf("%02xmisplaced", 1-l.shard("misplaced")), l.encode(kv.Record{Key: "x", Token: testToken}, testNow).Update.GetFields())
	docs.put("01", nil)
	docs.put("other", nil) // the query does not find this document
	wantChecks(t, storeURL, append(checks, "warn records 4 of the first 7 documents are not skykv's")...)
	many := strings.Replace(strings.Replace(storeURL, "/c?", "/d?", 1), "shards=2", "shards=256", 1)
	docs.putIn("d", "1", nil) // the ID is shorter than the digits of a shard
	docs.putIn("d", layoutID, testLayout(256).record().GetFields())
	checks[len(checks)-1] = "ok layout 256 shards"
	wantChecks(t, many, append(checks, "warn records 1 of the first 1 documents are not skykv's")...)
}

// TestInspectAgreesWithEnsure: Ensure takes the steps that Inspect reports.
func TestInspectAgreesWithEnsure(t *testing.T) {
	t.Parallel()
	docs := new(fake)
	settings := &fakeAdmin{fields: map[string]*adminpb.Field{
		testFields + "x": exemptField(activePolicy()),
		testFields + "v": {IndexConfig: &adminpb.Field_IndexConfig{Reverting: true}},
		testFields + "t": exemptField(nil),
	}}
	storeURL := serveDatabase(t, docs, settings)
	steps := func() (steps []string) {
		for check := range Inspect(t.Context(), storeURL) {
			if check.Step != "" {
				steps = append(steps, check.Step)
			}
		}
		return steps
	}
	want := []string{"exempt field v from indexes", "exempt field p from indexes", "write the layout record"}
	if got := steps(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the steps are %q, want %q", got, want)
	}
	if err := Ensure(t.Context(), storeURL); err != nil {
		t.Fatal(err)
	}
	if got := settings.changed(); fmt.Sprint(got) != "[p index_config v index_config]" {
		t.Errorf("Ensure changed %q, not what Inspect announced", got)
	}
	if got := steps(); got != nil {
		t.Errorf("rule: after Ensure nothing is left to do; Inspect announces %q", got)
	}
}

func TestInspectWithoutService(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", t.TempDir()+"/none.json")
	wantChecks(t, "firestore://p/kv", "fail credentials none.json")
	wantChecks(t, "firestore://p/kv?shards=0", `fail url parameter "shards" must be`)
	wantChecks(t, "firestore://p/kv?endpoint=http://"+nobody, "fail reachable refused")
	wantChecks(t, "firestore://p/kv?endpoint=https://firestore.example.com", "fail url not sent to the host")
	t.Setenv(envEmulator, nobody)
	wantChecks(t, "firestore://p/kv", "ok emulator the environment variable FIRESTORE_EMULATOR_HOST is set: the store is in the emulator at "+nobody, "fail reachable refused")
	wantChecks(t, "firestore://p/kv?endpoint=http://"+nobody, "fail reachable refused")
}

// TestAddress: address returns the URL to which the client sends its requests.
func TestAddress(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", userCredentials(t))
	t.Setenv(trust.EnvHosts, "firestore.example.com")
	for storeURL, want := range map[string]string{
		"firestore://p/kv": "https://firestore.googleapis.com",
		"firestore://p/kv?endpoint=https://firestore.example.com":      "https://firestore.example.com",
		"firestore://p/kv?endpoint=https://firestore.example.com:8443": "https://firestore.example.com:8443",
		"firestore://p/kv?endpoint=http://localhost:8080":              "http://localhost:8080",
		"firestore://p/kv?endpoint=http://localhost":                   "http://localhost:80",
	} {
		c, err := Connect(t.Context(), storeURL)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.address(); got != want {
			t.Errorf("rule: Inspect asks the host that the store asks; of %s it is %s, want %s", storeURL, got, want)
		}
	}
	t.Setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "universe.example")
	c, err := Connect(t.Context(), "firestore://p/kv")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.address(); got != "https://firestore.universe.example" {
		t.Errorf("rule: Inspect asks the host that the store asks; in another universe it is %s", got)
	}
}

// wantChecks compares the checks of Inspect with lines. A line has a status, a name and
// words of the detail. A check must have a fix if it is a warning or a failure, and only
// then.
func wantChecks(t *testing.T, storeURL string, lines ...string) {
	t.Helper()
	var checks []provider.Check
	var got []string
	for check := range Inspect(t.Context(), storeURL) {
		checks = append(checks, check)
		got = append(got, fmt.Sprintf("%s %s %s", check.Status, check.Name, check.Detail))
	}
	ok := len(got) == len(lines)
	for i := 0; ok && i < len(lines); i++ {
		status, rest, _ := strings.Cut(lines[i], " ")
		detail, named := strings.CutPrefix(rest, checks[i].Name)
		ok = string(checks[i].Status) == status && named && strings.Contains(checks[i].Detail, strings.TrimSpace(detail)) &&
			(checks[i].Status == provider.OK) == (checks[i].Fix == "")
	}
	if !ok {
		t.Errorf("the checks are\n%s\nwant\n%s\nand a fix for all but ok", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}
