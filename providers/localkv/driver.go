package localkv

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// A page of a scan ends at the latest after pageRows rows, expired ones included,
// or with the record that brings its values to pageBytes.
const (
	pageRows  = 4096
	pageBytes = 1 << 20
)

// readGroup is how many keys a read transaction is for: one that lasts would keep
// the log from being emptied.
const readGroup = 256

type driver struct {
	w  *writer
	rs *readers

	// ahead is by how many milliseconds the store's clock was ahead of the host's when
	// it was last heard of: batches bring no reading.
	ahead atomic.Int64
}

// hear notes a reading of the store's clock.
func (d *driver) hear(now int64) { d.ahead.Store(now - time.Now().UnixMilli()) }

// about is what the store's clock must read by now.
func (d *driver) about() int64 { return time.Now().UnixMilli() + d.ahead.Load() }

func (d *driver) Info() kv.Info { return kv.Info{Name: name, Shards: 1} }

func (d *driver) Get(ctx context.Context, key string, withValue bool) (rec kv.Record, found bool, err error) {
	r, err := d.rs.borrow(ctx)
	if err != nil {
		return kv.Record{}, false, err
	}
	rec, found, err = r.get(ctx, key, withValue)
	d.rs.give(r)
	return rec, found, err
}

func (r *reader) get(ctx context.Context, key string, withValue bool) (rec kv.Record, found bool, err error) {
	stmt := r.meta
	if withValue {
		stmt = r.record
	}
	err = whenFree(ctx, lockWait, func() error {
		rec, found, err = lookup(stmt, key, withValue)
		return err
	})
	if err != nil {
		return kv.Record{}, false, classify(err)
	}
	return rec, found, nil
}

func (d *driver) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (out kv.Outcome, err error) {
	d.hear(cond.Now)
	var failed error // about the record found alone
	err = d.w.write(ctx, &job{now: cond.Now, writes: 1, bytes: len(rec.Value), do: func(w *writer) error {
		done, err := w.put(&rec, &cond)
		out = kv.Outcome{Done: done, Version: rec.Token}
		if err == nil && !done {
			out, failed, err = w.found(rec.Key)
		}
		return err
	}})
	return outcome(out, failed, err)
}

func (d *driver) Delete(ctx context.Context, key string, cond kv.Condition) (out kv.Outcome, err error) {
	d.hear(cond.Now)
	var failed error
	err = d.w.write(ctx, &job{now: cond.Now, writes: 1, do: func(w *writer) error {
		done, err := w.delete(key, &cond)
		out = kv.Outcome{Done: done}
		if err == nil && !done {
			out, failed, err = w.found(key)
		}
		return err
	}})
	return outcome(out, failed, err)
}

func outcome(out kv.Outcome, failed, err error) (kv.Outcome, error) {
	if err == nil {
		err = failed
	}
	if err != nil {
		return kv.Outcome{}, err
	}
	return out, nil
}

// found reports what made a condition fail. A row that skykv did not write is
// failed, an error that leaves the transaction alone.
func (w *writer) found(key string) (out kv.Outcome, failed, err error) {
	rec, exists, err := lookup(w.meta, key, false)
	if foreign, ok := errors.AsType[*kv.Error](err); ok {
		return kv.Outcome{}, foreign, nil
	}
	return kv.Outcome{Exists: exists, Found: rec}, nil, err
}

// Scan reads page after page. No page is open while the loop's body runs.
func (d *driver) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	if r.Now != 0 {
		d.hear(r.Now)
	}
	return func(yield func(kv.Record, error) bool) {
		var page []scanned
		for from, more := r.From, true; more; {
			var err error
			page, from, err = d.page(ctx, &r, from, page[:0])
			for i := range page {
				if !yield(page[i].rec, page[i].err) {
					return
				}
			}
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			more = from != ""
		}
	}
}

type scanned struct {
	rec kv.Record
	err error // about this record alone
}

// page appends the records of r from a key on to page, about r.Limit of them,
// and gives the key from which to go on, "" at the end.
func (d *driver) page(ctx context.Context, r *kv.Range, from string, page []scanned) (_ []scanned, next string, err error) {
	rd, err := d.rs.borrow(ctx)
	if err != nil {
		return page, "", err
	}
	defer d.rs.give(rd)
	stmt, value := rd.pageMeta, -1
	if r.WithValue {
		stmt, value = rd.page, 3
	}
	stmt.BindText(1, from)
	stmt.BindText(2, r.To)
	more := false
	if err := whenFree(ctx, lockWait, func() (err error) {
		more, err = stmt.Step()
		return err
	}); err != nil {
		return page, "", classify(err)
	}
	defer stmt.Reset()
	for rows, bytes := 1, 0; more; rows++ {
		full := rows == pageRows
		if r.Now == 0 || !expired(stmt, r.Now) {
			key := stmt.ColumnText(2)
			rec, err := decode(stmt, key, value)
			if invalid := kv.ValidateKey(key); invalid != nil {
				err = errForeign("its key k is not legal")
			}
			if err != nil {
				rec = kv.Record{Key: key}
			}
			page = append(page, scanned{rec, err})
			bytes += len(rec.Value)
			full = full || len(page) >= r.Limit || bytes >= pageBytes
		}
		if full {
			// The next key there can be: this one with the lowest byte behind it.
			return page, stmt.ColumnText(2) + "\x00", nil
		}
		if rows%64 == 0 && ctx.Err() != nil {
			return page, "", errDone(ctx)
		}
		if more, err = stmt.Step(); err != nil {
			return page, "", classify(err)
		}
	}
	return page, "", nil
}

// GetMany reads in a few transactions, which saves the locking of each key.
func (d *driver) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	r, err := d.rs.borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer d.rs.give(r)
	recs := make([]kv.Record, 0, len(keys))
	failed := make(map[string]error)
	for chunk := range slices.Chunk(keys, readGroup) {
		if ctx.Err() != nil {
			return recs, errDone(ctx)
		}
		if err := exec(r.begin); err != nil {
			return recs, classify(err)
		}
		for _, key := range chunk {
			rec, found, err := r.get(ctx, key, true)
			if err != nil {
				failed[key] = err
			} else if found {
				recs = append(recs, rec)
			}
		}
		if !r.conn.AutocommitEnabled() { // some errors end the transaction by themselves
			if err := exec(r.end); err != nil {
				return recs, classify(err)
			}
		}
	}
	if len(failed) > 0 {
		return recs, &kv.BatchError{Failed: failed}
	}
	return recs, nil
}

// WriteMany writes in several transactions, so that other processes get their
// turn, and stops at the first that fails.
func (d *driver) WriteMany(ctx context.Context, writes []kv.Write) error {
	for len(writes) > 0 {
		n, bytes := 0, 0
		for n < len(writes) && n < groupWrites && bytes < groupBytes {
			bytes += len(writes[n].Value)
			n++
		}
		chunk := writes[:n]
		err := d.w.write(ctx, &job{now: d.about(), writes: n, bytes: bytes, do: func(w *writer) error {
			for i := range chunk {
				var err error
				if chunk[i].Delete {
					_, err = w.delete(chunk[i].Key, &kv.Condition{})
				} else {
					_, err = w.put(&chunk[i].Record, &kv.Condition{})
				}
				if err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil {
			return unwritten(writes, n, err)
		}
		writes = writes[n:]
	}
	return nil
}

// unwritten is the error of a batch whose writes failed: the first n with err,
// and the others, which were not tried, because of it.
func unwritten(writes []kv.Write, n int, err error) error {
	failed := make(map[string]error, len(writes))
	for i, write := range writes {
		if e, ok := errors.AsType[*kv.Error](err); ok && i >= n && e.MayHaveApplied {
			err = &kv.Error{Kind: e.Kind, Err: e.Err}
		}
		failed[write.Key] = err
	}
	return &kv.BatchError{Failed: failed}
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
