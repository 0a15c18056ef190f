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

// SQLite's suffixes for the log, the memory that processes share, and the journal that
// exists before the log.
const (
	logSuffix     = "-wal"
	sharedSuffix  = "-shm"
	journalSuffix = "-journal"
)

// opening is held while a file is checked or opened: see checkFile.
var opening = make(chan struct{}, 1)

// beginOpening waits for opening. The caller must call end.
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
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist): // just created, or a dangling link
		_, err = os.Stat(path)
	case err == nil:
		err = f.Close()
	}
	if err != nil {
		return classifyFile(err)
	}
	return nil
}

// checkFile checks that skykv may open the file at path, without changing the file, and
// returns its path without symbolic links. The caller holds opening.
//
// SQLite cannot read a file in WAL mode without adding files beside it, so checkFile
// reads the header directly. But closing a file drops all POSIX locks that the process
// has on it, also those of other connections. A file in use has a log beside it, and
// checkFile leaves such files to SQLite, which keeps its locks. Holding opening keeps
// other stores of this process from starting to use the file meanwhile.
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
	case info.Size() == 0: // it becomes a store
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
	// SQLite would open it read-only, leave a log, and fail later.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", classifyFile(err)
	}
	return path, f.Close()
}

// inUse reports whether a file has a log beside it. It has one while it is open and after
// a crash.
func inUse(path string) bool {
	_, err := os.Lstat(path + logSuffix)
	return err == nil
}

// leftover returns the path of a log or journal beside path that has data, or "". If the
// file itself is absent or empty, it was lost, and SQLite would delete this data. Look
// for leftovers first and then at the file: another process that creates the store writes
// the file before there is a log.
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

// journal reports whether a transaction without a log was interrupted, as in the creation
// of a store, and how many pages the file had before it. SQLite undoes it.
// https://www.sqlite.org/fileformat2.html#the_rollback_journal
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
	// An incomplete journal begins with zeros.
	hot = string(header[:8]) == "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
	return binary.BigEndian.Uint32(header[16:]), hot, nil
}

func errLeftover(path string) error {
	return errFile("it is absent or empty, but %q has writes of a store that was here: put that store's file back, or remove %q to begin with an empty store", path, path)
}

// checkUnused reads the header of a file without a log.
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
	if header == [100]byte{} { // a power cut during the creation of a store can leave this
		if pages, hot, err := journal(path); err != nil || hot && pages == 0 {
			return err
		}
	}
	if err != nil || !bytes.HasPrefix(header[:], []byte("SQLite format 3\x00")) {
		return errFile("it is not an SQLite database")
	}
	return checkFormat(binary.BigEndian.Uint32(header[68:]), binary.BigEndian.Uint32(header[60:]))
}

// checkInUse lets SQLite read the header of a file with a log.
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

// explain is classify for an error at opening. It also finds out whether SQLite lacks
// permissions.
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
