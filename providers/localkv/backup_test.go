package localkv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

// A backup of a store that is written continuously has every entry of one moment, and does
// not affect the writers. Each write of this test changes all keys in one transaction.
func TestBackup(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	write := func(n int) error {
		items := make([]kv.Item, 100)
		for i := range items {
			items[i] = kv.Item{Key: fmt.Sprintf("key:%02d", i), Value: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 300))}
		}
		_, err := store.PutMany(t.Context(), items)
		return err
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	version, err := store.Put(t.Context(), "expiring", nil, kv.ExpiresAt(at))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	writing.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			if err := write(n); err != nil {
				t.Errorf("rule: a backup affects no writer; got %v", err)
				return
			}
		}
	})
	moments := make(map[string]bool)
	for i := range 8 {
		dest := filepath.Join(t.TempDir(), fmt.Sprintf("copy %d.db", i))
		if err := localkv.Backup(t.Context(), path, dest); err != nil {
			t.Fatal(err)
		}
		if files := slices.Collect(maps.Keys(contents(t, filepath.Dir(dest)))); len(files) != 1 {
			t.Errorf("rule: a backup is one file; there are %q", files)
		}
		checkIntegrity(t, dest)
		backup := reopen(t, dest)
		found := make(map[string]int)
		for entry, err := range backup.Scan(t.Context(), "key:") {
			if err != nil {
				t.Fatal(err)
			}
			n, _, _ := strings.Cut(string(entry.Value), " ")
			found[n]++
		}
		if len(found) != 1 || slices.Collect(maps.Values(found))[0] != 100 {
			t.Errorf("rule: a backup has all entries of one moment; its counts by moment are %v", found)
		}
		for n := range found {
			moments[n] = true
		}
		if entry, err := backup.Get(t.Context(), "expiring"); err != nil || entry.Version != version || !entry.ExpiresAt.Equal(at) {
			t.Errorf("rule: a backup has the entries' versions and expiries; got %+v, %v", entry, err)
		}
	}
	if len(moments) < 2 {
		t.Error("all backups are of the same moment: no write came between, so the test proves nothing")
	}
}

// A backup does not replace files or follow links. After an error it leaves nothing.
func TestBackupReplacesNothing(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	if _, err := store.PutMany(t.Context(), []kv.Item{{Key: "a"}, {Key: "b", Value: make([]byte, 10_000)}}); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name   string
		ctx    context.Context
		source string
		make   func(t *testing.T, dest string) error
		want   error
	}{
		{"a file", nil, path, func(_ *testing.T, dest string) error { return os.WriteFile(dest, []byte("text"), 0o600) }, kv.ErrInvalidOption},
		{"an empty file", nil, path, func(_ *testing.T, dest string) error { return os.WriteFile(dest, nil, 0o600) }, kv.ErrInvalidOption},
		{"a partial file", nil, path, func(_ *testing.T, dest string) error { return os.WriteFile(dest+".partial", nil, 0o600) }, kv.ErrInvalidOption},
		{"a link", nil, path, func(_ *testing.T, dest string) error { return os.Symlink(dest+".target", dest) }, kv.ErrInvalidOption},
		{"a partial link", nil, path, func(_ *testing.T, dest string) error { return os.Symlink(dest+".target", dest+".partial") }, kv.ErrInvalidOption},
		{"the log of another file", nil, path, func(_ *testing.T, dest string) error { return os.WriteFile(dest+"-wal", nil, 0o600) }, kv.ErrInvalidOption},
		{"no folder", nil, path, func(_ *testing.T, dest string) error { return os.Remove(filepath.Dir(dest)) }, kv.ErrNotProvisioned},
		{"no source", nil, path + ".none", func(*testing.T, string) error { return nil }, kv.ErrNotProvisioned},
		{"an empty source", nil, path + ".empty", func(*testing.T, string) error { return os.WriteFile(path+".empty", nil, 0o600) }, kv.ErrNotProvisioned},
		{"another source", nil, path + ".text", func(*testing.T, string) error { return os.WriteFile(path+".text", []byte("text"), 0o600) }, kv.ErrIncompatible},
		{"no path", nil, "", func(*testing.T, string) error { return nil }, kv.ErrInvalidOption},
		{"a context that has ended", cancelled, path, func(*testing.T, string) error { return nil }, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.Contains(test.name, "link") {
				t.Skip("links need a privilege on Windows")
			}
			dir := filepath.Join(t.TempDir(), "dir")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			dest := filepath.Join(dir, "copy.db")
			if err := test.make(t, dest); err != nil {
				t.Fatal(err)
			}
			list := func() (names []string) {
				filepath.WalkDir(filepath.Dir(dir), func(path string, e os.DirEntry, err error) error {
					names = append(names, path)
					return err
				})
				return names
			}
			before := list()
			ctx := t.Context()
			if test.ctx != nil {
				ctx = test.ctx
			}
			if err := localkv.Backup(ctx, test.source, dest); !errors.Is(err, test.want) {
				t.Errorf("Backup: %v; want %v", err, test.want)
			}
			if after := list(); !slices.Equal(before, after) {
				t.Errorf("rule: a backup that fails leaves nothing; before %q, after %q", before, after)
			}
		})
	}
}

// A backup has the mode of its source, because it has the same secrets.
func TestBackupMode(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes on Windows")
	}
	path := filepath.Join(t.TempDir(), "app.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	reopen(t, path).Close()
	if err := localkv.Backup(t.Context(), path, path+".copy"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path + ".copy"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("rule: a backup has the mode of its source, 0600; got %v, %v", info.Mode(), err)
	}
	if files := contents(t, filepath.Dir(path)); len(files) != 2 {
		t.Errorf("rule: after a backup of a store that no process has open, the store is closed; there are %v", files)
	}
}
