package localkv

import (
	"errors"
	"fmt"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

// The file's header says whose it is and of which format: SQLite's
// application_id and user_version.
const (
	applicationID = 0x536b4b56 // "SkKV"
	format        = 1
)

// createTable makes the table. The value comes last: SQLite reads a row from its
// front, so that the other columns of a large row cost one page. A table with a
// rowid keeps rows of 1 KiB in their leaf page, where WITHOUT ROWID moves all
// beyond a quarter of a page to a page of their own; measured with pages of 4 to
// 16 KiB, that makes gets up to four and puts up to three times as slow.
const createTable = `
CREATE TABLE kv (
  k TEXT NOT NULL PRIMARY KEY, -- key, in byte order
  x INTEGER,                   -- expiry in ms since 1970, or NULL
  t TEXT NOT NULL,             -- token of the write
  v BLOB NOT NULL              -- value
)`

// createIndex is for the removal of expired rows. Rows without an expiry are not in it.
const createIndex = "CREATE INDEX kv_x ON kv (x) WHERE x IS NOT NULL"

const (
	selectRecord = "SELECT x, t, v FROM kv WHERE k = ?1"
	selectMeta   = "SELECT x, t FROM kv WHERE k = ?1"

	scanRecords = "SELECT x, t, k, v FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k"
	scanMeta    = "SELECT x, t, k FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k"

	putAlways  = "INSERT INTO kv (k, x, t, v) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (k) DO UPDATE SET x = excluded.x, t = excluded.t, v = excluded.v"
	putAbsent  = putAlways + " WHERE kv.x BETWEEN 1 AND ?5"
	putVersion = "UPDATE kv SET x = ?2, t = ?3, v = ?4 WHERE k = ?1 AND t = ?5"

	deleteAlways  = "DELETE FROM kv WHERE k = ?1"
	deleteVersion = "DELETE FROM kv WHERE k = ?1 AND t = ?2"

	deleteExpired = "DELETE FROM kv WHERE rowid IN (SELECT rowid FROM kv WHERE x BETWEEN 1 AND ?1 ORDER BY x LIMIT ?2)"
)

// bind hands rec to one of the put statements.
func bind(stmt *sqlite.Stmt, rec *kv.Record) {
	stmt.BindText(1, rec.Key)
	if rec.Expires == 0 {
		stmt.BindNull(2)
	} else {
		stmt.BindInt64(2, rec.Expires)
	}
	stmt.BindText(3, rec.Token)
	stmt.BindBytes(4, rec.Value)
}

// decode reads the row of stmt, whose first columns are x and t. The value is
// copied once, from column value unless that is negative.
func decode(stmt *sqlite.Stmt, key string, value int) (kv.Record, error) {
	rec := kv.Record{Key: key}
	switch stmt.ColumnType(0) {
	case sqlite.TypeNull:
	case sqlite.TypeInteger:
		if rec.Expires = stmt.ColumnInt64(0); rec.Expires <= 0 {
			return rec, errForeign("its expiry x is not positive")
		}
	default:
		return rec, errForeign("its expiry x is no integer")
	}
	if stmt.ColumnType(1) != sqlite.TypeText || stmt.ColumnLen(1) == 0 {
		return rec, errForeign("its token t is no text, or empty")
	}
	rec.Token = stmt.ColumnText(1)
	rec.Version = rec.Token
	if value >= 0 {
		if stmt.ColumnType(value) != sqlite.TypeBlob {
			return rec, errForeign("its value v is no blob")
		}
		rec.Value = make([]byte, stmt.ColumnLen(value))
		stmt.ColumnBytes(value, rec.Value)
	}
	return rec, nil
}

// expired reports whether the row of stmt, whose first column is x, is expired at
// now. A row with another x than skykv writes never is.
func expired(stmt *sqlite.Stmt, now int64) bool {
	x := stmt.ColumnInt64(0)
	return x > 0 && x <= now && stmt.ColumnType(0) == sqlite.TypeInteger
}

// lookup reads the record under key with selectRecord or selectMeta.
func lookup(stmt *sqlite.Stmt, key string, withValue bool) (rec kv.Record, found bool, err error) {
	stmt.BindText(1, key)
	if found, err = stmt.Step(); err != nil {
		return rec, false, err
	}
	if found {
		value := -1
		if withValue {
			value = 2
		}
		rec, err = decode(stmt, key, value)
	}
	stmt.Reset() // ends the read transaction; repeats at most an error of Step
	return rec, found, err
}

// errForeign is the error of a row that skykv did not write.
func errForeign(why string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: errors.New("skykv did not write the row under this key: " + why)}
}

// errFile is the error of a file that is not skykv's to use.
func errFile(format string, args ...any) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf(format, args...)}
}
