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
	// maxPage is the greatest number of entities in a response of the service.
	// https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
	maxPage = 1000

	// These limits keep the memory of a scan small, because the SDK makes several copies of
	// a page while it decodes the page, and a scan reads all partitions at once. In a scan
	// that returns values, the first page has at most firstPage entities, and later pages
	// have about pageBytes. If the store permits values of more than kv.MaxValueLen, the
	// first pages of all partitions together have at most firstBytes, or one entity each.
	firstPage  = 100
	firstBytes = 16 << 20
	pageBytes  = 1 << 20

	// A page is too large if its entities are much larger than those of the pages before.
	// The page is then requested again, with a limit that is smaller by this factor.
	fewer = 8
)

// first returns the greatest number of entities in the first page of a scan.
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

// records yields the records of shard req.Shard that match filter, as Scan does.
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
				// The RowKey is not a key, so the entity is skipped. The service does not
				// document the order of such RowKeys. If they were yielded, the kv.Store
				// might report that they are out of order.
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

// queryOne returns the entity with this PartitionKey and RowKey, and its JSON. If there is no
// such entity, the JSON is nil.
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

// parse reads an entity in the response to a query for a partition. It returns an error if the
// service cannot have sent the response.
func (d *driver) parse(body []byte, partition string) (entity, error) {
	e, err := d.layout.parse(body)
	switch {
	case err != nil:
	case !e.in(partition):
		err = errOther
	case !isETag(e.version()):
		err = errNoETag
	}
	if err != nil {
		err = errAnswer(err)
	}
	return e, err
}

// list yields the JSON of each entity that matches filter, either with all properties or
// without the value. It ends after an error.
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
				pager = d.table.NewListEntitiesPager(opts) // a pager that has failed makes no more requests
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
				page.Entities[i] = nil // frees the memory: the loop's body may take long
				if !yield(body, nil) {
					return
				}
			}
			// More pages may follow an empty page.
			n := len(page.Entities)
			if req.WithValue && n > 0 {
				*opts.Top = int32(min(limit, (pageBytes*n+size-1)/size)) // the pager reads Top for the next page
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

// continuation returns a text that identifies the next page after the given one. It consists of
// the keys at which the next page begins. Either of them may be absent.
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

// page makes one request for the next page of a query.
func (d *driver) page(ctx context.Context, pager *runtime.Pager[aztables.ListEntitiesResponse], meter *kv.Meter) (aztables.ListEntitiesResponse, error) {
	callCtx, call := d.watch(ctx, meter)
	page, err := pager.NextPage(callCtx)
	err = call.end(err)
	if r := call.response; r != nil && r.Request != nil && isCosmos(r.Request.URL.Host) { // New accepts any client
		return page, &kv.Error{Kind: kv.ErrInvalidOption, Err: errCosmos}
	}
	if err != nil {
		e := call.failRead(err)
		if absent(codeOf(err)) { // a query returns this code only if the table is missing
			e.Kind = kv.ErrNotProvisioned
		}
		return page, e
	}
	if len(page.Entities) == 0 && !hasList(call.response) {
		return page, errAnswer(errNoList)
	}
	return page, nil
}

// hasList reports whether the response to a query has a list of entities, which may be
// empty. The SDK treats a response without a list like an empty list.
func hasList(resp *http.Response) bool {
	body, err := runtime.Payload(resp) // the SDK has already read the body
	var members map[string]json.RawMessage
	return err == nil && json.Unmarshal(body, &members) == nil && bytes.HasPrefix(members["value"], []byte("["))
}

// listOptions returns the options of a query for the entities that match filter, or for all
// entities if filter is "". It requests full metadata, without which the service does not
// return ETags.
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
