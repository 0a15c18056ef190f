package aztableskv

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

type driver struct {
	table   *aztables.Client
	name    string // name of the table
	layout  *layout
	claims  bool // whether opening may create the layout record
	info    kv.Info
	timeout time.Duration
	slots   *slots
	traces  bool   // whether the client's transport is a tracer
	close   func() // closes the client's connections; set only by Open
}

// setLayout sets the layout that the driver reads and writes.
func (d *driver) setLayout(l *layout) {
	d.layout = l
	d.info = kv.Info{
		Name: l.driver, Shards: l.shards(), Shard: l.shard, ShardOfPrefix: l.shardOfPrefix,
		MaxValueLen:     l.maxValueLen(),
		MaxAtomicWrites: l.maxAtomicWrites(),
		EndsCalls:       true, // Close ends running calls
	}
}

func (d *driver) Info() kv.Info { return d.info }

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if !req.WithValue {
		return d.getMetadata(ctx, req)
	}
	none := kv.Found{Record: kv.Record{Key: req.Key}}
	partition := d.layout.partition(req.Key)
	callCtx, call := d.watch(ctx, req.Meter)
	call.prompt = req.Prompt
	resp, err := d.table.GetEntity(callCtx, partition, req.Key, nil)
	err = call.end(err)
	switch {
	case err != nil && absent(codeOf(err)):
		return none, nil
	case err != nil:
		return none, call.failRead(err)
	}
	e, err := d.layout.parse(resp.Value)
	switch {
	case err != nil:
		return none, errAnswer(err)
	case !e.is(partition, req.Key):
		return none, errAnswer(errOther)
	case !isETag(string(resp.ETag)):
		return none, errAnswer(errNoETag)
	}
	rec, err := d.layout.record(&e, req.Key, true)
	if err != nil {
		return none, err
	}
	rec.Version = string(resp.ETag)
	return kv.Found{Record: rec, Exists: true}, nil
}

// getMetadata reads a record without its value. The SDK's GetEntity has no $select, so this
// is a query for PartitionKey and RowKey, which is just as fast.
func (d *driver) getMetadata(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	none := kv.Found{Record: kv.Record{Key: req.Key}}
	e, body, err := d.queryOne(ctx, d.layout.partition(req.Key), req.Key, false, req.Meter)
	if body == nil || err != nil {
		return none, err
	}
	rec, err := d.layout.record(&e, req.Key, false)
	if err != nil {
		return none, err
	}
	rec.Version = e.version()
	return kv.Found{Record: rec, Exists: true}, nil
}

// parallelReads is the number of requests of one GetMany that run at once.
const parallelReads = 32

// GetMany makes one request for each key, up to parallelReads at once. It yields each result as
// soon as the response arrives.
func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return kv.GetEach(ctx, d, req, parallelReads)
}

func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if touchesLive(req.Write) {
		return d.findLive(ctx, req)
	}
	action, err := d.layout.action(req.Write, req.Now)
	if err != nil {
		return kv.Outcome{}, err
	}
	if err := ctx.Err(); err != nil {
		return kv.Outcome{}, &kv.Error{Err: err}
	}
	callCtx, call := d.watchWrite(ctx, req.Meter)
	call.prompt = req.Prompt
	etag, err := d.send(callCtx, req.Key, action)
	err = call.end(err)
	switch {
	case err != nil:
		if result, ok := d.refusal(ctx, req, codeOf(err), call.mayHaveApplied(err)); ok {
			return result.Outcome, result.Err
		}
		return kv.Outcome{}, call.failWrite(err)
	case req.Kind != kv.KindDelete && !isETag(string(etag)):
		return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errNoETag}
	}
	return kv.Outcome{Done: true, Version: string(etag)}, nil
}

// touchesLive reports whether w is a touch under CondLive: there must be an entry, of any
// version, that has not expired. The service cannot check that.
func touchesLive(w kv.Write) bool {
	return w.Kind == kv.KindTouch && w.Condition.Kind == kv.CondLive
}

// findLive handles a touch for which touchesLive returns true. It only reads the entry, and
// returns it as if the condition had failed. The kv.Store then checks whether the entry has
// expired. If not, the kv.Store makes another touch, on condition of the entry's version.
func (d *driver) findLive(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	found, err := d.getMetadata(ctx, kv.GetRequest{Key: req.Key, Meter: req.Meter})
	if err != nil {
		return kv.Outcome{}, withMayHaveApplied(err, false)
	}
	return kv.Outcome{Exists: found.Exists, Found: found.Record}, nil
}

// noContent requests an empty response to an insertion. Otherwise the response repeats the
// entity.
var noContent = http.Header{"Prefer": {"return-no-content"}}

// send makes the request for one operation, and returns the ETag of the stored entity.
func (d *driver) send(ctx context.Context, key string, action aztables.TransactionAction) (azcore.ETag, error) {
	switch action.ActionType {
	case aztables.TransactionTypeAdd:
		resp, err := d.table.AddEntity(policy.WithHTTPHeader(ctx, noContent), action.Entity, nil)
		return resp.ETag, err
	case aztables.TransactionTypeUpdateReplace, aztables.TransactionTypeUpdateMerge:
		mode := aztables.UpdateModeReplace
		if action.ActionType == aztables.TransactionTypeUpdateMerge {
			mode = aztables.UpdateModeMerge
		}
		resp, err := d.table.UpdateEntity(ctx, action.Entity, &aztables.UpdateEntityOptions{IfMatch: action.IfMatch, UpdateMode: mode})
		return resp.ETag, err
	case aztables.TransactionTypeDelete:
		_, err := d.table.DeleteEntity(ctx, d.layout.partition(key), key, &aztables.DeleteEntityOptions{IfMatch: action.IfMatch})
		return "", err
	}
	resp, err := d.table.UpsertEntity(ctx, action.Entity, &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace})
	return resp.ETag, err
}

// refusal handles a write that the service refused with code. If code says that there was
// nothing to delete, or that the condition failed, refusal returns the result of the write
// and true. Otherwise it returns false. If the condition failed because of an existing
// entry, refusal reads the entry, unless req.Prompt says that the kv.Store reads it.
func (d *driver) refusal(ctx context.Context, req kv.WriteRequest, code aztables.TableErrorCode, mayHaveApplied bool) (result kv.WriteResult, ok bool) {
	switch {
	case req.Kind == kv.KindDelete && req.Condition.Kind == kv.CondNone && absent(code):
		return kv.WriteResult{Outcome: kv.Outcome{Done: true}}, true
	case !refused(code, req.Condition.Kind):
		return kv.WriteResult{}, false
	case absent(code), req.Prompt:
		return kv.WriteResult{Outcome: kv.Outcome{MayHaveApplied: mayHaveApplied}}, true
	}
	found, err := d.getMetadata(ctx, kv.GetRequest{Key: req.Key, Meter: req.Meter})
	if err != nil {
		return kv.WriteResult{Err: withMayHaveApplied(err, mayHaveApplied)}, true
	}
	return kv.WriteResult{Outcome: kv.Outcome{Exists: found.Exists, Found: found.Record, MayHaveApplied: mayHaveApplied}}, true
}

func (d *driver) Close() error {
	d.slots.close()
	if d.close != nil {
		d.close()
	}
	return nil
}
