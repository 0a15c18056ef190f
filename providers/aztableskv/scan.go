package aztableskv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/internal/pages"
	"github.com/skykv/skykv/kv"
)

const (
	// maxPage is how many entities the service returns at most in one answer.
	// https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
	maxPage = 1000

	// Of entities with their values the first page has firstPage at most, and the
	// later pages as many as come to about pageBytes: the SDK holds each several
	// times over while it decodes it, and a scan reads all partitions at once. Where the
	// store writes larger values, the first pages of all partitions come to firstBytes at
	// most.
	firstPage  = 100
	firstBytes = 16 << 20
	pageBytes  = 1 << 20

	// fewer is how many times fewer entities are asked for in place of a page that has
	// more bytes than any should have: those before it were far smaller.
	fewer = 8
)

// first returns how many entities the first page of a scan has at most.
func (d *driver) first(req kv.ScanRequest) int {
	switch {
	case !req.WithValue:
		return maxPage
	case req.MaxValueLen <= kv.MaxValueLen:
		return firstPage
	case req.Alone:
		return max(1, min(firstPage, firstBytes/req.MaxValueLen))
	}
	return max(1, min(firstPage, firstBytes/req.MaxValueLen/d.layout.shards()))
}

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return d.records(ctx, req, d.layout.scanFilter(req))
}

// records yields the records of the shard req.Shard that match filter, as Scan does.
func (d *driver) records(ctx context.Context, req kv.ScanRequest, filter string) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for body, err := range d.list(ctx, req, filter) {
			var e entity
			if err == nil {
				e, err = d.parse(body, d.layout.partitions[req.Shard])
			}
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			key := e.key()
			if kv.ValidateKey(key) != nil {
				// No key of any store. How the service orders such names is not documented, so
				// that the store might take them for out of order.
				continue
			}
			rec, err := d.layout.record(&e, key, req.WithValue)
			if rec.Version = e.version(); err != nil {
				rec = kv.Record{Key: key}
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

// queryOne returns the entity of both keys, and its JSON, which is nil where there is none.
func (d *driver) queryOne(ctx context.Context, partition, row string, withValue bool, meter *kv.Meter) (entity, []byte, error) {
	req := kv.ScanRequest{Limit: 1, WithValue: withValue, Meter: meter}
	for body, err := range d.list(ctx, req, d.layout.keyFilter(partition, row)) {
		var e entity
		if err == nil {
			if e, err = d.parse(body, partition); err == nil && !e.is(partition, row) {
				err = errAnswer(errOther)
			}
		}
		return e, body, err
	}
	return entity{}, nil, nil
}

// parse reads an entity of the answer to a query for a partition. The error says that the
// answer cannot be the service's.
func (d *driver) parse(body []byte, partition string) (entity, error) {
	e, err := d.layout.parse(body)
	switch {
	case err != nil:
	case !e.in(partition):
		err = errOther
	case e.version() == "":
		err = errNoETag
	}
	if err != nil {
		err = errAnswer(err)
	}
	return e, err
}

// list yields the JSON of the entities that match filter, with all their properties or
// without the value. The loop ends at an error.
func (d *driver) list(ctx context.Context, req kv.ScanRequest, filter string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		limit := max(1, min(req.Limit, maxPage))
		if limit > 1 {
			ctx = attempt.With(ctx, attempt.Page)
		}
		opts := d.listOptions(filter, req.WithValue, min(limit, d.first(req)))
		pager := d.table.NewListEntitiesPager(opts)
		var guard pages.Guard
		for {
			page, err := d.page(ctx, pager, req.Meter)
			if errors.Is(err, attempt.ErrTooLarge) && *opts.Top > 1 {
				*opts.Top = max(1, *opts.Top/fewer)
				pager = d.table.NewListEntitiesPager(opts) // one that has failed asks for nothing more
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			opts.NextPartitionKey, opts.NextRowKey = page.NextPartitionKey, page.NextRowKey
			size := 0
			for i, body := range page.Entities {
				size += len(body)
				page.Entities[i] = nil // the loop's body may take its time, the memory is needed
				if !yield(body, nil) {
					return
				}
			}
			// Pages may be empty and still have a successor.
			n := len(page.Entities)
			if req.WithValue && n > 0 {
				*opts.Top = int32(min(limit, (pageBytes*n+size-1)/size)) // the pager looks at it anew
			}
			if !pager.More() {
				return
			}
			if err := guard.Next(ctx, n, continuation(page)); err != nil {
				if err == pages.ErrRepeated {
					err = errAnswer(err)
				}
				yield(nil, err)
				return
			}
		}
	}
}

// continuation returns where the page after page begins. Either part may be missing.
func continuation(page aztables.ListEntitiesResponse) string {
	at := ""
	for _, part := range []*string{page.NextPartitionKey, page.NextRowKey} {
		if part != nil {
			at += *part
		}
		at += "\n"
	}
	return at
}

// page asks for the next page of a query.
func (d *driver) page(ctx context.Context, pager *runtime.Pager[aztables.ListEntitiesResponse], meter *kv.Meter) (aztables.ListEntitiesResponse, error) {
	callCtx, call := d.watch(ctx, meter)
	page, err := pager.NextPage(callCtx)
	err = call.end(err)
	if r := call.response; r != nil && r.Request != nil && isCosmos(r.Request.URL.Host) { // a client of New's caller
		return page, &kv.Error{Kind: kv.ErrInvalidOption, Err: errCosmos}
	}
	if err != nil {
		e := call.failRead(err)
		if absent(codeOf(err)) { // to a query, only the table can be missing
			e.Kind = kv.ErrNotProvisioned
		}
		return page, e
	}
	if len(page.Entities) == 0 && !hasList(call.response) {
		return page, errAnswer(errNoList)
	}
	return page, nil
}

// hasList reports whether the answer to a query has a list of entities, which may be
// empty. The SDK takes an answer without one for an empty list.
func hasList(resp *http.Response) bool {
	body, err := runtime.Payload(resp) // the SDK has read it already
	var members map[string]json.RawMessage
	return err == nil && json.Unmarshal(body, &members) == nil && bytes.HasPrefix(members["value"], []byte("["))
}

// listOptions asks for pages of the entities that match filter, of all with an empty one. Full metadata is asked
// for because the service leaves ETags out of listings otherwise.
func (d *driver) listOptions(filter string, withValue bool, top int) *aztables.ListEntitiesOptions {
	format, n := aztables.MetadataFormatFull, int32(top)
	opts := &aztables.ListEntitiesOptions{Top: &n, Format: &format}
	if filter != "" {
		opts.Filter = &filter
	}
	if !withValue {
		properties := d.layout.metadata
		opts.Select = &properties
	}
	return opts
}
