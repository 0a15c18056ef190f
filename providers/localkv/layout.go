package localkv

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Only this file knows the layout: the table, its columns and its index.

// The file's header has the owner and the format: SQLite's application_id and
// user_version.
const (
	applicationID = 0x536b4b56 // "SkKV"
	format        = 2
)

// createTable creates the table. The value comes last: SQLite reads a row from its
// front, so the other columns of a large row cost one page. A table with a rowid keeps
// rows of 1 KiB in their leaf page. WITHOUT ROWID would move everything beyond a
// quarter of a page to a separate page. Measured with pages of 4 to 16 KiB, that makes
// gets up to four times and puts up to three times as slow.
const createTable = `
CREATE TABLE kv (
  k TEXT NOT NULL PRIMARY KEY, -- key, in byte order
  x INTEGER,                   -- expiry in ms since 1970, or NULL
  t TEXT NOT NULL,             -- token of the write
  p TEXT,                      -- predecessors of the write, or NULL
  c INTEGER NOT NULL,          -- checksum of k, x, t and p
  d INTEGER NOT NULL,          -- checksum of k and v
  v BLOB NOT NULL              -- value
)`

// createIndex is for the removal of expired rows. It has no rows without an expiry.
const createIndex = "CREATE INDEX kv_x ON kv (x) WHERE x IS NOT NULL"

// schema is the expected schema of the file: the statements that created its objects,
// by type and name. SQLite itself creates an index of the keys.
var schema = map[string]string{
	"table kv":                    strings.TrimSpace(createTable),
	"index kv_x":                  createIndex,
	"index sqlite_autoindex_kv_1": "",
}

// selectSchema reads the schema for the comparison.
const (
	selectSchema        = "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema"
	selectSchemaVersion = "PRAGMA schema_version" // changes with the schema
)

// rebuildIndex rebuilds the index of createIndex.
const rebuildIndex = "REINDEX kv_x"

const (
	selectMeta   = "SELECT x, t, p, c FROM kv WHERE k = ?1"
	selectRecord = "SELECT x, t, p, c, d, v FROM kv WHERE k = ?1"

	scanMeta    = "SELECT x, t, p, c, k FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k"
	scanRecords = "SELECT x, t, p, c, d, v, k FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k"

	// A count reads only the indexes, unless more rows have expired than are in the
	// range.
	countKeys    = "SELECT count(*) FROM kv WHERE k >= ?1 AND k <= ?2"
	countExpired = "SELECT count(*), sum(k >= ?1 AND k <= ?2) FROM (SELECT k FROM kv INDEXED BY kv_x WHERE x BETWEEN 1 AND ?3 LIMIT ?4)"
	countLive    = "SELECT count(*) FROM kv WHERE k >= ?1 AND k <= ?2 AND (x IS NULL OR x > ?3)"

	everyRow = "SELECT x, t, p, c, d, v, k FROM kv NOT INDEXED"

	scanExpired = "SELECT x, t, p, c, k FROM kv WHERE x BETWEEN 1 AND ?1 ORDER BY x"

	putRow = "INSERT INTO kv (k, x, t, p, c, d, v) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (k) DO UPDATE " +
		"SET x = excluded.x, t = excluded.t, p = excluded.p, c = excluded.c, d = excluded.d, v = excluded.v"

	touchRow = "UPDATE kv SET x = ?2, t = ?3, p = ?4, c = ?5 WHERE k = ?1"

	deleteRow = "DELETE FROM kv WHERE k = ?1"
)

// The columns of all SELECT statements. Scans have the key as their last column.
const (
	columnExpires = iota
	columnToken
	columnPredecessors
	columnMetaSum
	columnValueSum
	columnValue
)

// table is the table, for one connection.
type table struct {
	conn *sqlite.Conn

	selectMeta, selectRecord, scanMeta, scanRecords *sqlite.Stmt // for readers
	countKeys, countExpired, countLive              *sqlite.Stmt // for readers
	scanExpired, schemaVersion                      *sqlite.Stmt // for the writer, with selectMeta
	putRow, touchRow, deleteRow                     *sqlite.Stmt

	checkedSchema int64 // version of the schema that was last compared, 0 for none

	summed []byte // buffer for the input of checksums, kept to save allocations
}

// tableToRead prepares the statements that read.
func tableToRead(ctx context.Context, c *sqlite.Conn) (*table, error) {
	t := &table{conn: c}
	return t, prepare(ctx, c, map[string]**sqlite.Stmt{
		selectMeta: &t.selectMeta, selectRecord: &t.selectRecord, scanMeta: &t.scanMeta, scanRecords: &t.scanRecords,
		countKeys: &t.countKeys, countExpired: &t.countExpired, countLive: &t.countLive,
	})
}

// tableToWrite prepares the statements that write.
func tableToWrite(ctx context.Context, c *sqlite.Conn) (*table, error) {
	t := &table{conn: c}
	return t, prepare(ctx, c, map[string]**sqlite.Stmt{
		selectMeta: &t.selectMeta, scanExpired: &t.scanExpired, putRow: &t.putRow, touchRow: &t.touchRow, deleteRow: &t.deleteRow,
		selectSchemaVersion: &t.schemaVersion,
	})
}

// get returns the record under a key. A row that skykv did not write, or that is
// damaged, is an *kv.Error, which does not end the transaction.
func (t *table) get(key string, withValue bool) (found kv.Found, err error) {
	stmt := t.selectMeta
	if withValue {
		stmt = t.selectRecord
	}
	found.Key = key
	stmt.BindText(1, key)
	exists, err := stmt.Step()
	if err != nil {
		return found, err
	}
	if exists {
		found.Record, err = t.decode(stmt, key)
		if err == nil && withValue {
			err = t.decodeValue(stmt, &found.Record)
		}
	}
	stmt.Reset() // ends the read transaction; Step returned no error that this could repeat
	if err != nil {
		return kv.Found{Record: kv.Record{Key: key}}, err
	}
	found.Exists = exists
	return found, nil
}

// scan returns a statement whose rows have from <= key <= to, in order of their keys.
// scanned reads them.
func (t *table) scan(from, to string, withValue bool) *sqlite.Stmt {
	stmt := t.scanMeta
	if withValue {
		stmt = t.scanRecords
	}
	stmt.BindText(1, from)
	stmt.BindText(2, to)
	return stmt
}

// scanned returns the record of a scan's present row. It does not read the value of a
// record that is expired at now, unless now is 0. An error is about this row alone; the
// record then has its key.
func (t *table) scanned(stmt *sqlite.Stmt, withValue bool, now int64) (rec kv.Record, expired bool, err error) {
	key := stmt.ColumnText(stmt.ColumnCount() - 1)
	if kv.ValidateKey(key) != nil {
		return kv.Record{Key: key}, false, errForeign("its key k", "a legal key")
	}
	rec, err = t.decode(stmt, key)
	expired = err == nil && now != 0 && rec.Expires != 0 && rec.Expires <= now
	if err == nil && withValue && !expired {
		err = t.decodeValue(stmt, &rec)
	}
	if err != nil {
		return kv.Record{Key: key}, false, err
	}
	return rec, expired, nil
}

// decode reads the row of stmt without its value.
func (t *table) decode(stmt *sqlite.Stmt, key string) (kv.Record, error) {
	rec := kv.Record{Key: key}
	switch stmt.ColumnType(columnExpires) {
	case sqlite.TypeNull:
	case sqlite.TypeInteger:
		rec.Expires = stmt.ColumnInt64(columnExpires)
		if rec.Expires <= 0 {
			return rec, errForeign("its expiry x", "a number above 0, or NULL")
		}
	default:
		return rec, errForeign("its expiry x", "a number above 0, or NULL")
	}
	if stmt.ColumnType(columnToken) == sqlite.TypeText {
		rec.Token = stmt.ColumnText(columnToken)
	}
	if rec.Token == "" {
		return rec, errForeign("its token t", "a text that is not empty")
	}
	rec.Version = rec.Token
	switch stmt.ColumnType(columnPredecessors) {
	case sqlite.TypeNull:
	case sqlite.TypeText:
		rec.Predecessors = stmt.ColumnText(columnPredecessors)
	default:
		return rec, errForeign("p", "a text, or NULL")
	}
	if stmt.ColumnInt64(columnMetaSum) != int64(t.metaSum(&rec)) {
		return rec, errDamaged("c")
	}
	return rec, nil
}

// decodeValue reads the value of the row of stmt, and copies it once.
func (t *table) decodeValue(stmt *sqlite.Stmt, rec *kv.Record) error {
	if stmt.ColumnType(columnValue) != sqlite.TypeBlob {
		return errForeign("its value v", "a blob")
	}
	rec.Value = make([]byte, stmt.ColumnLen(columnValue))
	stmt.ColumnBytes(columnValue, rec.Value)
	if stmt.ColumnInt64(columnValueSum) != int64(t.valueSum(rec)) {
		return errDamaged("d")
	}
	return nil
}

// count returns the number of rows with from <= key <= to that are not expired at now,
// within a transaction. It does not read the rows.
func (t *table) count(from, to string, now int64) (int, error) {
	all, _, err := counted(t.countKeys, from, to)
	if err != nil || all == 0 {
		return 0, err
	}
	expired, within, err := counted(t.countExpired, from, to, now, all)
	if err != nil {
		return 0, err
	}
	if expired < all {
		return int(all - within), nil
	}
	live, _, err := counted(t.countLive, from, to, now)
	return int(live), err
}

// counted executes a statement that returns one row of numbers.
func counted(stmt *sqlite.Stmt, from, to string, more ...int64) (first, second int64, err error) {
	stmt.BindText(1, from)
	stmt.BindText(2, to)
	for i, n := range more {
		stmt.BindInt64(3+i, n)
	}
	if _, err := stmt.Step(); err != nil {
		return 0, 0, err
	}
	first = stmt.ColumnInt64(0)
	if stmt.ColumnCount() > 1 {
		second = stmt.ColumnInt64(1)
	}
	return first, second, stmt.Reset()
}

// rowCount is the number of rows, and the number of those that no read would return.
type rowCount struct {
	all, bad int
	key      string // key of the first bad row
	first    error  // error of the first bad row
}

// countRows reads every row, without an index.
func countRows(ctx context.Context, c *sqlite.Conn) (rows rowCount, err error) {
	t := &table{conn: c}
	options := sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		rows.all++
		rec, _, err := t.scanned(stmt, true, 0)
		if err != nil && rows.bad == 0 {
			rows.key, rows.first = rec.Key, err
		}
		if err != nil {
			rows.bad++
		}
		return nil
	}}
	err = whenFree(ctx, lockWait, func() error {
		rows = rowCount{}
		return sqlitex.ExecuteTransient(c, everyRow, &options)
	})
	return rows, err
}

// put stores rec in place of any row of its key.
func (t *table) put(rec *kv.Record) error {
	t.bindMeta(t.putRow, rec)
	t.putRow.BindInt64(6, int64(t.valueSum(rec)))
	t.putRow.BindBytes(7, rec.Value)
	return exec(t.putRow)
}

// touch replaces everything but the value in the row of a key.
func (t *table) touch(rec *kv.Record) error {
	t.bindMeta(t.touchRow, rec)
	return exec(t.touchRow)
}

// bindMeta binds the key and everything but the value: parameters 1 to 5.
func (t *table) bindMeta(stmt *sqlite.Stmt, rec *kv.Record) {
	stmt.BindText(1, rec.Key)
	if rec.Expires == 0 {
		stmt.BindNull(2)
	} else {
		stmt.BindInt64(2, rec.Expires)
	}
	stmt.BindText(3, rec.Token)
	if rec.Predecessors == "" {
		stmt.BindNull(4)
	} else {
		stmt.BindText(4, rec.Predecessors)
	}
	stmt.BindInt64(5, int64(t.metaSum(rec)))
}

// delete removes the row of a key, if there is one.
func (t *table) delete(key string) error {
	t.deleteRow.BindText(1, key)
	return exec(t.deleteRow)
}

// deleteExpired deletes the first limit rows that expired at latest or before, and
// returns how many it found. It keeps damaged rows: their expiry may be wrong.
func (t *table) deleteExpired(latest int64, limit int) (int, error) {
	stmt := t.scanExpired
	stmt.BindInt64(1, latest)
	var keys []string
	for len(keys) < limit {
		more, err := stmt.Step()
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
		if rec, expired, err := t.scanned(stmt, false, latest); err == nil && expired {
			keys = append(keys, rec.Key)
		}
	}
	if err := stmt.Reset(); err != nil {
		return 0, err
	}
	for _, key := range keys {
		if err := t.delete(key); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// The checksums are CRC-32C (Castagnoli), as numbers from 0 to 2^32-1. Both cover the
// key, so a swap of parts of two rows is noticed. Besides the key, d covers only the
// value, so a writer that does not read the value can replace x, t, p and c.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// metaSum returns the checksum c over the key, a zero byte, the expiry (8 bytes, the
// highest first, 0 for none), the token, a zero byte and the predecessors.
func (t *table) metaSum(rec *kv.Record) uint32 {
	b := append(t.summed[:0], rec.Key...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(rec.Expires))
	b = append(b, rec.Token...)
	b = append(b, 0)
	b = append(b, rec.Predecessors...)
	t.summed = b
	return crc32.Checksum(b, castagnoli)
}

// valueSum returns the checksum d over the key, a zero byte and the value.
func (t *table) valueSum(rec *kv.Record) uint32 {
	b := append(t.summed[:0], rec.Key...)
	b = append(b, 0)
	t.summed = b
	return crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, rec.Value)
}

// initialize creates a store in an empty file, and checks any other file.
func initialize(ctx context.Context, c *sqlite.Conn) error {
	pages, err := query(ctx, c, "PRAGMA page_count")
	if err != nil {
		return err
	}
	if pages == "0" {
		if err := create(ctx, c); err != nil {
			return err
		}
	}
	if err := checkHeader(ctx, c); err != nil {
		return err
	}
	return checkSchema(ctx, c)
}

// create creates the table, unless another process was faster. It does so in one
// transaction and before write-ahead logging, so a file that is not empty always has a
// complete header.
func create(ctx context.Context, c *sqlite.Conn) error {
	for _, statement := range []string{fmt.Sprintf("PRAGMA page_size = %d", pageSize), "BEGIN EXCLUSIVE"} {
		if err := run(ctx, c, statement); err != nil {
			return err
		}
	}
	// The transaction already created the first page: check what is on it.
	objects, err := query(ctx, c, "SELECT count(*) FROM sqlite_schema")
	if err == nil && objects == "0" {
		for _, statement := range []string{
			fmt.Sprintf("PRAGMA application_id = %d", applicationID),
			fmt.Sprintf("PRAGMA user_version = %d", format),
			createTable,
			createIndex,
		} {
			if err = run(ctx, c, statement); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = run(ctx, c, commit)
	}
	if err != nil && !c.AutocommitEnabled() {
		run(context.WithoutCancel(ctx), c, rollback)
	}
	return err
}

// checkHeader reads the header through SQLite.
func checkHeader(ctx context.Context, c *sqlite.Conn) error {
	var header [2]uint32
	for i, pragma := range []string{"PRAGMA application_id", "PRAGMA user_version"} {
		answer, err := query(ctx, c, pragma)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(answer, 10, 32)
		if err != nil {
			return err
		}
		header[i] = uint32(n)
	}
	return checkFormat(header[0], header[1])
}

// checkSchema refuses a schema other than the one of create: another collation would
// treat two keys as one, and a trigger would write.
func checkSchema(ctx context.Context, c *sqlite.Conn) error {
	left := maps.Clone(schema)
	var foreign error
	options := sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		object, sql := stmt.ColumnText(0), stmt.ColumnText(1)
		switch want, ours := left[object]; {
		case !ours:
			foreign = errFile("its schema is not skykv's: another program has added the %s; remove it (DROP)", object)
		case sql != want:
			foreign = errFile("its schema is not skykv's: the %s is from another program", object)
		}
		delete(left, object)
		return nil
	}}
	err := whenFree(ctx, lockWait, func() error { return sqlitex.ExecuteTransient(c, selectSchema, &options) })
	if err != nil || foreign != nil {
		return cmp.Or(err, foreign)
	}
	if len(left) > 0 {
		return errFile("its schema is not skykv's: it has no %s", strings.Join(slices.Sorted(maps.Keys(left)), ", "))
	}
	return nil
}

// checkSchema is the function checkSchema, within a transaction, if the schema has
// changed.
func (t *table) checkSchema() error {
	if _, err := t.schemaVersion.Step(); err != nil {
		return err
	}
	version := t.schemaVersion.ColumnInt64(0)
	if err := t.schemaVersion.Reset(); err != nil || version == t.checkedSchema {
		return err
	}
	if err := checkSchema(context.Background(), t.conn); err != nil {
		return err
	}
	t.checkedSchema = version
	return nil
}

func checkFormat(application, version uint32) error {
	switch {
	case application != applicationID:
		return errFile("it is an SQLite database of another program: its application_id is %#x; want %#x", application, applicationID)
	case version != format:
		return errFile("it has format (user_version) %d; this version of skykv knows %d", version, format)
	}
	return nil
}
