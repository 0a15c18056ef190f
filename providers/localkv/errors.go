package localkv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

var errClosed = &kv.Error{Kind: kv.ErrClosed}

// opError is the error of an operation that has no store to complete its errors.
func opError(op string, err error) *kv.Error {
	if e, ok := errors.AsType[*kv.Error](err); ok {
		return &kv.Error{Op: op, Provider: name, Kind: e.Kind, Err: e.Err}
	}
	return &kv.Error{Op: op, Provider: name, Err: err}
}

// errInvalid is the error of an argument that cannot be.
func errInvalid(op, format string, args ...any) *kv.Error {
	return &kv.Error{Op: op, Provider: name, Kind: kv.ErrInvalidOption, Err: fmt.Errorf(format, args...)}
}

// errFile is the error of a file that is not skykv's to use.
func errFile(format string, args ...any) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf(format, args...)}
}

// errForeign is the error of a row that skykv did not write.
func errForeign(what, want string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("skykv did not write the row under this key: want %s to be %s", what, want)}
}

// errDamaged is the error of a row whose content is not what a checksum says.
func errDamaged(sum string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: errors.New("the row under this key is damaged, or another program changed it: its content does not match its checksum " + sum)}
}

// errDone is the error of a call whose context ended before anything was written.
func errDone(ctx context.Context) error {
	return &kv.Error{Err: ctx.Err()}
}

// isBusy reports whether SQLite gave up because another connection is in the way.
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

// isDamage reports whether SQLite found that parts of the file do not fit together.
func isDamage(err error) bool {
	return err != nil && sqlite.ErrCode(err).ToPrimary() == sqlite.ResultCorrupt
}

// classify turns SQLite's errors into the store's. Those that it knows are of
// statements that wrote nothing, or whose transaction was rolled back.
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
	case sqlite.ResultError: // such as a table that somebody dropped
		e.Kind = kv.ErrIncompatible
	}
	return e
}

// classifyCommit is classify for a COMMIT, after which the transaction was
// rolled back: no reader sees it. When the disk is full the last frame of the
// write-ahead log, which commits the others, is incomplete, and nothing can bring
// it back. After any other error the log may hold all of it, and would be
// replayed if every process died before the next write.
func classifyCommit(err error) error {
	e, ok := errors.AsType[*kv.Error](classify(err))
	if !ok {
		return err
	}
	e.MayHaveApplied = !isBusy(err) && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultFull
	return e
}

// classifyFile is for errors of the os package about the file or its directory.
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
