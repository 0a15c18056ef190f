package localkv

import (
	"context"
	"iter"

	"github.com/skykv/skykv/kv"
)

// A page of a scan ends after at most pageRows rows, including expired rows, and earlier if
// its values reach pageBytes.
const (
	pageRows  = 4096
	pageBytes = 1 << 20
)

// Scan reads one page after another. No transaction is open while the loop's body runs.
func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		var page []scanned
		for from, more := req.From, true; more; {
			var err error
			page, from, err = d.page(ctx, &req, from, page[:0])
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
	err error // concerns this record alone
}

// page reads up to req.Limit records with from <= key <= req.To, and appends them to the empty
// slice page. It returns the key at which the next page begins, or "" at the end.
func (d *driver) page(ctx context.Context, req *kv.ScanRequest, from string, page []scanned) (_ []scanned, next string, err error) {
	r, err := d.rs.borrow(ctx)
	if err != nil {
		return page, "", err
	}
	defer d.rs.giveBack(r)
	req.Meter.Add(1, 1)
	rows := r.table.scan(from, req.To, req.WithValue)
	more := false
	if err := whenFree(ctx, lockWait, func() (err error) {
		more, err = rows.Step()
		return err
	}); err != nil {
		return page, "", classify(err)
	}
	defer rows.Reset()
	for n, bytes := 1, 0; more; n++ {
		rec, expired, err := r.table.scanned(rows, req.WithValue, req.Now)
		if !expired {
			page = append(page, scanned{rec, err})
			bytes += len(rec.Value)
		}
		if n == pageRows || len(page) >= req.Limit || bytes >= pageBytes {
			return page, rec.Key + "\x00", nil // the lowest key after rec.Key
		}
		if n%64 == 0 && ctx.Err() != nil {
			return page, "", errDone(ctx)
		}
		if more, err = rows.Step(); err != nil {
			return page, "", classify(err)
		}
	}
	return page, "", nil
}

// count counts in one transaction. It checks no checksums.
func (d *driver) count(ctx context.Context, req kv.ScanRequest) (n int, err error) {
	r, err := d.rs.borrow(ctx)
	if err != nil {
		return 0, err
	}
	defer d.rs.giveBack(r)
	req.Meter.Add(1, 1)
	err = r.inTransaction(func() error {
		r.conn.SetInterrupt(ctx.Done()) // a count may take seconds, so end it with ctx
		defer r.conn.SetInterrupt(nil)
		return whenFree(ctx, lockWait, func() (err error) {
			n, err = r.table.count(req.From, req.To, req.Now)
			return err
		})
	})
	if err != nil && ctx.Err() != nil {
		return 0, errDone(ctx)
	}
	return n, classify(err)
}
