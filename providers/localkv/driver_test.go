package localkv

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

// The driver refuses unknown kinds of writes and conditions before any I/O, so it does so even
// while the file is locked.
func TestUnsupportedWrites(t *testing.T) {
	t.Parallel()
	d, _ := newTestDriver(t)
	other, err := connect(t.Context(), d.rs.file.path, sqlite.OpenReadWrite, beginWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	writes := []kv.Write{
		{},
		{Kind: kv.KindTouch},
		{Kind: kv.KindTouch, Condition: kv.Condition{Kind: kv.CondAbsent}},
		{Kind: kv.KindCheck, Condition: kv.Condition{Kind: kv.CondAbsent}},
		{Kind: kv.KindCheck},
		{Kind: kv.KindCheck, Condition: kv.Condition{Kind: kv.CondLive + 1, Version: "token"}},
		{Kind: kv.KindCheck + 1},
		{Kind: kv.KindPut, Condition: kv.Condition{Kind: kv.CondLive}},
		{Kind: kv.KindPut, Condition: kv.Condition{Kind: kv.CondLive + 1}},
		{Kind: kv.KindDelete, Condition: kv.Condition{Kind: kv.CondLive + 1}},
	}
	var meter kv.Meter
	for i := range writes {
		w := &writes[i]
		w.Record = kv.Record{Key: fmt.Sprint("key:", i), Token: "token", Value: []byte{}}
		out, err := d.Write(ctx, kv.WriteRequest{Write: *w, Now: 1, Meter: &meter})
		if !errors.Is(err, kv.ErrUnsupported) || errors.Is(err, kv.ErrIndeterminate) || out.Done {
			t.Errorf("rule: %s under %s is ErrUnsupported; got %v, done %t", w.Kind, w.Condition.Kind, err, out.Done)
		}
	}
	for i, r := range d.WriteMany(ctx, kv.WriteManyRequest{Writes: writes, Now: 1, Meter: &meter}) {
		if !errors.Is(r.Err, kv.ErrUnsupported) || errors.Is(r.Err, kv.ErrIndeterminate) || r.Done {
			t.Errorf("rule: %s under %s is ErrUnsupported, also in a batch; got %v, done %t", writes[i].Kind, writes[i].Condition.Kind, r.Err, r.Done)
		}
	}
	good := kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: "good", Token: "token", Value: []byte{}}}
	for _, w := range writes {
		if w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondAbsent {
			continue // WriteAtomic supports this check
		}
		if _, err := d.WriteAtomic(ctx, kv.WriteManyRequest{Writes: []kv.Write{good, w}, Now: 1, Meter: &meter}); !errors.Is(err, kv.ErrUnsupported) {
			t.Errorf("rule: %s under %s is ErrUnsupported, also among several writes; got %v", w.Kind, w.Condition.Kind, err)
		}
	}
	if meter.Requests() != 0 {
		t.Errorf("rule: nothing was sent; the meter has %d requests", meter.Requests())
	}
}

// Each write of a batch has its own condition and its own result. Results are in the order
// of the writes.
func TestWriteManyConditions(t *testing.T) {
	t.Parallel()
	d, _ := newTestDriver(t)
	const now = 5000
	rec := func(key, token string, expires int64) kv.Record {
		return kv.Record{Key: key, Value: []byte(token), Token: token, Expires: expires}
	}
	for _, r := range []kv.Record{rec("live", "l", 0), rec("young", "y", now+1), rec("expired", "e", now), rec("gone", "g", 0), rec("kept", "k", 0), rec("damaged", "d", 0)} {
		if _, err := d.Write(t.Context(), kv.WriteRequest{Write: kv.Write{Kind: kv.KindPut, Record: r}, Now: now}); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t.Context(), d.w.conn, "UPDATE kv SET c = c + 1 WHERE k = 'damaged'"); err != nil {
		t.Fatal(err)
	}
	absent := kv.Condition{Kind: kv.CondAbsent}
	version := func(v string) kv.Condition { return kv.Condition{Kind: kv.CondVersion, Version: v} }
	tests := []struct {
		kind  kv.WriteKind
		key   string
		cond  kv.Condition
		done  bool
		found string // token of the record that made the condition fail
	}{
		{kv.KindPut, "new", absent, true, ""},
		{kv.KindPut, "live", absent, false, "l"},
		{kv.KindPut, "expired", absent, true, ""},
		{kv.KindPut, "none", version("x"), false, ""},
		{kv.KindDelete, "gone", version("g"), true, ""},
		{kv.KindDelete, "kept", version("x"), false, "k"},
		{kv.KindDelete, "nothing", kv.Condition{}, true, ""},
		{kv.KindCheck, "unsupported", version("x"), false, ""},
		{kv.KindPut, "damaged", absent, false, ""},
		{kv.KindPut, "young", absent, false, "y"},
		{kv.KindPut, "plain", kv.Condition{}, true, ""},
	}
	req := kv.WriteManyRequest{Now: now}
	for _, test := range tests {
		req.Writes = append(req.Writes, kv.Write{Kind: test.kind, Record: rec(test.key, "new", 0), Condition: test.cond})
	}
	results := d.WriteMany(t.Context(), req)
	if len(results) != len(tests) {
		t.Fatalf("%d results for %d writes", len(results), len(tests))
	}
	for i, test := range tests {
		got := results[i]
		wantErr := map[string]error{"unsupported": kv.ErrUnsupported, "damaged": kv.ErrIncompatible}[test.key]
		wantVersion := map[bool]string{true: "new"}[test.done && test.kind == kv.KindPut]
		if !errors.Is(got.Err, wantErr) || got.Done != test.done || got.Version != wantVersion || got.Exists != (test.found != "") || got.Found.Token != test.found || got.MayHaveApplied {
			t.Errorf("rule: each write of a batch has its own result; the result of %s of %q under %s is %+v", test.kind, test.key, test.cond.Kind, got)
		}
	}
	var stored []string
	for rec, err := range d.Scan(t.Context(), kv.ScanRequest{From: "-", To: "~", Limit: 100}) {
		if err != nil {
			rec.Token = "damaged"
		}
		stored = append(stored, rec.Key+"="+rec.Token)
	}
	want := []string{"damaged=damaged", "expired=new", "kept=k", "live=l", "new=new", "plain=new", "young=y"}
	if !slices.Equal(stored, want) {
		t.Errorf("after the batch the store has %q; want %q", stored, want)
	}
}

// An iterator holds no connection while it yields. So even with a single reader, the loop's
// body can use the store.
func TestLoopsHoldNoReader(t *testing.T) {
	t.Parallel()
	d, err := newDriver(t.Context(), filepath.Join(t.TempDir(), "app.db"), &Options{Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(d)
	defer store.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const n = 2*readGroup + 10
	keys := make([]string, n)
	items := make([]kv.Item, n)
	for i := range items {
		keys[i] = fmt.Sprintf("key:%04d", i)
		items[i] = kv.Item{Key: keys[i], Value: make([]byte, 3000)}
	}
	if _, err := store.PutMany(ctx, items); err != nil {
		t.Fatal(err)
	}
	keys = append(keys, "absent")
	body := func() {
		if _, err := d.Get(ctx, kv.GetRequest{Key: "key:0000", WithValue: true}); err != nil {
			t.Fatalf("rule: the body of a loop may use the store; Get: %v", err)
		}
		if _, err := store.Put(ctx, "zzz", nil); err != nil {
			t.Fatalf("rule: the body of a loop may use the store; Put: %v", err)
		}
		for range d.Scan(ctx, kv.ScanRequest{From: "key:0000", To: "key:0001", Limit: 1}) {
			for range d.GetMany(ctx, kv.GetManyRequest{Keys: keys[:2]}) {
				break
			}
			break
		}
		// Nobody is reading, so the log can be emptied.
		if got := mustQuery(t, d.w.conn, "PRAGMA wal_checkpoint(TRUNCATE)"); got != "0" {
			t.Fatalf("rule: no transaction is open while a loop's body runs; one blocks a checkpoint")
		}
	}
	seen := make(map[string]bool)
	for found, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: keys, WithValue: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[found.Key] || found.Exists == (found.Key == "absent") || found.Exists && len(found.Value) != 3000 {
			t.Errorf("%q: exists %t, %d bytes, seen before %t", found.Key, found.Exists, len(found.Value), seen[found.Key])
		}
		if seen[found.Key] = true; len(seen)%100 == 1 {
			body()
		}
	}
	if len(seen) != len(keys) {
		t.Errorf("rule: GetMany yields every key once; it yielded %d of %d", len(seen), len(keys))
	}
	scanned := 0
	for _, err := range store.Scan(ctx, "key:") {
		if err != nil {
			t.Fatal(err)
		}
		if scanned++; scanned%100 == 1 {
			body()
		}
	}
	if scanned != n {
		t.Errorf("the scan yielded %d of %d entries", scanned, n)
	}
}

// The meter counts transactions.
func TestMeter(t *testing.T) {
	t.Parallel()
	d, _ := newTestDriver(t)
	writes := make([]kv.Write, groupWrites+1)
	keys := make([]string, readGroup+1)
	for i := range keys {
		keys[i] = fmt.Sprintf("key:%04d", i)
	}
	for i := range writes {
		writes[i] = kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: keys[i], Token: "token", Value: []byte{}}}
	}
	now := time.Now().UnixMilli()
	for _, test := range []struct {
		name string
		want int
		call func(m *kv.Meter)
	}{
		{"Write", 1, func(m *kv.Meter) {
			if _, err := d.Write(t.Context(), kv.WriteRequest{Write: writes[0], Now: now, Meter: m}); err != nil {
				t.Error(err)
			}
		}},
		{"WriteMany", 2, func(m *kv.Meter) {
			for _, r := range d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes, Now: now, Meter: m}) {
				if r.Err != nil {
					t.Error(r.Err)
				}
			}
		}},
		{"Get", 1, func(m *kv.Meter) {
			if _, err := d.Get(t.Context(), kv.GetRequest{Key: "key", Meter: m}); err != nil {
				t.Error(err)
			}
		}},
		{"GetMany", 2, func(m *kv.Meter) {
			for _, err := range d.GetMany(t.Context(), kv.GetManyRequest{Keys: keys, Meter: m}) {
				if err != nil {
					t.Error(err)
				}
			}
		}},
		{"GetMany of large values", 2, func(m *kv.Meter) { // 43 values of 24 KiB are more than 1 MiB
			large := make([]kv.Write, 50)
			keys := make([]string, len(large))
			for i := range large {
				keys[i] = fmt.Sprintf("large:%d", i)
				large[i] = kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: keys[i], Token: "token", Value: make([]byte, kv.MaxValueLen)}}
			}
			d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: large, Now: now})
			for found, err := range d.GetMany(t.Context(), kv.GetManyRequest{Keys: keys, WithValue: true, Meter: m}) {
				if err != nil || len(found.Value) != kv.MaxValueLen {
					t.Error(len(found.Value), err)
				}
			}
		}},
		{"Scan", 3, func(m *kv.Meter) { // 129 rows in pages of 50
			for _, err := range d.Scan(t.Context(), kv.ScanRequest{From: "key:", To: "key:~", Limit: 50, Meter: m}) {
				if err != nil {
					t.Error(err)
				}
			}
		}},
	} {
		var m kv.Meter
		test.call(&m)
		if m.Requests() != test.want || m.Attempts() != test.want {
			t.Errorf("rule: the meter counts transactions; %s took %d requests and %d attempts; want %d of each", test.name, m.Requests(), m.Attempts(), test.want)
		}
	}
}

// Calls end when their context ends, including calls that read page after page.
func TestLoopsEndWithContext(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	for i := range 3 {
		if _, err := store.Put(t.Context(), fmt.Sprint("key:", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for rec, err := range d.Scan(ctx, kv.ScanRequest{From: "-", To: "~", Limit: 1}) {
		if !errors.Is(err, context.Canceled) || rec.Key != "" {
			t.Errorf("rule: a scan ends with its context; it yields %q, %v", rec.Key, err)
		}
	}
	for found, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: []string{"key:0", "key:1"}}) {
		if !errors.Is(err, context.Canceled) || found.Key != "" {
			t.Errorf("rule: GetMany ends with its context; it yields %q, %v", found.Key, err)
		}
	}
}

// A Get allocates only its copies of the value and the token. The checksums allocate
// nothing.
func TestGetAllocates(t *testing.T) {
	d, store := newTestDriver(t)
	if _, err := store.Put(t.Context(), "key", make([]byte, 1024), kv.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for withValue, want := range map[bool]float64{false: 1, true: 2} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := d.Get(ctx, kv.GetRequest{Key: "key", WithValue: withValue}); err != nil {
				t.Error(err)
			}
		}); n != want {
			t.Errorf("rule: a Get allocates only its result; with value %t it makes %v allocations, want %v", withValue, n, want)
		}
	}
}

// The rule: a call counts one request for each transaction in which it reads, and for each write,
// AtomicWrite or part of a batch. The documentation of kv/kvotel says so.
func TestRequests(t *testing.T) {
	t.Parallel()
	d, _ := newTestDriver(t)
	keys, writes := make([]string, 300), make([]kv.Write, 300)
	for i := range keys {
		keys[i] = fmt.Sprintf("group::%03d", i)
		writes[i] = kv.Write{Kind: kv.KindPut, Record: kv.Record{Key: keys[i], Value: []byte("v"), Token: fmt.Sprintf("%022d", i)}}
	}
	for _, op := range []struct {
		name string
		want int
		do   func(context.Context, *kv.Meter) error
	}{
		{"WriteMany of 300", 3, func(ctx context.Context, m *kv.Meter) error {
			return d.WriteMany(ctx, kv.WriteManyRequest{Writes: writes, Meter: m})[299].Err
		}},
		{"Write", 1, func(ctx context.Context, m *kv.Meter) error {
			_, err := d.Write(ctx, kv.WriteRequest{Write: writes[0], Meter: m})
			return err
		}},
		{"WriteAtomic", 1, func(ctx context.Context, m *kv.Meter) error {
			_, err := d.WriteAtomic(ctx, kv.WriteManyRequest{Writes: writes[:100], Meter: m})
			return err
		}},
		{"Get", 1, func(ctx context.Context, m *kv.Meter) error {
			_, err := d.Get(ctx, kv.GetRequest{Key: keys[0], Meter: m})
			return err
		}},
		{"GetMany of 300", 2, func(ctx context.Context, m *kv.Meter) (failed error) {
			for _, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: keys, Meter: m}) {
				failed = errors.Join(failed, err)
			}
			return failed
		}},
		{"Scan of 300 in pages of 128", 3, func(ctx context.Context, m *kv.Meter) (failed error) {
			for _, err := range d.Scan(ctx, kv.ScanRequest{From: "a", To: "z", Limit: 128, Meter: m}) {
				failed = errors.Join(failed, err)
			}
			return failed
		}},
	} {
		m := kv.NewMeter(nil)
		if err := op.do(t.Context(), m); err != nil {
			t.Fatalf("%s: %v", op.name, err)
		}
		if m.Requests() != op.want || m.Attempts() != op.want {
			t.Errorf("rule: a request is a transaction in which a call reads, a write, or a part of a batch; %s counts %d requests in %d attempts, want %d", op.name, m.Requests(), m.Attempts(), op.want)
		}
	}
}
