package localkv_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

func newStore(t *testing.T) (*kv.Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	return reopen(t, path), path
}

func reopen(t *testing.T, path string) *kv.Store {
	t.Helper()
	store, err := localkv.New(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// holdLock holds the write lock until it receives a line.
func holdLock(c *child, args []string) error {
	conn, err := sqlite.OpenConn(args[0], sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := sqlitex.ExecuteTransient(conn, "BEGIN EXCLUSIVE", nil); err != nil {
		return err
	}
	c.say("locked")
	c.hear()
	return sqlitex.ExecuteTransient(conn, "ROLLBACK", nil)
}

// raceKeys is the number of keys. All racers put them in the same order.
const raceKeys = 300

// createInRace tries to create every key, and prints the keys that it created.
func createInRace(c *child, args []string) error {
	store, err := openWithBug(args[0])
	if err != nil {
		return err
	}
	defer store.Close()
	c.say("ready")
	c.hear()
	for i := range raceKeys {
		key := fmt.Sprintf("race:%03d", i)
		_, err := store.Put(context.Background(), key, []byte(args[1]), kv.IfNotExists(), kv.TTL(time.Hour))
		switch {
		case err == nil:
			c.say("%s", key)
		case !errors.Is(err, kv.ErrConditionFailed):
			return err
		}
	}
	return nil
}

// If several processes race to create a key, exactly one succeeds, whether the key is absent
// or has an expired entry.
func TestProcessesCreate(t *testing.T) {
	t.Parallel()
	for _, failure := range raceToCreate(t, "") {
		t.Error(failure)
	}
}

// raceToCreate runs createInRace in two processes at the same time, and returns the failures.
// The drivers of both processes have the bug of this name, or none if bug is "".
func raceToCreate(t *testing.T, bug string) (failures []string) {
	store, path := newStore(t)
	past := store.With(kv.Clock(func() time.Time { return time.Now().Add(-time.Minute) }))
	for i := 0; i < raceKeys; i += 2 { // every other key has an expired entry
		if _, err := past.Put(t.Context(), fmt.Sprintf("race:%03d", i), nil, kv.TTL(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	racers := []*child{startWithBug(t, bug, "create", path, "0"), startWithBug(t, bug, "create", path, "1")}
	for _, c := range racers {
		c.expect(t, "ready")
	}
	for _, c := range racers {
		c.say("go")
	}
	winners := make(map[string]string)
	for i, c := range racers {
		for _, key := range c.finish(t) {
			if other, twice := winners[key]; twice {
				failures = append(failures, fmt.Sprintf("both process %s and process %d created %q", other, i, key))
			}
			winners[key] = strconv.Itoa(i)
		}
	}
	if len(winners) != raceKeys {
		failures = append(failures, fmt.Sprintf("only %d of %d keys were created", len(winners), raceKeys))
	}
	for key, winner := range winners {
		entry, err := store.Get(t.Context(), key)
		if err != nil || string(entry.Value) != winner {
			failures = append(failures, fmt.Sprintf("%q: process %s won, but the value is %q, error %v", key, winner, entry.Value, err))
		}
	}
	return failures
}

const counts = 150

// count adds 1 to a counter many times, by compare-and-swap.
func count(c *child, args []string) error {
	store, err := openWithBug(args[0])
	if err != nil {
		return err
	}
	defer store.Close()
	c.say("ready")
	c.hear()
	ctx := context.Background()
	for done := 0; done < counts; {
		entry, err := store.Get(ctx, "counter")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(entry.Value))
		if err != nil {
			return err
		}
		_, err = store.Put(ctx, "counter", []byte(strconv.Itoa(n+1)), kv.IfVersion(entry.Version))
		switch {
		case err == nil:
			done++
		case !errors.Is(err, kv.ErrConditionFailed):
			return err
		}
	}
	return nil
}

// Compare-and-swap by several processes loses no update.
func TestProcessesCount(t *testing.T) {
	t.Parallel()
	if got, want := raceToCount(t, ""); got != want {
		t.Errorf("the counter is %q after %s increments", got, want)
	}
}

// raceToCount runs count in two processes at the same time, and returns the counter's last
// value and its expected value. The drivers of both processes have the bug of this name, or
// none if bug is "".
func raceToCount(t *testing.T, bug string) (got, want string) {
	store, path := newStore(t)
	if _, err := store.Put(t.Context(), "counter", []byte("0")); err != nil {
		t.Fatal(err)
	}
	counters := []*child{startWithBug(t, bug, "count", path), startWithBug(t, bug, "count", path)}
	for _, c := range counters {
		c.expect(t, "ready")
	}
	for _, c := range counters {
		c.say("go")
	}
	for _, c := range counters {
		c.finish(t)
	}
	entry, err := store.Get(t.Context(), "counter")
	if err != nil {
		t.Fatal(err)
	}
	return string(entry.Value), strconv.Itoa(len(counters) * counts)
}

// relay receives a number, checks that the store has it, stores the next number and prints that.
// Now and then it opens the file again. Meanwhile, other goroutines of the process read and
// write.
func relay(c *child, args []string) error {
	store, err := openWithBug(args[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	for i := range 2 {
		others.Go(func() {
			for key := args[1] + strconv.Itoa(i); ctx.Err() == nil; {
				_, _ = store.Put(ctx, key, make([]byte, 2000))
				_, _ = store.Get(ctx, "relay")
			}
		})
	}
	defer func() { cancel(); others.Wait(); store.Close() }()
	c.say("ready")
	for n, hops := c.hear(), 0; n != ""; n, hops = c.hear(), hops+1 {
		if n != "0" {
			if err := wantRelayed(ctx, store, n); err != nil {
				c.say("%v", err)
				continue
			}
		}
		next, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		if hops%20 == 19 { // close one of the process's connections to the file now and then
			again, err := openWithBug(args[0])
			if err != nil {
				return err
			}
			if err := wantRelayed(ctx, again, n); err != nil {
				c.say("%v, after opening it again", err)
			}
			again.Close()
		}
		if _, err := store.Put(ctx, "relay", []byte(strconv.Itoa(next+1))); err != nil {
			return err
		}
		c.say("%d", next+1)
	}
	return nil
}

// wantRelayed reads "relay" by Get, GetMany and ScanPage, and returns an error unless the value
// is want.
func wantRelayed(ctx context.Context, store *kv.Store, want string) error {
	entry, err := store.Get(ctx, "relay")
	if err != nil || string(entry.Value) != want {
		return fmt.Errorf("Get returns %q, %v, after %s was acknowledged", entry.Value, err, want)
	}
	entries, err := store.GetMany(ctx, []string{"relay"})
	if got := string(entries["relay"].Value); err != nil || got != want {
		return fmt.Errorf("GetMany returns %q, %v, after %s was acknowledged", got, err, want)
	}
	page, err := store.ScanPage(ctx, "relay", 1, "")
	if err != nil || len(page.Entries) != 1 || string(page.Entries[0].Value) != want {
		return fmt.Errorf("ScanPage returns %d entries, %v, after %s was acknowledged", len(page.Entries), err, want)
	}
	return nil
}

// A write that one process has acknowledged is seen by every other process at once. The test
// needs no clock, because the number goes from process to process.
func TestProcessesReadWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	if failure := raceToRead(t, "", 60); failure != "" {
		t.Error(failure)
	}
}

// raceToRead passes a number around between three processes that run relay, and returns the
// first failure, or "". The drivers of the processes have the bug of this name, or none if bug
// is "".
func raceToRead(t *testing.T, bug string, rounds int) string {
	_, path := newStore(t)
	relays := []*child{startWithBug(t, bug, "relay", path, "a"), startWithBug(t, bug, "relay", path, "b"), startWithBug(t, bug, "relay", path, "c")}
	for _, c := range relays {
		c.expect(t, "ready")
	}
	n := 0
	for range rounds {
		for _, c := range relays {
			c.say("%d", n)
			n++
			if got := c.hear(); got != strconv.Itoa(n) {
				return got
			}
		}
	}
	for _, c := range relays {
		c.finish(t)
	}
	return ""
}

// writeUntilStopped puts continuously, and prints a line for each put, until it receives a
// line.
func writeUntilStopped(c *child, args []string) error {
	store, err := localkv.New(args[0], nil)
	if err != nil {
		return err
	}
	defer store.Close()
	stop := make(chan struct{})
	go func() {
		c.hear()
		close(stop)
	}()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := store.Put(context.Background(), args[1], []byte(strconv.Itoa(i))); err != nil {
			return err
		}
		c.say("%d", i)
	}
}

// Processes that write continuously all make progress.
func TestProcessesTakeTurns(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	writers := []*child{start(t, "write", path, "a"), start(t, "write", path, "b"), start(t, "write", path, "c")}
	const each = 100
	for range each {
		for _, c := range writers { // a pipe holds thousands of lines, so no writer waits for this reader
			if c.hear() == "" {
				t.Fatal("a writer ended early")
			}
		}
		// This process must get its turns, too.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := store.Put(ctx, "d", nil)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range writers {
		c.finish(t)
	}
}

// While another process holds the write lock, a write ends with its context without having
// written anything. Reads do not wait.
func TestLockedContext(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	version, err := store.Put(t.Context(), "key", []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, "holdLock", path)
	other.expect(t, "locked")

	writes := map[string]func(ctx context.Context) error{
		"Put": func(ctx context.Context) error {
			_, err := store.Put(ctx, "key", []byte("new"))
			return err
		},
		"Put IfNotExists": func(ctx context.Context) error {
			_, err := store.Put(ctx, "new", nil, kv.IfNotExists())
			return err
		},
		"Put IfVersion": func(ctx context.Context) error {
			_, err := store.Put(ctx, "key", []byte("new"), kv.IfVersion(version))
			return err
		},
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "key") },
		"PutMany": func(ctx context.Context) error {
			_, err := store.PutMany(ctx, []kv.Item{{Key: "key"}, {Key: "new"}})
			return err
		},
		"DeleteMany": func(ctx context.Context) error { return store.DeleteMany(ctx, []string{"key", "new"}) },
		"DeletePrefix": func(ctx context.Context) error {
			_, err := store.DeletePrefix(ctx, "key")
			return err
		},
	}
	check := func(t *testing.T, write func(ctx context.Context) error, end error) {
		const wait, tolerance = 20 * time.Millisecond, 100 * time.Millisecond
		// On a busy machine a call may occasionally end late. A call that does not end with
		// its context is late every time.
		late := time.Duration(0)
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			if end == context.Canceled {
				time.AfterFunc(wait, cancel)
			} else {
				ctx, cancel = context.WithTimeout(ctx, wait)
			}
			begun := time.Now()
			err := write(ctx)
			late = time.Since(begun) - wait
			cancel()
			if !errors.Is(err, end) || errors.Is(err, kv.ErrIndeterminate) {
				t.Fatalf("the error is %v; want one that matches %q and not ErrIndeterminate: nothing was written", err, end)
			}
			if late <= tolerance {
				return
			}
		}
		t.Errorf("the call ended %v after its context; want at most %v", late, tolerance)
	}
	for name, write := range writes {
		for _, end := range []error{context.DeadlineExceeded, context.Canceled} {
			t.Run(name+"/"+end.Error(), func(t *testing.T) { check(t, write, end) })
			t.Run(name+"/"+end.Error()+" in the queue", func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				for range 2 { // one Put waits for the lock, the other waits for that Put
					go func() {
						_, err := store.Put(ctx, "first", nil)
						ended <- err
					}()
				}
				check(t, write, end)
				cancel()
				for range 2 {
					if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrIndeterminate) {
						t.Errorf("a Put in front: %v", err)
					}
				}
			})
		}
	}
	if entry, err := store.Get(t.Context(), "key"); err != nil || string(entry.Value) != "old" {
		t.Errorf("Get while the lock is held: %q, %v; reads do not wait for writes", entry.Value, err)
	}
	if _, err := store.GetMany(t.Context(), []string{"key"}); err != nil {
		t.Errorf("GetMany while the lock is held: %v", err)
	}
	if page, err := store.ScanPage(t.Context(), "", 10, ""); err != nil || len(page.Entries) != 1 {
		t.Errorf("ScanPage while the lock is held: %d entries, %v", len(page.Entries), err)
	}
	second := reopen(t, path) // opening does not wait either
	if _, err := second.Get(t.Context(), "key"); err != nil {
		t.Error(err)
	}

	// A write that waits goes on when the lock is free.
	done := make(chan error)
	go func() {
		_, err := store.Put(t.Context(), "key", []byte("newer"))
		done <- err
	}()
	other.finish(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if page, err := store.ScanPage(t.Context(), "", 10, ""); err != nil || len(page.Entries) != 1 || string(page.Entries[0].Value) != "newer" {
		t.Errorf("after writes of which only the last was not given up: %+v, %v", page.Entries, err)
	}
}

// Opening ends with its context while another process locks the file.
func TestLockedOpen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	openSQL(t, path).Close() // an empty file
	other := start(t, "holdLock", path)
	other.expect(t, "locked")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := localkv.Open(ctx, "file:"+path)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open of a locked file: %v; want the context's error", err)
	}
	other.finish(t)
	reopen(t, path)
}

// Close does not wait for the lock. Calls that wait for the lock are refused.
func TestLockedClose(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	other := start(t, "holdLock", path)
	other.expect(t, "locked")
	done := make(chan error)
	for range 3 {
		go func() {
			_, err := store.Put(t.Context(), "key", nil)
			done <- err
		}()
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-done; !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("a Put that waited when the store was closed: %v; want ErrClosed", err)
		}
	}
	other.finish(t)
}
