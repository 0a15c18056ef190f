package localkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const opBackup = "backup"

// Backup copies the store in the file at path into a new file at dest, as it is at one
// moment. Processes may have the store open and write to it meanwhile. The copy has all
// entries with their versions, and no free space. Open it like any other file.
//
// Writers do not wait for a backup, but the store's log grows until it ends. If no process
// has the store open, Backup opens it as [New] does. The copy is named DEST.partial until
// it is complete and on the disk. It has the mode of the file at path.
//
// The errors are the errors of [New] for path, also [kv.ErrNotProvisioned] if there is no
// store in it, and [kv.ErrInvalidOption] if there is a file at dest or DEST.partial, which
// Backup does not change. Backup copies a damaged row as it is: check the copy with
// [Inspect]. After an error there is no copy.
func Backup(ctx context.Context, path, dest string) error {
	for _, p := range []string{path, dest} {
		if p == "" || strings.ContainsRune(p, 0) {
			return errInvalid(opBackup, "a path is empty or has a zero byte; want the paths of a file and of its copy")
		}
	}
	err := backup(ctx, path, dest)
	if err == nil {
		return nil
	}
	e := opError(opBackup, err)
	e.Err = fmt.Errorf("of file %q to %q: %w", path, dest, e.Err)
	return e
}

// BackupURL is [Backup] for the store of a URL of [Open].
func BackupURL(ctx context.Context, url, dest string) error {
	u, err := parseURL(url)
	if err != nil {
		return err
	}
	return Backup(ctx, u.path, dest)
}

func backup(ctx context.Context, path, dest string) (err error) {
	c, info, err := openToCopy(ctx, path)
	if err != nil {
		return err
	}
	defer c.Close()
	if dest, err = filepath.Abs(dest); err != nil {
		return classifyFile(err)
	}
	partial := dest + ".partial"
	if err := createCopy(dest, partial, info.Mode().Perm()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(partial)
		}
	}()
	c.SetInterrupt(ctx.Done())
	options := sqlitex.ExecOptions{Args: []any{partial}}
	err = whenFree(ctx, lockWait, func() error { return sqlitex.ExecuteTransient(c, "VACUUM INTO ?1", &options) })
	switch {
	case ctx.Err() != nil:
		return errDone(ctx)
	case err != nil:
		return classify(err)
	}
	if err := syncPath(partial); err != nil {
		return classifyFile(err)
	}
	if err := publish(partial, dest); err != nil {
		return classifyFile(err)
	}
	_ = syncPath(filepath.Dir(dest)) // some systems do not support it
	return nil
}

// openToCopy opens a connection to the store in the file at path.
func openToCopy(ctx context.Context, path string) (*sqlite.Conn, os.FileInfo, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, classifyFile(err)
	}
	end, err := beginOpening(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	if path, err = checkFile(ctx, path); err != nil {
		return nil, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, classifyFile(err)
	}
	if info.Size() == 0 {
		return nil, nil, &kv.Error{Kind: kv.ErrNotProvisioned, Err: errors.New("the file is empty: it has no store yet")}
	}
	c, err := connect(ctx, path, sqlite.OpenReadWrite, pragmas...)
	if err != nil {
		return nil, nil, explain(path, err)
	}
	err = checkHeader(ctx, c)
	if err == nil {
		err = checkSchema(ctx, c)
	}
	if err != nil {
		c.Close()
		return nil, nil, explain(path, err)
	}
	return c, info, nil
}

// createCopy creates an empty file for a copy. It replaces no file.
func createCopy(dest, partial string, mode os.FileMode) error {
	exists := func(path string) error {
		return &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the file %q exists: remove it, or name another destination", path)}
	}
	// SQLite would use a log beside it as the copy's log.
	for _, path := range []string{dest, dest + logSuffix, dest + journalSuffix} {
		if _, err := os.Lstat(path); err == nil {
			return exists(path)
		}
	}
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return exists(partial)
	case err != nil:
		return classifyFile(err)
	}
	if err := f.Close(); err != nil {
		os.Remove(partial)
		return classifyFile(err)
	}
	return nil
}

// syncPath waits until a file or a folder is on the disk.
func syncPath(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		f, err = os.Open(path) // a folder
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// publish renames a file. It replaces no file if the file system supports that.
func publish(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, fs.ErrExist):
		return err
	}
	return os.Rename(from, to) // the file system has no hard links
}
