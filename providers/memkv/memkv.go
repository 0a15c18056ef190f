// Package memkv keeps entries in the memory of the process: for tests, for
// examples, and as the driver to read before writing one's own.
//
// It has the full contract of [kv.Store]; its consistency is that of a mutex.
// The entries are gone with the store. Records that expired more than an hour
// ago are dropped in passing, two of them at most with each Put: an hour by the clock
// of the host and by that of the call, so that no clock decides for the others.
package memkv

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/skykv/skykv/internal/storeurl"
	"github.com/skykv/skykv/kv"
)

// New returns an empty store.
func New() *kv.Store {
	return kv.New(&driver{records: make(map[string]kv.Record)})
}

// Open returns an empty store for the URL "mem:". Every call returns another
// one. Any other URL is an error that matches [kv.ErrInvalidOption].
func Open(_ context.Context, url string) (*kv.Store, error) {
	u, err := storeurl.Parse(name, "mem:", url)
	if err != nil {
		return nil, err
	}
	if u.Host != "" || u.Path != "" {
		return nil, u.Errorf("there is something after the colon")
	}
	return New(), nil
}

const name = "mem"

// grace is how long past its expiry a record is kept, in milliseconds: as long
// as the cloud providers keep theirs.
const grace = 60 * 60 * 1000

type driver struct {
	mu      sync.RWMutex
	records map[string]kv.Record

	// sorted holds the keys of records in order while it is not nil. Adding or
	// removing a key makes it nil, and the next scan sorts them anew.
	sorted []string
}

var errClosed = &kv.Error{Kind: kv.ErrClosed}

func (d *driver) Info() kv.Info { return kv.Info{Name: name, Shards: 1} }

func (d *driver) Get(_ context.Context, key string, withValue bool) (kv.Record, bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.records == nil {
		return kv.Record{}, false, errClosed
	}
	rec, ok := d.records[key]
	return given(rec, withValue), ok, nil
}

func (d *driver) Put(_ context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return kv.Outcome{}, errClosed
	}
	if found, exists := d.records[rec.Key]; !holds(cond, found, exists) {
		return kv.Outcome{Exists: exists, Found: given(found, false)}, nil
	}
	d.put(rec)
	d.dropExpired(cond.Now)
	return kv.Outcome{Done: true, Version: rec.Token}, nil
}

func (d *driver) Delete(_ context.Context, key string, cond kv.Condition) (kv.Outcome, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return kv.Outcome{}, errClosed
	}
	if found, exists := d.records[key]; !holds(cond, found, exists) {
		return kv.Outcome{Exists: exists, Found: given(found, false)}, nil
	}
	d.delete(key)
	return kv.Outcome{Done: true}, nil
}

func (d *driver) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		// The lock is not held while the loop's body runs: it may write.
		for from := r.From; ; {
			page, err := d.page(from, r)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(kv.Record{}, err)
				return
			}
			for _, rec := range page {
				if !yield(rec, nil) {
					return
				}
			}
			if len(page) < r.Limit {
				return
			}
			from = page[len(page)-1].Key + "\x00"
		}
	}
}

// page gives the first r.Limit records from from to r.To.
func (d *driver) page(from string, r kv.Range) ([]kv.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return nil, errClosed
	}
	if d.sorted == nil {
		d.sorted = slices.Sorted(maps.Keys(d.records))
	}
	start, _ := slices.BinarySearch(d.sorted, from)
	page := make([]kv.Record, 0, min(r.Limit, len(d.sorted)-start))
	for _, key := range d.sorted[start:] {
		if key > r.To || len(page) == r.Limit {
			break
		}
		page = append(page, given(d.records[key], r.WithValue))
	}
	return page, nil
}

func (d *driver) GetMany(_ context.Context, keys []string) ([]kv.Record, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.records == nil {
		return nil, errClosed
	}
	recs := make([]kv.Record, 0, len(keys))
	for _, key := range keys {
		if rec, ok := d.records[key]; ok {
			recs = append(recs, given(rec, true))
		}
	}
	return recs, nil
}

func (d *driver) WriteMany(_ context.Context, writes []kv.Write) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records == nil {
		return errClosed
	}
	for _, w := range writes {
		if w.Delete {
			d.delete(w.Key)
		} else {
			d.put(w.Record)
		}
	}
	return nil
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

// holds judges cond against what is stored. The token of a record is its version.
func holds(cond kv.Condition, found kv.Record, exists bool) bool {
	switch {
	case cond.Absent:
		return !exists || found.Expires != 0 && found.Expires <= cond.Now
	case cond.Version != "":
		return exists && found.Version == cond.Version
	}
	return true
}

// put stores a copy of rec. The caller holds the lock.
func (d *driver) put(rec kv.Record) {
	if _, exists := d.records[rec.Key]; !exists {
		d.sorted = nil
	}
	rec.Value = append([]byte{}, rec.Value...)
	rec.Version = rec.Token
	d.records[rec.Key] = rec
}

// delete removes key. The caller holds the lock.
func (d *driver) delete(key string) {
	if _, exists := d.records[key]; exists {
		d.sorted = nil
		delete(d.records, key)
	}
}

// dropExpired looks at two records, which the map picks at random, so that
// records nobody reads again do not pile up. Now is the clock of the call: the record
// may be live by another one, and so the host's must agree. The caller holds the lock.
func (d *driver) dropExpired(now int64) {
	looked := 0
	for key, rec := range d.records {
		if rec.Expires != 0 && rec.Expires+grace <= min(now, time.Now().UnixMilli()) {
			d.delete(key)
		}
		if looked++; looked == 2 {
			return
		}
	}
}

// given is a record for the caller to own: with a copy of the value, or without.
func given(rec kv.Record, withValue bool) kv.Record {
	if withValue {
		rec.Value = append([]byte{}, rec.Value...)
	} else {
		rec.Value = nil
	}
	return rec
}
