package localkv_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/localkv"
)

// Inspect reports what Open would refuse and what Ensure would do, and changes nothing.
func TestInspect(t *testing.T) {
	t.Parallel()
	special := "a#b%c d;e&f.db"
	if runtime.GOOS != "windows" { // on Windows no file can have this name
		special = "?" + special
	}
	for _, test := range []struct {
		name string
		url  string // DIR stands for the folder
		make func(t *testing.T, path string)
		want []string // the status and name of each check, and a part of the last check's detail
		step bool     // whether Ensure fixes what the last check reports
		kind error    // kind of Open's error
	}{
		{"a store", "", func(t *testing.T, path string) { reopen(t, path).Close() }, []string{"ok folder", "ok file", "ok layout", "ok content", "rows: 0"}, false, nil},
		{"a store in use", "", func(t *testing.T, path string) {
			if _, err := reopen(t, path).Put(t.Context(), "key", nil); err != nil {
				t.Fatal(err)
			}
		}, []string{"ok folder", "ok file", "ok layout", "ok content", "rows: 1"}, false, nil},
		{"a name of special characters", "file:DIR/" + url.PathEscape(special), func(t *testing.T, path string) {
			reopen(t, filepath.Join(filepath.Dir(path), special)).Close()
		}, []string{"ok folder", "ok file", "ok layout", "ok content", "rows: 0"}, false, nil},
		{"a schema that another program changed", "", func(t *testing.T, path string) {
			reopen(t, path).Close()
			ask(t, openSQL(t, path), "CREATE TRIGGER tr AFTER UPDATE ON kv BEGIN DELETE FROM kv WHERE k = 'other'; END")
		}, []string{"ok folder", "ok file", "fail layout", "the trigger tr"}, false, kv.ErrIncompatible},

		{"no file", "", func(*testing.T, string) {}, []string{"ok folder", "fail file", "there is no file"}, true, nil},
		{"an empty file", "", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"ok folder", "fail file", "is empty"}, true, nil},
		{"a folder in its place", "", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"ok folder", "fail file", "is not a regular file"}, false, kv.ErrIncompatible},
		{"no folder", "file:DIR/none/app.db", func(*testing.T, string) {}, []string{"fail folder", "there is no folder"}, false, kv.ErrNotProvisioned},
		{"another file", "", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("call mother\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"ok folder", "ok file", "fail layout", "is not an SQLite database"}, false, kv.ErrIncompatible},
		{"another database", "", func(t *testing.T, path string) {
			ask(t, openSQL(t, path), "CREATE TABLE users (name TEXT)")
		}, []string{"ok folder", "ok file", "fail layout", "of another program"}, false, kv.ErrIncompatible},
		{"format 1", "", func(t *testing.T, path string) {
			reopen(t, path).Close()
			ask(t, openSQL(t, path), "PRAGMA user_version = 1")
		}, []string{"ok folder", "ok file", "fail layout", "has format (user_version) 1"}, false, kv.ErrIncompatible},
		{"another URL", "file://host/app.db", func(*testing.T, string) {}, []string{"fail url", "there is a host"}, false, kv.ErrInvalidOption},
		{"a zero byte", "file:DIR/app%00.db", func(*testing.T, string) {}, []string{"fail url", "zero byte"}, false, kv.ErrInvalidOption},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "app.db")
			test.make(t, path)
			storeURL := "file:" + path
			if test.url != "" {
				storeURL = strings.ReplaceAll(test.url, "DIR", dir)
			}
			before := contents(t, dir)
			checks := slices.Collect(localkv.Inspect(t.Context(), storeURL))
			after := contents(t, dir)
			for _, sums := range []map[string]string{before, after} {
				delete(sums, "app.db-shm") // readers leave marks there
			}
			if !maps.Equal(before, after) {
				t.Errorf("rule: Inspect changes nothing; before %v, after %v", before, after)
			}
			var got []string
			for _, c := range checks {
				got = append(got, string(c.Status)+" "+c.Name)
				if (c.Status == provider.OK) != (c.Fix == "") {
					t.Errorf("rule: a check that is not ok says what to do; %+v", c)
				}
			}
			says, last := test.want[len(test.want)-1], checks[len(checks)-1]
			if !slices.Equal(got, test.want[:len(test.want)-1]) || !strings.Contains(last.Detail, says) || (last.Step != "") != test.step {
				t.Errorf("the checks are %+v; want %q, and a step: %t", checks, test.want, test.step)
			}
			if err := localkv.Ensure(t.Context(), storeURL); !errors.Is(err, test.kind) {
				t.Errorf("rule: Inspect and Ensure agree; Ensure: %v; want %v", err, test.kind)
			}
			if test.kind != nil {
				return
			}
			for c := range localkv.Inspect(t.Context(), storeURL) {
				if c.Status != provider.OK {
					t.Errorf("rule: after Ensure every check is ok; %+v", c)
				}
			}
		})
	}
}

// If Inspect cannot read the content, it does not advise to restore a backup: that says nothing about
// the content.
func TestInspectWithoutContent(t *testing.T) {
	t.Parallel()
	_, path := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last provider.Check
	for last = range localkv.Inspect(ctx, "file:"+path) {
		if last.Name == "layout" {
			cancel()
		}
	}
	if last.Name != "content" || !errors.Is(last.Err, context.Canceled) || strings.Contains(last.Fix, "backup") {
		t.Errorf("rule: content that cannot be read is not called damaged; got %+v", last)
	}
}

// Ensure does not change an existing store, and may be called again and again.
func TestEnsure(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	if _, err := store.Put(t.Context(), "key", []byte("value")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := localkv.Provider().Ensure(t.Context(), "file:"+path); err != nil {
			t.Fatal(err)
		}
	}
	if entry, err := store.Get(t.Context(), "key"); err != nil || string(entry.Value) != "value" {
		t.Errorf("after Ensure: %q, %v", entry.Value, err)
	}
}

// A provider.Set sets up and inspects a store by its URL. A file has no Terraform configuration.
func TestProvider(t *testing.T) {
	t.Parallel()
	set := provider.Set{localkv.Provider()}
	url := "file:" + filepath.Join(t.TempDir(), "app.db")
	if err := set.Ensure(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, 6)
	for c := range set.Inspect(t.Context(), url) {
		names = append(names, string(c.Status)+" "+c.Name)
	}
	if want := []string{"ok folder", "ok file", "ok layout", "ok content", "ok open", "ok latency"}; !slices.Equal(names, want) {
		t.Errorf("the checks are %q; want %q", names, want)
	}
	if _, err := set.Terraform(url); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("Terraform: %v; want ErrInvalidOption", err)
	}
}
