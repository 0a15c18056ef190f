package aztableskv

import (
	"context"
	"iter"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

const (
	// maxPage is how many entities the service returns at most in one answer.
	// https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
	maxPage = 1000

	// Of entities with their values the first page has firstPage at most, and the
	// later pages as many as come to about pageBytes: the SDK holds each several
	// times over while it decodes it, and a scan reads all partitions at once.
	firstPage = 100
	pageBytes = 1 << 20
)

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return d.records(ctx, req, d.layout.scanFilter(req))
}

// records yields the records of the shard req.Shard that match filter, as Scan does.
func (d *driver) records(ctx context.Context, req kv.ScanRequest, filter string) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for body, err := range d.list(ctx, req, filter) {
			var e entity
			if err == nil {
				if e, err = d.layout.parse(body); err != nil {
					err = errAnswer(err)
				}
			}
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			key := e.key()
			if kv.ValidateKey(key) != nil {
				continue // no key of any store: nothing of skykv's ever meets it
			}
			rec, err := d.layout.record(&e, key, req.WithValue)
			if shard := d.layout.shard(key); err == nil && shard != req.Shard {
				err = errForeign("an entity in partition "+d.layout.partitions[req.Shard], "it in "+d.layout.partitions[shard])
			}
			if err == nil {
				if rec.Version = e.version(); rec.Version == "" {
					var found kv.Found
					found, err = d.Get(ctx, kv.GetRequest{Key: key, WithValue: true, Meter: req.Meter})
					if rec = found.Record; err == nil && !found.Exists {
						continue
					}
				}
			}
			if err != nil {
				rec = kv.Record{Key: key}
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

// list yields the JSON of the entities that match filter, with all their properties or
// without the value. The loop ends at an error.
func (d *driver) list(ctx context.Context, req kv.ScanRequest, filter string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		limit := max(1, min(req.Limit, maxPage))
		top := limit
		if req.WithValue {
			top = min(limit, firstPage)
		}
		opts := d.listOptions(filter, req.WithValue, top)
		// Pages may be empty and still have a successor.
		for pager := d.table.NewListEntitiesPager(opts); pager.More(); {
			callCtx, call := d.watch(ctx, req.Meter)
			page, err := pager.NextPage(callCtx)
			call.end(err)
			if err != nil {
				yield(nil, call.failRead(ctx, err))
				return
			}
			size := 0
			for i, body := range page.Entities {
				size += len(body)
				page.Entities[i] = nil // the loop's body may take its time, the memory is needed
				if !yield(body, nil) {
					return
				}
			}
			if n := len(page.Entities); req.WithValue && n > 0 {
				*opts.Top = int32(max(1, min(limit, pageBytes*n/size))) // the pager looks at it anew
			}
		}
	}
}

// listOptions asks for pages of the entities that match filter. Full metadata is asked
// for because the service leaves ETags out of listings otherwise.
func (d *driver) listOptions(filter string, withValue bool, top int) *aztables.ListEntitiesOptions {
	format, n := aztables.MetadataFormatFull, int32(top)
	opts := &aztables.ListEntitiesOptions{Filter: &filter, Top: &n, Format: &format}
	if !withValue {
		properties := d.layout.metadata()
		opts.Select = &properties
	}
	return opts
}
