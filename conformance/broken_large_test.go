package conformance

import (
	"context"
	"errors"
	"slices"

	"github.com/skykv/skykv/kv"
)

// part is the size of one property or packet of a value, in the layouts that split values.
const part = 64 << 10

// cut returns the first part of a value, without the rest.
func cut(value []byte) []byte { return value[:min(len(value), part)] }

func largeFaults() []fault {
	inScans := func(change func(rec *kv.Record)) middleware {
		return scans(func(_ kv.ScanRequest, rec *kv.Record) bool { change(rec); return true })
	}
	return []fault{
		{
			name: "stores 64 KiB of a value",
			wrap: puts(func(rec *kv.Record) { rec.Value = cut(rec.Value) }),
			must: []string{"large/option", "large/put", "large/replaced", "large/conditions", "large/touch", "large/update", "large/batch", "large/scan", "large/atomic", "large/others"},
		},
		{
			name: "a batch stores 64 KiB of a value",
			wrap: inBatches(func(w *kv.Write) { w.Value = cut(w.Value) }),
			must: []string{"large/batch", "large/scan"},
			only: true,
		},
		{
			name: "an atomic write stores 64 KiB of a value",
			wrap: inAtomicWrites(func(w *kv.Write) { w.Value = cut(w.Value) }),
			must: []string{"large/atomic"},
			only: true,
		},
		{
			name: "a batch reads 64 KiB of a value",
			wrap: getsMany(func(_ []string, found []kv.Found) []kv.Found {
				for i := range found {
					found[i].Value = cut(found[i].Value)
				}
				return found
			}),
			must: []string{"large/put", "large/conditions", "large/batch", "large/others"},
			only: true,
		},
		{
			name: "a scan reads 64 KiB of a value",
			wrap: inScans(func(rec *kv.Record) { rec.Value = cut(rec.Value) }),
			must: []string{"large/put", "large/conditions", "large/scan", "large/others"},
			only: true,
		},
		{
			name: "a scan ends at a value of more than 64 KiB",
			wrap: wholeScans(func(_ kv.ScanRequest, recs []kv.Record) []kv.Record {
				for i, rec := range recs {
					if len(rec.Value) > part {
						return recs[:i+1]
					}
				}
				return recs
			}),
			must: []string{"large/scan"},
		},
		{
			name: "a touch keeps 64 KiB of a value",
			wrap: func(d kv.Driver) kv.Driver {
				return onWrite(kv.KindTouch, func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					out, err := d.Write(ctx, req)
					if rec, ok := find(d, req.Key); ok && out.Done && len(rec.Value) > part {
						rec.Value = cut(rec.Value)
						return force(d, kv.KindPut, rec, req.Now)
					}
					return out, err
				})(d)
			},
			must: []string{"large/touch", "large/others"},
			only: true,
		},
		{
			name: "a put keeps the old bytes after 64 KiB",
			wrap: func(d kv.Driver) kv.Driver {
				return before(kv.KindPut, func(req *kv.WriteRequest) {
					if old, ok := find(d, req.Key); ok && len(old.Value) > part && len(req.Value) <= part {
						req.Value = slices.Concat(req.Value, old.Value[part:])
					}
				})(d)
			},
			must: []string{"large/replaced", "large/others"},
			only: true,
		},
		{
			name: "does not read values of more than 24,576 bytes",
			wrap: gets(func(_ kv.GetRequest, found *kv.Found) {
				found.Value = found.Value[:min(len(found.Value), kv.MaxValueLen)]
			}),
			must: []string{"large/others", "large/put"},
		},
		{
			name: "holds less than its Info says",
			wrap: methods{
				write: func(ctx context.Context, d kv.Driver, req kv.WriteRequest) (kv.Outcome, error) {
					if len(req.Value) > 380<<10 {
						return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("the item is too large")}
					}
					return d.Write(ctx, req)
				},
			}.over,
			must: []string{"large/option", "large/put", "large/update"},
		},
	}
}

func frontLargeFaults() []fault {
	return []fault{
		{
			name: "a MaxValue out of range has no effect",
			with: fronting(func(f *front) {
				f.exists = func(ctx context.Context, key string) (bool, error) {
					ok, err := f.store.Exists(ctx, key)
					if errors.Is(err, kv.ErrInvalidOption) {
						return true, nil
					}
					return ok, err
				}
			}),
			must:  []string{"large/option"},
			only:  true,
			group: "large/",
		},
	}
}
