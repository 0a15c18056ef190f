// Package memkv keeps entries in the memory of the process. It is for tests and examples,
// and it is the driver to read before you write your own.
//
// It implements the full contract of [kv.Store]. Reads and writes are linearizable. The
// entries are lost when the store is closed. Every write, except an atomic one, also drops up to
// two records for which [kv.ExpiryGrace] has passed since their expiry, by the clocks of both the
// store and the host. It does so even if its condition fails.
package memkv

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// New returns an empty store.
func New() *kv.Store {
	return kv.New(&driver{records: make(map[string]kv.Record)})
}

// Open returns an empty store for the URL "mem:". Every call returns a new store. The
// parameter max-value=BYTES sets [kv.MaxValue]. For any other URL, the error matches
// [kv.ErrInvalidOption].
func Open(_ context.Context, url string) (*kv.Store, error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return nil, err
	}
	if u.Host != "" || u.Path != "" {
		return nil, u.Errorf("there is text after the colon")
	}
	opts, err := u.StoreOptions()
	if err != nil {
		return nil, err
	}
	return New().With(opts...), nil
}

const (
	name    = "mem"
	urlForm = "mem:?max-value=BYTES"
)

// Provider returns the provider, which opens stores by URL.
func Provider() provider.Provider {
	return provider.Provider{Scheme: name, Form: urlForm, Summary: "memory, gone with the process", Open: Open}
}

type driver struct {
	mu      sync.RWMutex
	records map[string]kv.Record
	most    int // the greatest number of records since the map was made

	// sorted has the keys of records in order, or is nil. It becomes nil when a key is added
	// or removed. The next scan then sorts the keys again.
	sorted []string
}

var errClosed = &kv.Error{Kind: kv.ErrClosed}

// maxAtomicWrites is the same limit as for the cloud providers.
const maxAtomicWrites = 100

// pageBytes is the approximate number of bytes of values that a scan copies at once.
const pageBytes = 1 << 20

func (d *driver) Info() kv.Info {
	return kv.Info{Name: name, Shards: 1, MaxValueLen: kv.MaxLargeValueLen, MaxAtomicWrites: maxAtomicWrites, EndsCalls: true, Immediate: true}
}

func (d *driver) Get(_ context.Context, req kv.GetRequest) (kv.Found, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.records == nil {
		return kv.Found{}, errClosed
	}
	return d.find(req.Key, req.WithValue), nil
}

// find returns the record under key. The caller holds the lock.
func (d *driver) find(key string, withValue bool) kv.Found {
	rec, exists := d.records[key]
	if !exists {
		return kv.Found{Record: kv.Record{Key: key}}
	}
	return kv.Found{Record: own(rec, withValue), Exists: true}
}

func (d *driver) GetMany(_ context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		d.mu.RLock()
		open := d.records != nil
		found := make([]kv.Found, 0, len(req.Keys))
		for _, key := range req.Keys {
			found = append(found, d.find(key, req.WithValue))
		}
		d.mu.RUnlock() // before yield: the loop's body may write
		if !open {
			yield(kv.Found{}, errClosed)
			return
		}
		for _, f := range found {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func (d *driver) Write(_ context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return kv.Outcome{}, errClosed
	}
	return d.write(req)
}

// write carries out one write if its condition holds. The caller holds the lock.
func (d *driver) write(req kv.WriteRequest) (kv.Outcome, error) {
	d.dropExpired(req.Now)
	found, exists := d.records[req.Key]
	holds, known := judge(req, found, exists)
	switch {
	case !known || req.Kind == kv.KindCheck: // a check is for WriteAtomic only
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	case !holds && !exists:
		return kv.Outcome{}, nil
	case !holds:
		return kv.Outcome{Exists: true, Found: own(found, false)}, nil
	}
	return kv.Outcome{Done: true, Version: d.apply(req.Write)}, nil
}

// apply carries out a write whose condition holds, and returns the version of the
// stored record. The caller holds the lock.
func (d *driver) apply(w kv.Write) string {
	switch w.Kind {
	case kv.KindPut:
		d.put(w.Record)
		return w.Token
	case kv.KindTouch:
		rec := d.records[w.Key]
		rec.Expires, rec.Token, rec.Predecessors = w.Expires, w.Token, w.Predecessors
		d.put(rec)
		return w.Token
	case kv.KindDelete:
		d.delete(w.Key)
	}
	return ""
}

func (d *driver) WriteMany(_ context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	results := make([]kv.WriteResult, len(req.Writes))
	for i := range results {
		if d.records == nil {
			results[i].Err = errClosed
			continue
		}
		results[i].Outcome, results[i].Err = d.write(req.One(i))
	}
	return results
}

func (d *driver) WriteAtomic(_ context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return kv.AtomicOutcome{}, errClosed
	}
	out := kv.AtomicOutcome{Done: true, Found: make([]*kv.Found, len(req.Writes))}
	for i := range req.Writes {
		w := req.One(i)
		rec, exists := d.records[w.Key]
		holds, known := judge(w, rec, exists)
		if !known {
			return kv.AtomicOutcome{}, kv.UnsupportedWrite(w.Write)
		}
		out.Done = out.Done && holds
		found := d.find(w.Key, false)
		out.Found[i] = &found
	}
	if !out.Done {
		return out, nil
	}
	out.Found, out.Versions = nil, make([]string, len(req.Writes))
	for i, w := range req.Writes {
		out.Versions[i] = d.apply(w)
	}
	return out, nil
}

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		// Release the lock before the loop's body runs, because the body may write.
		for from := req.From; ; {
			page, more, err := d.page(from, req)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			for i, rec := range page {
				page[i].Value = nil // frees the memory early: the loop's body may take long
				if !yield(rec, nil) {
					return
				}
			}
			if !more {
				return
			}
			from = page[len(page)-1].Key + "\x00"
		}
	}
}

// page returns records with from <= key <= req.To, and whether there may be more. It returns
// at most req.Limit records, with about pageBytes of values.
func (d *driver) page(from string, req kv.ScanRequest) (page []kv.Record, more bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return nil, false, errClosed
	}
	if d.sorted == nil {
		d.sorted = slices.Sorted(maps.Keys(d.records))
	}
	start, _ := slices.BinarySearch(d.sorted, from)
	page = make([]kv.Record, 0, min(req.Limit, len(d.sorted)-start))
	bytes := 0
	for _, key := range d.sorted[start:] {
		if key > req.To {
			break
		}
		if len(page) == req.Limit || bytes >= pageBytes {
			return page, true, nil
		}
		page = append(page, own(d.records[key], req.WithValue))
		bytes += len(page[len(page)-1].Value)
	}
	return page, false, nil
}

func (d *driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return errors.New("closed twice")
	}
	d.records, d.sorted = nil, nil
	return nil
}

// judge reports whether the condition of a write holds for the stored record, and whether
// the driver supports a write of this kind with a condition of this kind.
func judge(req kv.WriteRequest, found kv.Record, exists bool) (holds, known bool) {
	known = req.Kind >= kv.KindPut && req.Kind <= kv.KindCheck
	live := exists && (found.Expires == 0 || found.Expires > req.Now)
	switch req.Condition.Kind {
	case kv.CondNone:
		return true, known && req.Kind != kv.KindTouch // a touch needs a condition
	case kv.CondAbsent:
		return !live, known && req.Kind != kv.KindTouch
	case kv.CondVersion:
		return exists && found.Version == req.Condition.Version, known
	case kv.CondLive:
		return live, known
	}
	return false, false
}

// put stores a copy of rec, with the token as its version. The caller holds the lock.
func (d *driver) put(rec kv.Record) {
	if _, exists := d.records[rec.Key]; !exists {
		d.sorted = nil
	}
	rec.Value = append([]byte{}, rec.Value...)
	rec.Version = rec.Token
	d.records[rec.Key] = rec
	d.most = max(d.most, len(d.records))
}

// delete removes key. The caller holds the lock.
func (d *driver) delete(key string) {
	if _, exists := d.records[key]; !exists {
		return
	}
	d.sorted = nil
	delete(d.records, key)
	// A map never becomes smaller. If most of its records were removed, dropExpired would take long
	// to find two others.
	if len(d.records) < d.most/4 {
		d.most = len(d.records)
		records := make(map[string]kv.Record, d.most)
		maps.Copy(records, d.records)
		d.records = records
	}
}

// dropExpired looks at two random records, so that records that nobody reads again do not
// accumulate. It drops a record if kv.ExpiryGrace has passed since the record's expiry, both
// by the store's clock, which shows the time now, and by the host's clock. A store whose clock
// is ahead must not remove the records of other stores. The caller holds the lock.
func (d *driver) dropExpired(now int64) {
	latest := min(now, time.Now().UnixMilli()) - kv.ExpiryGrace.Milliseconds()
	looked := 0
	for key, rec := range d.records {
		if rec.Expires != 0 && rec.Expires <= latest {
			d.delete(key)
		}
		if looked++; looked == 2 {
			return
		}
	}
}

// own returns a copy of rec that belongs to the caller, with or without the value.
func own(rec kv.Record, withValue bool) kv.Record {
	if withValue {
		rec.Value = append([]byte{}, rec.Value...)
	} else {
		rec.Value = nil
	}
	return rec
}
