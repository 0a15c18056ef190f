package localkv

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

// fuzzTable creates a table in memory, and returns it twice: for reads and for writes.
func fuzzTable(f *testing.F) (read, write *table) {
	c, err := sqlite.OpenConn(":memory:", sqlite.OpenReadWrite, sqlite.OpenCreate)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	for _, statement := range []string{createTable, createIndex} {
		if err := run(f.Context(), c, statement); err != nil {
			f.Fatal(err)
		}
	}
	if read, err = tableToRead(f.Context(), c); err != nil {
		f.Fatal(err)
	}
	if write, err = tableToWrite(f.Context(), c); err != nil {
		f.Fatal(err)
	}
	return read, write
}

// fuzzPrepare prepares a statement of c.
func fuzzPrepare(f *testing.F, c *sqlite.Conn, sql string) *sqlite.Stmt {
	stmt, err := c.Prepare(sql)
	if err != nil {
		f.Fatal(err)
	}
	return stmt
}

// fuzzBind binds a value. kind selects one of SQLite's types.
func fuzzBind(stmt *sqlite.Stmt, param int, kind uint8, value []byte, number int64) {
	switch kind % 5 {
	case 0:
		stmt.BindText(param, string(value))
	case 1:
		stmt.BindBytes(param, value)
	case 2:
		stmt.BindInt64(param, number)
	case 3:
		stmt.BindFloat(param, float64(number)/3)
	case 4:
		stmt.BindNull(param)
	}
}

// The rule: no row makes the decoder panic. If a row is not skykv's, or does not match its
// checksums, the error is ErrIncompatible. Each row has the checksums c and d that skykv would
// have written, unless spoil flips a bit of one or of both.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(0), []byte("key"), uint8(4), []byte{}, int64(0), uint8(0), []byte("token"), uint8(1), []byte("value"), uint8(4), []byte{}, uint8(0))
	f.Add(uint8(0), []byte("key"), uint8(2), []byte{}, int64(1_700_000_000_000), uint8(0), []byte("token"), uint8(1), []byte{}, uint8(0), []byte("a,b"), uint8(0))
	f.Add(uint8(0), []byte("key"), uint8(4), []byte{}, int64(0), uint8(0), []byte("token"), uint8(1), []byte("value"), uint8(4), []byte{}, uint8(1))
	f.Add(uint8(0), []byte("key"), uint8(4), []byte{}, int64(0), uint8(0), []byte("token"), uint8(1), []byte("value"), uint8(1), []byte("a"), uint8(2))
	f.Add(uint8(0), []byte("key"), uint8(2), []byte{}, int64(-1), uint8(0), []byte("token"), uint8(1), []byte("value"), uint8(4), []byte{}, uint8(0))
	f.Add(uint8(0), []byte("key"), uint8(4), []byte{}, int64(0), uint8(0), []byte("token"), uint8(0), []byte("value"), uint8(4), []byte{}, uint8(0))
	f.Add(uint8(1), []byte("\x00"), uint8(3), []byte("soon"), int64(-1), uint8(1), []byte{}, uint8(0), []byte("text"), uint8(2), []byte{}, uint8(0))
	table, _ := fuzzTable(f)
	c := table.conn
	insert := fuzzPrepare(f, c, "INSERT INTO kv (k, x, t, p, c, d, v) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
	remove := fuzzPrepare(f, c, "DELETE FROM kv")
	all := fuzzPrepare(f, c, "SELECT x, t, p, c, d, v, k FROM kv")
	f.Fuzz(func(t *testing.T, kk uint8, k []byte, xk uint8, x []byte, number int64, tk uint8, token []byte, vk uint8, value []byte, pk uint8, predecessors []byte, spoil uint8) {
		in := kv.Record{Key: string(k), Token: string(token), Value: value}
		if xk%5 == 2 {
			in.Expires = number
		}
		if pk%5 == 0 {
			in.Predecessors = string(predecessors)
		}
		fuzzBind(insert, 1, kk, k, number)
		fuzzBind(insert, 2, xk, x, number)
		fuzzBind(insert, 3, tk, token, number)
		fuzzBind(insert, 4, pk, predecessors, number)
		insert.BindInt64(5, int64(table.metaSum(&in))^int64(spoil&1))
		insert.BindInt64(6, int64(table.valueSum(&in))^int64(spoil>>1&1))
		fuzzBind(insert, 7, vk, value, number)
		err := exec(insert)
		_ = insert.Reset() // Reset returns the error of the insert again
		if err != nil {
			return // the table refuses the row
		}
		found, err := all.Step()
		if !found || err != nil {
			t.Fatalf("the row does not exist: %v", err)
		}
		key := all.ColumnText(6)
		ours := kk%5 <= 1 && (xk%5 == 4 || xk%5 == 2 && number > 0) && tk%5 == 0 && len(token) > 0 && (pk%5 == 0 || pk%5 == 4) && kv.ValidateKey(in.Key) == nil
		for _, withValue := range []bool{true, false} {
			rec, expired, err := table.scanned(all, withValue, 1<<62)
			readsValue := withValue && !expired
			if want := ours && spoil&1 == 0 && (!readsValue || vk%5 == 1 && spoil&2 == 0); want && err != nil {
				t.Fatalf("a row that skykv wrote is %v", err)
			}
			if rec.Key != key {
				t.Fatalf("the key %q is %q", key, rec.Key)
			}
			if err != nil {
				if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != kv.ErrIncompatible || expired {
					t.Fatalf("the error is %v, expired %t; want ErrIncompatible", err, expired)
				}
				continue
			}
			if rec.Token == "" || rec.Version != rec.Token || rec.Expires < 0 || rec.Predecessors != in.Predecessors || (rec.Value != nil) != readsValue {
				t.Fatalf("the record is %+v", rec)
			}
			if readsValue && (vk%5 != 1 || !bytes.Equal(rec.Value, value)) {
				t.Fatalf("the value is %q, from kind %d", rec.Value, vk%5)
			}
			if expired != (rec.Expires != 0 && rec.Expires <= 1<<62) {
				t.Fatalf("the expiry is %d, and expired %t", rec.Expires, expired)
			}
			if spoil&1 != 0 || readsValue && spoil&2 != 0 {
				t.Fatal("a wrong checksum is not reported")
			}
		}
		if err := all.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := exec(remove); err != nil {
			t.Fatal(err)
		}
	})
}

// The rule: a record is read under its own key, as it was stored. Keys sort by their bytes.
func FuzzRecord(f *testing.F) {
	f.Add("key", "other", []byte("value"), int64(1_700_000_000_000), "a,b")
	f.Add(".", "..", []byte{}, int64(0), "")
	f.Add("a-", "a", []byte{0}, int64(1), "")
	f.Add("A", "a", []byte{}, int64(0), "")
	read, write := fuzzTable(f)
	remove := fuzzPrepare(f, read.conn, "DELETE FROM kv")
	f.Fuzz(func(t *testing.T, key, other string, value []byte, expires int64, predecessors string) {
		if kv.ValidateKey(key) != nil || kv.ValidateKey(other) != nil || expires < 0 || value == nil {
			return
		}
		in := kv.Record{Key: key, Value: value, Expires: expires, Token: "token", Predecessors: predecessors}
		another := kv.Record{Key: other, Value: []byte("another"), Token: "another"}
		for _, rec := range []*kv.Record{&another, &in} {
			if err := write.put(rec); err != nil {
				t.Fatal(err)
			}
		}
		out, err := read.get(key, true)
		if err != nil || !out.Exists || out.Key != key || string(out.Value) != string(value) || out.Expires != expires || out.Token != "token" || out.Predecessors != predecessors {
			t.Fatalf("%+v was read as %+v, %v", in, out, err)
		}
		if out, err = read.get(other, true); err != nil || !out.Exists || key != other && out.Token != "another" {
			t.Fatalf("the record of %q is %+v, %v, after a put of %q", other, out, err, key)
		}
		rows := read.scan(min(key, other), max(key, other), false)
		var keys []string
		for {
			more, err := rows.Step()
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			rec, _, err := read.scanned(rows, false, 0)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, rec.Key)
		}
		want := slices.Compact([]string{min(key, other), max(key, other)})
		if !slices.Equal(keys, want) {
			t.Fatalf("the keys are %q; want %q", keys, want)
		}
		if err := rows.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := exec(remove); err != nil {
			t.Fatal(err)
		}
	})
}
