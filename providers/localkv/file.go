package localkv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"zombiezen.com/go/sqlite"
)

// SQLite's suffixes for the log, for the memory that processes share, and for the journal
// that a store has before it has a log.
const (
	logSuffix     = "-wal"
	sharedSuffix  = "-shm"
	journalSuffix = "-journal"
)

// opening is a lock that a goroutine holds while it checks a file, and while it opens a
// store's first connections to the file. checkFile explains why.
var opening = make(chan struct{}, 1)

// beginOpening acquires the lock opening. The caller must call end to release it.
func beginOpening(ctx context.Context) (end func(), err error) {
	select {
	case opening <- struct{}{}:
	case <-ctx.Done():
		return nil, errDone(ctx)
	}
	end = func() { <-opening }
	if ctx.Err() != nil {
		end()
		return nil, errDone(ctx)
	}
	return end, nil
}

// createFile creates an empty file, unless the file exists.
func createFile(path string) error {
	left, err := leftover(path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if left != "" {
		return errLeftover(left)
	}
	if err := checkFolder(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist): // another process has just created the file, or path is a dangling link
		_, err = os.Stat(path)
	case err == nil:
		err = f.Close()
	}
	if err != nil {
		return classifyFile(err)
	}
	return nil
}

// checkFile returns an error unless skykv may open the file at path. It does not change the
// file. It returns the path without symbolic links. The caller must hold the lock opening.
//
// SQLite cannot read a file in WAL mode without adding files beside it, so checkFile reads
// the header directly. But closing a file drops all POSIX locks that the process has on it,
// including the locks of other connections. So checkFile must not read a file that is in use:
// see inUse. It reads such a file through SQLite, which keeps the locks. No other store of
// this process can begin to use the file before checkFile returns, because the caller holds
// the lock opening.
func checkFile(ctx context.Context, path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", classifyFile(err)
	}
	left, err := leftover(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", classifyFile(err)
	}
	if !info.Mode().IsRegular() {
		return "", errFile("it is not a regular file")
	}
	if err := checkNames(path, info); err != nil {
		return "", err
	}
	switch {
	case info.Size() == 0 && left != "":
		return "", errLeftover(left)
	case info.Size() == 0: // New will make a store of it
	case inUse(path):
		if err := checkLog(path); err != nil {
			return "", err
		}
		return path, checkInUse(ctx, path)
	default:
		if err := checkUnused(path); err != nil {
			return "", err
		}
	}
	// Check that the file is writable. If it were not, SQLite would open it read-only, leave
	// a log, and fail later.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", classifyFile(err)
	}
	return path, f.Close()
}

// inUse reports whether the file at path has a log beside it. A file has a log while it is
// open, and after a crash.
func inUse(path string) bool {
	_, err := os.Lstat(path + logSuffix)
	return err == nil
}

// leftover returns the path of a log or journal that is beside path and has data, or "". If
// the file itself is absent or empty, only this data is left of a store, and SQLite would
// delete it. Call leftover before you look at the file. A process that creates the store
// writes the file before the log. So in the reverse order, you could miss the file and then
// find the log.
func leftover(path string) (string, error) {
	info, err := os.Stat(path + logSuffix)
	if err == nil && info.Size() > 0 {
		return path + logSuffix, nil
	}
	pages, hot, err := journal(path)
	if err != nil || !hot || pages == 0 { // a journal without pages is from the creation of a store
		return "", err
	}
	return path + journalSuffix, nil
}

// journal reports whether the file at path has a journal of an interrupted transaction, such
// as the creation of a store, and how many pages the file had before the transaction. SQLite
// undoes the transaction. https://www.sqlite.org/fileformat2.html#the_rollback_journal
func journal(path string) (pages uint32, hot bool, err error) {
	f, err := os.Open(path + journalSuffix)
	if err != nil {
		return 0, false, nil
	}
	defer f.Close()
	var header [20]byte
	if _, err := io.ReadFull(f, header[:]); err != nil && unlessEnd(err) != nil {
		return 0, false, unlessEnd(err)
	}
	// This is the magic number of a complete journal. An incomplete one begins with zeros.
	hot = string(header[:8]) == "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
	return binary.BigEndian.Uint32(header[16:]), hot, nil
}

func errLeftover(path string) error {
	return errFile("it is absent or empty, but %q has writes of a store that was here: put that store's file back, or remove %q to begin with an empty store", path, path)
}

// checkUnused checks the header of a file that has no log.
// https://www.sqlite.org/fileformat2.html#the_database_header
func checkUnused(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return classifyFile(err)
	}
	defer f.Close()
	var header [100]byte
	_, err = io.ReadFull(f, header[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return classifyFile(err)
	}
	if header == [100]byte{} { // if a power cut interrupted the creation of the store, SQLite undoes it
		if pages, hot, err := journal(path); err != nil || hot && pages == 0 {
			return err
		}
	}
	if err != nil || !bytes.HasPrefix(header[:], []byte("SQLite format 3\x00")) {
		return errFile("it is not an SQLite database")
	}
	return checkFormat(binary.BigEndian.Uint32(header[68:]), binary.BigEndian.Uint32(header[60:]))
}

// checkInUse checks the header and schema of a file that has a log. It reads them through
// SQLite.
func checkInUse(ctx context.Context, path string) error {
	c, err := connect(ctx, path, sqlite.OpenReadOnly)
	if err != nil {
		return explain(path, err)
	}
	defer c.Close()
	err = checkHeader(ctx, c)
	if err == nil {
		err = checkSchema(ctx, c)
	}
	if err != nil {
		return explain(path, err)
	}
	return nil
}

// explain classifies an error of opening the file at path. If SQLite could not open a file,
// explain finds out whether permissions are missing.
func explain(path string, err error) error {
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultCantOpen {
		f, probe := os.CreateTemp(filepath.Dir(path), ".skykv-*")
		if probe != nil {
			return classifyFile(fmt.Errorf("SQLite must be able to add files beside it: %w", probe))
		}
		f.Close()
		os.Remove(f.Name())
	}
	return classify(err)
}
