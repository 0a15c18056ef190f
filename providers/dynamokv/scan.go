package dynamokv

import (
	"context"
	"errors"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/internal/pages"
	"github.com/skykv/skykv/kv"
)

// maxPage is the greatest number of items in a page of a scan. The service also ends
// every page at 1 MiB.
const maxPage = 1000

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		in := d.layout.query(req)
		in.TableName, in.ConsistentRead, in.Limit = d.table, consistent(req.Stale), aws.Int32(int32(min(req.Limit, maxPage)))
		var guard pages.Guard
		for {
			out, err := d.page(ctx, in, req.Meter, false)
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			for i, it := range out.Items {
				key := d.layout.keyOf(it)
				if key == "" {
					yield(kv.Record{}, errNoAnswer("it has an item without a key"))
					return
				}
				rec, err := d.layout.decode(key, it, req.WithValue)
				out.Items[i] = nil // frees the memory: the loop's body may take long
				if err != nil {
					rec.Key = key
				}
				if !yield(rec, err) {
					return
				}
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
			if more, err := d.follows(ctx, &guard, len(out.Items), in.ExclusiveStartKey); !more {
				if err != nil {
					yield(kv.Record{}, err)
				}
				return
			}
			if len(out.Items) == 0 {
				// The filter has left out all items of the page, because they have expired.
				// Larger pages pass over such items in fewer requests.
				*in.Limit = min(*in.Limit*2, maxPage)
			}
		}
	}
}

// count makes the service count the items. A response has only those items that may have expired
// or do not have the layout. Of these items, count itself counts the live ones. It returns an
// error for an item that does not have the layout. Each request covers up to 1 MiB of items.
func (d *driver) count(ctx context.Context, req kv.ScanRequest) (n int, err error) {
	in := d.layout.count(req)
	in.TableName, in.ConsistentRead = d.table, consistent(req.Stale)
	var guard pages.Guard
	for more := true; more; {
		out, err := d.page(ctx, in, req.Meter, true)
		if err != nil {
			return 0, err
		}
		scanned := int(out.ScannedCount)
		if scanned < len(out.Items) || int(out.Count) != len(out.Items) {
			return 0, errNoAnswer("its numbers of items cannot be right")
		}
		n += scanned - len(out.Items)
		for _, it := range out.Items {
			key := d.layout.keyOf(it)
			if key == "" {
				return 0, errNoAnswer("it has an item without a key")
			}
			rec, err := d.layout.decode(key, it, false)
			if err != nil {
				return 0, err
			}
			if rec.Expires == 0 || rec.Expires > req.Now {
				n++
			}
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
		if more, err = d.follows(ctx, &guard, scanned, in.ExclusiveStartKey); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// page makes one request of a scan or, if counts is set, of a count. The response to a
// count must have the numbers of items.
func (d *driver) page(ctx context.Context, in *dynamodb.QueryInput, meter *kv.Meter, counts bool) (*dynamodb.QueryOutput, error) {
	a := d.watchMany(ctx, meter, mostPage)
	defer a.end()
	out, err := d.client.Query(a, in)
	switch {
	case err != nil:
		return nil, a.failRead(err)
	case out.Items == nil:
		return nil, errNoAnswer("it has no list of items")
	case counts && len(out.Items) == 0 && !a.body.names("Count") && !a.body.names("ScannedCount"): // the SDK returns 0 for an absent number
		return nil, errNoAnswer("it has no number of items")
	}
	return out, nil
}

// The method follows reports whether another page follows. records is the number of records
// in the last page. The argument last is the primary key after which the next page begins.
func (d *driver) follows(ctx context.Context, guard *pages.Guard, records int, last item) (bool, error) {
	if len(last) == 0 {
		return false, nil
	}
	position := d.layout.position(last)
	if position == "" {
		return false, errNoAnswer("it continues after an item without a primary key")
	}
	switch err := guard.Next(ctx, records, position); {
	case err == nil:
		return true, nil
	case errors.Is(err, pages.ErrRepeated):
		return false, &kv.Error{Kind: kv.ErrUnavailable, Err: err}
	default:
		return false, &kv.Error{Err: err}
	}
}
