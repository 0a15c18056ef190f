package localkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Inspect checks what the store of a URL of [Open] needs, without changing anything: the
// folder, the file, whether the file has a store of a known format, and whether its content
// is damaged. The last check reads the whole file. Inspect ends after the first check that
// fails.
func Inspect(ctx context.Context, url string) iter.Seq[provider.Check] {
	return func(yield func(provider.Check) bool) {
		var path string
		u, err := parseURL(url)
		if err == nil {
			path, err = filepath.Abs(u.path)
		}
		if err != nil {
			yield(provider.Failed("url", err, "see: skykv help"))
			return
		}
		for _, look := range []func(ctx context.Context, path string) provider.Check{inspectFolder, inspectFile, inspectLayout, inspectContent} {
			if c := look(ctx, path); !yield(c) || c.Status == provider.Fail {
				return
			}
		}
	}
}

func inspectFolder(_ context.Context, path string) provider.Check {
	const name = "folder"
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return provider.Check{Name: name, Status: provider.Fail, Detail: "there is no folder " + folder, Fix: "create it, or fix the path in the URL"}
	}
	return provider.Check{Name: name, Status: provider.OK, Detail: folder + " exists"}
}

func inspectFile(_ context.Context, path string) provider.Check {
	const name = "file"
	fix := provider.Provision + ", or put an entry"
	left, err := leftover(path)
	if err != nil {
		return provider.Failed(name, err, "see the message")
	}
	info, err := os.Stat(path)
	switch {
	case left != "" && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0):
		return provider.Check{Name: name, Status: provider.Fail, Detail: path + " is absent or empty, but " + left + " has writes of a store that was here", Fix: "put that store's file back, or remove " + left + " to begin with an empty store"}
	case errors.Is(err, fs.ErrNotExist):
		return provider.Check{Name: name, Status: provider.Fail, Detail: "there is no file " + path, Fix: fix, Step: "create the file " + path}
	case err != nil:
		return provider.Failed(name, err, "see the message")
	case !info.Mode().IsRegular():
		return provider.Check{Name: name, Status: provider.Fail, Detail: path + " is not a regular file", Fix: "fix the path in the URL"}
	case info.Size() == 0: // opening it would create a store
		return provider.Check{Name: name, Status: provider.Fail, Detail: "the file " + path + " is empty", Fix: fix, Step: "create a store in the empty file " + path}
	}
	return provider.Check{Name: name, Status: provider.OK, Detail: path + " exists"}
}

func inspectLayout(ctx context.Context, path string) provider.Check {
	const name = "layout"
	end, err := beginOpening(ctx)
	if err == nil {
		defer end()
		_, err = checkFile(ctx, path)
	}
	switch {
	case errors.Is(err, kv.ErrPermission):
		return provider.Failed(name, err, "let this user read and write the file and its folder")
	case errors.Is(err, kv.ErrIncompatible):
		return provider.Failed(name, err, "see the message, or name another file in the URL")
	case err != nil:
		return provider.Failed(name, err, "see the message")
	}
	return provider.Check{Name: name, Status: provider.OK, Detail: fmt.Sprintf("a store of skykv, format %d", format)}
}

func inspectContent(ctx context.Context, path string) provider.Check {
	const name = "content"
	const restore = "restore a backup, or save what can be read: skykv export --help"
	if _, hot, err := journal(path); err == nil && hot && !inUse(path) {
		return provider.Check{Name: name, Status: provider.Warn, Detail: "a process died while it created the store: the next open repairs it", Fix: "open the store once, and check again"}
	}
	rows, err := checkContent(ctx, path)
	switch {
	case errors.Is(err, errStructure):
		return provider.Failed(name, err, "if the message names only an index, let SQLite rebuild it by REINDEX; otherwise "+restore)
	case errors.Is(err, kv.ErrIncompatible):
		return provider.Failed(name, err, restore)
	case err != nil: // the content could not be read, which says nothing about it
		return provider.Failed(name, err, "see the message")
	case rows.bad > 0:
		return provider.Check{
			Name: name, Status: provider.Fail, Err: rows.first,
			Detail: fmt.Sprintf("%d of %d rows are damaged, or skykv did not write them; the first is %q: %s", rows.bad, rows.all, rows.key, strings.TrimPrefix(rows.first.Error(), "kv: ")),
			Fix:    "put or delete those keys (scan reports each), or restore a backup",
		}
	}
	return provider.Check{Name: name, Status: provider.OK, Detail: fmt.Sprintf("rows: %d, expired ones included; all checksums match", rows.all)}
}

// errStructure is for damage of SQLite's own structures, such as an index that lacks a key.
var errStructure = errors.New("SQLite's structures are damaged")

// checkContent reads the whole file. SQLite checks its own structures, and checkContent
// checks every row.
func checkContent(ctx context.Context, path string) (rows rowCount, err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return rows, classifyFile(err)
	}
	for {
		shared := inUse(path)
		rows, err = checkContentOnce(ctx, path, shared)
		if err == nil && rows.bad == 0 || shared || !inUse(path) {
			return rows, err
		}
		// The file was read as an unused file, but meanwhile another process has opened it.
		// The other process's changes may look like damage, so check again.
	}
}

func checkContentOnce(ctx context.Context, path string, shared bool) (rows rowCount, err error) {
	name, flags := path, sqlite.OpenReadOnly
	if !shared { // without immutable=1, SQLite would add a log
		slashed := filepath.ToSlash(path)
		if !strings.HasPrefix(slashed, "/") {
			slashed = "/" + slashed // on Windows
		}
		name = (&url.URL{Scheme: "file", Path: slashed, RawQuery: "immutable=1"}).String()
		flags |= sqlite.OpenURI
	}
	c, err := connect(ctx, name, flags)
	if err != nil {
		return rows, explain(path, err)
	}
	defer c.Close()
	c.SetInterrupt(ctx.Done())
	var problems []string
	options := sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		problems = append(problems, stmt.ColumnText(0))
		return nil
	}}
	err = whenFree(ctx, lockWait, func() error {
		problems = nil
		return sqlitex.ExecuteTransient(c, "PRAGMA integrity_check(3)", &options)
	})
	if err == nil && (len(problems) != 1 || problems[0] != "ok") {
		return rows, errFile("%w: %s", errStructure, strings.Join(problems, "; "))
	}
	if err == nil {
		err = checkSchema(ctx, c)
	}
	if err == nil {
		rows, err = countRows(ctx, c)
	}
	if ctx.Err() != nil {
		return rows, errDone(ctx)
	}
	return rows, classify(err)
}
