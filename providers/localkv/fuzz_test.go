package localkv

import (
	"errors"
	"slices"
	"testing"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

// fuzzTable is a table as in a file, but in memory.
func fuzzTable(f *testing.F) *sqlite.Conn {
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
	return c
}

// fuzzPrepare gives a statement of c.
func fuzzPrepare(f *testing.F, c *sqlite.Conn, sql string) *sqlite.Stmt {
	stmt, err := c.Prepare(sql)
	if err != nil {
		f.Fatal(err)
	}
	return stmt
}

// fuzzBind binds a value of one of SQLite's types.
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

// The rule: no row makes the decoder panic, and what is not skykv's is ErrIncompatible.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(0), []byte("key"), uint8(4), []byte{}, int64(0), uint8(0), []byte("token"), uint8(1), []byte("value"))
	f.Add(uint8(0), []byte("key"), uint8(2), []byte{}, int64(1_700_000_000_000), uint8(0), []byte("token"), uint8(1), []byte{})
	f.Add(uint8(1), []byte("\x00"), uint8(3), []byte("soon"), int64(-1), uint8(1), []byte{}, uint8(0), []byte("text"))
	c := fuzzTable(f)
	insert := fuzzPrepare(f, c, "INSERT INTO kv (k, x, t, v) VALUES (?1, ?2, ?3, ?4)")
	remove := fuzzPrepare(f, c, "DELETE FROM kv")
	all := fuzzPrepare(f, c, "SELECT x, t, k, v FROM kv")
	f.Fuzz(func(t *testing.T, kk uint8, k []byte, xk uint8, x []byte, number int64, tk uint8, token []byte, vk uint8, value []byte) {
		fuzzBind(insert, 1, kk, k, number)
		fuzzBind(insert, 2, xk, x, number)
		fuzzBind(insert, 3, tk, token, number)
		fuzzBind(insert, 4, vk, value, number)
		err := exec(insert)
		_ = insert.Reset() // an error that there was already
		if err != nil {
			return // the table does not take it
		}
		found, err := all.Step()
		if !found || err != nil {
			t.Fatalf("the row is not there: %v", err)
		}
		key := all.ColumnText(2)
		for _, column := range []int{3, -1} {
			rec, err := decode(all, key, column)
			if err != nil {
				if e, ok := errors.AsType[*kv.Error](err); !ok || e.Kind != kv.ErrIncompatible {
					t.Fatalf("the error is %v; want ErrIncompatible", err)
				}
				continue
			}
			if rec.Key != key || rec.Token == "" || rec.Version != rec.Token || rec.Expires < 0 || (rec.Value != nil) != (column >= 0) {
				t.Fatalf("the record is %+v", rec)
			}
			if column >= 0 && (vk%5 != 1 || string(rec.Value) != string(value)) {
				t.Fatalf("the value is %q, from kind %d", rec.Value, vk%5)
			}
			if expired(all, 1<<62) != (rec.Expires != 0 && rec.Expires <= 1<<62) {
				t.Fatalf("expired does not see the expiry %d", rec.Expires)
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

// The rule: a record comes back as it was stored, under a key of its own, and keys sort
// by their bytes.
func FuzzRecord(f *testing.F) {
	f.Add("key", "other", []byte("value"), int64(1_700_000_000_000))
	f.Add(".", "..", []byte{}, int64(0))
	f.Add("a-", "a", []byte{0}, int64(1))
	f.Add("A", "a", []byte{}, int64(0))
	c := fuzzTable(f)
	put, remove := fuzzPrepare(f, c, putAlways), fuzzPrepare(f, c, "DELETE FROM kv")
	record, page := fuzzPrepare(f, c, selectRecord), fuzzPrepare(f, c, scanMeta)
	f.Fuzz(func(t *testing.T, key, other string, value []byte, expires int64) {
		if kv.ValidateKey(key) != nil || kv.ValidateKey(other) != nil || expires < 0 || value == nil {
			return
		}
		in := kv.Record{Key: key, Value: value, Expires: expires, Token: "token"}
		another := kv.Record{Key: other, Value: []byte("another"), Token: "another"}
		for _, rec := range []*kv.Record{&another, &in} {
			bind(put, rec)
			if err := exec(put); err != nil {
				t.Fatal(err)
			}
		}
		out, found, err := lookup(record, key, true)
		if err != nil || !found || out.Key != key || string(out.Value) != string(value) || out.Expires != expires || out.Token != "token" {
			t.Fatalf("%+v came back as %+v, %v, %v", in, out, found, err)
		}
		if out, found, err = lookup(record, other, true); err != nil || !found || key != other && out.Token != "another" {
			t.Fatalf("the record of %q is %+v, %v, %v, after one was put under %q", other, out, found, err, key)
		}
		page.BindText(1, min(key, other))
		page.BindText(2, max(key, other))
		var keys []string
		for {
			more, err := page.Step()
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			keys = append(keys, page.ColumnText(2))
		}
		want := slices.Compact([]string{min(key, other), max(key, other)})
		if !slices.Equal(keys, want) {
			t.Fatalf("the keys come as %q; want %q", keys, want)
		}
		if err := page.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := exec(remove); err != nil {
			t.Fatal(err)
		}
	})
}
