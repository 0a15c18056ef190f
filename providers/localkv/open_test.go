package localkv_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/localkv"
)

// contents returns the length and the hash of every file in dir.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]string)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil && !e.IsDir() {
			t.Fatal(err)
		}
		sums[e.Name()] = fmt.Sprintf("%d bytes, %x", len(data), sha256.Sum256(data))
	}
	return sums
}

// copyFiles copies the files of a database that may be open, in the state that a crash would
// leave.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		data, err := os.ReadFile(from + suffix)
		if err == nil {
			err = os.WriteFile(to+suffix, data, 0o644)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

const someTable = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);\nINSERT INTO users (name) VALUES ('Ada'), ('Grace')"

// A file that is not skykv's, or is damaged, is refused. Nothing changes in the file, its log or
// its journal, and no file is added. (The test ignores FILE-shm, which has no data: reading a
// file that has a log leaves a mark there.)
func TestForeignFile(t *testing.T) {
	t.Parallel()
	// script creates an SQLite database.
	script := func(statements ...string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			c := openSQL(t, path)
			for _, statement := range statements {
				for part := range strings.SplitSeq(statement, ";\n") {
					ask(t, c, part)
				}
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// ours creates a store with some entries, and then changes its file.
	ours := func(change func(t *testing.T, path string)) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			store := reopen(t, path)
			for i := range 100 {
				if _, err := store.Put(t.Context(), fmt.Sprintf("key:%d", i), make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			change(t, path)
		}
	}
	bytes := func(data []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	garbage := make([]byte, 20_000)
	rand.NewChaCha8([32]byte{1}).Read(garbage)

	tests := []struct {
		name string
		make func(t *testing.T, path string)
		says string
	}{
		{"text", bytes([]byte("call mother\n")), "is not an SQLite database"},
		{"one byte", bytes([]byte{0}), "is not an SQLite database"},
		{"99 bytes of a header", bytes(append([]byte("SQLite format 3\x00"), make([]byte, 83)...)), "is not an SQLite database"},
		{"garbage", bytes(garbage), "is not an SQLite database"},
		{"zeros", bytes(make([]byte, 8192)), "is not an SQLite database"},
		{"text with a log beside it", func(t *testing.T, path string) {
			bytes(garbage)(t, path)
			bytes([]byte("not a log"))(t, path+"-wal")
		}, "not an SQLite database"},
		{"another database", script(someTable), "application_id is 0x0"},
		{"another application's database", script("PRAGMA application_id = 252006673", someTable), "application_id is 0xf055111"},
		{"another database in WAL mode", script("PRAGMA journal_mode = WAL", someTable), "application_id is 0x0"},
		{"another database in use", func(t *testing.T, path string) {
			c := openSQL(t, path)
			ask(t, c, "PRAGMA journal_mode = WAL")
			ask(t, c, "CREATE TABLE users (name TEXT)")
		}, "application_id is 0x0"},
		{"another database after a crash in WAL mode", func(t *testing.T, path string) {
			elsewhere := filepath.Join(t.TempDir(), "users.db")
			c := openSQL(t, elsewhere)
			ask(t, c, "PRAGMA journal_mode = WAL")
			ask(t, c, "CREATE TABLE users (name TEXT)")
			copyFiles(t, elsewhere, path)
		}, "application_id is 0x0"},
		{"another database after a crash with a rollback journal", func(t *testing.T, path string) {
			elsewhere := filepath.Join(t.TempDir(), "users.db")
			c := openSQL(t, elsewhere)
			for _, statement := range []string{
				"CREATE TABLE users (name TEXT)", "PRAGMA cache_size = 1", "BEGIN",
				"WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i < 5000) INSERT INTO users SELECT 'user ' || i FROM n",
			} {
				ask(t, c, statement)
			}
			copyFiles(t, elsewhere, path)
			if _, err := os.Stat(path + "-journal"); err != nil {
				t.Fatal(err)
			}
		}, "application_id is 0x0"},
		{"an empty database", script("PRAGMA journal_mode = DELETE", "VACUUM"), "application_id is 0x0"},
		{"a later format", ours(script("PRAGMA user_version = 3")), "format (user_version) 3; this version of skykv knows 2"},
		{"no format", ours(script("PRAGMA user_version = 0")), "format (user_version) 0"},
		{"a later format in use", ours(func(t *testing.T, path string) {
			c := openSQL(t, path)
			ask(t, c, "PRAGMA user_version = 3")
		}), "format (user_version) 3"},
		{"format 1", script("PRAGMA application_id = 1399540566", "PRAGMA user_version = 1",
			"CREATE TABLE kv (k TEXT NOT NULL PRIMARY KEY, x INTEGER, t TEXT NOT NULL, v BLOB NOT NULL)"), "format (user_version) 1; this version of skykv knows 2"},
		{"no table", ours(script("DROP TABLE kv")), "its schema is not skykv's: it has no index kv_x, index sqlite_autoindex_kv_1, table kv"},
		{"no index", ours(script("DROP INDEX kv_x")), "its schema is not skykv's: it has no index kv_x"},
		{"a trigger", ours(script("CREATE TRIGGER tr AFTER UPDATE ON kv BEGIN DELETE FROM kv WHERE k = 'other'; END")), "another program has added the trigger tr"},
		{"a trigger of a store in use", func(t *testing.T, path string) {
			elsewhere := filepath.Join(t.TempDir(), "other.db")
			reopen(t, elsewhere)
			c := openSQL(t, elsewhere)
			ask(t, c, "CREATE TRIGGER tr AFTER UPDATE ON kv BEGIN DELETE FROM kv WHERE k = 'other'; END")
			copyFiles(t, elsewhere, path)
		}, "another program has added the trigger tr"},
		{"a view", ours(script("CREATE VIEW vi AS SELECT k FROM kv")), "another program has added the view vi"},
		{"a view in the table's place", ours(script("ALTER TABLE kv RENAME TO real", "CREATE VIEW kv AS SELECT * FROM real")), "its schema is not skykv's"},
		{"another table beside it", ours(script("CREATE TABLE users (name TEXT)")), "another program has added the table users"},
		{"another collation", script("PRAGMA application_id = 1399540566", "PRAGMA user_version = 2",
			"CREATE TABLE kv (k TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, x INTEGER, t TEXT NOT NULL, p TEXT, c INTEGER NOT NULL, d INTEGER NOT NULL, v BLOB NOT NULL)",
			"CREATE INDEX kv_x ON kv (x) WHERE x IS NOT NULL"), "the table kv is from another program"},
		{"another table", script("PRAGMA application_id = 1399540566", "PRAGMA user_version = 2", "CREATE TABLE kv (key TEXT, value BLOB)"), "the table kv is from another program"},
		{"truncated", ours(func(t *testing.T, path string) {
			if err := os.Truncate(path, 4096*5); err != nil {
				t.Fatal(err)
			}
		}), "damaged"},
		{"truncated within a page", ours(func(t *testing.T, path string) {
			if err := os.Truncate(path, 1000); err != nil {
				t.Fatal(err)
			}
		}), "damaged"},
		{"garbage after the header", ours(func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(garbage[:8000], 100); err != nil {
				t.Fatal(err)
			}
		}), "damaged"},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "is not a regular file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "app.db")
			test.make(t, path)
			before := contents(t, dir)
			delete(before, "app.db-shm")
			for range 2 {
				_, err := localkv.New(path, nil)
				if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), strconv.Quote(path)) {
					t.Errorf("New: %v\nwant ErrIncompatible, the path, and %q", err, test.says)
				}
				after := contents(t, dir)
				delete(after, "app.db-shm")
				if !maps.Equal(before, after) {
					t.Fatalf("the refused file was changed:\nbefore %v\nafter  %v", before, after)
				}
			}
		})
	}
}

// An absent or empty file becomes a store; an existing store is opened.
func TestOwnFile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"absent", func(t *testing.T, path string) {}},
		{"empty", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"link", func(t *testing.T, path string) {
			target := filepath.Join(t.TempDir(), "target.db")
			reopen(t, target).Close()
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		}},
		{"open twice", func(t *testing.T, path string) { reopen(t, path) }},
		{"after a crash", func(t *testing.T, path string) {
			elsewhere := filepath.Join(t.TempDir(), "crash.db")
			store := reopen(t, elsewhere)
			if _, err := store.Put(t.Context(), "crash", []byte("value")); err != nil {
				t.Fatal(err)
			}
			copyFiles(t, elsewhere, path)
		}},
		{"with a rollback journal, by another tool", func(t *testing.T, path string) {
			reopen(t, path).Close()
			c := openSQL(t, path)
			if got := ask(t, c, "PRAGMA journal_mode = DELETE"); got != "delete" {
				t.Fatal(got)
			}
			c.Close()
		}},
		{"copied by VACUUM INTO", func(t *testing.T, path string) {
			elsewhere := filepath.Join(t.TempDir(), "from.db")
			reopen(t, elsewhere)
			ask(t, openSQL(t, elsewhere), "VACUUM INTO '"+path+"'")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "app.db")
			test.make(t, path)
			store := reopen(t, path)
			if _, err := store.Put(t.Context(), "key", []byte("value")); err != nil {
				t.Fatal(err)
			}
			if entry, err := store.Get(t.Context(), "key"); err != nil || string(entry.Value) != "value" {
				t.Errorf("Get: %q, %v", entry.Value, err)
			}
			if entry, err := store.Get(t.Context(), "crash"); test.name == "after a crash" && (err != nil || string(entry.Value) != "value") {
				t.Errorf("Get of an entry that was acknowledged before the crash: %q, %v", entry.Value, err)
			}
			if mode := ask(t, openSQL(t, path), "PRAGMA journal_mode"); mode != "wal" {
				t.Errorf("journal_mode is %q; want wal", mode)
			}
		})
	}
}

// If the file is gone or empty, but its log or journal is left and has writes, New returns an
// error, and creates and removes nothing. A log or journal without writes does not matter.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	// crashed returns the log that a crash leaves.
	crashed := func(t *testing.T) []byte {
		store, path := newStore(t)
		if _, err := store.Put(t.Context(), "key", []byte("lost")); err != nil {
			t.Fatal(err)
		}
		log, err := os.ReadFile(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return log
	}
	// journal returns the journal of a transaction in a file of that many pages. SQLite
	// undoes the transaction only if magic is the right magic number.
	journal := func(pages uint32, magic string) []byte {
		header := make([]byte, 512)
		copy(header, magic)
		binary.BigEndian.PutUint32(header[16:], pages)
		binary.BigEndian.PutUint32(header[20:], 512)
		binary.BigEndian.PutUint32(header[24:], 4096)
		return header
	}
	const magic = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
	for _, test := range []struct {
		name, suffix string
		content      []byte
		refused      bool
	}{
		{"an empty log", "-wal", nil, false},
		{"a log with writes", "-wal", crashed(t), true},
		{"an empty shared memory", "-shm", nil, false},
		{"an empty journal", "-journal", nil, false},
		{"a journal of a store that was being created", "-journal", journal(0, magic), false},
		{"an incomplete journal", "-journal", journal(5, ""), false},
		{"a journal of a transaction", "-journal", journal(5, magic), true},
	} {
		for _, empty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, file empty %t", test.name, empty), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path := filepath.Join(dir, "app.db")
				files := map[string][]byte{path + test.suffix: test.content}
				if empty {
					files[path] = nil
				}
				for name, content := range files {
					if err := os.WriteFile(name, content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				before := contents(t, dir)
				for range 2 {
					var failed []provider.Check
					for c := range localkv.Inspect(t.Context(), "file:"+path) {
						if c.Status == provider.Fail {
							failed = append(failed, c)
						}
					}
					if len(failed) != 1 || (failed[0].Step == "") != test.refused {
						t.Errorf("rule: Inspect reports what Open refuses; %+v", failed)
					}
					store, err := localkv.New(path, nil)
					if !test.refused {
						if err != nil {
							t.Fatalf("rule: a leftover without writes does not matter; got %v", err)
						}
						if _, err := store.Put(t.Context(), "key", []byte("new")); err != nil {
							t.Error(err)
						}
						if err := store.Close(); err != nil {
							t.Error(err)
						}
						checkIntegrity(t, path)
						return
					}
					if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "remove "+strconv.Quote(path+test.suffix)) {
						t.Errorf("rule: a leftover of a lost store is refused, and the error says what to remove; got %v", err)
					}
					if after := contents(t, dir); !maps.Equal(before, after) {
						t.Fatalf("rule: nothing is created or removed; before %v, after %v", before, after)
					}
				}
				if err := os.Remove(path + test.suffix); err != nil { // as the error says
					t.Fatal(err)
				}
				reopen(t, path)
			})
		}
	}
}

// Everything is in one file when the store is closed.
func TestClosedFile(t *testing.T) {
	t.Parallel()
	store, path := newStore(t)
	if _, err := store.Put(t.Context(), "key", []byte("value")); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if files := contents(t, filepath.Dir(path)); len(files) != 1 {
		t.Errorf("files after Close: %v; want one", files)
	}
}

func TestOpenURL(t *testing.T) {
	t.Parallel()
	dir := filepath.ToSlash(t.TempDir())
	urls := map[string]string{
		"file:" + dir + "/a.db":                             "a.db",
		"file:///" + strings.TrimPrefix(dir, "/") + "/b.db": "b.db",
		"file:" + dir + "/c%20d%23f.db":                     "c d#f.db",
		"file:" + dir + "/r.db?readers=1":                   "r.db",
		"file:" + dir + "/s.db?readers=1000":                "s.db",
	}
	if runtime.GOOS != "windows" { // on Windows no file can have these names
		urls["file:"+dir+"/c%3Fd.db"] = "c?d.db"
		urls["file:"+dir+"/:memory:"] = ":memory:"
	}
	for url, file := range urls {
		store, err := localkv.Open(t.Context(), url)
		if err != nil {
			t.Errorf("Open(%q): %v", url, err)
			continue
		}
		if _, err := store.Put(t.Context(), "key", nil); err != nil {
			t.Errorf("Open(%q): %v", url, err)
		}
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Errorf("Open(%q): %v", url, err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("Open(%q): Close: %v", url, err)
		}
	}
}

// An invalid URL or option is refused before anything is created, and the message says
// what is wanted.
func TestOpenInvalid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for url, says := range map[string]string{
		"":                                   "the scheme",
		"app.db":                             "the scheme",
		"sqlite:" + dir + "/a.db":            "the scheme",
		"file:":                              "there is no path",
		"file://":                            "there is no path",
		"file://host/a.db":                   "there is a host",
		"file:" + dir + "/a.db?mode=ro":      `parameter "mode" is unknown`,
		"file:" + dir + "/a.db?readers":      `parameter "readers" must have one value`,
		"file:" + dir + "/a.db?readers=0":    `parameter "readers" must be a number from 1 to 1000`,
		"file:" + dir + "/a.db?readers=1001": `parameter "readers" must be a number from 1 to 1000`,
		"file:" + dir + "/a.db?readers=x":    `parameter "readers" must be a number from 1 to 1000`,
		"file:" + dir + "/a.db#part":         "fragment",
		"file:" + dir + "/a%zz.db":           "cannot be parsed",
		"file:" + dir + "/a%00.db":           "zero byte",
	} {
		_, err := localkv.Open(t.Context(), url)
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), says) {
			t.Errorf("Open(%q): %v; want ErrInvalidOption and %q", url, err, says)
		}
	}
	for _, readers := range []int{-1, 1001} {
		if _, err := localkv.New(filepath.Join(dir, "a.db"), &localkv.Options{Readers: readers}); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("New with Readers %d: %v; want ErrInvalidOption", readers, err)
		}
	}
	if _, err := localkv.New("", nil); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("New without a path: %v; want ErrInvalidOption", err)
	}
	if files := contents(t, dir); len(files) != 0 {
		t.Errorf("refused calls created %v", files)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := localkv.Open(cancelled, "file:"+dir+"/a.db"); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a cancelled context: %v", err)
	}
}

func TestNoDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none", "app.db"), filepath.Join(file, "app.db"), dangling} {
		_, err := localkv.New(path, nil)
		if !errors.Is(err, kv.ErrNotProvisioned) || !strings.Contains(err.Error(), strconv.Quote(path)) {
			t.Errorf("New(%q): %v; want ErrNotProvisioned and the path", path, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("refused calls created something: %v, %v", entries, err)
	}
}
