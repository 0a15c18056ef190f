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

// opening is held while a file is looked at or opened: see checkFile.
var opening = make(chan struct{}, 1)

// beginOpening waits for its turn to hold opening. Whoever has it calls end.
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

// createFile creates the file, empty, unless it exists.
func createFile(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist): // since a moment ago, or as a dangling link
		_, err = os.Stat(path)
	case err == nil:
		err = f.Close()
	}
	if err != nil {
		return classifyFile(err)
	}
	return nil
}

// checkFile makes sure that the file at path is skykv's to open, without changing it, and
// returns its path without symbolic links. The caller holds opening.
//
// SQLite cannot look at a file in WAL mode without adding files beside it, so
// that the header is read directly. But closing a file gives up all POSIX locks
// that the process has on it, also those of other connections to it. Files that
// are in use have a log beside them, and those are left to SQLite, which takes
// care of its locks; holding opening keeps stores of this process from getting
// to use the file meanwhile.
func checkFile(ctx context.Context, path string) (string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", classifyFile(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", classifyFile(err)
	}
	if !info.Mode().IsRegular() {
		return "", errFile("it is no regular file")
	}
	if _, err := os.Lstat(path + "-wal"); err == nil {
		return path, checkInUse(ctx, path)
	}
	if info.Size() > 0 {
		if err := checkUnused(path); err != nil {
			return "", err
		}
	}
	// SQLite would open it for reading, leave a log, and fail later.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", classifyFile(err)
	}
	return path, f.Close()
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
	if err != nil || !bytes.HasPrefix(header[:], []byte("SQLite format 3\x00")) {
		return errFile("it is not an SQLite database")
	}
	return checkFormat(binary.BigEndian.Uint32(header[68:]), binary.BigEndian.Uint32(header[60:]))
}

// checkInUse has SQLite read the header of a file with a log.
func checkInUse(ctx context.Context, path string) error {
	c, err := connect(ctx, path, sqlite.OpenReadOnly)
	if err != nil {
		return explain(path, err)
	}
	defer c.Close()
	if err := checkHeader(ctx, c); err != nil {
		return explain(path, err)
	}
	return nil
}

// explain is classify for an error at opening, and finds out whether it is
// permissions that SQLite lacks.
func explain(path string, err error) error {
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultCantOpen {
		f, probe := os.CreateTemp(filepath.Dir(path), ".skykv-*")
		if probe != nil {
			return classifyFile(fmt.Errorf("SQLite needs to add files beside it: %w", probe))
		}
		f.Close()
		os.Remove(f.Name())
	}
	return classify(err)
}
