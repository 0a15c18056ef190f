package localkv

import (
	"context"
	"errors"
	"iter"

	"github.com/skykv/skykv/kv"
)

// A read transaction of a batch ends after readGroup keys, or earlier if its values reach
// pageBytes. A long transaction would keep the log from starting over.
const readGroup = 256

// GetMany reads many keys in each transaction, so that SQLite does not lock the file for each
// key. No transaction is open while the loop's body runs.
func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		var group []read
		for keys := req.Keys; len(keys) > 0; keys = keys[len(group):] {
			var err error
			group, err = d.readGroup(ctx, &req, keys, group[:0])
			for i := range group {
				if !yield(group[i].found, group[i].err) {
					return
				}
			}
			if err != nil {
				yield(kv.Found{}, err)
				return
			}
		}
	}
}

type read struct {
	found kv.Found
	err   error // concerns this key alone
}

// readGroup reads keys in one transaction, from the first key on and as many as a transaction may
// read. It appends the results to the empty slice group.
func (d *driver) readGroup(ctx context.Context, req *kv.GetManyRequest, keys []string, group []read) ([]read, error) {
	r, err := d.rs.borrow(ctx)
	if err != nil {
		return group, err
	}
	defer d.rs.giveBack(r)
	req.Meter.Add(1, 1)
	err = r.inTransaction(func() error {
		for bytes := 0; len(group) < min(len(keys), readGroup) && bytes < pageBytes; {
			found, err := r.get(ctx, keys[len(group)], req.WithValue)
			group = append(group, read{found, err})
			bytes += len(found.Value)
		}
		return nil
	})
	return group, classify(err)
}

// WriteMany writes in several transactions, so that other processes can write in between. If
// one transaction fails, the earlier transactions are kept and the later ones are not tried. If
// SQLite finds damage, which may concern only one write, each write of that transaction is tried
// alone, and WriteMany goes on.
func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := make([]kv.WriteResult, len(req.Writes))
	left := make([]int, 0, len(req.Writes)) // the indexes of the writes to do
	for i := range req.Writes {
		if knows(&req.Writes[i], false) {
			left = append(left, i)
		} else {
			results[i].Err = kv.UnsupportedWrite(req.Writes[i])
		}
	}
	for len(left) > 0 {
		n, bytes := 0, 0
		for n < len(left) && n < groupWrites && bytes < groupBytes {
			bytes += len(req.Writes[left[n]].Value)
			n++
		}
		group := left[:n]
		err := d.w.write(ctx, &job{now: req.Now, writes: n, bytes: bytes, meter: req.Meter, do: func(t *table) (err error) {
			for _, i := range group {
				if results[i], err = write(t, &req.Writes[i], req.Now); err != nil {
					return err
				}
			}
			return nil
		}})
		switch {
		case isDamage(err) && !errors.Is(err, kv.ErrIndeterminate):
			for _, i := range group {
				results[i].Outcome, results[i].Err = d.Write(ctx, req.One(i))
			}
		case err != nil:
			for _, i := range group {
				results[i] = kv.WriteResult{Err: err}
			}
			for _, i := range left[n:] {
				results[i].Err = untried(err)
			}
			return results
		}
		left = left[n:]
	}
	return results
}

// untried returns the error of writes that were not tried because an earlier write failed
// with err.
func untried(err error) error {
	if e, ok := errors.AsType[*kv.Error](err); ok && e.MayHaveApplied {
		return &kv.Error{Kind: e.Kind, Err: e.Err}
	}
	return err
}
