package localkv

import (
	"context"
	"errors"

	"github.com/skykv/skykv/kv"
)

// The driver writes through one connection, and commits the writes of several calls together
// (writer.go). It reads through several connections (reader.go). Only layout.go knows the table.

type driver struct {
	w    *writer
	rs   *readers
	info kv.Info
}

// maxAtomicWrites is the same limit as for the cloud providers.
const maxAtomicWrites = 100

// Info describes the driver.
func (d *driver) Info() kv.Info { return d.info }

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

// Write carries out one write, in a transaction together with other waiting writes.
func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if !knows(&req.Write, false) {
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

// The function knows reports whether the driver can carry out w, in an atomic write or alone.
func knows(w *kv.Write, atomic bool) bool {
	switch w.Kind {
	case kv.KindPut, kv.KindDelete:
		return w.Condition.Kind <= kv.CondVersion
	case kv.KindTouch:
		return w.Condition.Kind == kv.CondVersion || w.Condition.Kind == kv.CondLive
	case kv.KindCheck:
		return atomic && w.Condition.Kind != kv.CondNone && w.Condition.Kind <= kv.CondLive
	}
	return false
}

// write carries out w within a transaction, if its condition holds. If write returns an
// error, the transaction is undone. If the condition cannot be decided, because the row is
// damaged or skykv did not write it, the error is in the result instead.
func write(t *table, w *kv.Write, now int64) (kv.WriteResult, error) {
	found, holds, err := judge(t, w, now)
	if row, ok := errors.AsType[*kv.Error](err); ok {
		return kv.WriteResult{Err: row}, nil
	}
	if err != nil {
		return kv.WriteResult{}, err
	}
	if !holds {
		return kv.WriteResult{Outcome: kv.Outcome{Exists: found.Exists, Found: found.Record}}, nil
	}
	version, err := apply(t, w)
	return kv.WriteResult{Outcome: kv.Outcome{Done: true, Version: version}}, err
}

// judge reports whether the condition of w holds and, if there is a condition, returns the
// record under the key. For a row that skykv did not write, or that is damaged, the error is
// a *kv.Error.
func judge(t *table, w *kv.Write, now int64) (found kv.Found, holds bool, err error) {
	if w.Condition.Kind == kv.CondNone {
		return found, true, nil
	}
	if found, err = t.get(w.Key, false); err != nil {
		return found, false, err
	}
	live := found.Exists && (found.Expires == 0 || found.Expires > now)
	switch w.Condition.Kind {
	case kv.CondAbsent:
		return found, !live, nil
	case kv.CondLive:
		return found, live, nil
	}
	return found, found.Exists && found.Version == w.Condition.Version, nil
}

// apply carries out w, whose condition holds. It returns the version of the record that it
// stored, which is the record's token, or "" if it stored none.
func apply(t *table, w *kv.Write) (version string, err error) {
	switch w.Kind {
	case kv.KindPut:
		return w.Token, t.put(&w.Record)
	case kv.KindTouch:
		return w.Token, t.touch(&w.Record)
	case kv.KindDelete:
		return "", t.delete(w.Key)
	}
	return "", nil // a check writes nothing
}

// WriteAtomic checks all conditions and then carries out all writes, in one transaction.
func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	bytes := 0
	for i := range req.Writes {
		w := &req.Writes[i]
		if !knows(w, true) {
			return kv.AtomicOutcome{}, kv.UnsupportedWrite(*w)
		}
		bytes += len(w.Value)
	}
	var out kv.AtomicOutcome
	var row *kv.Error // the error of a row whose condition cannot be decided
	err := d.w.write(ctx, &job{now: req.Now, writes: len(req.Writes), bytes: bytes, meter: req.Meter, do: func(t *table) error {
		out, row = kv.AtomicOutcome{Done: true, Found: make([]*kv.Found, len(req.Writes))}, nil
		for i := range req.Writes {
			w := &req.Writes[i]
			found, holds, err := judge(t, w, req.Now)
			if own, ok := errors.AsType[*kv.Error](err); ok {
				row = &kv.Error{Key: w.Key, Kind: own.Kind, Err: own.Err}
				return nil
			}
			if err != nil {
				return err
			}
			if w.Condition.Kind != kv.CondNone {
				out.Found[i] = &found
			}
			out.Done = out.Done && holds
		}
		if !out.Done {
			return nil
		}
		out.Found, out.Versions = nil, make([]string, len(req.Writes))
		for i := range req.Writes {
			var err error
			if out.Versions[i], err = apply(t, &req.Writes[i]); err != nil {
				return err
			}
		}
		return nil
	}})
	switch {
	case err != nil:
		return kv.AtomicOutcome{}, err
	case row != nil:
		return kv.AtomicOutcome{}, row
	}
	return out, nil
}

// Close waits for the running calls. When no process has a connection to the file any more,
// SQLite moves the log into the file.
func (d *driver) Close() error {
	d.rs.close()
	if err := d.w.close(); err != nil {
		return classify(err)
	}
	return nil
}
