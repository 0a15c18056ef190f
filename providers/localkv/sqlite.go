package localkv

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

const (
	// lockWait is the longest time that a call waits for a lock of another process. The
	// call's context may end the wait earlier.
	lockWait = time.Minute

	// pollEvery is the time between two attempts to get a lock. SQLite's own busy handler is
	// off, for two reasons: it waits up to a tenth of a second between attempts, and to end
	// its wait with a context would take a goroutine for each call.
	pollEvery = 500 * time.Microsecond
)

// pragmas are set on every connection of a store.
var pragmas = []string{
	"PRAGMA synchronous = FULL",           // a commit returns only when it is on the disk
	"PRAGMA fullfsync = ON",               // for macOS, where fsync alone would leave a commit in the disk's cache
	"PRAGMA checkpoint_fullfsync = ON",    // the same for checkpoints
	"PRAGMA journal_size_limit = 8388608", // a log that grew in a burst shrinks again
	"PRAGMA trusted_schema = OFF",         // the schema cannot call functions that have side effects
}

// queryOnly is set on a store's connections that only read.
const queryOnly = "PRAGMA query_only = ON"

// These statements begin and end transactions.
const (
	beginRead  = "BEGIN"
	beginWrite = "BEGIN IMMEDIATE" // takes the file's write lock
	commit     = "COMMIT"
	rollback   = "ROLLBACK"
)

// connect opens a connection and runs statements on it. The path must be absolute, or a URI if
// flags has sqlite.OpenURI. SQLite would take some relative paths for special names.
func connect(ctx context.Context, path string, flags sqlite.OpenFlags, statements ...string) (*sqlite.Conn, error) {
	c, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return nil, err
	}
	c.SetBusyTimeout(0)
	for _, statement := range statements {
		if err := run(ctx, c, statement); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// run executes a statement, without preparing it for later use. If another connection holds the
// lock, run waits for it.
func run(ctx context.Context, c *sqlite.Conn, statement string) error {
	_, err := query(ctx, c, statement)
	return err
}

// query executes a statement like run, and returns the first column of the last row.
func query(ctx context.Context, c *sqlite.Conn, statement string) (answer string, err error) {
	options := sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		answer = stmt.ColumnText(0)
		return nil
	}}
	err = whenFree(ctx, lockWait, func() error { return sqlitex.ExecuteTransient(c, statement, &options) })
	return answer, err
}

// prepare prepares the statements that are the keys of the map, for the life of the
// connection. The values point to the variables that it sets.
func prepare(ctx context.Context, c *sqlite.Conn, statements map[string]**sqlite.Stmt) error {
	for sql, stmt := range statements {
		err := whenFree(ctx, lockWait, func() (err error) {
			*stmt, err = c.Prepare(sql)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// exec executes a prepared statement that returns no row.
func exec(stmt *sqlite.Stmt) error {
	if _, err := stmt.Step(); err != nil {
		return err
	}
	return stmt.Reset()
}

// whenFree calls f, and calls it again as long as f fails because another connection holds
// the lock. It stops when ctx ends or the duration wait has passed.
func whenFree(ctx context.Context, wait time.Duration, f func() error) error {
	return poll(ctx, wait, isBusy, f)
}

// poll calls f, and calls it again as long as the function retry returns true for its error.
// It stops when ctx ends or the duration wait has passed.
func poll(ctx context.Context, wait time.Duration, retry func(error) bool, f func() error) error {
	err := f()
	if err == nil || !retry(err) {
		return err
	}
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	tooLong := time.NewTimer(wait)
	defer tooLong.Stop()
	for err != nil && retry(err) {
		select {
		case <-ticks.C:
			err = f()
		case <-tooLong.C:
			return err
		case <-ctx.Done():
			return errDone(ctx)
		}
	}
	return err
}

// useLog switches to write-ahead logging.
func useLog(ctx context.Context, c *sqlite.Conn) error {
	mode, err := query(ctx, c, "PRAGMA journal_mode = WAL")
	if err != nil {
		return err
	}
	if mode != "wal" {
		return &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("SQLite cannot use write-ahead logging for it; want a local disk, not a network file system")}
	}
	return nil
}

// restartLog starts the write-ahead log over. It waits for the readers of the log's older
// parts, but no longer than the duration wait, and reports whether it succeeded.
func restartLog(c *sqlite.Conn, wait time.Duration) bool {
	busy := int64(1)
	c.SetBusyTimeout(wait)
	defer c.SetBusyTimeout(0)
	// If the checkpoint fails, a later commit reports the error.
	_ = sqlitex.ExecuteTransient(c, "PRAGMA wal_checkpoint(RESTART)", &sqlitex.ExecOptions{
		ResultFunc: func(stmt *sqlite.Stmt) error {
			busy = stmt.ColumnInt64(0)
			return nil
		},
	})
	return busy == 0
}
