package localkv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// metaSum and valueSum compute the checksums as doc.go describes them.
func metaSum(key string, expires int64, token, predecessors string) uint32 {
	x := binary.BigEndian.AppendUint64(nil, uint64(expires))
	return crc32.Checksum([]byte(key+"\x00"+string(x)+token+"\x00"+predecessors), crc32.MakeTable(crc32.Castagnoli))
}

func valueSum(key string, value []byte) uint32 {
	return crc32.Checksum([]byte(key+"\x00"+string(value)), crc32.MakeTable(crc32.Castagnoli))
}

// Any SQLite tool finds the content that doc.go describes.
func TestPlainSQL(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	for _, key := range []string{"b", "B", "-", "z", ".", "a"} {
		if _, err := store.Put(t.Context(), key, []byte("value of "+key)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Put(t.Context(), "b", []byte{}, kv.ExpiresAt(at)); err != nil {
		t.Fatal(err)
	}
	const query = "SELECT k, x, length(t), p, typeof(v), CAST(v AS TEXT) FROM kv ORDER BY k"
	want := strings.Join([]string{
		"-||22||blob|value of -", ".||22||blob|value of .", "B||22||blob|value of B", "a||22||blob|value of a",
		fmt.Sprintf("b|%d|22||blob|", at.UnixMilli()), "z||22||blob|value of z",
	}, "\n")
	c := openSQL(t, path)
	if got := ask(t, c, query); got != want {
		t.Errorf("the table has\n%s\nwant\n%s", got, want)
	}
	for _, row := range strings.Split(ask(t, c, "SELECT k, coalesce(x, 0), t, CAST(v AS TEXT), c, d FROM kv"), "\n") {
		col := strings.Split(row, "|")
		x, err := strconv.ParseInt(col[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if sums := fmt.Sprint(metaSum(col[0], x, col[2], ""), "|", valueSum(col[0], []byte(col[3]))); sums != col[4]+"|"+col[5] {
			t.Errorf("the checksums of %s are %s|%s; want %s", col[0], col[4], col[5], sums)
		}
	}
	if shell, err := exec.LookPath("sqlite3"); err == nil {
		out, err := exec.CommandContext(t.Context(), shell, path, query).CombinedOutput()
		if got := strings.TrimRight(string(out), "\n"); err != nil || got != want {
			t.Errorf("the sqlite3 shell prints (%v)\n%s\nwant\n%s", err, got, want)
		}
	}
}

// Rows that skykv cannot have written cause errors for their keys, and for no other keys. A scan
// skips a row whose key is not legal.
func TestForeignRows(t *testing.T) {
	t.Parallel()
	rows := map[string]string{ // columns x, t, p, v
		"text":         "NULL, 'token', NULL, 'secret'",
		"number":       "NULL, 'token', NULL, 4711",
		"no-token":     "NULL, '', NULL, x'00'",
		"blob-token":   "NULL, x'00', NULL, x'00'",
		"text-expiry":  "'tomorrow', 'token', NULL, x'00'",
		"zero-expiry":  "0, 'token', NULL, x'00'",
		"predecessors": "NULL, 'token', x'11', x'00'",
		"key/slash":    "NULL, 'token', NULL, x'00'",
		"kéy":          "NULL, 'token', NULL, x'00'",
	}
	store, path := newStore(t)
	version, err := store.Put(t.Context(), "text", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "good", []byte("value")); err != nil {
		t.Fatal(err)
	}
	c := openSQL(t, path)
	for key, row := range rows {
		ask(t, c, fmt.Sprintf("INSERT OR REPLACE INTO kv (k, x, t, p, v, c, d) VALUES ('%s', %s, %d, %d)",
			key, row, metaSum(key, 0, "token", ""), valueSum(key, []byte{0})))
	}
	check := func(what, key string, err error) {
		t.Helper()
		if !errors.Is(err, kv.ErrIncompatible) || errors.Is(err, kv.ErrIndeterminate) || !strings.Contains(err.Error(), key) ||
			!strings.Contains(err.Error(), "skykv did not write") ||
			strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s of %q: %v; want ErrIncompatible with the key and without the value", what, key, err)
		}
	}

	legal := slices.DeleteFunc(slices.Sorted(maps.Keys(rows)), func(key string) bool { return kv.ValidateKey(key) != nil })
	for _, key := range legal {
		_, err := store.Get(t.Context(), key)
		check("Get", key, err)
		_, err = store.Put(t.Context(), key, nil, kv.IfNotExists())
		if key != "text" && key != "number" {
			check("Put with IfNotExists", key, err)
		} else if !errors.Is(err, kv.ErrConditionFailed) { // the put does not read the value
			t.Errorf("Put of %q with IfNotExists: %v; want ErrConditionFailed", key, err)
		}
	}
	if _, err := store.Put(t.Context(), "text", nil, kv.IfVersion(version)); !errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("Put with IfVersion of the row before: %v; want ErrConditionFailed", err)
	}
	found, err := store.GetMany(t.Context(), append(legal, "good", "absent"))
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Failed) != len(legal) || len(found) != 1 {
		t.Errorf("GetMany: %v, %v; want the good entry and %d failures", found, err, len(legal))
	} else {
		for key, err := range batch.Failed {
			check("GetMany", key, err)
		}
	}
	seen := 0
	for entry, err := range store.Scan(t.Context(), "") {
		if entry.Key == "good" && err == nil {
			seen++
		} else if slices.Contains(legal, entry.Key) {
			check("Scan", entry.Key, err)
			seen++
		} else {
			t.Errorf("Scan: %+v, %v", entry, err)
		}
	}
	if seen != len(legal)+1 { // a row whose key is not legal is skipped
		t.Errorf("Scan yielded %d of %d rows", seen, len(legal)+1)
	}

	// Unconditional writes replace or remove rows that skykv cannot have written.
	for i, key := range legal {
		if i%2 == 0 {
			_, err = store.Put(t.Context(), key, []byte("new"))
		} else {
			err = store.Delete(t.Context(), key)
		}
		if err != nil {
			t.Error(err)
		}
		if entry, err := store.Get(t.Context(), key); i%2 == 0 && (err != nil || string(entry.Value) != "new") || i%2 == 1 && !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("%q after it was replaced or deleted: %q, %v", key, entry.Value, err)
		}
	}
}

// The body of a scan's loop may write, however long the scan is. Meanwhile the scan has no
// transaction open, so the log can be emptied.
func TestScanWhileWriting(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	const n = 1500
	items := make([]kv.Item, n)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("key:%04d", i), Value: make([]byte, 1000)}
	}
	if _, err := store.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	c := openSQL(t, path)
	seen := 0
	for entry, err := range store.Scan(t.Context(), "key:") {
		if err != nil {
			t.Fatal(err)
		}
		if want := items[seen].Key; entry.Key != want {
			t.Fatalf("entry %d is %q; want %q", seen, entry.Key, want)
		}
		seen++
		if seen%100 == 0 {
			if _, err := store.Put(t.Context(), entry.Key, []byte("seen")); err != nil {
				t.Fatal(err)
			}
			if got := ask(t, c, "PRAGMA wal_checkpoint(TRUNCATE)"); got != "0|0|0" {
				t.Fatalf("a checkpoint in the loop's body: %s; want 0|0|0: no other connection, an empty log", got)
			}
		}
	}
	if seen != n {
		t.Errorf("%d entries; want %d", seen, n)
	}
}

// A scan skips a sequence of expired rows that is longer than a page.
func TestScanExpiredRun(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t)
	if _, err := store.PutMany(t.Context(), []kv.Item{{Key: "a"}, {Key: "z"}}); err != nil {
		t.Fatal(err)
	}
	items := make([]kv.Item, 10_000)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprint("m:", i), TTL: time.Minute}
	}
	past := store.With(kv.Clock(func() time.Time { return time.Now().Add(-2 * time.Minute) }))
	if _, err := past.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for entry, err := range store.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, entry.Key)
	}
	if !slices.Equal(keys, []string{"a", "z"}) {
		t.Errorf("the scan yields %q; want a and z", keys)
	}
}

// GetMany reads in several transactions, and misses no key.
func TestGetManyKeys(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t)
	var items []kv.Item
	var keys []string
	for i := range 1000 {
		key := fmt.Sprint("key:", i)
		keys = append(keys, key)
		if i%3 != 0 {
			items = append(items, kv.Item{Key: key, Value: []byte(key)})
		}
	}
	if _, err := store.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	found, err := store.GetMany(t.Context(), keys)
	if err != nil || len(found) != len(items) {
		t.Fatalf("%d entries, %v; want %d", len(found), err, len(items))
	}
	for key, entry := range found {
		if string(entry.Value) != key {
			t.Errorf("%q has %q", key, entry.Value)
		}
	}
}
