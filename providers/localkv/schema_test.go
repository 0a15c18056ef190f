package localkv

import (
	"errors"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

// If another program changes the schema while the store is open, nothing that it added ever
// runs. Writes are refused, and the error names the change.
func TestSchemaIsChanged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sql  []string
		says string
	}{
		"a trigger":        {[]string{"CREATE TRIGGER tr AFTER INSERT ON kv BEGIN UPDATE kv SET v = x'00' WHERE k = 'other'; END"}, "the trigger tr"},
		"an index":         {[]string{"CREATE UNIQUE INDEX ix ON kv (t)"}, "the index ix"},
		"a table":          {[]string{"CREATE TABLE users (name TEXT)"}, "the table users"},
		"no index":         {[]string{"DROP INDEX kv_x"}, "has no index kv_x"},
		"another table kv": {[]string{"ALTER TABLE kv ADD COLUMN y"}, "the table kv"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, store := newTestDriver(t)
			if _, err := store.Put(t.Context(), "other", []byte("value")); err != nil {
				t.Fatal(err)
			}
			other, err := connect(t.Context(), d.rs.file.path, sqlite.OpenReadWrite, test.sql...)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			for range 2 {
				_, err = store.Put(t.Context(), "key", []byte("value"))
				if !errors.Is(err, kv.ErrIncompatible) || errors.Is(err, kv.ErrIndeterminate) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("rule: no write goes into a file with another schema; got %v", err)
				}
			}
			if found, err := store.Exists(t.Context(), "key"); err != nil || found {
				t.Errorf("rule: a refused write was not written; found %t, %v", found, err)
			}
			if entry, err := store.Get(t.Context(), "other"); err != nil || string(entry.Value) != "value" {
				t.Errorf("rule: no trigger runs; the other row is %q, %v", entry.Value, err)
			}
		})
	}
}

// A change of the schema that is undone does not matter.
func TestSchemaIsTheSameAgain(t *testing.T) {
	t.Parallel()
	d, store := newTestDriver(t)
	for _, sql := range []string{"VACUUM", "REINDEX", "DROP INDEX kv_x", createIndex} {
		other, err := connect(t.Context(), d.rs.file.path, sqlite.OpenReadWrite, sql)
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		if sql == "DROP INDEX kv_x" {
			continue
		}
		if _, err := store.Put(t.Context(), "key", []byte(sql)); err != nil {
			t.Errorf("rule: a schema that is skykv's is used; after %s: %v", sql, err)
		}
		if entry, err := store.Get(t.Context(), "key"); err != nil || string(entry.Value) != sql {
			t.Errorf("after %s: %q, %v", sql, entry.Value, err)
		}
	}
}
