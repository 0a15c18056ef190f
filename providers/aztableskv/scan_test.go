package aztableskv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// The rule: a scan yields every entry once and in order, even if pages are short or empty,
// or continuations have no row key.
func TestScanPages(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(nil)
	var want []string
	var items []kv.Item
	for i := range 200 {
		key := fmt.Sprintf("k%03d", i)
		want = append(want, key)
		items = append(items, kv.Item{Key: key, Value: []byte(key)})
	}
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	for _, maxPage := range []int{1, 7, 0} {
		for _, empty := range []bool{false, true} {
			for _, noRow := range []bool{false, true} {
				f.mu.Lock()
				f.maxPage, f.emptyPages, f.noNextRow = maxPage, empty, noRow
				f.mu.Unlock()
				var got []string
				for e, err := range s.Scan(t.Context(), "k") {
					if err != nil {
						t.Fatal(err)
					}
					if string(e.Value) != e.Key {
						t.Errorf("the value of %s is %q", e.Key, e.Value)
					}
					got = append(got, e.Key)
				}
				if !slices.Equal(got, want) {
					t.Errorf("pages of %d, empty ones between: %t, row keys missing: %t: %d entries in this order: %.200q", maxPage, empty, noRow, len(got), got)
				}
				if ok, err := s.Exists(t.Context(), "k007"); !ok || err != nil {
					t.Errorf("pages of %d, empty ones between: %t: Exists is %t, %v", maxPage, empty, ok, err)
				}
			}
		}
	}
}

// The rule: scans and reads by key return the same versions.
func TestScanVersions(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(nil)
	for i := range 20 {
		if _, err := s.Put(t.Context(), fmt.Sprintf("k%d", i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	for _, opts := range [][]kv.ScanOption{nil, {kv.KeysOnly()}} {
		listed := make(map[string]kv.Version)
		for e, err := range s.Scan(t.Context(), "", opts...) {
			if err != nil {
				t.Fatal(err)
			}
			listed[e.Key] = e.Version
		}
		for key, version := range listed {
			got, err := s.Get(t.Context(), key)
			if err != nil || got.Version != version {
				t.Errorf("listed version %v of %s, read version %v, %v", version, key, got.Version, err)
			}
		}
		if len(listed) != 20 {
			t.Errorf("%d entries, want 20", len(listed))
		}
	}
}

// The rule: in a scan, the service itself leaves out the expired entries, and no others.
func TestScanFiltersExpired(t *testing.T) {
	t.Parallel()
	client := azurite(t)
	d, err := newDriver("open", client, newTable(t, client), &Options{Shards: 1, Retry: quick})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	for key, expires := range map[string]int64{"never": 0, "past": now - 1, "now": now, "next": now + 1, "long-ago": 1, "last": kv.MaxExpiry.UnixMilli()} {
		w := putting(key, kv.Condition{})
		w.Expires = expires
		if _, err := d.Write(t.Context(), kv.WriteRequest{Write: w, Now: now}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(now int64) (keys []string) {
		for rec, err := range d.Scan(t.Context(), kv.ScanRequest{From: "-", To: "~", Limit: 10, Now: now}) {
			if err != nil {
				t.Error(err)
			}
			keys = append(keys, rec.Key)
		}
		return keys
	}
	if got, want := list(now), []string{"last", "never", "next"}; !slices.Equal(got, want) {
		t.Errorf("the service returns %q, want %q", got, want)
	}
	if got, want := list(0), []string{"last", "long-ago", "never", "next", "now", "past"}; !slices.Equal(got, want) {
		t.Errorf("without an instant the service returns %q, want %q", got, want)
	}
}

// token is a token like the store's.
var token = strings.Repeat("t", kv.TokenLen)

// foreign are entities that skykv did not write. Even a scan without values shows this for
// every entity except the last.
var foreign = []map[string]any{
	{"name": "Ann"},
	{"v": "dg==", "v@odata.type": "Edm.Binary"},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "x@odata.type": "Edm.Int64", "p": ""},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "t": token, "p": ""},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "-1", "x@odata.type": "Edm.Int64", "t": token, "p": ""},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "x@odata.type": "Edm.Int64", "t": "short", "p": ""},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "x@odata.type": "Edm.Int64", "t": 7, "p": ""},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "x@odata.type": "Edm.Int64", "t": token}, // of format 1
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "x@odata.type": "Edm.Int64", "t": token, "p": 7},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "x@odata.type": "Edm.Int64", "t": token, "p": strings.Repeat("p", kv.MaxPredecessorsLen+1)},
	{"V": "dg==", "V@odata.type": "Edm.Binary", "X": "1", "X@odata.type": "Edm.Int64", "T": token, "P": ""},
	{"v": "dg==", "v@odata.type": "Edm.Binary", "x": 1, "t": token, "p": ""},
	{"v": "dg==", "x": "0", "x@odata.type": "Edm.Int64", "t": token, "p": ""},
}

// foreignExpired are entities that skykv did not write but that look expired. The first
// looks expired only in Azurite, which compares strings with numbers.
var foreignExpired = []map[string]any{
	{"x": "1", "t": token, "p": ""},
	{"x": "1", "x@odata.type": "Edm.Int64"},
	{"x": "1", "x@odata.type": "Edm.Int64", "t": "short", "p": ""},
	{"x": "1", "x@odata.type": "Edm.Int64", "t": 7, "p": ""},
	{"x": "1", "x@odata.type": "Edm.Int64", "t": token},
	{"x": "1", "x@odata.type": "Edm.Int64", "name": "Ann"},
}

// azuriteFails reports whether an entity with these properties makes Azurite respond with
// status 500 to every query that compares x. Azurite expects x to be a string.
func azuriteFails(properties map[string]any) bool {
	_, number := properties["x"].(int)
	return number
}

// The rule: if skykv did not write an entity, operations that read it return ErrIncompatible, and
// the error has the key. Scans go on after the entity, and DeletePrefix keeps it. Put and Delete
// without a condition do not read the entity: they replace or delete it.
func TestForeignEntities(t *testing.T) {
	t.Parallel()
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		testForeign(t, newFake(t, "kv1").client(), "kv1", foreign)
	})
	t.Run("azurite", func(t *testing.T) {
		t.Parallel()
		client := azurite(t)
		testForeign(t, client, newTable(t, client), slices.DeleteFunc(slices.Clone(foreign), azuriteFails))
	})
}

func testForeign(t *testing.T, client *aztables.ServiceClient, tableName string, foreign []map[string]any) {
	ctx := t.Context()
	s, err := New(ctx, client, tableName, claiming(&Options{Shards: 2, Retry: quick}))
	if err != nil {
		t.Fatal(err)
	}
	table := client.NewClient(tableName)
	want := map[string]bool{}
	for i, properties := range foreign {
		key := fmt.Sprintf("f:%d", i)
		want[key] = true
		plant(t, table, []string{"00", "01"}[kv.Shard(key, 2)], key, properties)
		if _, err := s.Put(ctx, key+"-ours", []byte("v")); err != nil {
			t.Fatal(err)
		}
		incompatible := func(op string, err error) {
			t.Helper()
			if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), fmt.Sprintf("%q", key)) || errors.Is(err, kv.ErrIndeterminate) {
				t.Errorf("%s of foreign entity %v: %v; want ErrIncompatible that names %s", op, properties, err, key)
			}
		}
		_, err := s.Get(ctx, key)
		incompatible("Get", err)
		_, err = s.GetMany(ctx, []string{key, key + "-ours"})
		incompatible("GetMany", err)
		if i == len(foreign)-1 {
			continue // without its value, this one looks like an entity of skykv
		}
		_, err = s.Exists(ctx, key)
		incompatible("Exists", err)
		_, err = s.Put(ctx, key, nil, kv.IfNotExists())
		incompatible("Put if absent", err)
	}
	// One entity of skykv is copied into the wrong partition, and one has a RowKey that is
	// not a key.
	moved := "f:moved"
	want[moved] = true
	ours := map[string]any{"v": "dg==", "v@odata.type": "Edm.Binary", "x": "0", "x@odata.type": "Edm.Int64", "t": token, "p": ""}
	plant(t, table, []string{"01", "00"}[kv.Shard(moved, 2)], moved, ours)
	plant(t, table, "00", "f:no key", ours)

	got := map[string]bool{}
	live := 0
	for e, err := range s.Scan(ctx, "f:") {
		if err == nil {
			live++
			continue
		}
		if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), fmt.Sprintf("%q", e.Key)) {
			t.Errorf("Scan: %v; want ErrIncompatible that names %s", err, e.Key)
		}
		got[e.Key] = true
	}
	if len(got) != len(want) || live != len(foreign) {
		t.Errorf("Scan reports the foreign entities %v and %d others; want %v and %d", got, live, want, len(foreign))
	}
	// A page ends at a foreign entity, and the next page begins after it.
	live = 0
	for cursor, pages := "", 0; ; pages++ {
		page, err := s.ScanPage(ctx, "f:", 1000, cursor)
		live += len(page.Entries)
		if err == nil {
			break
		}
		if cursor = page.Next; !errors.Is(err, kv.ErrIncompatible) || pages > 2*len(foreign) {
			t.Fatalf("ScanPage: %v after %d pages", err, pages)
		}
	}
	if live != len(foreign) {
		t.Errorf("continued pages have %d entries, want %d", live, len(foreign))
	}
	_, err = s.DeletePrefix(ctx, "f:")
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Failed) != len(want)-1 { // the last of foreign is deleted
		t.Errorf("DeletePrefix: %v; want a *BatchError of the foreign entities", err)
	}
	for i := range foreign[:len(foreign)-1] {
		key := fmt.Sprintf("f:%d", i)
		if _, err := table.GetEntity(ctx, []string{"00", "01"}[kv.Shard(key, 2)], key, nil); err != nil {
			t.Errorf("DeletePrefix did not leave foreign entity %s alone: %v", key, err)
		}
	}
	if _, err := s.Put(ctx, "f:0", []byte("ours")); err != nil {
		t.Errorf("unconditional Put over a foreign entity: %v", err)
	}
	if e, err := s.Get(ctx, "f:0"); err != nil || string(e.Value) != "ours" {
		t.Errorf("Get after an unconditional Put over a foreign entity: %q, %v", e.Value, err)
	}
	if err := s.Delete(ctx, "f:1"); err != nil {
		t.Errorf("unconditional Delete of a foreign entity: %v", err)
	}
	if _, err := s.Get(ctx, "f:1"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get after an unconditional Delete of a foreign entity: %v", err)
	}
}

// plant writes an entity as another program might.
func plant(t *testing.T, table *aztables.Client, partition, row string, properties map[string]any) {
	t.Helper()
	if _, err := table.UpsertEntity(t.Context(), entityJSON(t, partition, row, properties), &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace}); err != nil {
		t.Fatal(err)
	}
}

// The rule: a request for a page has the caller's limit, or the service's limit if that is lower.
// In a scan with values, the limit is lower in the first request, and after large values.
func TestPageSizes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit, value int
		withValue    bool
		maxValue     int
		shards       int
		want         []string // $top of the requests
	}{
		{7, 10, true, kv.MaxValueLen, 1, []string{"7", "7", "7"}},
		{5000, 10, false, kv.MaxLargeValueLen, 1, []string{"1000"}},
		{5000, 10, true, kv.MaxValueLen, 1, []string{"100", "1000"}},
		{150, 10, true, kv.MaxValueLen, 16, []string{"100", "150", "150"}},
		{500, kv.MaxValueLen, true, kv.MaxValueLen, 1, []string{"100", "32", "32"}},

		// 42 values of 384 KiB fit into 16 MiB.
		{500, 10, true, kv.MaxLargeValueLen, 1, []string{"42", "500"}},
		{500, 10, true, kv.MaxLargeValueLen, 16, []string{"2", "500"}},
		{500, 10, true, kv.MaxLargeValueLen, 256, []string{"1", "500"}},
		{500, kv.MaxLargeValueLen, true, kv.MaxLargeValueLen, 16, []string{"2", "2", "2"}},
	} {
		f := newFake(t, "kv1")
		d, err := newDriver("open", f.client(), "kv1", &Options{Shards: test.shards, Retry: quick})
		if err != nil {
			t.Fatal(err)
		}
		n := 300
		if test.value > kv.MaxValueLen {
			n = 6
		}
		var writes []kv.Write
		for i := range n {
			w := putting(fmt.Sprintf("k::%03d", i), kv.Condition{}) // all in one shard
			w.Value = make([]byte, test.value)
			writes = append(writes, w)
		}
		for _, result := range d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes}) {
			if result.Err != nil {
				t.Fatal(result.Err)
			}
		}
		for _, err := range d.Scan(t.Context(), kv.ScanRequest{Shard: kv.Shard("k::", test.shards), From: "-", To: "~", Limit: test.limit, WithValue: test.withValue, MaxValueLen: test.maxValue}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, query := range f.queries[:min(len(f.queries), 3)] {
			got = append(got, query.Get("$top"))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("limit %d, values of %d bytes: the first pages are of %q entities, want %q", test.limit, test.value, got, test.want)
		}
	}
}

// The rule: when the loop ends, the scan makes no more requests.
func TestScanStops(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(&Options{Shards: 1, Retry: quick})
	var items []kv.Item
	for i := range 100 {
		items = append(items, kv.Item{Key: fmt.Sprintf("k%03d", i)})
	}
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	f.take()
	f.maxPage = 10
	n := 0
	for _, err := range s.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 15 {
			break
		}
	}
	if got := f.take(); len(got) != 2 {
		t.Errorf("a loop over 15 of 100 entries in pages of 10 makes the requests %q; want two", got)
	}
}
