package localkv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

func newTestDriver(t *testing.T) (*driver, *kv.Store) {
	t.Helper()
	d, err := newDriver(t.Context(), filepath.Join(t.TempDir(), "app.db"), new(Options))
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(d)
	t.Cleanup(func() { store.Close() })
	return d, store
}

func mustQuery(t *testing.T, c *sqlite.Conn, statement string) string {
	t.Helper()
	answer, err := query(t.Context(), c, statement)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return answer
}

// The file format and the durability that doc.go promises need these settings.
func TestPragmas(t *testing.T) {
	t.Parallel()
	d, _ := newTestDriver(t)
	r, err := d.rs.borrow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.rs.giveBack(r)
	for name, c := range map[string]*sqlite.Conn{"writer": d.w.conn, "reader": r.conn} {
		for pragma, want := range map[string]string{
			"journal_mode":         "wal",
			"synchronous":          "2", // FULL
			"fullfsync":            "1",
			"checkpoint_fullfsync": "1",
			"wal_autocheckpoint":   "1000",
			"journal_size_limit":   "8388608",
			"trusted_schema":       "0",
			"busy_timeout":         "0",
			"page_size":            "4096",
			"encoding":             "UTF-8", // so that text compares as the bytes of the keys
			"application_id":       fmt.Sprint(applicationID),
			"user_version":         "2",
			"query_only":           map[string]string{"writer": "0", "reader": "1"}[name],
		} {
			if got := mustQuery(t, c, "PRAGMA "+pragma); got != want {
				t.Errorf("%s: PRAGMA %s is %q; want %q", name, pragma, got, want)
			}
		}
	}
}

// Each of these statements finds its rows through an index, in the order of that index, so
// SQLite neither reads the whole table nor sorts.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	d, _ := newTestDriver(t)
	for statement, want := range map[string]string{
		selectRecord: "SEARCH kv USING INDEX sqlite_autoindex_kv_1 (k=?)",
		selectMeta:   "SEARCH kv USING INDEX sqlite_autoindex_kv_1 (k=?)",
		scanRecords:  "SEARCH kv USING INDEX sqlite_autoindex_kv_1 (k>? AND k<?)",
		scanMeta:     "SEARCH kv USING INDEX sqlite_autoindex_kv_1 (k>? AND k<?)",
		scanExpired:  "SEARCH kv USING INDEX kv_x (x>? AND x<?)",
		deleteRow:    "SEARCH kv USING INDEX sqlite_autoindex_kv_1 (k=?)",
	} {
		var steps []string
		stmt, _, err := d.w.conn.PrepareTransient("EXPLAIN QUERY PLAN " + statement)
		if err != nil {
			t.Fatal(err)
		}
		for {
			more, err := stmt.Step()
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			steps = append(steps, stmt.ColumnText(3))
		}
		stmt.Finalize()
		plan := strings.Join(steps, "\n")
		if steps[len(steps)-1] != want || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s\nis executed by\n%s\nwant %s", statement, plan, want)
		}
	}
}

// commits returns the number of transactions in the log. It counts the frames that end
// a transaction.
func commits(t *testing.T, d *driver) int {
	t.Helper()
	log, err := os.ReadFile(d.rs.file.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	const header, frame = 32, 24 + 4096
	for at := header; at+frame <= len(log); at += frame {
		if binary.BigEndian.Uint32(log[at+4:]) != 0 {
			n++
		}
	}
	return n
}

// Writes that wait at the same time are committed together.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	before := commits(t, d)
	d.w.lead <- struct{}{} // as if a transaction were running
	const writes = 50
	var wg sync.WaitGroup
	for i := range writes {
		wg.Go(func() {
			key := fmt.Sprintf("key:%d", i%40)
			if _, err := store.Put(t.Context(), key, nil, kv.IfNotExists()); err != nil && !errors.Is(err, kv.ErrConditionFailed) {
				t.Error(err)
			}
		})
	}
	for waiting := 0; waiting < writes; time.Sleep(time.Millisecond) {
		d.w.mu.Lock()
		waiting = len(d.w.waiting)
		d.w.mu.Unlock()
	}
	<-d.w.lead
	wg.Wait()
	if got := commits(t, d) - before; got != 1 {
		t.Errorf("%d waiting writes made %d transactions; want 1", writes, got)
	}
	if page, err := store.ScanPage(t.Context(), "", 100, ""); err != nil || len(page.Entries) != 40 {
		t.Errorf("%d entries, %v; want 40", len(page.Entries), err)
	}
}

// A large batch is several transactions, so that other processes can write in between.
func TestBatchTransactions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ items, size, transactions int }{
		{1, 0, 1}, {128, 10, 1}, {129, 10, 2}, {300, 10, 3}, {32, 8192, 1}, {33, 8192, 2}, {11, kv.MaxValueLen, 1}, {12, kv.MaxValueLen, 2},
	} {
		d, store := newTestDriver(t)
		before := commits(t, d)
		items := make([]kv.Item, test.items)
		for i := range items {
			items[i] = kv.Item{Key: fmt.Sprint("key:", i), Value: make([]byte, test.size)}
		}
		if _, err := store.PutMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		if got := commits(t, d) - before; got != test.transactions {
			t.Errorf("%d values of %d bytes took %d transactions; want %d", test.items, test.size, got, test.transactions)
		}
	}
}

// A write waits no longer than lockWait for the file's lock, even if its context never ends.
func TestLockWait(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	d.w.wait = 20 * time.Millisecond
	other, err := connect(t.Context(), d.rs.file.path, sqlite.OpenReadWrite, "BEGIN IMMEDIATE")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = store.Put(context.Background(), "key", nil)
	if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) || strings.Contains(err.Error(), "database is locked") {
		t.Errorf("Put: %v; want ErrUnavailable, not ErrIndeterminate", err)
	}
	_, err = store.PutMany(context.Background(), []kv.Item{{Key: "key"}})
	if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("PutMany: %v; want ErrUnavailable, not ErrIndeterminate", err)
	}
	if err := run(t.Context(), other, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(context.Background(), "key", nil); err != nil {
		t.Error(err)
	}
}

// Jobs in one queue wait for another process at the same time, not one after the other.
func TestLockWaitIsShared(t *testing.T) {
	t.Parallel()
	d, _ := newTestDriver(t)
	other, err := connect(t.Context(), d.rs.file.path, sqlite.OpenReadWrite, "BEGIN IMMEDIATE")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const hour = time.Hour
	d.w.wait = hour
	for _, test := range []struct {
		name           string
		queued, locked time.Duration // how long ago the write was queued, and the lock was found held
		waits          bool
	}{
		{"queued an hour ago, locked before", hour, 2 * hour, false},
		{"locked an hour ago, queued before", 2 * hour, hour, false},
		{"queued now, locked long ago", 0, 2 * hour, true},
		{"locked now, queued long ago", 2 * hour, 0, true},
	} {
		short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		if !test.waits {
			short = ctx
		}
		now := time.Now()
		d.w.stuck = now.Add(-test.locked)
		err := d.w.lock(short, now.Add(-test.queued))
		cancel()
		if isBusy(err) == test.waits || errors.Is(err, context.DeadlineExceeded) != test.waits {
			t.Errorf("rule: a write waits %v, while it is queued and the lock is held; %s: %v", hour, test.name, err)
		}
	}
	if err := run(t.Context(), other, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := d.w.lock(ctx, time.Now().Add(-2*hour)); err != nil || !d.w.stuck.IsZero() {
		t.Errorf("rule: a free lock is taken, however long the wait was; got %v", err)
	}
	if err := exec(d.w.rollback); err != nil {
		t.Fatal(err)
	}
}

// The log starts over when it is long, even if there is always a reader. In this test, two
// scans are always running, so SQLite's own checkpoints rarely reach the end of the log. On a
// busy machine a scan may wait for a processor in the middle of a page, so in this test the
// writer waits longer for scans.
func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	d.w.logWait = 10 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	var scans sync.WaitGroup
	defer scans.Wait()
	defer cancel()
	const written = 48 << 20
	items := make([]kv.Item, 1000)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprint("k", i), Value: make([]byte, 4000)}
	}
	for n := 0; n < written; n += len(items) * 4000 {
		if _, err := store.PutMany(ctx, items); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			for range 2 {
				scans.Go(func() {
					for ctx.Err() == nil {
						for range store.Scan(ctx, "", kv.KeysOnly()) {
						}
					}
				})
			}
		}
	}
	info, err := os.Stat(d.w.log)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("after %d MiB the log has %d", written>>20, info.Size()>>20)
	if info.Size() > written/2 {
		t.Errorf("rule: the log starts over when it is long, also if there is always a reader; after %d MiB it has %d", written>>20, info.Size()>>20)
	}
}

// A long read lets the log grow, and the writer tries less often to start it over. When the log has
// started over after the read, the writer's limit is the same as before.
func TestLogIsBoundedAfterALongRead(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	items := make([]kv.Item, 1000)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprint("k", i), Value: make([]byte, 4000)}
	}
	put := func() (limit int64) {
		t.Helper()
		if _, err := store.PutMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		d.w.lead <- struct{}{}
		defer func() { <-d.w.lead }()
		d.w.logWait = time.Millisecond
		return d.w.longLog
	}
	put()
	long, err := connect(t.Context(), d.rs.file.path, sqlite.OpenReadWrite, "BEGIN", "SELECT count(*) FROM kv")
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	for put() == logSize {
	}
	if err := run(t.Context(), long, rollback); err != nil {
		t.Fatal(err)
	}
	put()
	if limit := put(); limit != logSize {
		t.Errorf("rule: the log starts over when it has about 8 MiB; after a long read the limit is %d bytes", limit)
	}
}

// A write returns as soon as it is on the disk, even if the log must then start over. Later
// writes wait for the log to start over, but no longer than until their contexts end.
func TestLogIsBoundedAfterTheWriteReturned(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	if _, err := store.Put(t.Context(), "key", nil); err != nil {
		t.Fatal(err)
	}
	other, err := connect(t.Context(), d.rs.file.path, sqlite.OpenReadWrite, "BEGIN", "SELECT count(*) FROM kv")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := store.Put(t.Context(), "key", nil); err != nil { // the transaction of other does not see this write
		t.Fatal(err)
	}
	const long = 10 * time.Second
	d.w.lead <- struct{}{}
	d.w.logWait, d.w.longLog, d.w.unlooked = long, 0, logLook
	<-d.w.lead
	begun := time.Now()
	if _, err := store.Put(t.Context(), "key", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := store.Put(ctx, "key", nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: a write that waits for the log ends with its context, and nothing was written; got %v", err)
	}
	if took := time.Since(begun); took > long/2 {
		t.Errorf("rule: a write does not wait for the readers of the log; two took %v", took)
	}
	if err := run(t.Context(), other, rollback); err != nil { // now the log can start over
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), "key", nil); err != nil {
		t.Error(err)
	}
}

// If the file cannot grow (as if the disk became full during the transaction), transactions
// fail as a whole until there is space again. The errors do not match ErrIndeterminate.
func TestFull(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	put := func(key string) error {
		_, err := store.Put(t.Context(), key, make([]byte, 10_000))
		return err
	}
	if err := put("first"); err != nil {
		t.Fatal(err)
	}
	mustQuery(t, d.w.conn, "PRAGMA max_page_count = 40")
	checkError := func(err error) {
		t.Helper()
		if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) || !strings.Contains(err.Error(), "no space is left") {
			t.Errorf("the error is %v; want ErrUnavailable, not ErrIndeterminate", err)
		}
	}
	stored := 0
	var err error
	for ; err == nil && stored < 100; stored++ {
		err = put(fmt.Sprintf("many:%02d", stored))
	}
	stored--
	checkError(err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { checkError(put(fmt.Sprintf("more:%d", i))) })
	}
	wg.Wait()

	mustQuery(t, d.w.conn, "PRAGMA max_page_count = 48")
	items := make([]kv.Item, 300)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("batch:%03d", i)}
		if i > 200 {
			items[i].Value = make([]byte, 10_000)
		}
	}
	_, err = store.PutMany(t.Context(), items)
	checkError(err)
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok {
		t.Fatalf("PutMany: %v; want a *BatchError", err)
	}
	for i, item := range items {
		found, err := store.Exists(t.Context(), item.Key)
		if failed := batch.Failed[item.Key] != nil; err != nil || found == failed || found != (i < 128) {
			t.Errorf("%q: failed %t, found %t, %v; the first 128 are one transaction", item.Key, failed, found, err)
		}
	}

	if page, err := store.ScanPage(t.Context(), "m", 100, ""); err != nil || len(page.Entries) != stored {
		t.Errorf("%d entries, %v; want the %d acknowledged entries", len(page.Entries), err, stored)
	}
	// Removing entries frees space.
	if _, err := store.DeletePrefix(t.Context(), "many:"); err != nil {
		t.Error(err)
	}
	if err := put("last"); err != nil {
		t.Error(err)
	}
	if got := mustQuery(t, d.w.conn, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("PRAGMA integrity_check: %s", got)
	}
}
