package localkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

var errClosed = &kv.Error{Kind: kv.ErrClosed}

// opError adds the operation and the provider to the error of a function such as New, which is
// not a method of a store. The kv.Store adds them to the errors of its methods.
func opError(op string, err error) *kv.Error {
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return &kv.Error{Op: op, Provider: name, Kind: e.Kind, Err: e.Err}
	}
	return &kv.Error{Op: op, Provider: name, Err: err}
}

// errInvalid returns the error of an invalid argument.
func errInvalid(op, format string, args ...any) *kv.Error {
	return &kv.Error{Op: op, Provider: name, Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)}
}

// errFile returns the error of a file that skykv must not use.
func errFile(format string, args ...any) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf(format, args...)}
}

// errForeign returns the error of a row that skykv did not write.
func errForeign(what, want string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("skykv did not write the row under this key: want %s to be %s", what, want)}
}

// errDamaged returns the error of a row whose content does not match a checksum.
func errDamaged(sum string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: errors.New("the row under this key is damaged, or another program changed it: its content does not match its checksum " + sum)}
}

// errDone returns the error of a call whose context ended before the call wrote anything.
func errDone(ctx context.Context) error {
	return &kv.Error{Err: ctx.Err()}
}

// isBusy reports whether SQLite gave up because of another connection's lock.
func isBusy(err error) bool {
	if err == nil {
		return false
	}
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultBusy, sqlite.ResultLocked, sqlite.ResultProtocol:
		return true
	}
	return false
}

// isDamage reports whether SQLite found inconsistent structures in the file.
func isDamage(err error) bool {
	return err != nil && sqlite.ErrCode(err).ToPrimary() == sqlite.ResultCorrupt
}

// classify turns an error of SQLite into a *kv.Error. The error must come from a statement
// that wrote nothing or whose transaction was rolled back.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ours := errors.AsType[*kv.Error](err); ours {
		return err
	}
	e := &kv.Error{Kind: kv.ErrUnavailable, Err: err}
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultBusy, sqlite.ResultLocked, sqlite.ResultProtocol:
		e.Err = errors.New("another process holds the file's lock")
	case sqlite.ResultFull:
		e.Err = fmt.Errorf("no space is left for the file: %w", err)
	case sqlite.ResultReadOnly, sqlite.ResultPerm, sqlite.ResultAuth:
		e.Kind = kv.ErrPermission
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		e.Kind = kv.ErrIncompatible
		e.Err = fmt.Errorf("the file is damaged, or not an SQLite database: %w", err)
	case sqlite.ResultError: // for example, another program dropped the table
		e.Kind = kv.ErrIncompatible
	}
	return e
}

// classifyCommit classifies an error of a COMMIT. The transaction was rolled back, so no
// reader sees it. On a full disk, the last frame of the write-ahead log is incomplete.
// Without this frame the transaction's other frames do not count, so the transaction cannot
// come back. After most other errors the log may have the whole transaction. SQLite would
// replay it if every process died before the next write.
func classifyCommit(err error) error {
	e, ok := errors.AsType[*kv.Error](classify(err))
	if !ok {
		return err
	}
	e.MayHaveApplied = !isBusy(err) && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultFull
	return e
}

// classifyFile classifies an error of the os package about the file or its directory.
func classifyFile(err error) error {
	e := &kv.Error{Kind: kv.ErrUnavailable, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind = kv.ErrNotProvisioned
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Kind = kv.ErrPermission
	case errors.Is(err, syscall.ENOTDIR):
		e.Kind = kv.ErrNotProvisioned
	}
	return e
}

// checkFolder returns an error if path is in a folder that does not exist. skykv does not
// create the folder, because the path may have a typing error.
func checkFolder(path string) error {
	folder := filepath.Dir(path)
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return &kv.Error{Kind: kv.ErrNotProvisioned, Err: fmt.Errorf("there is no folder %s; create it, or fix the path: %w", folder, err)}
	}
	return nil
}
