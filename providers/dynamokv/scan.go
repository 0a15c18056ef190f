package dynamokv

import (
	"context"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

// maxPage bounds how far the pages of a scan grow, in items. The service ends
// every page at 1 MiB.
const maxPage = 1000

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		in := d.layout.query(req)
		in.TableName, in.ConsistentRead, in.Limit = d.table, yes, aws.Int32(int32(min(req.Limit, maxPage)))
		for {
			out, err := d.page(ctx, in, req.Meter)
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			for i, it := range out.Items {
				key := d.layout.keyOf(it)
				rec, err := d.layout.decode(key, it, req.WithValue)
				out.Items[i] = nil // the loop's body may take its time, the memory is needed
				if err != nil {
					rec.Key = key
				}
				if !yield(rec, err) {
					return
				}
			}
			if len(out.LastEvaluatedKey) == 0 {
				return
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
			if len(out.Items) == 0 {
				// A run of expired items: cross it in longer steps.
				*in.Limit = min(*in.Limit*2, maxPage)
			}
		}
	}
}

// page makes one request of a scan.
func (d *driver) page(ctx context.Context, in *dynamodb.QueryInput, meter *kv.Meter) (*dynamodb.QueryOutput, error) {
	ctx, a := d.watch(ctx, meter)
	out, err := d.client.Query(ctx, in, watched...)
	if err != nil {
		return nil, a.failRead(ctx, err)
	}
	return out, nil
}
