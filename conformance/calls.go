package conformance

import (
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// put stores value and returns its version.
func (t *trial) put(key, value string, opts ...kv.PutOption) kv.Version {
	v, err := t.Put(t.ctx, key, []byte(value), opts...)
	if err != nil {
		t.Fatalf("Put(%s): %v", short(key), err)
	}
	return v
}

// touch sets the expiry of an entry and returns its new version.
func (t *trial) touch(key string, opts ...kv.TouchOption) kv.Version {
	v, err := t.Touch(t.ctx, key, opts...)
	if err != nil {
		t.Fatalf("Touch(%s): %v", short(key), err)
	}
	return v
}

// fill stores items in one batch and returns their versions.
func (t *trial) fill(items ...kv.Item) map[string]kv.Version {
	versions, err := t.PutMany(t.ctx, items)
	if err != nil {
		t.Fatalf("PutMany of %d items: %v", len(items), err)
	}
	return versions
}

// fillKeys stores entries under keys, each with its key as its value.
func (t *trial) fillKeys(keys ...string) {
	items := make([]kv.Item, len(keys))
	for i, key := range keys {
		items[i] = kv.Item{Key: key, Value: []byte(key)}
	}
	t.fill(items...)
}

// fillWithExpired stores entries under the keys in live. Under the keys in expired, it
// stores entries that have already expired.
func (t *trial) fillWithExpired(live, expired []string) {
	items := make([]kv.Item, 0, len(live)+len(expired))
	for _, key := range live {
		items = append(items, kv.Item{Key: key, Value: []byte(key)})
	}
	for _, key := range expired {
		items = append(items, kv.Item{Key: key, Value: []byte("expired"), TTL: time.Second})
	}
	t.fill(items...)
	t.clock.advance(time.Second)
}

// get reads an entry that must exist.
func (t *trial) get(key string) kv.Entry {
	e, err := t.Get(t.ctx, key)
	if err != nil {
		t.Fatalf("Get(%s): %v", short(key), err)
	}
	return e
}

func (t *trial) delete(key string, opts ...kv.DeleteOption) {
	if err := t.Delete(t.ctx, key, opts...); err != nil {
		t.Fatalf("Delete(%s): %v", short(key), err)
	}
}

// scan reads all entries of a scan.
func (t *trial) scan(prefix string, opts ...kv.ScanOption) []kv.Entry {
	var entries []kv.Entry
	for e, err := range t.Scan(t.ctx, prefix, opts...) {
		if err != nil {
			t.Fatalf("Scan(%s) after %d entries: %v", short(prefix), len(entries), err)
		}
		entries = append(entries, e)
	}
	return entries
}

// page reads one page of a scan.
func (t *trial) page(prefix string, limit int, cursor string, opts ...kv.PageOption) kv.Page {
	page, err := t.ScanPage(t.ctx, prefix, limit, cursor, opts...)
	if err != nil {
		t.Fatalf("ScanPage(%s, %d) after %d entries: %v", short(prefix), limit, len(page.Entries), err)
	}
	return page
}

// getMany reads the entries of keys in one batch.
func (t *trial) getMany(keys ...string) map[string]kv.Entry {
	entries, err := t.GetMany(t.ctx, keys)
	if err != nil {
		t.Fatalf("GetMany of %d keys: %v", len(keys), err)
	}
	if entries == nil {
		t.Fatalf("GetMany of %d keys: the map is nil", len(keys))
	}
	return entries
}

// atOnce calls f(0) to f(n-1), all at the same time, and returns their errors.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}
