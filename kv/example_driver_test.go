package kv_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/skykv/skykv/kv"
)

// listDriver is a complete driver that keeps records in a sorted list. It passes the
// conformance suite.
type listDriver struct {
	mu      sync.Mutex
	records []kv.Record
}

func (d *listDriver) Info() kv.Info {
	return kv.Info{Name: "list", Shards: 1, EndsCalls: true, Immediate: true}
}

func (d *listDriver) find(key string) (int, bool) {
	return slices.BinarySearchFunc(d.records, key, func(rec kv.Record, key string) int {
		return strings.Compare(rec.Key, key)
	})
}

func (d *listDriver) Get(_ context.Context, req kv.GetRequest) (kv.Found, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.find(req.Key)
	if !ok {
		return kv.Found{Record: kv.Record{Key: req.Key}}, nil
	}
	rec := d.records[at]
	rec.Value = slices.Clone(rec.Value) // the returned value belongs to the caller
	return kv.Found{Record: rec, Exists: true}, nil
}

func (d *listDriver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return kv.GetEach(ctx, d, req, 1)
}

func (d *listDriver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for from := req.From; ctx.Err() == nil; {
			d.mu.Lock()
			at, _ := d.find(from)
			if at == len(d.records) || d.records[at].Key > req.To {
				d.mu.Unlock()
				return
			}
			rec := d.records[at]
			d.mu.Unlock() // before yield: the loop's body may use the store
			rec.Value = slices.Clone(rec.Value)
			if !yield(rec, nil) {
				return
			}
			from = rec.Key + "\x00"
		}
		yield(kv.Record{}, ctx.Err())
	}
}

func (d *listDriver) Write(_ context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, exists := d.find(req.Key)
	var found kv.Record
	if exists {
		found = d.records[at]
	}
	live := exists && (found.Expires == 0 || found.Expires > req.Now)
	holds := true
	switch req.Condition.Kind {
	case kv.CondNone:
	case kv.CondAbsent:
		holds = !live
	case kv.CondVersion:
		holds = exists && found.Version == req.Condition.Version
	case kv.CondLive:
		holds = live
	default:
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	}
	next := req.Record
	wantsRecord := req.Condition.Kind == kv.CondVersion || req.Condition.Kind == kv.CondLive
	switch {
	case req.Kind == kv.KindPut:
		next.Value = slices.Clone(next.Value) // the argument belongs to the caller
	case req.Kind == kv.KindTouch && wantsRecord:
		next.Value = found.Value
	case req.Kind == kv.KindDelete:
	default:
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	}
	if !holds {
		found.Value = nil
		return kv.Outcome{Exists: exists, Found: found}, nil
	}
	next.Version = next.Token
	switch {
	case req.Kind == kv.KindDelete && exists:
		d.records = slices.Delete(d.records, at, at+1)
	case req.Kind == kv.KindDelete:
	case exists:
		d.records[at] = next
	default:
		d.records = slices.Insert(d.records, at, next)
	}
	return kv.Outcome{Done: true, Version: next.Version}, nil
}

func (d *listDriver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	return kv.WriteEach(ctx, d, req, 1)
}

func (d *listDriver) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnsupported} // because Info.MaxAtomicWrites is 0
}

func (d *listDriver) Close() error { return nil }

// A complete driver: it moves records and reports facts, and the store does the rest.
func ExampleDriver() {
	ctx := context.Background()
	store := kv.New(new(listDriver))
	defer store.Close()
	_, err := store.Put(ctx, "greeting", []byte("hello"))
	fmt.Println(err)
	_, err = store.Put(ctx, "greeting", nil, kv.IfNotExists())
	fmt.Println(err)
	// Output:
	// <nil>
	// kv: put "greeting" on list: condition failed: there is an entry already
}
