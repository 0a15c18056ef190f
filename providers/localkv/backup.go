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

// Backup copies the store in the file at path, in its state at one moment, into a new file
// at dest. Processes may have the store open and write to it meanwhile. The copy has all
// entries with their versions, but none of the file's unused space. Open the copy like any
// other file.
//
// Writers do not wait for a backup, but the store's log grows until the backup ends. If no
// process has the store open, Backup opens it as [New] does. The copy is named DEST.partial
// until it is complete and on the disk. The copy has the mode of the file at path, less the
// umask.
//
// The errors are those of [New] for path. In addition, Backup returns [kv.ErrNotProvisioned]
// if there is no store at path, and [kv.ErrInvalidOption] if there already is a file at dest,
// DEST.partial, DEST-wal or DEST-journal, which Backup does not change. Backup copies a
// damaged row as it is, so check the copy with [Inspect]. After an error there is no copy.
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

// BackupURL is like [Backup], for the store of a URL of [Open].
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
		return err
	}
	_ = syncPath(filepath.Dir(dest)) // ignore the error: some systems cannot sync a folder
	return nil
}

// openToCopy opens a connection to the store in the file at path, if there is one.
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

// errExists returns the error for a file that Backup would have to replace.
func errExists(path string) error {
	return &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the file %q exists: remove it, or name another destination", path)}
}

// createCopy creates the empty file partial, for a copy to dest. It does not replace a file.
func createCopy(dest, partial string, mode os.FileMode) error {
	// There must be no log or journal beside dest either: SQLite would take it for the copy's
	// log or journal.
	for _, path := range []string{dest, dest + logSuffix, dest + journalSuffix} {
		if _, err := os.Lstat(path); err == nil {
			return errExists(path)
		}
	}
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return errExists(partial)
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
		f, err = os.Open(path) // a folder cannot be opened for writing
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// publish renames a file. If the file system has hard links, publish never replaces a file:
// unlike os.Rename, os.Link fails if there is a file at the path to.
func publish(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		_ = os.Remove(from) // ignore the error: the copy is complete
		return nil
	case errors.Is(err, fs.ErrExist):
		return errExists(to) // another process has created it meanwhile
	}
	if err := os.Rename(from, to); err != nil { // the file system has no hard links
		return classifyFile(err)
	}
	return nil
}
