package conformance

import (
	"context"
	"iter"
	"slices"

	"github.com/skykv/skykv/kv"
)

// losingResponses stands for an SDK that gets no response to a write that was
// applied, and sends it again; between the two, meanwhile is called if it is set.
func losingResponses(meanwhile func()) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &losesResponses{d, meanwhile} }
}

type losesResponses struct {
	kv.Driver
	meanwhile func()
}

func (d *losesResponses) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	out, err := d.Driver.Put(ctx, rec, cond)
	return d.again(out, err, func() (kv.Outcome, error) {
		rec.Token = kv.AttemptToken(rec.Token, 1)
		return d.Driver.Put(ctx, rec, cond)
	})
}

func (d *losesResponses) Delete(ctx context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	out, err := d.Driver.Delete(ctx, key, cond)
	return d.again(out, err, func() (kv.Outcome, error) { return d.Driver.Delete(ctx, key, cond) })
}

func (d *losesResponses) again(out kv.Outcome, err error, retry func() (kv.Outcome, error)) (kv.Outcome, error) {
	if err != nil || !out.Done {
		return out, err // nothing was applied
	}
	if d.meanwhile != nil {
		d.meanwhile()
	}
	out, err = retry()
	out.Retried = !out.Done
	return out, err
}

// named gives a driver another name.
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

// damaging makes scans find a record under key that cannot be read.
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

// breakingScans ends the scans that come to key with an error.
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

// scansOtherwise hands the records of a scan on as each says.
type scansOtherwise struct {
	kv.Driver
	each func(rec kv.Record, yield func(kv.Record, error) bool) bool
}

func (d *scansOtherwise) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for rec, err := range d.Driver.Scan(ctx, r) {
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

// failingKey makes key fail in every batch that it is in.
func failingKey(key string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &failsKey{d, key} }
}

type failsKey struct {
	kv.Driver
	key string
}

func (d *failsKey) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	others := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key == d.key })
	recs, err := d.Driver.GetMany(ctx, others)
	if err == nil && len(others) < len(keys) {
		err = d.failure()
	}
	return recs, err
}

func (d *failsKey) WriteMany(ctx context.Context, writes []kv.Write) error {
	others := slices.DeleteFunc(slices.Clone(writes), func(w kv.Write) bool { return w.Key == d.key })
	err := d.Driver.WriteMany(ctx, others)
	if err == nil && len(others) < len(writes) {
		err = d.failure()
	}
	return err
}

func (d *failsKey) failure() error {
	return &kv.BatchError{Failed: map[string]error{d.key: &kv.Error{Kind: kv.ErrThrottled}}}
}

// deletingInstead makes deletes of the puts of keys in a batch.
func deletingInstead(keys ...string) func(kv.Driver) kv.Driver {
	return func(d kv.Driver) kv.Driver { return &deletesInstead{d, keys} }
}

type deletesInstead struct {
	kv.Driver
	keys []string
}

func (d *deletesInstead) WriteMany(ctx context.Context, writes []kv.Write) error {
	changed := slices.Clone(writes)
	for i, w := range changed {
		if slices.Contains(d.keys, w.Key) {
			changed[i] = kv.Write{Record: kv.Record{Key: w.Key}, Delete: true}
		}
	}
	return d.Driver.WriteMany(ctx, changed)
}
