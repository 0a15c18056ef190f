package aztableskv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

func entityJSON(t testing.TB, partition, row string, properties map[string]any) []byte {
	t.Helper()
	e := maps.Clone(properties)
	e["PartitionKey"], e["RowKey"] = partition, row
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The rule: Sweep deletes entries that expired at least an hour ago, tombstones that were
// written at least an hour ago, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client := azurite(t)
	table := newTable(t, client)
	s, err := New(ctx, client, table, claiming(nil))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Truncate(time.Millisecond)
	s = s.With(kv.Clock(func() time.Time { return start }))
	var items []kv.Item
	for i := range 300 {
		items = append(items, kv.Item{Key: fmt.Sprintf("gone-%d", i), Value: []byte("v"), TTL: time.Duration(i%60+1) * time.Second})
	}
	items = append(items,
		kv.Item{Key: "at-the-hour", TTL: time.Minute},
		kv.Item{Key: "one-ms-short", TTL: time.Minute + time.Millisecond},
		kv.Item{Key: "live", TTL: 48 * time.Hour},
		kv.Item{Key: "forever"},
	)
	if _, err := s.PutMany(ctx, items); err != nil {
		t.Fatal(err)
	}
	raw := client.NewClient(table)
	partition := func(key string) string { return fmt.Sprintf("%02x", kv.Shard(key, DefaultShards)) }
	var others []string
	for i, properties := range slices.Concat(foreign, foreignExpired) {
		if !azuriteFails(properties) {
			key := fmt.Sprintf("foreign-%d", i)
			others = append(others, key)
			plant(t, raw, partition(key), key, properties)
		}
	}
	if _, err := raw.AddEntity(ctx, newLayout(DefaultShards).encode(tombstone(deleting("tombstone", kv.Condition{})), 0), nil); err != nil {
		t.Fatal(err)
	}
	early, err := SweepWith(ctx, client, table, &provider.SweepOptions{Clock: func() time.Time { return start.Add(50 * time.Minute) }})
	if err != nil || early.Deleted != 0 {
		t.Errorf("50 minutes after the last write: %+v, %v; want nothing deleted, not even the tombstone", early, err)
	}
	var reports []provider.SweepProgress
	last, err := SweepWith(ctx, client, table, &provider.SweepOptions{
		Rate:     100_000,
		Clock:    func() time.Time { return start.Add(time.Hour + time.Minute) },
		Progress: func(p provider.SweepProgress) { reports = append(reports, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Deleted != 302 || last.Kept != 0 || last.Foreign != len(foreignExpired) || last.Shards != DefaultShards || last.Of != DefaultShards || !last.Done || last.Pass != 1 {
		t.Errorf("the pass is %+v; want 302 deleted, %d foreign and all shards done", last, len(foreignExpired))
	}
	if len(reports) == 0 || reports[len(reports)-1] != last {
		t.Errorf("the last report is not %+v", last)
	}
	for i := 1; i < len(reports); i++ {
		if reports[i].Deleted < reports[i-1].Deleted || reports[i].Shards < reports[i-1].Shards {
			t.Errorf("progress goes back from %+v to %+v", reports[i-1], reports[i])
		}
	}
	past := s.With(kv.Clock(func() time.Time { return time.UnixMilli(1) })) // by this clock, no item has expired
	for _, item := range items {
		_, err := past.Get(ctx, item.Key)
		swept := strings.HasPrefix(item.Key, "gone") || item.Key == "at-the-hour"
		if errors.Is(err, kv.ErrNotFound) != swept {
			t.Errorf("%s: %v; want it swept: %t", item.Key, err, swept)
		}
	}
	if _, err := raw.GetEntity(ctx, partition("tombstone"), "tombstone", nil); !absent(codeOf(err)) {
		t.Errorf("the tombstone: %v; want it deleted an hour after it was written", err)
	}
	for _, key := range others {
		if _, err := raw.GetEntity(ctx, partition(key), key, nil); err != nil {
			t.Errorf("the sweeper did not leave %s alone: %v", key, err)
		}
	}
}

// The rule: Sweep deletes an entity only in the state in which Sweep read it. It keeps an
// entity that was created again in the meantime, and still deletes the others of the same
// transaction.
func TestSweepKeepsRecreated(t *testing.T) {
	t.Parallel()
	for _, recreated := range []int{0, 3, 50, 99} {
		f := newFake(t, "kv1")
		s := f.store(nil)
		ctx := t.Context()
		past := s.With(kv.Clock(func() time.Time { return time.Now().Add(-3 * time.Hour) }))
		items := sameShard(100, []byte("old"))
		for i := range items {
			items[i].TTL = time.Minute
		}
		if _, err := past.PutMany(ctx, items); err != nil {
			t.Fatal(err)
		}
		key := items[recreated].Key
		planted := false
		f.setFault(func(r *http.Request) fault {
			if !planted && r.URL.Path == "/$batch" {
				planted = true
				rec := kv.Record{Key: key, Value: []byte("new"), Token: strings.Repeat("n", kv.TokenLen)}
				var properties map[string]json.RawMessage
				if err := json.Unmarshal(newLayout(DefaultShards).encode(rec, 0), &properties); err != nil {
					t.Error(err)
				}
				f.write(fakeKey{"03", key}, properties)
			}
			return fault{}
		})
		last, err := SweepWith(ctx, f.client(), "kv1", &provider.SweepOptions{Rate: 1e6})
		if err != nil || last.Deleted != 99 || last.Kept != 1 {
			t.Errorf("entity %d of 100 re-created: %+v, %v; want 99 deleted and 1 kept", recreated, last, err)
		}
		if e, err := s.Get(ctx, key); err != nil || string(e.Value) != "new" {
			t.Errorf("the re-created entry is %q, %v", e.Value, err)
		}
		if n := len(f.entities); n != 2 {
			t.Errorf("%d entities are left; want the layout record and the re-created one", n)
		}
	}
}

// The rule: Sweep keeps to the rate. With an interval, a pass starts at each interval until
// the context ends, even after a pass that failed.
func TestSweepPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "kv1")
		client := fakeClient(t, "http://account.example", f)
		s, err := New(t.Context(), client, "kv1", claiming(nil))
		if err != nil {
			t.Fatal(err)
		}
		items := sameShard(250, nil)
		for i := range items {
			items[i].TTL = time.Second
		}
		if _, err := s.PutMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // by synctest's clock; after that, all entries may be swept
		start := time.Now()
		if last, err := SweepWith(t.Context(), client, "kv1", &provider.SweepOptions{Rate: 10}); err != nil || last.Deleted != 250 {
			t.Fatalf("%+v, %v", last, err)
		}
		// The first ten are deleted at once, and the last at the end of the 24th second.
		if took := time.Since(start); took != 24*time.Second {
			t.Errorf("deleting 250 entities at 10 per second takes %v; want 24s", took)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		start = time.Now()
		var starts []time.Duration
		var failures int
		last, err := SweepWith(ctx, client, "kv1", &provider.SweepOptions{Interval: time.Minute, Progress: func(p provider.SweepProgress) {
			if !p.Done {
				return
			}
			starts = append(starts, time.Since(start))
			if p.Err != nil {
				failures++
			}
			f.setFault(nil)
			if p.Pass == 1 {
				f.setFault(func(*http.Request) fault { return fault{status: 403, code: "AuthorizationFailure"} })
			}
		}})
		if !errors.Is(err, context.DeadlineExceeded) || last.Pass != 3 {
			t.Errorf("%+v, %v; want three passes and the context's error", last, err)
		}
		if len(starts) != 3 || starts[0] != 0 || starts[1] != time.Minute || starts[2] != 2*time.Minute || failures != 1 {
			t.Errorf("passes end at %v, %d of them with an error; want 0, 1m and 2m, and the second to fail", starts, failures)
		}
	})
}

// The rule: SweepWith says what is wrong before it deletes anything.
func TestSweepRefuses(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	client := f.client()
	for _, test := range []struct {
		name, table string
		opts        *provider.SweepOptions
		want        error
		says        string
	}{
		{"no layout record", "kv1", nil, kv.ErrIncompatible, "no layout record"},
		{"missing table", "other", nil, kv.ErrNotProvisioned, "other"},
		{"bad name", "a-b", nil, kv.ErrInvalidOption, "letters and digits"},
		{"negative rate", "kv1", &provider.SweepOptions{Rate: -1}, kv.ErrInvalidOption, "Rate"},
		{"negative interval", "kv1", &provider.SweepOptions{Interval: -1}, kv.ErrInvalidOption, "Interval"},
	} {
		_, err := SweepWith(t.Context(), client, test.table, test.opts)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || !strings.HasPrefix(err.Error(), "kv: sweep on aztables:") {
			t.Errorf("%s: %v; want %v that says %q", test.name, err, test.want, test.says)
		}
	}
	if _, err := SweepWith(t.Context(), nil, "kv1", nil); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("nil client: %v; want ErrInvalidOption", err)
	}
	s := f.store(nil)
	if _, err := s.With(kv.Clock(func() time.Time { return time.UnixMilli(1000) })).Put(t.Context(), "a", nil, kv.TTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	f.setFault(func(r *http.Request) fault {
		if r.Method == "DELETE" {
			return fault{status: 403, code: "AuthorizationPermissionMismatch"}
		}
		return fault{}
	})
	last, err := SweepWith(t.Context(), client, "kv1", nil)
	if !errors.Is(err, kv.ErrPermission) || last.Deleted != 0 || last.Err == nil {
		t.Errorf("denied: %+v, %v; want ErrPermission", last, err)
	}
}

// The rule: Sweep by URL does the same as SweepWith, with the shards of the layout record.
func TestSweepByURL(t *testing.T) {
	clearEnvironment(t)
	client := azurite(t)
	table := newTable(t, client)
	s, err := New(t.Context(), client, table, claiming(&Options{Shards: 3}))
	if err != nil {
		t.Fatal(err)
	}
	old := s.With(kv.Clock(func() time.Time { return time.UnixMilli(1) }))
	if _, err := old.PutMany(t.Context(), []kv.Item{{Key: "a", TTL: time.Second}, {Key: "b", TTL: time.Second}, {Key: "c", TTL: time.Second}, {Key: "live"}}); err != nil {
		t.Fatal(err)
	}
	last, err := Sweep(t.Context(), "aztables://"+emulator.AzureAccount+"/"+table+"?endpoint="+emulator.AzureTables(t), nil)
	if err != nil || last.Deleted != 3 || last.Of != 3 {
		t.Errorf("%+v, %v; want 3 entries deleted, in 3 shards", last, err)
	}
	if _, err := Sweep(t.Context(), "aztables://account/a-b", nil); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("a malformed URL: %v; want ErrInvalidOption", err)
	}
}
