package localkv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/localkv"
)

func init() {
	children["failAtCommit"] = failAtCommit
	children["fillDisk"] = fillDisk
	children["openUnprivileged"] = openUnprivileged
	children["mountFile"] = mountFile
	children["fewDescriptors"] = fewDescriptors
}

func expectError(what string, err error, is []error, not []error) error {
	for _, want := range is {
		if !errors.Is(err, want) {
			return fmt.Errorf("%s: %v; want an error that matches %q", what, err, want)
		}
	}
	for _, unwanted := range not {
		if errors.Is(err, unwanted) {
			return fmt.Errorf("%s: %v; want an error that does not match %q", what, err, unwanted)
		}
	}
	return nil
}

// failAtCommit makes the disk fail in the middle of writing a transaction to the log. It
// does so by a limit on the size of files.
func failAtCommit(c *child, args []string) error {
	signal.Ignore(syscall.SIGXFSZ)
	ctx := context.Background()
	store, err := localkv.New(args[0], nil)
	if err != nil {
		return err
	}
	if _, err := store.Put(ctx, "before", []byte("value")); err != nil {
		return err
	}
	log, err := os.Stat(args[0] + "-wal")
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	unlimited := limit.Cur
	limit.Cur = uint64(log.Size()) + 2000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	_, err = store.Put(ctx, "during", []byte("value"))
	if err := expectError("Put", err, []error{kv.ErrUnavailable, kv.ErrIndeterminate}, nil); err != nil {
		return err
	}
	_, err = store.PutMany(ctx, []kv.Item{{Key: "during"}, {Key: "before"}})
	if err := expectError("PutMany", err, []error{kv.ErrUnavailable, kv.ErrIndeterminate}, nil); err != nil {
		return err
	}
	// In a batch of several transactions, only the writes of the transaction whose commit
	// failed are indeterminate.
	items := make([]kv.Item, 200)
	for i := range items {
		items[i].Key = fmt.Sprint("during:", i)
	}
	_, err = store.PutMany(ctx, items)
	batch, ok := errors.AsType[*kv.BatchError](err)
	if !ok || len(batch.Failed) != len(items) {
		return fmt.Errorf("PutMany of %d: %v", len(items), batch)
	}
	for i, item := range items {
		if err := batch.Failed[item.Key]; !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) != (i < 128) {
			return fmt.Errorf("PutMany: the error of write %d is %v; want ErrUnavailable, and ErrIndeterminate for the first 128", i, err)
		}
	}
	for key, want := range map[string]error{"before": nil, "during": kv.ErrNotFound, "during:0": kv.ErrNotFound, "during:199": kv.ErrNotFound} {
		if entry, err := store.Get(ctx, key); !errors.Is(err, want) || err == nil && string(entry.Value) != "value" {
			return fmt.Errorf("Get(%q) after the failure: %q, %v", key, entry.Value, err)
		}
	}
	limit.Cur = unlimited
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if len(args) > 1 {
		if _, err := store.Put(ctx, "after", []byte("value")); err != nil {
			return err
		}
	}
	return nil // without Close, as after a crash
}

// If the disk fails during a commit, the result is unknown. No part of the transaction is
// ever visible alone, whether the process ends or goes on writing.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	for _, more := range [][]string{nil, {"after"}} {
		path := filepath.Join(t.TempDir(), "app.db")
		start(t, "failAtCommit", append([]string{path}, more...)...).finish(t)
		checkIntegrity(t, path)
		store := reopen(t, path)
		var keys []string
		for entry, err := range store.Scan(t.Context(), "") {
			if err != nil || string(entry.Value) != "value" {
				t.Errorf("%q: %q, %v", entry.Key, entry.Value, err)
			}
			keys = append(keys, entry.Key)
		}
		if got, want := strings.Join(keys, " "), strings.Join(append(more, "before"), " "); got != want {
			t.Errorf("the store has %q; want %q", got, want)
		}
	}
}

// fillDisk fills a disk of its own, which is a tmpfs in a mount namespace.
func fillDisk(c *child, args []string) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		c.say("cannot mount: %v", err)
		return nil
	}
	if err := syscall.Mount("tmpfs", args[0], "tmpfs", 0, "size=2m"); err != nil {
		c.say("cannot mount: %v", err)
		return nil
	}
	ctx := context.Background()
	path := filepath.Join(args[0], "app.db")
	store, err := localkv.New(path, nil)
	if err != nil {
		return err
	}
	value := func(i int) string { return strings.Repeat(strconv.Itoa(i)+" ", 2000) }
	stored := 0
	for ; err == nil && stored < 10_000; stored++ {
		_, err = store.Put(ctx, fmt.Sprint("key:", stored), []byte(value(stored)))
	}
	stored--
	full := []error{kv.ErrUnavailable}
	definite := []error{kv.ErrIndeterminate, kv.ErrIncompatible, kv.ErrPermission}
	if err := expectError("Put on a full disk", err, full, definite); err != nil {
		return err
	}
	check := func(store *kv.Store) error {
		for i := range stored + 1 {
			entry, err := store.Get(ctx, fmt.Sprint("key:", i))
			if i < stored && (err != nil || string(entry.Value) != value(i)) || i == stored && !errors.Is(err, kv.ErrNotFound) {
				return fmt.Errorf("Get of key %d of %d: %d bytes, %v", i, stored, len(entry.Value), err)
			}
		}
		return nil
	}
	if err := check(store); err != nil {
		return err
	}
	_, err = localkv.New(filepath.Join(args[0], "other.db"), nil)
	if err := expectError("New on a full disk", err, full, definite); err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	// Close emptied the log, although the file could not grow.
	if store, err = localkv.New(path, nil); err != nil {
		return fmt.Errorf("New of a store on a full disk: %w", err)
	}
	if err := check(store); err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	c.say("%d", stored)
	return nil
}

// inNamespace runs a program in a mount namespace, so that no other process sees its mounts.
// It returns the lines that the program prints.
func inNamespace(t *testing.T, program string, args ...string) []string {
	t.Helper()
	c := prepared(t, program, args...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if err := c.cmd.Start(); err != nil {
		t.Skipf("processes cannot mount anything here: %v", err)
	}
	lines := c.finish(t)
	if len(lines) == 0 {
		t.Fatal("the other process printed nothing")
	}
	if strings.HasPrefix(lines[0], "cannot mount") {
		t.Skipf("processes cannot mount anything here: %s", lines[0])
	}
	return lines
}

// mountFile mounts a single file in a different folder, as is done for containers, and opens
// it there.
func mountFile(c *child, args []string) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		c.say("cannot mount: %v", err)
		return nil
	}
	inside := filepath.Join(args[1], "a \\ file.db") // the list of mounts escapes this name
	if err := os.WriteFile(inside, nil, 0o600); err != nil {
		return err
	}
	if err := syscall.Mount(args[0], inside, "", syscall.MS_BIND, ""); err != nil {
		c.say("cannot mount: %v", err)
		return nil
	}
	_, err := localkv.New(inside, nil)
	if err := expectError("New of a mounted file", err, []error{kv.ErrIncompatible}, nil); err != nil {
		return err
	}
	c.say("%v", err)
	// A mounted folder contains the log as well, so a file in it can be opened.
	folder := filepath.Join(args[1], "folder")
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount(filepath.Dir(args[0]), folder, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	store, err := localkv.New(filepath.Join(folder, filepath.Base(args[0])), nil)
	if err != nil {
		return fmt.Errorf("New in a mounted folder: %w", err)
	}
	defer store.Close()
	entry, err := store.Get(context.Background(), "key")
	if err != nil || string(entry.Value) != "value" {
		return fmt.Errorf("Get in a mounted folder: %q, %w", entry.Value, err)
	}
	return nil
}

// A file that is mounted alone is refused. It would have one log inside the container and
// another one outside.
func TestMountedFile(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	if _, err := store.Put(t.Context(), "key", []byte("value")); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	lines := inNamespace(t, "mountFile", path, elsewhere)
	if !strings.Contains(lines[0], "a mount of a single file") {
		t.Errorf("rule: the error says what is wrong; got %s", lines[0])
	}
	if files := contents(t, elsewhere); files["a \\ file.db-wal"] != "" {
		t.Errorf("rule: a refused file does not change; there are %v", files)
	}
}

// fewDescriptors reads concurrently in a process that can open only a few more files.
func fewDescriptors(_ *child, args []string) error {
	ctx := context.Background()
	store, err := localkv.New(args[0], &localkv.Options{Readers: 64})
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Put(ctx, "key", []byte("value")); err != nil {
		return err
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	unlimited := limit.Cur
	limit.Cur = uint64(len(open)) + 7 // enough for two more connections
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	failed := make(chan error, 64)
	for range cap(failed) {
		go func() {
			var err error
			for i := 0; i < 100 && err == nil; i++ {
				if _, err = store.Get(ctx, "key"); err == nil {
					_, err = store.ScanPage(ctx, "", 10, "")
				}
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			return fmt.Errorf("a read with few descriptors: %w", err)
		}
	}
	if _, err := store.Put(ctx, "key", []byte("new")); err != nil {
		return fmt.Errorf("a Put with few descriptors: %w", err)
	}
	limit.Cur = unlimited
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// If no connection can be opened for a read, the read waits for one of the open connections.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	start(t, "fewDescriptors", filepath.Join(t.TempDir(), "app.db")).finish(t)
}

// When the disk is full, no acknowledged write is lost, and no part of a failed write is stored.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	lines := inNamespace(t, "fillDisk", t.TempDir()) // TestFull simulates a disk that becomes full during a transaction
	if n, err := strconv.Atoi(lines[0]); err != nil || n < 10 {
		t.Errorf("%q values were stored before the disk was full", lines[0])
	}
}

// openUnprivileged opens a file as this process's user, or as the user nobody instead of root.
func openUnprivileged(c *child, args []string) error {
	if os.Getuid() == 0 {
		if err := syscall.Setgid(65534); err != nil {
			return err
		}
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
	}
	store, err := localkv.New(args[0], nil)
	if err == nil {
		store.Close()
	}
	if err := expectError("New", err, []error{kv.ErrPermission}, nil); err != nil {
		return err
	}
	var last provider.Check
	for c := range (provider.Set{localkv.Provider()}).Inspect(context.Background(), "file:"+args[0]) {
		last = c
	}
	if last.Status != provider.Fail {
		return fmt.Errorf("Inspect reports what New refuses; its last check is %+v", last)
	}
	return nil
}

// If a file or its directory cannot be read and written, opening it returns ErrPermission.
// The file does not change.
func TestPermission(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		file, dir os.FileMode
		absent    bool
	}{
		{"read-only file", 0o444, 0o777, false},
		{"unreadable file", 0, 0o777, false},
		{"read-only directory", 0o666, 0o555, false},
		{"read-only directory without the file", 0, 0o555, true},
		{"closed directory", 0o666, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			if err := os.Chmod(filepath.Dir(root), 0o755); err != nil { // so that the user nobody can open files in it
				t.Fatal(err)
			}
			dir := filepath.Join(root, "dir")
			path := filepath.Join(dir, "app.db")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if !test.absent {
				reopen(t, path).Close()
				if err := os.Chmod(path, test.file); err != nil {
					t.Fatal(err)
				}
			}
			before := readable(t, dir, path)
			if err := os.Chmod(dir, test.dir); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(dir, 0o755)
			start(t, "openUnprivileged", path).finish(t)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if after := readable(t, dir, path); !maps.Equal(before, after) {
				t.Errorf("the refused file was changed:\nbefore %v\nafter  %v", before, after)
			}
		})
	}
}

// readable is like contents, but works even if the file's mode does not permit reading.
func readable(t *testing.T, dir, path string) map[string]string {
	t.Helper()
	if info, err := os.Stat(path); err == nil {
		os.Chmod(path, 0o600)
		defer os.Chmod(path, info.Mode())
	}
	return contents(t, dir)
}
