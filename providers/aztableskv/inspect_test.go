package aztableskv

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// inspected returns the checks of a URL, each as a text of status, name and detail.
func inspected(t *testing.T, url string) []string {
	t.Helper()
	var lines []string
	for c := range Inspect(t.Context(), url) {
		lines = append(lines, string(c.Status)+" "+c.Name+" "+c.Detail)
		if (c.Status == provider.OK) != (c.Fix == "") {
			t.Errorf("rule: a check has a fix if it is not ok, and only then; %+v", c)
		}
		if (c.Step != "") != (c.Fix == provider.Provision || strings.HasPrefix(c.Fix, provider.Provision+",")) {
			t.Errorf("rule: a check has a step if provision fixes it, and only then; %+v", c)
		}
	}
	return lines
}

// The rule: Inspect says what exists and what does not. A check comes after the checks that
// it depends on. Inspect changes nothing.
func TestInspect(t *testing.T) {
	const gone, soon = 2, 4_000_000_000_000
	entry := func(expires int64) map[string]any {
		var properties map[string]any
		w := putting("a", kv.Condition{})
		w.Expires = expires
		if err := json.Unmarshal(newLayout(16).encode(w.Record, 0), &properties); err != nil {
			t.Fatal(err)
		}
		return properties
	}
	record := map[string]any{"format": 2, "shards": 16}
	reached := []string{"ok reachable http", "ok clock agrees"}
	denied := func(r *http.Request) fault {
		if r.URL.Path == "/" {
			return fault{}
		}
		return fault{status: 403, code: "AuthorizationPermissionMismatch"}
	}
	failing := func(r *http.Request) fault {
		if strings.Contains(r.URL.Query().Get("$filter"), "x gt") {
			return fault{status: 403, code: "AuthorizationPermissionMismatch"}
		}
		return fault{}
	}
	// partial permits only requests for the partition of the layout record, as some SASs do.
	partial := func(r *http.Request) fault {
		if strings.HasSuffix(r.URL.Path, "()") && !strings.Contains(r.URL.Query().Get("$filter"), "'"+layoutPartition+"'") {
			return fault{status: 403, code: "AuthorizationPermissionMismatch"}
		}
		return fault{}
	}
	// missing responds like the real service: if the table is missing, the response to a
	// request for one entity says only that there is no such entity.
	missing := func(r *http.Request) fault {
		if r.Method == "GET" && r.URL.Path != "/" && !strings.HasSuffix(r.URL.Path, "()") {
			return fault{status: 404, code: "ResourceNotFound"}
		}
		return fault{}
	}
	for _, test := range []struct {
		name   string
		table  string
		record map[string]any // the layout record
		entry  map[string]any
		fault  func(*http.Request) fault
		want   []string // the checks after those in reached
	}{
		{"no table", "", nil, nil, nil, []string{"ok credentials accepted", "fail table there is no table kv1 in account account", "warn layout there is no layout record"}},
		{"no table, and a service that says so to queries alone", "", nil, nil, missing, []string{"ok credentials accepted", "fail table there is no table kv1 in account account", "warn layout there is no layout record"}},
		{"new table", "kv1", nil, nil, nil, []string{"ok credentials accepted", "ok table kv1 exists", "warn layout there is no layout record"}},
		{"empty store", "kv1", record, nil, nil, []string{"ok credentials accepted", "ok table kv1 exists", "ok layout a record of skykv, 16 shards", "ok sweep one request found no expired entries"}},
		{"entry forever", "kv1", record, entry(0), nil, []string{"ok credentials", "ok table", "ok layout", "ok sweep one request found no expired entries"}},
		{"entry that will expire", "kv1", record, entry(soon), nil, []string{"ok credentials", "ok table", "ok layout", "ok sweep one request found no expired entries"}},
		{"entry within the grace", "kv1", record, entry(time.Now().Add(-kv.ExpiryGrace / 2).UnixMilli()), nil, []string{"ok credentials", "ok table", "ok layout", "ok sweep one request found no expired entries"}},
		{"entry that a sweep deletes", "kv1", record, entry(gone), nil, []string{"ok credentials", "ok table", "ok layout", "warn sweep expired entries must be deleted"}},
		{"tombstone that was just written", "kv1", record, entry(tombstoneExpires), nil, []string{"ok credentials", "ok table", "ok layout", "ok sweep one request found no expired entries"}},
		{"other shards", "kv1", map[string]any{"format": 2, "shards": 4}, nil, nil, []string{"ok credentials", "ok table", "fail layout a record of skykv with 4 shards; the URL says 16", "ok sweep"}},
		{"format 1", "kv1", map[string]any{"format": 1, "shards": 16}, nil, nil, []string{"ok credentials", "ok table", "fail layout incompatible: format 1 of table kv1 is not what skykv writes; want format 2"}},
		{"foreign record", "kv1", map[string]any{"name": "Ann"}, nil, nil, []string{"ok credentials", "ok table", "fail layout incompatible"}},
		{"no permission", "kv1", record, nil, denied, []string{"fail credentials permission denied"}},
		{"no permission to look for other programs' entities", "kv1", nil, nil, partial, []string{"fail credentials permission denied"}},
		{"no permission for the sweep's query", "kv1", record, nil, failing, []string{"ok credentials", "ok table", "ok layout", "fail sweep permission denied"}},
	} {
		f := newFake(t, test.table)
		if test.record != nil {
			f.write(fakeKey{layoutPartition, layoutRow}, rawProperties(t, test.record))
		}
		if test.entry != nil {
			f.write(fakeKey{newLayout(16).partition("a"), "a"}, rawProperties(t, test.entry))
		}
		f.setFault(test.fault)
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		trusting(t, server.URL)
		address := "aztables://account/kv1?endpoint=" + url.QueryEscape(server.URL)
		got, want := inspected(t, address), slices.Concat(reached, test.want)
		ok := len(got) == len(want)
		for i := 0; ok && i < len(got); i++ {
			ok = strings.HasPrefix(got[i], want[i])
		}
		if !ok {
			t.Errorf("%s: the checks are\n%s\nwant\n%s", test.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if requests := f.take(); slices.ContainsFunc(requests, func(r string) bool { return !strings.HasPrefix(r, "GET ") }) {
			t.Errorf("rule: Inspect changes nothing; the requests are %q", requests)
		}
		// Ensure fails if Inspect reports a wrong layout, or that the credentials were refused.
		refuses := slices.ContainsFunc(got, func(line string) bool {
			return strings.HasPrefix(line, "fail layout") || strings.HasPrefix(line, "fail credentials")
		})
		if err := Ensure(t.Context(), address); (err != nil) != refuses {
			t.Errorf("%s: Ensure says %v; want an error: %t", test.name, err, refuses)
		}
	}
}

// The rule: Inspect counts the entities that no store can read by key: entities of other
// programs, entities whose RowKey is not a key, and entities in the wrong shard.
func TestInspectCountsForeign(t *testing.T) {
	clearEnvironment(t)
	f := newFake(t, "kv1")
	s := f.store(nil)
	for i := range 20 {
		if _, err := s.Put(t.Context(), fmt.Sprintf("k%d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	trusting(t, server.URL)
	address := "aztables://account/kv1?endpoint=" + url.QueryEscape(server.URL)
	if got := inspected(t, address); slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "records") }) {
		t.Errorf("without foreign entities the checks are %q", got)
	}
	home := newLayout(16).partition("a")
	other := newLayout(16).partitions[(newLayout(16).shard("a")+1)%16]
	for _, at := range []fakeKey{{other, "a"}, {home, "a b"}, {"elsewhere", "a"}, {home, "\u00e9"}} {
		f.write(at, listed(t, at.partition, at.row))
	}
	f.write(fakeKey{home, "a"}, rawProperties(t, map[string]any{"name": "Ann"}))
	got := inspected(t, address)
	if want := "warn records 5 of the first 26 entities are not skykv's, or are in the wrong place"; !slices.Contains(got, want) {
		t.Errorf("the checks are %q; want %q", got, want)
	}
}

// The rule: Inspect ends after a failure that makes the other checks impossible, and when
// the loop ends.
func TestInspectEnds(t *testing.T) {
	trusting(t, "http://127.0.0.1:1")
	if got := inspected(t, "aztables://account/a-b"); len(got) != 1 || !strings.HasPrefix(got[0], "fail url") {
		t.Errorf("a malformed URL: %q", got)
	}
	if got := inspected(t, "aztables://account/kv1?endpoint=http://127.0.0.1:1"); len(got) != 1 || !strings.HasPrefix(got[0], "fail reachable") {
		t.Errorf("an endpoint without a server: %q", got)
	}
	f := newFake(t, "kv1")
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	trusting(t, server.URL)
	n := 0
	for range Inspect(t.Context(), "aztables://account/kv1?endpoint="+url.QueryEscape(server.URL)) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("a loop that ends after three checks has %d", n)
	}
}

// The rule: Inspect makes all requests to the store's endpoint. The first request has no
// credentials.
func TestInspectAsksTheStoresEndpoint(t *testing.T) {
	f := newFake(t, "kv1")
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Authorization"))
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	trusting(t, server.URL) // the URL has no endpoint
	got := inspected(t, "aztables://account/kv1")
	if len(got) == 0 || !strings.HasPrefix(got[0], "ok reachable "+server.URL+" answers") {
		t.Errorf("the checks are %q; want the first to be about %s", got, server.URL)
	}
	if len(asked) < 2 || asked[0] != "" || !strings.HasPrefix(asked[1], "SharedKeyLite account:") {
		t.Errorf("the requests are authorized by %q; want one without credentials first", asked)
	}
}
