package aztableskv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

type driver struct {
	table  *aztables.Client
	name   string
	retry  policy.RetryOptions
	traces bool   // the client's transport is a tracer
	close  func() // nil for a client that was handed in

	shards     int
	partitions []string // the PartitionKey of every shard
}

func (d *driver) setShards(n int) {
	d.shards, d.partitions = n, make([]string, n)
	for i := range d.partitions {
		d.partitions[i] = fmt.Sprintf("%02x", i)
	}
}

func (d *driver) partition(key string) string { return d.partitions[kv.Shard(key, d.shards)] }

func (d *driver) Info() kv.Info { return kv.Info{Name: name, Shards: d.shards} }

func (d *driver) Close() error {
	if d.close != nil {
		d.close()
	}
	return nil
}

// parallelReads is how many requests one GetMany has under way at once.
const parallelReads = 32

func (d *driver) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	return kv.GetEach(ctx, d, keys, parallelReads)
}

func (d *driver) Get(ctx context.Context, key string, withValue bool) (kv.Record, bool, error) {
	if !withValue {
		return d.getMetadata(ctx, key)
	}
	callCtx, call := d.watch(ctx)
	resp, err := d.table.GetEntity(callCtx, d.partition(key), key, nil)
	switch {
	case err != nil && absent(code(err)):
		return kv.Record{}, false, nil
	case err != nil:
		return kv.Record{}, false, call.read(ctx, err)
	}
	e, err := parse(resp.Value)
	if err != nil {
		return kv.Record{}, false, errAnswer(err)
	}
	rec, err := e.record(key, true)
	if err != nil {
		return kv.Record{}, false, err
	}
	rec.Version = string(resp.ETag)
	if rec.Version == "" {
		return kv.Record{}, false, errAnswer(errNoETag)
	}
	return rec, true, nil
}

var errNoETag = errors.New("the service's answer has no ETag")

// errAnswer is the error of an answer that the service never gives.
func errAnswer(err error) error { return &kv.Error{Kind: kv.ErrUnavailable, Err: err} }

// getMetadata reads a record without its value. The SDK's GetEntity knows no
// $select, so this is a query for both keys, which the service answers as fast.
func (d *driver) getMetadata(ctx context.Context, key string) (kv.Record, bool, error) {
	filter := "PartitionKey eq '" + d.partition(key) + "' and RowKey eq '" + key + "'"
	for e, err := range d.list(ctx, filter, false, 1) {
		if err != nil {
			return kv.Record{}, false, err
		}
		rec, err := e.record(key, false)
		if err != nil {
			return kv.Record{}, false, err
		}
		if rec.Version = text(e.etag); rec.Version == "" {
			return d.Get(ctx, key, true)
		}
		return rec, true, nil
	}
	return kv.Record{}, false, nil
}

const (
	// maxPage is how many entities the service returns at most in one answer.
	// https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
	maxPage = 1000

	// Of entities with their values the first page has firstPage at most, and the
	// pages behind it as many as come to about pageBytes: the SDK holds each several
	// times over while it decodes it, and a scan reads all partitions at once.
	firstPage = 100
	pageBytes = 1 << 20
)

// list yields the entities that match filter, with all properties or those of
// selectMetadata. Full metadata is asked for because the service leaves ETags out
// of listings otherwise.
func (d *driver) list(ctx context.Context, filter string, withValue bool, page int) iter.Seq2[entity, error] {
	return func(yield func(entity, error) bool) {
		page := max(1, min(page, maxPage))
		format, properties, top := aztables.MetadataFormatFull, selectMetadata, int32(page)
		opts := &aztables.ListEntitiesOptions{Filter: &filter, Top: &top, Format: &format}
		if withValue {
			top = int32(min(page, firstPage))
		} else {
			opts.Select = &properties
		}
		// Pages may be empty and still have a successor.
		for pager := d.table.NewListEntitiesPager(opts); pager.More(); {
			callCtx, call := d.watch(ctx)
			answer, err := pager.NextPage(callCtx)
			if err != nil {
				yield(entity{}, call.read(ctx, err))
				return
			}
			size := 0
			for i, body := range answer.Entities {
				size += len(body)
				answer.Entities[i] = nil // the loop's body may take its time, the memory is needed
				e, err := parse(body)
				if err != nil {
					yield(entity{}, errAnswer(err))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
			if n := len(answer.Entities); withValue && n > 0 {
				top = int32(max(1, min(page, pageBytes*n/size))) // the pager looks at it anew
			}
		}
	}
}

func (d *driver) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		filter := "PartitionKey eq '" + d.partitions[r.Shard] + "' and RowKey ge '" + r.From + "' and RowKey le '" + r.To + "'"
		if r.Now > 0 {
			// In this form an entity without x, which skykv did not write, is returned:
			// a comparison with a property that is not there is false.
			filter += " and not (" + expiredBy(r.Now) + ")"
		}
		for e, err := range d.list(ctx, filter, r.WithValue, r.Limit) {
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			key := text(e.rowKey)
			if kv.ValidateKey(key) != nil {
				continue // no key of any store: nothing of skykv's ever meets it
			}
			rec, err := e.record(key, r.WithValue)
			if err == nil && kv.Shard(key, d.shards) != r.Shard {
				err = errForeign("it is in another partition than its key belongs to")
			}
			if err == nil {
				if rec.Version = text(e.etag); rec.Version == "" {
					var ok bool
					if rec, ok, err = d.Get(ctx, key, true); err == nil && !ok {
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

// expiredBy is the condition of a query for what is expired at an instant.
func expiredBy(instant int64) string {
	return propExpires + " gt 0L and " + propExpires + " le " + strconv.FormatInt(instant, 10) + "L"
}

// ifMatch gives the ETag that cond wants, nil for none. Versions come from
// outside, as text that anybody can make up, and as a header "*" would match any
// entity.
func ifMatch(cond kv.Condition) (*azcore.ETag, error) {
	if cond.Version == "" {
		return nil, nil
	}
	if !isETag(cond.Version) {
		return nil, &kv.Error{Kind: kv.ErrInvalidVersion, Err: errors.New("the version holds no ETag; allowed is what Get, Put or a scan returned")}
	}
	match := azcore.ETag(cond.Version)
	return &match, nil
}

// isETag reports whether s is one entity tag: printable ASCII without quotes and
// spaces, in quotes, perhaps behind W/.
// https://www.rfc-editor.org/rfc/rfc9110#name-etag
func isETag(s string) bool {
	s = strings.TrimPrefix(s, "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(s[1:len(s)-1], func(r rune) bool { return r < '!' || r == '"' || r > '~' })
}

// noContent spares the answer to an insertion, which repeats the entity.
var noContent = http.Header{"Prefer": {"return-no-content"}}

func (d *driver) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return kv.Outcome{}, &kv.Error{Err: err}
	}
	match, err := ifMatch(cond)
	if err != nil {
		return kv.Outcome{}, err
	}
	body := encode(d.partition(rec.Key), rec)
	callCtx, call := d.watchWrite(ctx)
	var etag azcore.ETag
	switch {
	case match != nil:
		var resp aztables.UpdateEntityResponse
		resp, err = d.table.UpdateEntity(callCtx, body, &aztables.UpdateEntityOptions{IfMatch: match, UpdateMode: aztables.UpdateModeReplace})
		etag = resp.ETag
	case cond.Absent:
		var resp aztables.AddEntityResponse
		resp, err = d.table.AddEntity(policy.WithHTTPHeader(callCtx, noContent), body, nil)
		etag = resp.ETag
	default:
		var resp aztables.UpsertEntityResponse
		resp, err = d.table.UpsertEntity(callCtx, body, &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace})
		etag = resp.ETag
	}
	switch {
	case err != nil:
		return d.refused(ctx, call, rec.Key, cond, err)
	case etag == "":
		return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errNoETag}
	}
	return kv.Outcome{Done: true, Version: string(etag)}, nil
}

func (d *driver) Delete(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return kv.Outcome{}, &kv.Error{Err: err}
	}
	match, err := ifMatch(cond)
	if err != nil {
		return kv.Outcome{}, err
	}
	callCtx, call := d.watchWrite(ctx)
	_, err = d.table.DeleteEntity(callCtx, d.partition(key), key, &aztables.DeleteEntityOptions{IfMatch: match})
	switch {
	case err == nil, cond.Version == "" && absent(code(err)):
		return kv.Outcome{Done: true}, nil
	}
	return d.refused(ctx, call, key, cond, err)
}

// refused makes an outcome of the answer that the condition does not hold, with
// what is there instead, and an error of any other.
func (d *driver) refused(ctx context.Context, call *attempts, key string, cond kv.Condition, err error) (kv.Outcome, error) {
	code := code(err)
	switch {
	case cond.Version != "" && absent(code):
		return kv.Outcome{Retried: call.applied}, nil
	case cond.Version != "" && code == aztables.UpdateConditionNotSatisfied:
	case cond.Absent && code == aztables.EntityAlreadyExists:
	default:
		return kv.Outcome{}, call.write(ctx, err)
	}
	found, exists, err := d.getMetadata(ctx, key)
	if err != nil {
		e := kv.Error{Err: err}
		if own, ok := err.(*kv.Error); ok {
			e = *own
		}
		e.MayHaveApplied = call.applied
		return kv.Outcome{}, &e
	}
	return kv.Outcome{Exists: exists, Found: found, Retried: call.applied}, nil
}
