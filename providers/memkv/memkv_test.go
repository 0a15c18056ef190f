package memkv_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Config{
		New: func(context.Context) (*kv.Store, error) { return memkv.New(), nil },
		Faulty: func(_ context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			// A store in memory has no network, so the test simulates one.
			in := new(faults.Injector)
			in.Use(faults.DecidedBy(decide))
			return memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 4))), nil
		},
	})
}

func TestOpen(t *testing.T) {
	t.Parallel()
	store, err := memkv.Open(t.Context(), "mem:")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"", "mem", "mem:name", "mem://name", "mem:?x=1", "file:a.db"} {
		if _, err := memkv.Open(t.Context(), url); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: an unknown URL is ErrInvalidOption; Open(%q) returned %v", url, err)
		}
	}
}

// A write may drop an expired record in passing, even the record that it is about. A touch then
// finds no record, and stores none.
func TestTouchOfADroppedRecord(t *testing.T) {
	t.Parallel()
	var d kv.Driver
	memkv.New().With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d = next; return next }))
	old := kv.Record{Key: "key", Value: []byte{}, Expires: 1, Token: "old"}
	put, err := d.Write(t.Context(), kv.WriteRequest{Write: kv.Write{Kind: kv.KindPut, Record: old}})
	if err != nil || !put.Done {
		t.Fatal(put, err)
	}
	touch := kv.Write{Kind: kv.KindTouch, Record: kv.Record{Key: "key", Token: "new"}, Condition: kv.Condition{Kind: kv.CondVersion, Version: put.Version}}
	if out, err := d.Write(t.Context(), kv.WriteRequest{Write: touch, Now: time.Now().UnixMilli()}); err != nil || out.Done || out.Exists {
		t.Errorf("rule: a touch does nothing if there is no record; it returns %+v, %v", out, err)
	}
	for rec, err := range d.Scan(t.Context(), kv.ScanRequest{To: "~"}) {
		t.Errorf("rule: a touch stores no record if there is none; there is %+v, %v", rec, err)
	}
}

// Records that nobody reads again must not accumulate. A record is kept until kv.ExpiryGrace
// has passed since its expiry, by both the host's clock and the caller's clock.
func TestExpiredRecordsAreDroppedInPassing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		host, caller time.Duration // time since the expiry, by each clock
		kept         bool
	}{
		{"within the grace", kv.ExpiryGrace - time.Second, kv.ExpiryGrace - time.Second, true},
		{"after the grace", kv.ExpiryGrace + time.Minute, kv.ExpiryGrace + time.Minute, false},
		{"after the grace, by a caller whose clock is ahead", 0, 24 * time.Hour, true},
		{"after the grace, by the host's clock, with a caller whose clock is behind", 24 * time.Hour, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memkv.New()
				for i := range 100 {
					if _, err := store.Put(t.Context(), fmt.Sprintf("old:%d", i), nil, kv.TTL(time.Minute)); err != nil {
						t.Fatal(err)
					}
				}
				expiry := time.Now().Add(time.Minute)
				time.Sleep(time.Minute + c.host)
				caller := store.With(kv.Clock(func() time.Time { return expiry.Add(c.caller) }))
				for i := range 1000 {
					if _, err := caller.Put(t.Context(), fmt.Sprintf("new:%d", i%10), nil); err != nil {
						t.Fatal(err)
					}
				}
				// By a clock that stands at 1970, nothing has expired. So this store sees all
				// records.
				all := store.With(kv.Clock(func() time.Time { return time.UnixMilli(0) }))
				left := 0
				for _, err := range all.Scan(t.Context(), "old:", kv.KeysOnly()) {
					if err != nil {
						t.Fatal(err)
					}
					left++
				}
				if c.kept && left != 100 || !c.kept && left > 10 {
					t.Errorf("rule: writes drop the records whose grace is over by their own clock and the host's; %d of 100 are left, kept: %t", left, c.kept)
				}
			})
		})
	}
}

// After many records were removed, a store has a small map again. Each write looks for expired
// records in the map, which takes long if the map is large and almost empty.
func TestMemoryAfterManyDeletions(t *testing.T) {
	const records, most = 100_000, 4 << 20 // a map of that many records takes some 20 MiB
	store := memkv.New()
	before := allocated()
	func() {
		keys, items := make([]string, records), make([]kv.Item, records)
		for i := range keys {
			keys[i] = fmt.Sprint("old:", i)
			items[i].Key = keys[i]
		}
		if _, err := store.PutMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		if err := store.DeleteMany(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
	}()
	if after := allocated(); after > before+most {
		t.Errorf("rule: a store keeps no memory for records that were removed; after %d deletions it keeps %d bytes", records, after-before)
	}
	runtime.KeepAlive(store)
}

// allocated is the size of the heap's live objects, in bytes.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A Get allocates only its copy of the value.
func TestGetAllocatesTheValueAlone(t *testing.T) {
	store := memkv.New()
	if _, err := store.Put(t.Context(), "key", make([]byte, 1024)); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := store.Get(ctx, "key"); err != nil {
			t.Error(err)
		}
	}); n != 1 {
		t.Errorf("rule: a Get allocates only the copy of the value; it made %v allocations", n)
	}
}

// driverOf returns the driver of a store as middleware receives it.
func driverOf(store *kv.Store) (driver kv.Driver) {
	store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { driver = d; return d }))
	return driver
}

func TestWriteAtomic(t *testing.T) {
	t.Parallel()
	token := func(n int) string { return fmt.Sprintf("token-%016d", n) }
	write := func(kind kv.WriteKind, key string, n int, cond kv.Condition) kv.Write {
		return kv.Write{Kind: kind, Record: kv.Record{Key: key, Value: []byte(key), Token: token(n)}, Condition: cond}
	}
	version := func(n int) kv.Condition { return kv.Condition{Kind: kv.CondVersion, Version: token(n)} }
	absent, live := kv.Condition{Kind: kv.CondAbsent}, kv.Condition{Kind: kv.CondLive}
	for _, c := range []struct {
		rule   string
		writes []kv.Write
		done   bool
		keys   []string // keys after the write; before it there are g::a with token 1 and g::old, which has expired
	}{
		{"all writes are carried out", []kv.Write{write(kv.KindPut, "g::b", 2, absent), write(kv.KindPut, "g::a", 3, version(1))}, true, []string{"g::a", "g::b", "g::old"}},
		{"one condition that fails undoes all writes", []kv.Write{write(kv.KindPut, "g::b", 2, absent), write(kv.KindPut, "g::a", 3, version(9))}, false, []string{"g::a", "g::old"}},
		{"a check writes nothing", []kv.Write{write(kv.KindCheck, "g::a", 2, version(1)), write(kv.KindDelete, "g::old", 3, kv.Condition{})}, true, []string{"g::a"}},
		{"a check that fails undoes all writes", []kv.Write{write(kv.KindCheck, "g::a", 2, absent), write(kv.KindDelete, "g::old", 3, kv.Condition{})}, false, []string{"g::a", "g::old"}},
		{"an expired record is absent", []kv.Write{write(kv.KindPut, "g::old", 2, absent)}, true, []string{"g::a", "g::old"}},
		{"an expired record is not touched", []kv.Write{write(kv.KindTouch, "g::old", 2, live), write(kv.KindDelete, "g::a", 3, kv.Condition{})}, false, []string{"g::a", "g::old"}},
		{"a live record is touched", []kv.Write{write(kv.KindTouch, "g::a", 2, live)}, true, []string{"g::a", "g::old"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			d := driverOf(memkv.New())
			const now = 1000
			for _, rec := range []kv.Record{{Key: "g::a", Value: []byte("1"), Token: token(1)}, {Key: "g::old", Value: []byte("1"), Token: token(0), Expires: now}} {
				if out, err := d.Write(t.Context(), kv.WriteRequest{Write: kv.Write{Kind: kv.KindPut, Record: rec}, Now: 1}); err != nil || !out.Done {
					t.Fatal(out, err)
				}
			}
			out, err := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: c.writes, Now: now})
			if err != nil || out.Done != c.done {
				t.Fatalf("rule: %s; got %+v, %v", c.rule, out, err)
			}
			if out.Done && len(out.Versions) != len(c.writes) || !out.Done && (len(out.Found) != len(c.writes) || out.Found[0] == nil) {
				t.Errorf("rule: an atomic write reports a version for each write, or the records that it found; got %+v", out)
			}
			var keys []string
			for rec, err := range d.Scan(t.Context(), kv.ScanRequest{From: "-", To: "~", Limit: 10, WithValue: true}) {
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, rec.Key)
				if c.writes[0].Kind == kv.KindTouch && rec.Key == "g::a" && (string(rec.Value) != "1" || c.done != (rec.Version == token(2))) {
					t.Errorf("rule: a touch keeps the value and changes the version; got %+v", rec)
				}
			}
			if !slices.Equal(keys, c.keys) {
				t.Errorf("rule: %s; the keys are %q, want %q", c.rule, keys, c.keys)
			}
		})
	}
}
