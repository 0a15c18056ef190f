package localkv

import (
	"context"
	"errors"

	"github.com/skykv/skykv/kv"
)

// The driver: writes go through one connection, in groups (writer.go), and reads
// through several (reader.go). What the table looks like only layout.go knows.

type driver struct {
	w  *writer
	rs *readers
}

// Info describes the driver.
func (d *driver) Info() kv.Info { return kv.Info{Name: name, Shards: 1} }

// Get reads one row.
func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	r, err := d.rs.borrow(ctx)
	if err != nil {
		return kv.Found{}, err
	}
	defer d.rs.giveBack(r)
	req.Meter.Add(1, 1)
	return r.get(ctx, req.Key, req.WithValue)
}

// Write writes in a transaction, together with other writes that wait.
func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if !knows(&req.Write) {
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	}
	var result kv.WriteResult
	err := d.w.write(ctx, &job{now: req.Now, writes: 1, bytes: len(req.Value), meter: req.Meter, do: func(t *table) (err error) {
		result, err = write(t, &req.Write, req.Now)
		return err
	}})
	if err != nil {
		return kv.Outcome{}, err
	}
	return result.Outcome, result.Err
}

// knows reports whether the driver has a way to carry out w.
func knows(w *kv.Write) bool {
	return (w.Kind == kv.KindPut || w.Kind == kv.KindDelete) && w.Condition.Kind <= kv.CondVersion
}

// write carries out w, if its condition holds, within a transaction. The token of a
// record is its version. An error beside the result undoes the transaction; the error of a
// row that the condition cannot be judged by is in the result.
func write(t *table, w *kv.Write, now int64) (kv.WriteResult, error) {
	if w.Condition.Kind != kv.CondNone {
		found, err := t.get(w.Key, false)
		if row, ok := errors.AsType[*kv.Error](err); ok {
			return kv.WriteResult{Err: row}, nil
		}
		if err != nil {
			return kv.WriteResult{}, err
		}
		holds := found.Exists && found.Version == w.Condition.Version
		if w.Condition.Kind == kv.CondAbsent {
			holds = !found.Exists || found.Expires != 0 && found.Expires <= now
		}
		if !holds {
			return kv.WriteResult{Outcome: kv.Outcome{Exists: found.Exists, Found: found.Record}}, nil
		}
	}
	if w.Kind == kv.KindDelete {
		return kv.WriteResult{Outcome: kv.Outcome{Done: true}}, t.delete(w.Key)
	}
	return kv.WriteResult{Outcome: kv.Outcome{Done: true, Version: w.Token}}, t.put(&w.Record)
}

// WriteAtomic is unsupported, as Info says.
func (d *driver) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnsupported, Err: errors.New("the driver has no atomic writes of several keys")}
}

// Close waits for the calls under way. The last connection to the file, in any
// process, moves the log into it.
func (d *driver) Close() error {
	d.rs.close()
	if err := d.w.close(); err != nil {
		return classify(err)
	}
	return nil
}
