package conformance

import (
	"context"
	"iter"
	"slices"

	"github.com/skykv/skykv/kv"
)

// losingResponses is middleware that acts like an SDK which sends a write again, because it got
// no response to the first, although the service applied it. Before the second write the
// middleware calls the function meanwhile, if that is not nil.
func losingResponses(meanwhile func()) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &losesResponses{d, meanwhile} }
}

type losesResponses struct {
	kv.Driver
	meanwhile func()
}

func (d *losesResponses) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	out, err := d.Driver.Write(ctx, req)
	if err != nil || !out.Done {
		return out, err // nothing was applied, so there is nothing to lose
	}
	if d.meanwhile != nil {
		d.meanwhile()
	}
	req.Token = kv.AttemptToken(req.Token, 1)
	out, err = d.Driver.Write(ctx, req)
	out.MayHaveApplied = !out.Done
	return out, err
}

// named is middleware that changes the driver's name.
func named(name string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &renamed{d, name} }
}

type renamed struct {
	kv.Driver
	name string
}

func (d *renamed) Info() kv.Info {
	info := d.Driver.Info()
	info.Name = d.name
	return info
}

// damaging is middleware whose scans yield an error instead of the record under key, as if the
// record could not be decoded.
func damaging(key string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver {
		return &scansOtherwise{d, func(rec kv.Record, yield func(kv.Record, error) bool) bool {
			if rec.Key == key {
				return yield(kv.Record{Key: key}, &kv.Error{Kind: kv.ErrIncompatible})
			}
			return yield(rec, nil)
		}}
	}
}

// hiding is middleware whose scans leave out the record under key.
func hiding(key string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver {
		return &scansOtherwise{d, func(rec kv.Record, yield func(kv.Record, error) bool) bool {
			return rec.Key == key || yield(rec, nil)
		}}
	}
}

// breakingScans is middleware whose scans end with an error when they reach key.
func breakingScans(key string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver {
		return &scansOtherwise{d, func(rec kv.Record, yield func(kv.Record, error) bool) bool {
			if rec.Key == key {
				yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
				return false
			}
			return yield(rec, nil)
		}}
	}
}

// scansOtherwise passes every record of a scan to the function in its field each. This function
// may yield anything instead of the record.
type scansOtherwise struct {
	kv.Driver
	each func(rec kv.Record, yield func(kv.Record, error) bool) bool
}

func (d *scansOtherwise) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for rec, err := range d.Driver.Scan(ctx, req) {
			if err != nil {
				if !yield(rec, err) {
					return
				}
			} else if !d.each(rec, yield) {
				return
			}
		}
	}
}

// failingKey is middleware whose batches fail for key.
func failingKey(key string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &failsKey{d, key} }
}

type failsKey struct {
	kv.Driver
	key string
}

func (d *failsKey) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		for found, err := range d.Driver.GetMany(ctx, req) {
			if found.Key == d.key {
				found, err = kv.Found{Record: kv.Record{Key: d.key}}, &kv.Error{Kind: kv.ErrThrottled}
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

func (d *failsKey) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	others := req
	others.Writes = slices.DeleteFunc(slices.Clone(req.Writes), func(w kv.Write) bool { return w.Key == d.key })
	done := d.Driver.WriteMany(ctx, others)
	results := make([]kv.WriteResult, 0, len(req.Writes))
	for _, w := range req.Writes {
		if w.Key == d.key {
			results = append(results, kv.WriteResult{Err: &kv.Error{Kind: kv.ErrThrottled}})
			continue
		}
		results, done = append(results, done[0]), done[1:]
	}
	return results
}

// deletingInstead is middleware whose batches delete these keys instead of putting them.
func deletingInstead(keys ...string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &deletesInstead{d, keys} }
}

type deletesInstead struct {
	kv.Driver
	keys []string
}

func (d *deletesInstead) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	req.Writes = slices.Clone(req.Writes)
	for i, w := range req.Writes {
		if slices.Contains(d.keys, w.Key) {
			req.Writes[i] = kv.Write{Kind: kv.KindDelete, Record: kv.Record{Key: w.Key, Token: w.Token}}
		}
	}
	return d.Driver.WriteMany(ctx, req)
}
