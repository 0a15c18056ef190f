package localkv

import (
	"context"
	"iter"

	"github.com/skykv/skykv/kv"
)

// A page of a scan ends at the latest after pageRows rows, including expired rows, or
// when its values reach pageBytes.
const (
	pageRows  = 4096
	pageBytes = 1 << 20
)

// Scan reads page after page. No page is open while the loop's body runs.
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
	err error // the error of this record
}

// page appends to page about req.Limit records of req, beginning at the key from. It
// returns the key at which to go on, "" at the end.
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
			return page, rec.Key + "\x00", nil // the lowest key after it
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

// count counts in one transaction. It reads only the indexes, so it checks no checksum.
func (d *driver) count(ctx context.Context, req kv.ScanRequest) (n int, err error) {
	r, err := d.rs.borrow(ctx)
	if err != nil {
		return 0, err
	}
	defer d.rs.giveBack(r)
	req.Meter.Add(1, 1)
	err = r.inTransaction(func() error {
		r.conn.SetInterrupt(ctx.Done()) // a statement may take seconds
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
