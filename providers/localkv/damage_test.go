package localkv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"zombiezen.com/go/sqlite"
)

// whole is the record that the tests damage. neighbours are the records before and after it.
var (
	whole = kv.Record{
		Key: "key:5", Value: []byte("the value"), Expires: 4_000_000_000_000,
		Token: "AAAAAAAAAAAAAAAAAAAAA5", Version: "AAAAAAAAAAAAAAAAAAAAA5", Predecessors: "p1,p2",
	}
	neighbours = []kv.Record{
		{Key: "key:4", Value: []byte("VALUE 4"), Token: "AAAAAAAAAAAAAAAAAAAAA4", Version: "AAAAAAAAAAAAAAAAAAAAA4"},
		{Key: "key:6", Value: []byte("VALUE 6"), Expires: 4_000_000_000_006, Token: "AAAAAAAAAAAAAAAAAAAAA6", Version: "AAAAAAAAAAAAAAAAAAAAA6"},
	}
)

func newWriteRequest(kind kv.WriteKind, rec kv.Record, cond kv.Condition) kv.WriteRequest {
	return kv.WriteRequest{Write: kv.Write{Kind: kind, Record: rec, Condition: cond}, Now: time.Now().UnixMilli()}
}

// damageable creates a file with the records whole and neighbours. It returns the file's path and
// content.
func damageable(t *testing.T) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.db")
	d, err := newDriver(t.Context(), path, new(Options))
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range append([]kv.Record{whole}, neighbours...) {
		if out, err := d.Write(t.Context(), newWriteRequest(kv.KindPut, rec, kv.Condition{})); err != nil || !out.Done {
			t.Fatal(out, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if content, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// openChanged calls damageable to create a file, changes the file by an SQL statement as another
// program would, and opens the store in it. The other program's connection stays open.
func openChanged(t *testing.T, statement string) (*driver, *sqlite.Conn) {
	t.Helper()
	path, _ := damageable(t)
	other, err := connect(t.Context(), path, sqlite.OpenReadWrite, statement)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	d, err := newDriver(t.Context(), path, new(Options))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, other
}

// reading is the result of one way to read the record.
type reading struct {
	what   string
	damage error // nil, or ErrIncompatible
}

// readDamaged reads the record whole in every way. Each result must be right or
// ErrIncompatible. wrong reports the results that are neither.
func readDamaged(ctx context.Context, d kv.Driver) (readings []reading, wrong error) {
	check := func(what string, rec kv.Record, exists, withValue bool, err error) {
		want := whole
		if !withValue {
			want.Value = nil
		}
		switch {
		case errors.Is(err, kv.ErrIncompatible):
			readings = append(readings, reading{what, err})
			return
		case err != nil:
			wrong = errors.Join(wrong, fmt.Errorf("%s: the error is %w; want ErrIncompatible", what, err))
		case !exists:
			wrong = errors.Join(wrong, fmt.Errorf("%s finds no record", what))
		case fmt.Sprintf("%+v", rec) != fmt.Sprintf("%+v", want):
			wrong = errors.Join(wrong, fmt.Errorf("%s returns %+v; want %+v", what, rec, want))
		}
		readings = append(readings, reading{what, nil})
	}
	for _, withValue := range []bool{true, false} {
		found, err := d.Get(ctx, kv.GetRequest{Key: whole.Key, WithValue: withValue})
		check(fmt.Sprintf("Get with value %t", withValue), found.Record, found.Exists, withValue, err)

		what := fmt.Sprintf("GetMany with value %t", withValue)
		yielded := 0
		for found, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: []string{"key:4", whole.Key, "key:6"}, WithValue: withValue}) {
			if yielded++; found.Key == whole.Key || found.Key == "" {
				check(what, found.Record, found.Exists, withValue, err)
			}
		}
		if yielded == 0 {
			wrong = errors.Join(wrong, fmt.Errorf("%s yields nothing", what))
		}

		// The row has not expired, so it must also be in a scan that leaves out expired
		// rows.
		for _, now := range []int64{0, time.Now().UnixMilli()} {
			what := fmt.Sprintf("Scan with value %t and now %d", withValue, now)
			seen := false
			for rec, err := range d.Scan(ctx, kv.ScanRequest{From: "-", To: "~", Limit: 10, WithValue: withValue, Now: now}) {
				if rec.Key == whole.Key || rec.Key == "" {
					check(what, rec, true, withValue, err)
					seen = true
				}
			}
			if !seen {
				check(what, kv.Record{}, false, withValue, nil)
			}
		}
	}
	// The record exists, so none of these conditions may hold.
	for what, req := range map[string]kv.WriteRequest{
		"a put under CondAbsent":                        newWriteRequest(kv.KindPut, kv.Record{Key: whole.Key, Token: "other"}, kv.Condition{Kind: kv.CondAbsent}),
		"a put under CondVersion of another version":    newWriteRequest(kv.KindPut, kv.Record{Key: whole.Key, Token: "other"}, kv.Condition{Kind: kv.CondVersion, Version: "other"}),
		"a delete under CondVersion of another version": newWriteRequest(kv.KindDelete, kv.Record{Key: whole.Key, Token: "other"}, kv.Condition{Kind: kv.CondVersion, Version: "other"}),
	} {
		out, err := d.Write(ctx, req)
		if out.Done {
			wrong = errors.Join(wrong, fmt.Errorf("%s is done", what))
		}
		check(what, out.Found, out.Exists, false, err)
		if many := d.WriteMany(ctx, kv.WriteManyRequest{Writes: []kv.Write{req.Write}, Now: req.Now}); many[0].Done {
			wrong = errors.Join(wrong, fmt.Errorf("%s is done, in a batch", what))
		} else {
			check(what+" in a batch", many[0].Found, many[0].Exists, false, many[0].Err)
		}
	}
	return readings, wrong
}

// mend replaces or deletes the record whole without a condition, and checks the result by a Get.
func mend(ctx context.Context, d kv.Driver, kind kv.WriteKind) error {
	rec := kv.Record{Key: whole.Key, Value: []byte("new"), Token: "new", Version: "new"}
	if out, err := d.Write(ctx, newWriteRequest(kind, rec, kv.Condition{})); err != nil || !out.Done {
		return fmt.Errorf("%s: done %t, %w", kind, out.Done, err)
	}
	found, err := d.Get(ctx, kv.GetRequest{Key: whole.Key, WithValue: true})
	if put := kind == kv.KindPut; err != nil || found.Exists != put || put && fmt.Sprintf("%+v", found.Record) != fmt.Sprintf("%+v", rec) {
		return fmt.Errorf("after %s the record is %+v, %v", kind, found, err)
	}
	return nil
}

// A row that does not match its checksums causes errors for its key, and for no other key. A
// write without a condition replaces or removes the row.
func TestDamagedRow(t *testing.T) {
	t.Parallel()
	swap := func(columns string) string {
		return "UPDATE kv SET (" + columns + ") = (SELECT " + columns + " FROM kv WHERE k = 'key:6') WHERE k = 'key:5'"
	}
	for name, test := range map[string]struct {
		sql       string
		valueOnly bool // whether only reads of the value notice the damage
		says      string
	}{
		"x":                         {"UPDATE kv SET x = x + 1 WHERE k = 'key:5'", false, "checksum c"},
		"x in the past":             {"UPDATE kv SET x = 1 WHERE k = 'key:5'", false, "checksum c"},
		"no x":                      {"UPDATE kv SET x = NULL WHERE k = 'key:5'", false, "checksum c"},
		"t":                         {"UPDATE kv SET t = 'AAAAAAAAAAAAAAAAAAAAA6' WHERE k = 'key:5'", false, "checksum c"},
		"p":                         {"UPDATE kv SET p = 'p1,p3' WHERE k = 'key:5'", false, "checksum c"},
		"no p":                      {"UPDATE kv SET p = NULL WHERE k = 'key:5'", false, "checksum c"},
		"between t and p":           {"UPDATE kv SET t = t || 'p1,', p = 'p2' WHERE k = 'key:5'", false, "checksum c"},
		"c":                         {"UPDATE kv SET c = c + 1 WHERE k = 'key:5'", false, "checksum c"},
		"c that is not a number":    {"UPDATE kv SET c = x'00' WHERE k = 'key:5'", false, "checksum c"},
		"c beyond 32 bits":          {"UPDATE kv SET c = c + (1 << 32) WHERE k = 'key:5'", false, "checksum c"},
		"c of another row":          {swap("c"), false, "checksum c"},
		"all but the value's parts": {swap("x, t, p, c"), false, "checksum c"},
		"v":                         {"UPDATE kv SET v = CAST('the valuf' AS BLOB) WHERE k = 'key:5'", true, "checksum d"},
		"v empty":                   {"UPDATE kv SET v = x'' WHERE k = 'key:5'", true, "checksum d"},
		"v longer":                  {"UPDATE kv SET v = CAST(v || x'00' AS BLOB) WHERE k = 'key:5'", true, "checksum d"},
		"d":                         {"UPDATE kv SET d = d + 1 WHERE k = 'key:5'", true, "checksum d"},
		"v and d of another row":    {swap("v, d"), true, "checksum d"},
		"all of another row":        {swap("x, t, p, c, d, v"), false, "checksum c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []kv.WriteKind{kv.KindPut, kv.KindDelete} {
				d, _ := openChanged(t, test.sql)
				readings, wrong := readDamaged(t.Context(), d)
				if wrong != nil {
					t.Error(wrong)
				}
				for _, r := range readings {
					want := !test.valueOnly || strings.Contains(r.what, "with value true")
					if (r.damage != nil) != want || want && (!strings.Contains(r.damage.Error(), "damaged") || !strings.Contains(r.damage.Error(), test.says)) {
						t.Errorf("rule: reads check what they read; %s: %v; want an error: %t, that says %q", r.what, r.damage, want, test.says)
					}
				}
				for _, rec := range neighbours {
					if found, err := d.Get(t.Context(), kv.GetRequest{Key: rec.Key, WithValue: true}); err != nil || fmt.Sprintf("%+v", found.Record) != fmt.Sprintf("%+v", rec) {
						t.Errorf("rule: damage affects only its key; %q: %+v, %v", rec.Key, found, err)
					}
				}
				if err := mend(t.Context(), d, kind); err != nil {
					t.Errorf("rule: a write without a condition repairs a damaged row; %v", err)
				}
			}
		})
	}
}

// A row whose expiry may be wrong is not removed as expired.
func TestDamagedRowIsNoExpiredRow(t *testing.T) {
	t.Parallel()
	d, other := openChanged(t, "UPDATE kv SET x = 1 WHERE k = 'key:5'")
	old := kv.Record{Key: "old", Expires: 2, Token: "old"}
	for _, rec := range []kv.Record{old, neighbours[0]} {
		if _, err := d.Write(t.Context(), newWriteRequest(kv.KindPut, rec, kv.Condition{})); err != nil {
			t.Fatal(err)
		}
		d.w.nextSweep = time.Time{}
	}
	if got := mustQuery(t, other, "SELECT group_concat(k) FROM (SELECT k FROM kv ORDER BY k)"); got != "key:4,key:5,key:6" {
		t.Errorf("rule: writes remove expired rows, but no damaged rows; %s are left", got)
	}
}

// cell finds the row of the record whole in the content of a file. It returns the offsets of the
// row's cell, of the cell's body, of the columns after the key, and of the cell's end.
// https://www.sqlite.org/fileformat2.html#b_tree_pages
func cell(t *testing.T, content []byte) (start, body, columns, end int) {
	t.Helper()
	x := binary.BigEndian.AppendUint64(nil, uint64(whole.Expires))[2:] // SQLite stores it in 6 bytes
	row := append(append([]byte(whole.Key), x...), whole.Token...)
	if n := bytes.Count(content, row); n != 1 {
		t.Fatalf("the row is in the file %d times", n)
	}
	body = bytes.Index(content, row)
	// Before the body come the payload's length, the row's number, the header's length, and
	// a type for each of seven columns. Each of them is one byte here, even the type of t
	// (22 bytes of text: 57).
	start = body - (1 + 1 + 1 + 7)
	columns = body + len(whole.Key)
	end = start + 2 + int(content[start])
	if !bytes.HasSuffix(content[:end], whole.Value) {
		t.Fatalf("the row ends with %q", content[body:end])
	}
	return start, body, columns, end
}

// If any bit of a row flips on the disk, a read of its key is right or returns ErrIncompatible.
// It is never wrong. If the bit is in the row's header, reads of other keys may return
// ErrIncompatible too. Otherwise other keys are not affected.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	_, content := damageable(t)
	start, body, columns, end := cell(t, content)
	for at := start; at < end; at++ {
		t.Run(fmt.Sprint("byte ", at-start), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			for bit := range 8 {
				kind := []kv.WriteKind{kv.KindPut, kv.KindDelete}[bit%2]
				d := openFlipped(t, path, content, at, bit)
				readings, wrong := readDamaged(t.Context(), d)
				if wrong != nil {
					t.Errorf("rule: after bit %d flipped a read is right or ErrIncompatible; %v", bit, wrong)
				}
				if !slices.ContainsFunc(readings, func(r reading) bool { return r.damage != nil }) && at >= columns {
					t.Errorf("rule: bit %d flipped, and no read reports it", bit)
				}
				for _, rec := range neighbours {
					found, err := d.Get(t.Context(), kv.GetRequest{Key: rec.Key, WithValue: true})
					if right := err == nil && fmt.Sprintf("%+v", found.Record) == fmt.Sprintf("%+v", rec); !right && (at >= body || !errors.Is(err, kv.ErrIncompatible)) {
						t.Errorf("after bit %d flipped %q is %+v, %v", bit, rec.Key, found, err)
					}
				}
				if err := mend(t.Context(), d, kind); err != nil && (at >= columns || !errors.Is(err, kv.ErrIncompatible)) {
					t.Errorf("rule: a write without a condition repairs the row after bit %d flipped; %v", bit, err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// openFlipped writes the content to a file, with one bit flipped, and opens the store in it.
func openFlipped(t *testing.T, path string, content []byte, at, bit int) *driver {
	t.Helper()
	flipped := bytes.Clone(content)
	flipped[at] ^= 1 << bit
	if err := os.WriteFile(path, flipped, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := newDriver(t.Context(), path, &Options{Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// If the key or expiry of an expired row does not agree with an index, writes of other keys
// still succeed, although they try to remove the expired row.
func TestFlippedBitsOfExpiredRow(t *testing.T) {
	t.Parallel()
	path, _ := damageable(t)
	d, err := newDriver(t.Context(), path, new(Options))
	if err != nil {
		t.Fatal(err)
	}
	d.w.nextSweep = time.Now().Add(time.Hour)
	old := kv.Record{Key: "key:0", Value: []byte("old"), Expires: 1_000_000_000_000, Token: "AAAAAAAAAAAAAAAAAAAAA0"}
	if _, err := d.Write(t.Context(), newWriteRequest(kv.KindPut, old, kv.Condition{})); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x := binary.BigEndian.AppendUint64(nil, uint64(old.Expires))[2:]
	var places []int
	for _, part := range [][]byte{[]byte(old.Key), x} { // each part is in the row and in an index
		if n := bytes.Count(content, part); n != 2 {
			t.Fatalf("a part of the row is in the file %d times; want 2", n)
		}
		for _, first := range []int{bytes.Index(content, part), bytes.LastIndex(content, part)} {
			for i := range part {
				places = append(places, first+i)
			}
		}
	}
	for _, at := range places {
		t.Run(fmt.Sprint("byte ", at), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			for bit := range 8 {
				d := openFlipped(t, path, content, at, bit)
				d.w.rebuilt = bit%2 == 1 // as if earlier damage had made the writer rebuild the index
				for _, rec := range neighbours {
					if out, err := d.Write(t.Context(), newWriteRequest(kv.KindPut, rec, kv.Condition{})); err != nil || !out.Done {
						t.Errorf("rule: damage affects only its key; after bit %d flipped a put of %q is done %t, %v", bit, rec.Key, out.Done, err)
					}
					d.w.nextSweep = time.Time{}
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// If a bit flips in the index of keys or elsewhere in the file, except in its first page, no
// read returns a wrong result, and every scan comes to an end. A key may be hidden. If reads
// return an error or miss a key, Inspect reports the damage.
func TestFlippedBitsOfFile(t *testing.T) {
	t.Parallel()
	const keys = 400
	key := func(i int) string {
		return fmt.Sprintf("a-key-of-some-length-so-that-the-index-has-several-pages:%03d", i)
	}
	path := filepath.Join(t.TempDir(), "app.db")
	store, err := New(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, keys)
	items := make([]kv.Item, keys)
	for i := range items {
		names[i] = key(i)
		items[i] = kv.Item{Key: key(i), Value: []byte(fmt.Sprint("value ", i))}
	}
	_, err = store.PutMany(t.Context(), items)
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const interiorIndex = 2 // first byte of an interior page of an index
	var places []int
	for page := pageSize; page < len(content); page += pageSize {
		used := int(binary.BigEndian.Uint16(content[page+5:])) // here the cells begin; the header and the offsets of the cells are at the beginning of the page
		cells := int(binary.BigEndian.Uint16(content[page+3:]))
		for at := range pageSize {
			inUse := at < 12+2*cells || at >= used
			if content[page] == interiorIndex && inUse && at%2 == 0 || inUse && (page+at)%631 == 0 {
				places = append(places, page+at)
			}
		}
	}
	var scansEnded, seenByReads, seenByInspect atomic.Int64
	t.Run("each", func(t *testing.T) {
		for i, at := range places {
			t.Run(fmt.Sprint("byte ", at), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "app.db")
				flipped := bytes.Clone(content)
				flipped[at] ^= 1 << (i % 8)
				if err := os.WriteFile(path, flipped, 0o600); err != nil {
					t.Fatal(err)
				}
				noticed, hidden := false, 0
				notice := func(what string, err error, want ...error) {
					if err == nil {
						return
					}
					noticed = true
					if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
						t.Errorf("rule: damage is %v; %s: %v", want, what, err)
					}
				}
				store, err := New(path, &Options{Readers: 1})
				notice("New", err, kv.ErrIncompatible)
				if err == nil {
					defer store.Close()
					found, err := store.GetMany(t.Context(), names)
					notice("GetMany", err, kv.ErrIncompatible)
					for _, item := range items {
						if entry, ok := found[item.Key]; !ok {
							hidden++
						} else if string(entry.Value) != string(item.Value) {
							t.Errorf("rule: no read returns a wrong result; %q has %q", item.Key, entry.Value)
						}
					}
					scanned := 0
					for entry, err := range store.Scan(t.Context(), "") {
						if scanned++; scanned > 2*keys {
							t.Fatalf("rule: a scan ends; this scan has yielded %d of %d entries", scanned, keys)
						}
						if err != nil {
							notice("Scan", err, kv.ErrIncompatible, kv.ErrUnavailable)
							if errors.Is(err, kv.ErrUnavailable) {
								scansEnded.Add(1)
							}
							continue
						}
						if n, err := strconv.Atoi(entry.Key[len(entry.Key)-3:]); err != nil || n >= keys || entry.Key != key(n) || string(entry.Value) != string(items[n].Value) {
							t.Errorf("rule: no scan yields a wrong entry; got %q with %q", entry.Key, entry.Value)
						}
					}
					hidden += max(0, keys-scanned)
					store.Close()
				}
				if noticed {
					seenByReads.Add(1)
				}
				failed := false
				for c := range Inspect(t.Context(), "file:"+path) {
					failed = failed || c.Status == provider.Fail
				}
				if failed {
					seenByInspect.Add(1)
				}
				if !failed && (noticed || hidden > 0) {
					t.Errorf("rule: Inspect reports damage; bit %d of byte %d, %d hidden, reported by reads: %t", i%8, at, hidden, noticed)
				}
			})
		}
	})
	t.Logf("of %d flipped bits reads report %d and Inspect %d; %d ended scans by their order", len(places), seenByReads.Load(), seenByInspect.Load(), scansEnded.Load())
	if scansEnded.Load() == 0 || seenByInspect.Load() <= seenByReads.Load() {
		t.Errorf("want scans that end because of their order, and damage that only Inspect reports: the test proves nothing")
	}
}

// After a crash, opening the store reports a flipped bit in the log if writes would otherwise be
// lost. It does not report a bit in one of the last two transactions, or in the log's sequence
// number, because a crash itself may leave such a log.
func TestFlippedBitsOfLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	store, err := New(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	const writes, certain = 24, 22
	size := func() int64 {
		info, err := os.Stat(path + logSuffix)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	var end int64 // end of the part of the log in which damage must be reported
	for i := range writes {
		if i == certain {
			end = size()
		}
		if _, err := store.Put(t.Context(), fmt.Sprintf("key:%02d", i), bytes.Repeat([]byte{byte(i)}, 1+300*i)); err != nil {
			t.Fatal(err)
		}
	}
	files := make(map[string][]byte)
	for _, suffix := range []string{"", logSuffix} { // as after a crash
		if files[suffix], err = os.ReadFile(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	crashed := func(t *testing.T, log []byte, statements ...string) (found int, err error) {
		path := filepath.Join(t.TempDir(), "app.db")
		if err := errors.Join(os.WriteFile(path, files[""], 0o600), os.WriteFile(path+logSuffix, log, 0o600)); err != nil {
			t.Fatal(err)
		}
		if len(statements) > 0 {
			c, err := connect(t.Context(), path, sqlite.OpenReadWrite, statements...)
			if err == nil {
				err = c.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
		store, err := New(path, &Options{Readers: 1})
		if err != nil {
			return 0, err
		}
		defer store.Close()
		for entry, err := range store.Scan(t.Context(), "key:") {
			if err != nil {
				return found, err
			}
			if want := bytes.Repeat([]byte{byte(found)}, 1+300*found); entry.Key != fmt.Sprintf("key:%02d", found) || !bytes.Equal(entry.Value, want) {
				t.Errorf("rule: no read returns a wrong result; entry %d is %q, %d bytes", found, entry.Key, len(entry.Value))
			}
			found++
		}
		return found, nil
	}
	if found, err := crashed(t, files[logSuffix]); err != nil || found != writes {
		t.Fatalf("rule: a log after a crash is used; got %d of %d entries, %v", found, writes, err)
	}
	for n := len(files[logSuffix]); n > 0; n -= 1 + len(files[logSuffix])/40 {
		if _, err := crashed(t, files[logSuffix][:n]); err != nil {
			t.Errorf("rule: a log that ends early is used up to there; with %d bytes of %d: %v", n, len(files[logSuffix]), err)
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range 200 {
		at := rng.IntN(len(files[logSuffix]))
		if i < 2*logHeaderSize {
			at = i % logHeaderSize
		}
		flipped := bytes.Clone(files[logSuffix])
		bit := rng.IntN(8)
		flipped[at] ^= 1 << bit
		found, err := crashed(t, flipped)
		switch {
		case errors.Is(err, kv.ErrIncompatible) && strings.Contains(err.Error(), "is damaged"):
			if i%10 == 0 {
				if _, err := crashed(t, flipped, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
					t.Errorf("rule: the error says how to go on; after that the error is %v", err)
				}
			}
		case err != nil:
			t.Errorf("rule: damage is ErrIncompatible; after bit %d of byte %d flipped: %v", bit, at, err)
		case found < writes && int64(at) < end && (at < 12 || at >= 16): // damage of bytes 12 to 15, the log's sequence number, is not reported
			t.Errorf("rule: a damaged log does not count as a log that ends there; after bit %d of byte %d of %d flipped %d of %d entries are left", bit, at, len(flipped), found, writes)
		}
	}
}

// If SQLite finds damage where one write must go, the writes of other keys that wait at the same
// time succeed, and so do those of the same batch.
func TestDamageAffectsNoOtherWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	store, err := New(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	items := make([]kv.Item, 100) // on many pages
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("key:%02d", i), Value: bytes.Repeat(fmt.Appendf(nil, "value %02d ", i), 100)}
	}
	_, err = store.PutMany(t.Context(), items)
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := bytes.Index(content, items[0].Value) / pageSize * pageSize
	content[page] = 0 // no page of a table or an index begins like this
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := newDriver(t.Context(), path, new(Options))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.w.lead <- struct{}{} // as if a transaction were running
	var writing sync.WaitGroup
	for _, test := range []struct {
		key  string
		want error
	}{{"key:00", kv.ErrIncompatible}, {"key:50", nil}, {"key:99", nil}} {
		writing.Go(func() {
			out, err := d.Write(t.Context(), newWriteRequest(kv.KindPut, kv.Record{Key: test.key, Token: "new"}, kv.Condition{}))
			if !errors.Is(err, test.want) || errors.Is(err, kv.ErrIndeterminate) || out.Done != (test.want == nil) {
				t.Errorf("rule: damage affects only its key; a put of %q, on another page than key:00: done %t, %v; want %v", test.key, out.Done, err, test.want)
			}
		})
	}
	for waiting := 0; waiting < 3; time.Sleep(time.Millisecond) {
		d.w.mu.Lock()
		waiting = len(d.w.waiting)
		d.w.mu.Unlock()
	}
	<-d.w.lead
	writing.Wait()
	batch := kv.WriteManyRequest{}
	for _, key := range []string{"key:50", "key:00", "key:99"} {
		batch.Writes = append(batch.Writes, newWriteRequest(kv.KindPut, kv.Record{Key: key, Token: "newer"}, kv.Condition{}).Write)
	}
	for i, result := range d.WriteMany(t.Context(), batch) {
		damaged := batch.Writes[i].Key == "key:00"
		if errors.Is(result.Err, kv.ErrIncompatible) != damaged || errors.Is(result.Err, kv.ErrIndeterminate) || result.Done == damaged {
			t.Errorf("rule: damage affects only its key; a put of %q in a batch: done %t, %v", batch.Writes[i].Key, result.Done, result.Err)
		}
	}
}

// logOf returns a log of n transactions of one frame each. The salt differs between a log and the
// log that was in the file before the log started over.
func logOf(salt byte, n int) []byte {
	log := make([]byte, logHeaderSize, logHeaderSize+n*(frameHeaderSize+pageSize))
	binary.BigEndian.PutUint32(log, 0x377f0682)
	binary.BigEndian.PutUint32(log[8:], pageSize)
	log[16] = salt
	header := logHeader(log)
	put := func(at []byte, sum logSum) {
		binary.BigEndian.PutUint32(at, sum[0])
		binary.BigEndian.PutUint32(at[4:], sum[1])
	}
	sum := (logSum{}).add(header.words(), log[:24])
	put(log[24:], sum)
	for i := range n {
		frame := make([]byte, frameHeaderSize+pageSize)
		binary.BigEndian.PutUint32(frame, uint32(i+1))
		binary.BigEndian.PutUint32(frame[4:], uint32(i+1)) // the frame ends a transaction
		copy(frame[8:], log[16:24])
		sum = sum.add(header.words(), frame[:8]).add(header.words(), frame[frameHeaderSize:])
		put(frame[16:], sum)
		log = append(log, frame...)
	}
	return log
}

// changingLog is a log to which another process writes while it is read: the first read of its
// frames finds what is in earlier, and later reads find what is in later.
type changingLog struct {
	earlier, later []byte
	changed        bool
}

func (l *changingLog) ReadAt(p []byte, at int64) (int, error) {
	content := l.earlier
	if l.changed {
		content = l.later
	}
	l.changed = l.changed || at >= logHeaderSize
	return bytes.NewReader(content).ReadAt(p, at)
}

// Opening a file does not report damage in a log to which another process writes meanwhile.
func TestLogThatChangesIsNotDamaged(t *testing.T) {
	t.Parallel()
	const frames, frame = 200, frameHeaderSize + pageSize
	log := logOf(2, frames)
	begun := append(bytes.Clone(log[:logHeaderSize+10*frame]), logOf(1, frames)[logHeaderSize+10*frame:]...)
	flipped := bytes.Clone(log)
	flipped[logHeaderSize+5*frame+100] ^= 1
	flippedHeader := bytes.Clone(log)
	flippedHeader[17] ^= 1
	for _, test := range []struct {
		name           string
		earlier, later []byte
		damaged        bool
	}{
		{"a log that does not change", log, log, false},
		{"frames of the log before the last start", begun, begun, false},
		{"frames that another process writes behind the first that is read", begun, log, false},
		{"a log that starts over", log, logOf(3, frames), false},
		{"a damaged log that starts over", flipped, logOf(3, frames), false},
		{"a flipped bit", flipped, flipped, true},
		{"a flipped bit, and frames that another process writes", append(bytes.Clone(flipped[:len(begun)/2]), begun[len(begun)/2:]...), flipped, true},
		{"a flipped bit in the header", flippedHeader, flippedHeader, true},
	} {
		if damaged, err := isDamaged(&changingLog{earlier: test.earlier, later: test.later}); damaged != test.damaged || err != nil {
			t.Errorf("rule: a log is damaged if a bad frame stays in it; with %s: %t, %v; want %t", test.name, damaged, err, test.damaged)
		}
	}
}
