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

// The file's header names the owner and the format, as SQLite's application_id and
// user_version.
const (
	applicationID = 0x536b4b56 // "SkKV"
	format        = 2
)

// createTable creates the table. The value is the last column. SQLite reads a row from its
// front, so reading the other columns of a large row takes only one page. A table with a
// rowid keeps rows of 1 KiB in their leaf page. WITHOUT ROWID would move everything beyond a
// quarter of a page to a separate page. In measurements with pages of 4 to 16 KiB, that made
// gets up to four times slower, and puts up to three times.
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

// createIndex creates the index of expiries, for the removal of expired rows and for counts.
// It leaves out rows without an expiry.
const createIndex = "CREATE INDEX kv_x ON kv (x) WHERE x IS NOT NULL"

// schema is the expected schema of the file: for each object's type and name, the statement
// that created it. SQLite itself creates the index of the keys, without a statement.
var schema = map[string]string{
	"table kv":                    strings.TrimSpace(createTable),
	"index kv_x":                  createIndex,
	"index sqlite_autoindex_kv_1": "",
}

// selectSchema reads the schema, to compare it with the expected one.
const (
	selectSchema        = "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema"
	selectSchemaVersion = "PRAGMA schema_version" // changes with the schema
)

// rebuildIndex rebuilds the index that createIndex created.
const rebuildIndex = "REINDEX kv_x"

const (
	selectMeta   = "SELECT x, t, p, c FROM kv WHERE k = ?1"
	selectRecord = "SELECT x, t, p, c, d, v FROM kv WHERE k = ?1"

	scanMeta    = "SELECT x, t, p, c, k FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k"
	scanRecords = "SELECT x, t, p, c, d, v, k FROM kv WHERE k >= ?1 AND k <= ?2 ORDER BY k"

	// A count reads the indexes and the expired rows. It reads the rows of the range only if the
	// file has at least as many expired rows as the range has rows.
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

// These are the columns of the statements that read rows. Statements that do not read the
// value leave out the last two columns. Scans add the key as their last column.
const (
	columnExpires = iota
	columnToken
	columnPredecessors
	columnMetaSum
	columnValueSum
	columnValue
)

// table reads and writes the table through one connection.
type table struct {
	conn *sqlite.Conn

	selectMeta, selectRecord, scanMeta, scanRecords *sqlite.Stmt // for readers
	countKeys, countExpired, countLive              *sqlite.Stmt // for readers
	scanExpired, schemaVersion                      *sqlite.Stmt // for the writer, which also uses selectMeta
	putRow, touchRow, deleteRow                     *sqlite.Stmt

	checkedSchema int64 // version of the schema at the last comparison, 0 for none

	summed []byte // buffer for the input of checksums, reused to save allocations
}

// tableToRead returns a table with the statements that read.
func tableToRead(ctx context.Context, c *sqlite.Conn) (*table, error) {
	t := &table{conn: c}
	return t, prepare(ctx, c, map[string]**sqlite.Stmt{
		selectMeta: &t.selectMeta, selectRecord: &t.selectRecord, scanMeta: &t.scanMeta, scanRecords: &t.scanRecords,
		countKeys: &t.countKeys, countExpired: &t.countExpired, countLive: &t.countLive,
	})
}

// tableToWrite returns a table with the statements that write.
func tableToWrite(ctx context.Context, c *sqlite.Conn) (*table, error) {
	t := &table{conn: c}
	return t, prepare(ctx, c, map[string]**sqlite.Stmt{
		selectMeta: &t.selectMeta, scanExpired: &t.scanExpired, putRow: &t.putRow, touchRow: &t.touchRow, deleteRow: &t.deleteRow,
		selectSchemaVersion: &t.schemaVersion,
	})
}

// get returns the record under a key. For a row that skykv did not write, or that is
// damaged, the error is a *kv.Error. Such an error does not end the transaction.
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
	stmt.Reset() // ends the read transaction; Reset only repeats errors of Step, and there was none
	if err != nil {
		return kv.Found{Record: kv.Record{Key: key}}, err
	}
	found.Exists = exists
	return found, nil
}

// scan returns a statement that selects the rows with from <= key <= to, in order of their
// keys. Read each row with scanned.
func (t *table) scan(from, to string, withValue bool) *sqlite.Stmt {
	stmt := t.scanMeta
	if withValue {
		stmt = t.scanRecords
	}
	stmt.BindText(1, from)
	stmt.BindText(2, to)
	return stmt
}

// scanned returns the record of the scan's current row. If now is not 0, scanned does not read
// the value of a record that is expired at the time now. An error concerns this row alone. The
// record returned with an error has only the key.
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

// decode reads the row of stmt, except for its value.
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

// decodeValue reads the value of the row of stmt. It copies the value once.
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

// count returns the number of rows with from <= key <= to that are not expired at the time
// now. It must be called within a transaction. It does not check the rows.
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

// counted executes a statement that counts, and returns the one or two numbers of its row.
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

// rowCount has the number of rows, and the number of bad rows: rows that are damaged or that
// skykv did not write.
type rowCount struct {
	all, bad int
	key      string // key of the first bad row
	first    error  // error of the first bad row
}

// countRows reads and counts all rows of the table, without an index.
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

// put stores rec, in place of any row with its key.
func (t *table) put(rec *kv.Record) error {
	t.bindMeta(t.putRow, rec)
	t.putRow.BindInt64(6, int64(t.valueSum(rec)))
	t.putRow.BindBytes(7, rec.Value)
	return exec(t.putRow)
}

// touch replaces all columns of a key's row except the key, the value and its checksum d.
func (t *table) touch(rec *kv.Record) error {
	t.bindMeta(t.touchRow, rec)
	return exec(t.touchRow)
}

// bindMeta binds the key and all other columns except the value and its checksum d, as parameters
// 1 to 5.
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

// deleteExpired deletes up to limit rows whose expiry is not after latest, those with the
// earliest expiry first. It returns their number. It keeps damaged rows, because their
// expiry may be wrong.
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

// The checksums c and d are CRC-32C (Castagnoli), as numbers from 0 to 2^32-1. Both cover the
// key, so that parts swapped between two rows are noticed. Besides the key, d covers only the
// value, so that a writer can replace x, t, p and c without reading the value.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// metaSum returns the checksum c over the key, a zero byte, the expiry (8 bytes with the
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

// create creates the table, unless another process has just created it. It does so in one
// transaction, before write-ahead logging is turned on. So a file that is not empty always
// has a complete header.
func create(ctx context.Context, c *sqlite.Conn) error {
	for _, statement := range []string{fmt.Sprintf("PRAGMA page_size = %d", pageSize), "BEGIN EXCLUSIVE"} {
		if err := run(ctx, c, statement); err != nil {
			return err
		}
	}
	// BEGIN has already created a first page, so the number of pages does not say whether
	// the file is empty. Count its objects.
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

// checkHeader checks the application_id and the user_version in the header, which it reads
// through SQLite.
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

// checkSchema returns an error unless the schema is the one that create makes. A different
// collation, for example, could treat two keys as one, and a trigger could write rows.
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

// checkSchema calls the function checkSchema if the schema has changed since the last
// comparison. The caller is within a transaction.
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
