package localkv

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// copyFile copies a file. It replaces the content of the file at the path to, or creates that
// file.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	dest, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dest.Close()
	if _, err := io.Copy(dest, source); err != nil {
		t.Fatal(err)
	}
}

// If the file of an open store, its log or its shared memory is removed, moved or replaced, the
// store returns errors, instead of acknowledging writes that no process will find. When the file
// is back, the store works again.
func TestFileIsReplaced(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("on Windows nobody can remove or replace an open file")
	}
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, replace := range map[string]func(t *testing.T, path string) (back func() error){
		"removed": func(t *testing.T, path string) func() error {
			must(t, os.Link(path, path+".kept"))
			must(t, os.Remove(path))
			return func() error { return os.Rename(path+".kept", path) }
		},
		"moved": func(t *testing.T, path string) func() error {
			must(t, os.Rename(path, path+".moved"))
			return func() error { return os.Rename(path+".moved", path) }
		},
		"replaced by a copy": func(t *testing.T, path string) func() error {
			copyFile(t, path, path+".copy")
			must(t, os.Rename(path, path+".old"))
			must(t, os.Rename(path+".copy", path))
			return func() error { return os.Rename(path+".old", path) }
		},
		"replaced by a folder": func(t *testing.T, path string) func() error {
			must(t, os.Rename(path, path+".old"))
			must(t, os.Mkdir(path, 0o755))
			return func() error { return errors.Join(os.Remove(path), os.Rename(path+".old", path)) }
		},
		"without its log": func(t *testing.T, path string) func() error {
			must(t, os.Rename(path+"-wal", path+".log"))
			return func() error { return os.Rename(path+".log", path+"-wal") }
		},
		"without its shared memory": func(t *testing.T, path string) func() error {
			must(t, os.Rename(path+"-shm", path+".shm"))
			return func() error { return os.Rename(path+".shm", path+"-shm") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, store := newTestDriver(t)
			if _, err := store.Put(t.Context(), "key", []byte("before")); err != nil {
				t.Fatal(err)
			}
			calls := map[string]func(context.Context) error{
				"Put":        func(ctx context.Context) error { _, err := store.Put(ctx, "key", []byte("after")); return err },
				"Delete":     func(ctx context.Context) error { return store.Delete(ctx, "key") },
				"DeleteMany": func(ctx context.Context) error { return store.DeleteMany(ctx, []string{"key"}) },
				"Get":        func(ctx context.Context) error { _, err := store.Get(ctx, "key"); return err },
				"GetMany":    func(ctx context.Context) error { _, err := store.GetMany(ctx, []string{"key"}); return err },
				"ScanPage":   func(ctx context.Context) error { _, err := store.ScanPage(ctx, "", 10, ""); return err },
			}
			back := replace(t, d.rs.file.path)
			for what, call := range calls {
				d.rs.file.looked.Store(math.MinInt64 / 2) // the next check is due
				err := call(t.Context())
				if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) || !strings.Contains(err.Error(), "was removed, moved or replaced") {
					t.Errorf("rule: a store reports that its file was replaced; %s: %v", what, err)
				}
			}
			if err := back(); err != nil {
				t.Fatal(err)
			}
			if entry, err := store.Get(t.Context(), "key"); err != nil || string(entry.Value) != "before" {
				t.Errorf("rule: a refused write was not written; got %q, %v", entry.Value, err)
			}
			if _, err := store.Put(t.Context(), "key", []byte("after")); err != nil {
				t.Errorf("rule: a store whose file is back works again; got %v", err)
			}
		})
	}
}

// Connections that are opened later must have the same file as the writer.
func TestReadersHaveTheFileOfTheWriter(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("on Windows nobody can replace an open file")
	}
	d, store := newTestDriver(t)
	path := d.rs.file.path
	if _, err := store.Put(t.Context(), "key", []byte("old")); err != nil {
		t.Fatal(err)
	}
	copyFile(t, path, path+".copy")
	if err := errors.Join(os.Rename(path, path+".old"), os.Rename(path+".copy", path)); err != nil {
		t.Fatal(err)
	}
	d.rs.file.looked.Store(math.MaxInt64) // no check is due
	if r, err := openReader(t.Context(), d.rs.file); err == nil || !strings.Contains(err.Error(), "was removed, moved or replaced") {
		t.Errorf("rule: a reading connection has the file of the writer; got %v, %v", r, err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(path+".old", path)); err != nil {
		t.Fatal(err)
	}
}

// A file with several hard links is refused, and does not change.
func TestHardLink(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Go does not report the number of links on Windows")
	}
	d, store := newTestDriver(t)
	path := d.rs.file.path
	link := path + ".link"
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link} {
		other, err := newDriver(t.Context(), name, new(Options))
		if err == nil {
			other.Close()
		}
		if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "2 hard links") {
			t.Errorf("rule: a file with two names is refused, because it would have two logs; %s: %v", name, err)
		}
	}
	for c := range Inspect(t.Context(), "file:"+link) {
		if c.Name == "layout" && (c.Status != provider.Fail || !strings.Contains(c.Detail, "2 hard links")) {
			t.Errorf("rule: Inspect reports what New refuses; got %+v", c)
		}
	}
	if _, err := os.Stat(link + logSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rule: a refused file does not change; beside it there is a log: %v", err)
	}
	if _, err := store.Put(t.Context(), "key", nil); err != nil {
		t.Errorf("rule: a link that no process opens does not matter; got %v", err)
	}
}
