package aztableskv

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/alien"
	"github.com/skykv/skykv/internal/testing/reference"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

func TestConformanceInLayoutAlien(t *testing.T) {
	t.Parallel()
	conformance.Run(t, suite(t, &Options{Layout: provider.LayoutAlien}))
}

// writtenAt is the time of a write, and written is its text in the entities below.
const (
	writtenAt = 1_700_000_000_123
	written   = "2023-11-14T22:13:20.123+00:00"
)

// The rule: skykv stores entities in the format of the Alien platform's programs, with two more
// properties. It reads these entities as it stored them.
func TestEntitiesOfLayoutAlien(t *testing.T) {
	t.Parallel()
	l := alienLayout
	for _, test := range []struct {
		rec  kv.Record
		want map[string]any
	}{
		{kv.Record{Key: "user:42", Value: []byte("v"), Token: token}, map[string]any{
			"PartitionKey": "p2", "RowKey": "user:42", "Value": "dg==", "CreatedAt": written,
			"skykv_t": token + " " + written + " ", "skykv_p": "",
		}},
		{kv.Record{Key: ".", Value: []byte{}, Token: token, Expires: 1_700_000_000_000}, map[string]any{
			"PartitionKey": "p0", "RowKey": ".", "Value": "", "CreatedAt": written, "ExpiresAt": "2023-11-14T22:13:20.000+00:00",
			"skykv_t": token + " " + written + " 2023-11-14T22:13:20.000+00:00", "skykv_p": "",
		}},
		{kv.Record{Key: "user42::profile", Value: []byte{0xfb, 0xff}, Token: token, Expires: kv.MaxExpiry.UnixMilli(), Predecessors: "AAAA BBBB"}, map[string]any{
			"PartitionKey": "p9", "RowKey": "user42::profile", "Value": "+/8=", "CreatedAt": written, "ExpiresAt": "9999-12-31T23:59:59.999+00:00",
			"skykv_t": token + " " + written + " 9999-12-31T23:59:59.999+00:00", "skykv_p": "AAAA BBBB",
		}},
	} {
		body := l.encode(test.rec, writtenAt)
		var got map[string]any
		if err := json.Unmarshal(body, &got); err != nil || !maps.Equal(got, test.want) {
			t.Errorf("the entity of %q is %s, %v; want %v", test.rec.Key, body, err, test.want)
		}
		for _, withValue := range []bool{true, false} {
			want := test.rec
			if !withValue {
				want.Value = nil
			}
			rec, err := decodeAlien(t, body, withValue)
			if err != nil || !same(rec, want) || (rec.Value == nil) == withValue {
				t.Errorf("the entity of %q is read as %+v, %v; want %+v", test.rec.Key, rec, err, want)
			}
		}
	}
	record, err := l.encodeRecord()
	want := `{"PartitionKey":"skykv","RowKey":"layout","format":2,"shards":16,"layout":"alien"}`
	if err != nil || string(record) != want {
		t.Errorf("the layout record is %s, %v; want %s", record, err, want)
	}
}

func decodeAlien(t testing.TB, body []byte, withValue bool) (kv.Record, error) {
	t.Helper()
	e, err := alienLayout.parse(body)
	if err != nil {
		t.Fatal(err)
	}
	return alienLayout.record(&e, e.key(), withValue)
}

// theirEntity returns an entity as the other programs store it, with some changes. A nil in
// change removes the property.
func theirEntity(t testing.TB, change map[string]any) []byte {
	t.Helper()
	properties := map[string]any{"Value": "dg==", "CreatedAt": written, "ExpiresAt": "2023-11-14T22:13:21.5+00:00"}
	for name, value := range change {
		if properties[name] = value; value == nil {
			delete(properties, name)
		}
	}
	return entityJSON(t, "p2", "user:42", properties)
}

// The rule: instants that other programs write may have any number of digits and any time
// zone. They are rounded up to the millisecond. An instant before 1970 has expired, and an
// instant after kv.MaxExpiry means no expiry.
func TestExpiriesOfOthers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"2023-11-14T22:13:20+00:00":           1_700_000_000_000,
		"2023-11-14T22:13:20Z":                1_700_000_000_000,
		"2023-11-14T22:13:20.000000000+00:00": 1_700_000_000_000,
		"2023-11-14T22:13:20.000000001+00:00": 1_700_000_000_001,
		"2023-11-14T22:13:20.001+00:00":       1_700_000_000_001,
		"2023-11-14T22:13:20.9990001+00:00":   1_700_000_001_000,
		"2023-11-15T00:13:20.5+02:00":         1_700_000_000_500,
		"2023-11-14T17:13:20.5-05:00":         1_700_000_000_500,
		"1969-12-31T23:59:59+00:00":           1, // this has expired by every clock
		"0001-01-01T00:00:00+00:00":           1,
		"9999-12-31T23:59:59.999+00:00":       kv.MaxExpiry.UnixMilli(),
		"9999-12-31T23:59:59.999999999+00:00": 0, // the constant never, which means no expiry
		"9999-12-31T23:59:59-05:00":           0,
	} {
		rec, err := decodeAlien(t, theirEntity(t, map[string]any{"ExpiresAt": text}), false)
		if err != nil || rec.Expires != want || rec.Token != "" {
			t.Errorf("an entity of theirs that expires at %s is read as %+v, %v; want %d, and no token", text, rec, err, want)
		}
	}
	for _, absent := range []map[string]any{{"ExpiresAt": nil}, {"ExpiresAt": json.RawMessage("null")}} {
		if rec, err := decodeAlien(t, theirEntity(t, absent), false); err != nil || rec.Expires != 0 {
			t.Errorf("an entity of theirs without an expiry is read as %+v, %v", rec, err)
		}
	}
}

// The rule: skykv's own properties are valid only as long as CreatedAt and ExpiresAt are as
// skykv wrote them.
func TestOwnPropertiesCountWhileTheyAgree(t *testing.T) {
	t.Parallel()
	const expires = "2023-11-14T22:13:21.500+00:00"
	for name, test := range map[string]struct {
		change  map[string]any // changes to an entity of skykv; nil removes a property
		expires int64
		ours    bool
	}{
		"as it was written":         {nil, 1_700_000_001_500, true},
		"another expiry":            {map[string]any{"ExpiresAt": "2023-11-14T22:13:21.501+00:00"}, 1_700_000_001_501, false},
		"no expiry":                 {map[string]any{"ExpiresAt": nil}, 0, false},
		"another time of writing":   {map[string]any{"CreatedAt": "2023-11-14T22:13:20.124+00:00"}, 1_700_000_001_500, false},
		"no token":                  {map[string]any{"skykv_t": nil}, 1_700_000_001_500, false},
		"a token alone":             {map[string]any{"skykv_t": token}, 1_700_000_001_500, false},
		"a token of another length": {map[string]any{"skykv_t": token + "A " + written + " " + expires}, 1_700_000_001_500, false},
		"a token of another type":   {map[string]any{"skykv_t": 5}, 1_700_000_001_500, false},
		"the token of others":       {map[string]any{"skykv_t": " " + written + " " + expires}, 1_700_000_001_500, false},
	} {
		var properties map[string]any
		rec := kv.Record{Key: "user:42", Value: []byte("v"), Token: token, Expires: 1_700_000_001_500, Predecessors: "AAAA"}
		if err := json.Unmarshal(alienLayout.encode(rec, writtenAt), &properties); err != nil {
			t.Fatal(err)
		}
		maps.Copy(properties, test.change)
		maps.DeleteFunc(properties, func(_ string, value any) bool { return value == nil })
		got, err := decodeAlien(t, entityJSON(t, "p2", "user:42", properties), true)
		wantToken, wantPredecessors := "", ""
		if test.ours {
			wantToken, wantPredecessors = token, "AAAA"
		}
		if err != nil || got.Expires != test.expires || got.Token != wantToken || got.Predecessors != wantPredecessors || string(got.Value) != "v" {
			t.Errorf("an entity with %s is read as %+v, %v; want the expiry %d, the token %q and the predecessors %q", name, got, err, test.expires, wantToken, wantPredecessors)
		}
	}
	long := kv.Record{Key: "user:42", Value: []byte("v"), Token: token, Predecessors: strings.Repeat("A", kv.MaxPredecessorsLen+1)}
	if rec, err := decodeAlien(t, alienLayout.encode(long, writtenAt), true); err != nil || rec.Token != token || rec.Predecessors != "" {
		t.Errorf("predecessors that are too long: %+v, %v; want none", rec, err)
	}
}

// The rule: if an entity does not have the layout, the error is ErrIncompatible. The message does
// not contain the value.
func TestForeignRecordsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	for _, change := range []map[string]any{
		{"Value": nil}, {"Value": 5}, {"Value": "not base64: " + secretValue}, {"Value": "dg"}, {"Value": json.RawMessage("null")},
		{"CreatedAt": nil}, {"CreatedAt": 5}, {"CreatedAt": ""}, {"CreatedAt": secretValue}, {"CreatedAt": "2023-11-14"},
		{"ExpiresAt": ""}, {"ExpiresAt": 1_700_000_000}, {"ExpiresAt": secretValue}, {"ExpiresAt": "2023-11-14T22:13:20"}, {"ExpiresAt": "2023-13-14T22:13:20Z"}, {"ExpiresAt": true},
	} {
		rec, err := decodeAlien(t, theirEntity(t, change), true)
		if !errors.Is(err, kv.ErrIncompatible) || !same(rec, kv.Record{Key: "user:42"}) {
			t.Errorf("rule: an entity with %v is ErrIncompatible; got %+v, %v", change, rec, err)
		}
		shows(t, err, secretValue)
	}
}

// The rule: filters leave out, and a sweep deletes, only entities that the store treats as
// expired, whatever the time zone of ExpiresAt. If ExpiresAt is in UTC and at least an hour
// ago, the sweep deletes the entity.
func TestFiltersOfLayoutAlien(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(&Options{Layout: provider.LayoutAlien, Retry: quick})
	ctx, at := t.Context(), time.Now().Truncate(time.Millisecond)
	s = s.With(kv.Clock(func() time.Time { return at }))
	for key, expiry := range map[string]struct {
		at   time.Time
		zone *time.Location
	}{
		"a.live":         {at.Add(time.Millisecond), time.UTC},
		"b.live-west":    {at.Add(time.Millisecond), time.FixedZone("", -12*3600)},
		"c.expired":      {at, time.UTC},
		"d.expired-east": {at.Add(-kv.ExpiryGrace), time.FixedZone("", 14*3600)},
		"e.swept":        {at.Add(-kv.ExpiryGrace), time.UTC},
		"f.kept":         {at.Add(-kv.ExpiryGrace + time.Millisecond), time.UTC},
		"g.swept-west":   {at.Add(-kv.ExpiryGrace), time.FixedZone("", -12*3600)},
		"h.long-ago":     {at.AddDate(0, 0, -2), time.UTC},
	} {
		f.write(fakeKey{alienLayout.partition(key), key}, rawProperties(t, map[string]any{
			"Value": "dg==", "CreatedAt": written, "ExpiresAt": expiry.at.In(expiry.zone).Format("2006-01-02T15:04:05.999999999-07:00"),
		}))
	}
	f.write(fakeKey{alienLayout.partition("z.never"), "z.never"}, rawProperties(t, map[string]any{"Value": "dg==", "CreatedAt": written}))
	var keys []string
	for e, err := range s.Scan(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	if want := []string{"a.live", "b.live-west", "z.never"}; !slices.Equal(keys, want) {
		t.Errorf("the scan yields %q; want %q", keys, want)
	}
	for _, query := range f.queries {
		if filter := query.Get("$filter"); !strings.Contains(filter, "and not (ExpiresAt lt '") {
			t.Errorf("rule: the service excludes entities that expired a day ago; the filter is %q", filter)
		}
	}
	last, err := SweepWith(ctx, f.client(), "kv1", &provider.SweepOptions{Rate: 1e6, Clock: func() time.Time { return at }})
	if err != nil || last.Deleted != 3 || last.Foreign != 0 {
		t.Errorf("the sweep: %+v, %v; want 3 deleted", last, err)
	}
	for key, want := range map[string]bool{"a.live": true, "b.live-west": true, "c.expired": true, "d.expired-east": true, "e.swept": false, "f.kept": true, "g.swept-west": false, "h.long-ago": false, "z.never": true} {
		if f.has(alienLayout.partition(key), key) != want {
			t.Errorf("after the sweep %s is there: %v; want %v", key, !want, want)
		}
	}
}

// The rule: a touch is one merge, which cannot remove a property. So a touch that removes
// the expiry stores an instant later than any expiry, which is read as no expiry.
func TestTouchOfLayoutAlien(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(&Options{Layout: provider.LayoutAlien, Retry: quick})
	ctx := t.Context()
	v, err := s.Put(ctx, "user:42", []byte("v"), kv.TTL(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	f.take()
	if v, err = s.Touch(ctx, "user:42", kv.ExpiresAt(time.Time{}), kv.IfVersion(v)); err != nil {
		t.Fatal(err)
	}
	if got := f.take(); !slices.Equal(got, []string{"PATCH entity"}) {
		t.Errorf("the touch makes the requests %q; want one merge", got)
	}
	if e, err := s.Get(ctx, "user:42"); err != nil || !e.ExpiresAt.IsZero() || e.Version != v || string(e.Value) != "v" {
		t.Errorf("after the touch: %+v, %v; want an entry that lives forever", e, err)
	}
	stored := f.entities[fakeKey{"p2", "user:42"}].properties
	if got := string(stored["ExpiresAt"]); got != `"`+never+`"` {
		t.Errorf("the touch stores ExpiresAt %s; want %s", got, never)
	}
	if _, err := s.Put(ctx, "user:42", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if got, there := f.entities[fakeKey{"p2", "user:42"}].properties["ExpiresAt"]; there {
		t.Errorf("a put without an expiry stores ExpiresAt %s; want none", got)
	}
}

// The rule: if the response to a write is lost, the store recognises the write by its token.
// If another program has since replaced or changed the entity, the result is unknown.
func TestLostResponsesOfLayoutAlien(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		between map[string]any // merged into the entity, or replaces it if replace is set
		replace bool
		kind    error
	}{
		"nobody has written":      {nil, false, nil},
		"they have replaced it":   {map[string]any{"Value": "dg==", "CreatedAt": written}, true, kv.ErrIndeterminate},
		"they changed the expiry": {map[string]any{"ExpiresAt": "2123-11-14T22:13:20.5+00:00"}, false, kv.ErrIndeterminate},
		"they changed the time":   {map[string]any{"Value": "d3c=", "CreatedAt": written}, false, kv.ErrIndeterminate},
	} {
		for what, opts := range map[string][]kv.PutOption{"a put-if-absent": {kv.IfNotExists()}, "a compare-and-swap": nil} {
			f := newFake(t, "kv1")
			s := f.store(&Options{Layout: provider.LayoutAlien, Retry: quick})
			if opts == nil {
				v, err := s.Put(t.Context(), "user:42", []byte("v"))
				if err != nil {
					t.Fatal(err)
				}
				opts = []kv.PutOption{kv.IfVersion(v)}
			}
			lost := false
			f.setFault(func(r *http.Request) fault {
				if r.Method == "GET" {
					return fault{}
				}
				if !lost {
					lost = true
					return fault{serve: true, cut: true}
				}
				at := fakeKey{"p2", "user:42"}
				if properties := rawProperties(t, test.between); test.replace {
					f.write(at, properties)
				} else if test.between != nil {
					f.write(at, merged(f.entities[at].properties, properties))
				}
				return fault{}
			})
			if _, err := s.Put(t.Context(), "user:42", []byte("w"), append(opts, kv.TTL(time.Hour))...); !errors.Is(err, test.kind) {
				t.Errorf("%s whose response is lost, where %s: %v; want %v", what, name, err, test.kind)
			}
		}
	}
}

// The rule: in this layout there are always 16 shards, there is no AtomicWrite, and no value is
// longer than kv.MaxValueLen.
func TestLimitsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(&Options{Layout: provider.LayoutAlien, Retry: quick})
	if _, err := New(t.Context(), f.client(), "kv1", &Options{Layout: provider.LayoutAlien, Shards: 8}); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("another number of shards: %v; want ErrInvalidOption", err)
	}
	if _, err := New(t.Context(), f.client(), "kv1", &Options{Layout: "other"}); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("an unknown layout: %v; want ErrInvalidOption", err)
	}
	f.take()
	if _, err := s.AtomicWrite(t.Context(), kv.PutOp("g::a", nil), kv.PutOp("g::b", nil)); !errors.Is(err, kv.ErrUnsupported) {
		t.Errorf("AtomicWrite: %v; want ErrUnsupported", err)
	}
	if _, err := s.With(kv.MaxValue(kv.MaxValueLen+1)).Put(t.Context(), "a", make([]byte, kv.MaxValueLen+1)); err == nil {
		t.Error("a larger value is stored; want an error")
	}
	if got := f.take(); got != nil {
		t.Errorf("rule: both are refused before any I/O; got %q", got)
	}
}

// theirs returns the store of a program of the Alien platform, over a table. The store
// has its own client.
func theirs(t *testing.T, table string, now func() time.Time) *reference.AzureTables {
	return &reference.AzureTables{Client: azurite(t).NewClient(table), Bucket: alien.Bucket, Now: now}
}

// bothSides opens an empty table with a store of skykv and a store of the Alien platform.
func bothSides(t *testing.T, now func() time.Time) (*kv.Store, reference.Store) {
	client := azurite(t)
	table := newTable(t, client)
	store, err := New(t.Context(), client, table, &Options{Layout: provider.LayoutAlien})
	if err != nil {
		t.Fatal(err)
	}
	return store, theirs(t, table, now)
}

// inOwnShards returns a store with a bug, over the table of run. It puts each key into the
// partition whose number is the shard of the key in skykv's own layout.
func inOwnShards(t *testing.T, run reference.Interleaving) *kv.Store {
	other := run.Theirs.(*reference.AzureTables)
	d, err := newDriver("open", azurite(t), "unused", &Options{Layout: provider.LayoutAlien})
	if err != nil {
		t.Fatal(err)
	}
	wrong := *d.layout
	wrong.shard = newLayout(alien.Buckets).shard
	d.setLayout(&wrong)
	d.table = other.Client
	return kv.New(d)
}

// The rule: each side reads the other's writes, and accepts the other's versions.
func TestBothSidesSeeEachOther(t *testing.T) {
	t.Parallel()
	reference.SeeEachOther(t, bothSides)
}

// The rule: if the response to an update was lost, and the other side has written since, the
// result is ErrIndeterminate, because the other side's write removes the token. If skykv has
// written since, the result is known.
func TestTheirWritesRemovePredecessors(t *testing.T) {
	t.Parallel()
	reference.RemovePredecessors(t, bothSides)
}

// The rule: if two programs open an empty table with different layouts, one of them fails. A
// table with entries in one layout cannot be opened with the other.
func TestLayoutsAreNeverMixed(t *testing.T) {
	t.Parallel()
	client := azurite(t)
	reference.Tables{
		New: func(t *testing.T) string { return newTable(t, client) },
		Count: func(t *testing.T, table string) int {
			page, err := client.NewClient(table).NewListEntitiesPager(nil).NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return len(page.Entities)
		},
		PlantForeign: func(t *testing.T, table string) {
			plant(t, client.NewClient(table), "p1", "user:42", map[string]any{"Value": "dg==", "CreatedAt": written})
		},
		Open: func(ctx context.Context, table string, layout provider.Layout) (*kv.Store, error) {
			return New(ctx, client, table, &Options{Layout: layout})
		},
		Ensure: func(ctx context.Context, table string, layout provider.Layout) error {
			return EnsureWith(ctx, client, table, &Options{Layout: layout})
		},
		Theirs: func(t *testing.T, table string) reference.Store { return theirs(t, table, time.Now) },
	}.NeverMixed(t)
}

// The rule: if both sides use the same keys, the results of both agree with a model.
func TestInterleaving(t *testing.T) {
	t.Parallel()
	reference.Interleave(t, bothSides)
}

// The rule: the checks of TestInterleaving find every bug that FindBugs puts into a driver.
func TestInterleavingFindsBugs(t *testing.T) {
	t.Parallel()
	reference.FindBugs(t, bothSides, inOwnShards)
}

// The rule: a sweep deletes the entities of other programs, under their ETags. It keeps
// entities that were created again in the meantime, or that expired less than an hour ago.
// It refuses a table whose layout is not the URL's.
func TestSweepOfLayoutAlien(t *testing.T) {
	t.Parallel()
	ctx, client := t.Context(), azurite(t)
	table := newTable(t, client)
	if _, err := New(ctx, client, table, &Options{Layout: provider.LayoutAlien}); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	other := theirs(t, table, func() time.Time { return at })
	for key, ttl := range map[string]time.Duration{"short": time.Second, "long": time.Hour, "never": 0} {
		if err := other.Put(ctx, key, []byte("v"), ttl); err != nil {
			t.Fatal(err)
		}
	}
	last, err := SweepWith(ctx, client, table, &provider.SweepOptions{Rate: 1e6, Clock: func() time.Time { return at.Add(90 * time.Minute) }})
	if err != nil || last.Deleted != 1 || last.Foreign != 0 {
		t.Errorf("the sweep: %+v, %v; want 1 deleted", last, err)
	}
	at = at.Add(-time.Minute)
	for key, want := range map[string]bool{"short": false, "long": true, "never": true} {
		if _, _, found, err := other.Get(ctx, key); err != nil || found != want {
			t.Errorf("after the sweep %s is there: %v, %v; want %v", key, found, err, want)
		}
	}

	f := newFake(t, "kv1")
	f.store(&Options{Layout: provider.LayoutAlien, Retry: quick})
	key := fakeKey{alienLayout.partition("a"), "a"}
	f.write(key, rawProperties(t, map[string]any{"Value": "dg==", "CreatedAt": written, "ExpiresAt": written}))
	f.setFault(func(r *http.Request) fault {
		if r.Method == "DELETE" {
			f.write(key, rawProperties(t, map[string]any{"Value": "dg==", "CreatedAt": written}))
		}
		return fault{}
	})
	if last, err := SweepWith(ctx, f.client(), "kv1", nil); err != nil || last.Deleted != 0 || last.Kept != 1 || !f.has(key.partition, key.row) {
		t.Errorf("the sweep of an entity that was re-created: %+v, %v; want it kept", last, err)
	}
	d, err := newDriver("sweep", f.client(), "kv1", claiming(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.sweep(ctx, "sweep", nil); !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "want layout=alien") {
		t.Errorf("a sweep for another layout: %v; want ErrIncompatible that names the table's", err)
	}
}

// The rule: if a layout record has an unknown layout or format, or a number of shards that its
// layout does not have, the error is ErrIncompatible.
func TestRecordsOfLayoutAlien(t *testing.T) {
	t.Parallel()
	for _, properties := range []map[string]any{
		{"format": 2, "shards": 16, "layout": "other"}, {"format": 2, "shards": 8, "layout": "alien"}, {"format": 2, "shards": 16, "layout": 5}, {"format": 1, "shards": 16, "layout": "alien"},
	} {
		f := newFake(t, "kv1")
		f.write(fakeKey{layoutPartition, layoutRow}, rawProperties(t, properties))
		for _, layout := range []provider.Layout{"", provider.LayoutSkykv, provider.LayoutAlien} {
			if _, err := New(t.Context(), f.client(), "kv1", &Options{Layout: layout}); !errors.Is(err, kv.ErrIncompatible) {
				t.Errorf("the layout record %v, opened in layout %q: %v; want ErrIncompatible", properties, layout, err)
			}
		}
	}
}

// The rule: reads and conditional writes return ErrIncompatible for an entity that is not of
// the layout. A scan goes on after such an entity, and a put without a condition replaces it.
func TestForeignEntitiesOfLayoutAlien(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, properties := range []map[string]any{
		{"Value": "dg==", "ExpiresAt": written}, {"Value": "dg==", "CreatedAt": written, "ExpiresAt": "tomorrow"}, {"v": "dg==", "x": "0", "t": token, "p": ""},
	} {
		f := newFake(t, "kv1")
		s := f.store(&Options{Layout: provider.LayoutAlien, Retry: quick})
		at := fakeKey{alienLayout.partition("b"), "b"}
		f.write(at, rawProperties(t, properties))
		if _, err := s.Put(ctx, "c", []byte("v")); err != nil {
			t.Fatal(err)
		}
		_, got := s.Get(ctx, "b")
		_, exists := s.Exists(ctx, "b")
		_, put := s.Put(ctx, "b", nil, kv.IfNotExists())
		_, touched := s.Touch(ctx, "b", kv.TTL(time.Hour))
		for what, err := range map[string]error{"Get": got, "Exists": exists, "a put-if-absent": put, "Touch": touched} {
			if !errors.Is(err, kv.ErrIncompatible) || errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("%s of %v: %v; want ErrIncompatible", what, properties, err)
			}
		}
		found := ""
		for e, err := range s.Scan(ctx, "", kv.KeysOnly()) {
			if err != nil && !errors.Is(err, kv.ErrIncompatible) {
				t.Errorf("a scan over %v: %v; want ErrIncompatible", properties, err)
			}
			found += e.Key
		}
		if found != "bc" && found != "c" {
			t.Errorf("a scan over %v yields %q; want what is after it too", properties, found)
		}
		if _, err := s.Put(ctx, "b", []byte("v")); err != nil {
			t.Errorf("a put over %v: %v; want it replaced", properties, err)
		}
	}
}

// The rule: Inspect says which layout a table has, and how to open the table. It counts the
// entities that are not of that layout.
func TestInspectOfLayoutAlien(t *testing.T) {
	theirs := map[string]any{"Value": "dg==", "CreatedAt": written}
	ours, shared := map[string]any{"format": 2, "shards": 16}, map[string]any{"format": 2, "shards": 16, "layout": "alien"}
	for _, test := range []struct {
		name, layout   string
		record, entity map[string]any
		want           string // the check of the layout, or a check after it
	}{
		{"shared", "&layout=alien", shared, theirs, "ok layout a record of skykv, 16 shards"},
		{"shared, and no layout named", "", shared, theirs, `fail layout incompatible: table kv1 has layout "alien" and was opened with layout "skykv"; want layout=alien`},
		{"skykv's", "&layout=alien", ours, nil, `fail layout incompatible: table kv1 has layout "skykv" and was opened with layout "alien"; want layout=skykv`},
		{"the platform's", "&layout=alien", nil, theirs, "warn layout there is no layout record"},
		{"the platform's, and no layout named", "", nil, theirs, "fail layout incompatible: table kv1 has entities but no layout record of skykv: it belongs to another program, on the Alien platform; want layout=alien"},
		{"somebody else's", "&layout=alien", nil, map[string]any{"name": "Ann"}, "fail layout incompatible: table kv1 has entities but no layout record of skykv: it belongs to another program"},
		{"shared, with an entity that is none of theirs", "&layout=alien", shared, map[string]any{"name": "Ann"}, "warn records 1 of the first 2 entities are not skykv's"},
		{"shared, with one that a sweep deletes", "&layout=alien", shared, map[string]any{"Value": "dg==", "CreatedAt": written, "ExpiresAt": written}, "warn sweep expired entries must be deleted"},
	} {
		f := newFake(t, "kv1")
		if test.record != nil {
			f.write(fakeKey{layoutPartition, layoutRow}, rawProperties(t, test.record))
		}
		if test.entity != nil {
			f.write(fakeKey{alienLayout.partition("a"), "a"}, rawProperties(t, test.entity))
		}
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		trusting(t, server.URL)
		address := "aztables://account/kv1?endpoint=" + url.QueryEscape(server.URL) + test.layout
		got := inspected(t, address)
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, test.want) }) {
			t.Errorf("%s: the checks are\n%s\nwant %s", test.name, strings.Join(got, "\n"), test.want)
		}
		if requests := f.take(); slices.ContainsFunc(requests, func(r string) bool { return !strings.HasPrefix(r, "GET ") }) {
			t.Errorf("rule: Inspect changes nothing; the requests are %q", requests)
		}
		refuses := strings.HasPrefix(test.want, "fail layout")
		if err := Ensure(t.Context(), address); (err != nil) != refuses {
			t.Errorf("%s: Ensure says %v; want an error: %t", test.name, err, refuses)
		}
	}
}
