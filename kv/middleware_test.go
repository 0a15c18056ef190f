package kv_test

import (
	"context"
	"errors"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// The middlewares in this file prove that middleware can be built on Driver. caching passes
// the whole conformance suite, and so does prefixing if composes is set. Packages seal and
// hedge are further examples.

// caching keeps the records that single puts and batches write, and Get returns them from
// memory.
type caching struct {
	kv.Driver
	mu      sync.Mutex
	records map[string]kv.Record
}

func (d *caching) keep(key string, rec *kv.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if delete(d.records, key); rec != nil {
		d.records[key] = *rec
	}
}

func (d *caching) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.mu.Lock()
	rec, ok := d.records[req.Key]
	d.mu.Unlock()
	if !ok {
		return d.Driver.Get(ctx, req)
	}
	rec.Value = append([]byte{}, rec.Value...)
	return kv.Found{Record: rec, Exists: true}, nil
}

func (d *caching) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	out, err := d.Driver.Write(ctx, req)
	d.learn(req.Write, kv.WriteResult{Outcome: out, Err: err})
	return out, err
}

func (d *caching) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := d.Driver.WriteMany(ctx, req)
	for i, w := range req.Writes {
		d.learn(w, results[i])
	}
	return results
}

func (d *caching) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	for _, w := range req.Writes {
		d.keep(w.Key, nil)
	}
	return d.Driver.WriteAtomic(ctx, req)
}

func (d *caching) learn(w kv.Write, r kv.WriteResult) {
	if w.Kind != kv.KindPut || !r.Done || r.Version == "" {
		d.keep(w.Key, nil)
		return
	}
	rec := w.Record
	rec.Version, rec.Value = r.Version, append([]byte{}, rec.Value...)
	d.keep(w.Key, &rec)
}

// prefixing stores keys under a prefix, as Namespace does. If composes is false, prefixing
// has the Shard and ShardOfPrefix of the wrapped driver, although they do not add the prefix
// and so may return the wrong shard.
type prefixing struct {
	kv.Driver
	prefix   string
	composes bool
}

func (d prefixing) Info() kv.Info {
	info := d.Driver.Info()
	info.MaxKeyLen = kv.MaxKeyLen - len(d.prefix)
	if d.composes {
		shard, ofPrefix := info.Shard, info.ShardOfPrefix
		info.Shard = func(key string) int { return shard(d.prefix + key) }
		info.ShardOfPrefix = func(prefix string) (int, bool) { return ofPrefix(d.prefix + prefix) }
	}
	return info
}

func (d prefixing) strip(rec kv.Record) kv.Record {
	rec.Key = strings.TrimPrefix(rec.Key, d.prefix)
	return rec
}

func (d prefixing) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	req.Key = d.prefix + req.Key
	found, err := d.Driver.Get(ctx, req)
	found.Record = d.strip(found.Record)
	return found, err
}

func (d prefixing) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return kv.GetEach(ctx, d, req, 4)
}

func (d prefixing) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	req.From, req.To = d.prefix+req.From, d.prefix+req.To
	return func(yield func(kv.Record, error) bool) {
		for rec, err := range d.Driver.Scan(ctx, req) {
			if !yield(d.strip(rec), err) {
				return
			}
		}
	}
}

func (d prefixing) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	req.Key = d.prefix + req.Key
	out, err := d.Driver.Write(ctx, req)
	out.Found = d.strip(out.Found)
	return out, err
}

func (d prefixing) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	return kv.WriteEach(ctx, d, req, 4)
}

func (d prefixing) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	req.Writes = slices.Clone(req.Writes)
	for i := range req.Writes {
		req.Writes[i].Key = d.prefix + req.Writes[i].Key
	}
	out, err := d.Driver.WriteAtomic(ctx, req)
	for _, found := range out.Found {
		if found != nil {
			found.Record = d.strip(found.Record)
		}
	}
	return out, err
}

// writing embeds Driver and overrides only Write, as the simplest middleware does.
type writing struct {
	kv.Driver
	seen *[]kv.WriteKind
}

func (d writing) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	*d.seen = append(*d.seen, req.Kind)
	return d.Driver.Write(ctx, req)
}

func TestMiddlewarePassesTheSuite(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(kv.Driver) kv.Driver{
		"caching":   func(d kv.Driver) kv.Driver { return &caching{Driver: d, records: make(map[string]kv.Record)} },
		"prefixing": func(d kv.Driver) kv.Driver { return prefixing{d, "p::", true} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
				return memkv.New().With(spread(4), kv.Wrap(kv.Level1, wrap)), nil
			}})
		})
	}
}

// spread turns a driver with one shard into a driver with several: see sharded.
func spread(shards int) kv.StoreOption {
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &sharded{Driver: d, shards: shards} })
}

func TestMiddlewareThatMovesKeysFailsClosed(t *testing.T) {
	t.Parallel()
	for prefix, groups := range map[string]string{"p:": "user42::", "p::": "user42::"} {
		d := prefixing{prefix: prefix}
		store := memkv.New().With(spread(16), kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }))
		lost := 0
		for i := range 20 {
			group := strings.Replace(groups, "42", strings.Repeat("4", i+1), 1)
			put(t, store, group+"a", "1")
			found := false
			var failed error
			for entry, err := range store.Scan(t.Context(), group) {
				found, failed = found || entry.Key == group+"a", err
			}
			if !found {
				lost++
				if !errors.Is(failed, kv.ErrUnsupported) {
					t.Errorf("rule: a scan never loses entries without an error; the scan of %q over a middleware that adds prefix %q ends with %v", group, prefix, failed)
				}
			}
		}
		if lost == 0 {
			t.Errorf("no group of 20 moved to another shard: the test tests nothing")
		}
	}
	// Middleware may move the keys of one group to several groups. An atomic write of these
	// keys then fails.
	d := driverOf(memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return prefixing{Driver: d} })))
	writes := []kv.Write{{Kind: kv.KindDelete, Record: kv.Record{Key: "a::1"}}, {Kind: kv.KindDelete, Record: kv.Record{Key: "b::1"}}}
	if _, err := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: writes}); !errors.Is(err, kv.ErrUnsupported) {
		t.Errorf("rule: writes of two groups are never atomic; got %v", err)
	}
}

// Extensions above a middleware's level must not pass through the middleware. This test
// sends writes whose kind or condition no release knows through a middleware that embeds
// Driver: through Write, WriteMany and WriteAtomic.
func TestMiddlewareIsToldOfNothingAboveItsLevel(t *testing.T) {
	t.Parallel()
	var below, seen []kv.WriteKind
	store := memkv.New().With(
		kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &accepting{d, &below} }),
		kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return writing{d, &seen} }),
	)
	d := driverOf(store)
	later := map[string]kv.Write{
		"a later kind":      {Kind: 250, Record: kv.Record{Key: "a", Token: "AAAAAAAAAAAAAAAAAAAAAA"}},
		"a later condition": {Kind: kv.KindPut, Record: kv.Record{Key: "a", Value: []byte{}, Token: "AAAAAAAAAAAAAAAAAAAAAA"}, Condition: kv.Condition{Kind: 250}},
		"no kind":           {Record: kv.Record{Key: "a"}},
	}
	for name, w := range later {
		_, err := d.Write(t.Context(), kv.WriteRequest{Write: w})
		results := d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w}})
		_, atomicErr := d.WriteAtomic(t.Context(), kv.WriteManyRequest{Writes: []kv.Write{w}})
		for method, err := range map[string]error{"Write": err, "WriteMany": results[0].Err, "WriteAtomic": atomicErr} {
			if !errors.Is(err, kv.ErrUnsupported) {
				t.Errorf("rule: everything after a middleware's level is ErrUnsupported; %s of %s returns %v", method, name, err)
			}
		}
	}
	if len(below) != 0 {
		t.Errorf("rule: nothing above a middleware's level reaches the driver below; %v did", below)
	}
	if _, err := store.Put(t.Context(), "a", nil); err != nil || len(below) != 1 || len(seen) != 1 {
		t.Errorf("the middleware did not pass on what it knows: %v, %v, %v", err, below, seen)
	}
}

// accepting accepts every kind of write, as a later driver would.
type accepting struct {
	kv.Driver
	kinds *[]kv.WriteKind
}

func (d *accepting) Write(_ context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	*d.kinds = append(*d.kinds, req.Kind)
	return kv.Outcome{Done: true, Version: req.Token}, nil
}

func (d *accepting) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	return kv.WriteEach(ctx, d, req, 1)
}

func (d *accepting) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	for i := range req.Writes {
		_, _ = d.Write(ctx, req.One(i))
	}
	return kv.AtomicOutcome{Done: true, Versions: make([]string, len(req.Writes))}, nil
}

// Middleware of Level1 receives all fields of Info that belong to Level1. A new field
// must belong to a level. Count belongs to none, so middleware does not receive it.
func TestInfoPassesMiddlewareOfItsLevel(t *testing.T) {
	t.Parallel()
	full := kv.Info{
		Name: "full", Namespace: "n", Shards: 2, MaxKeyLen: 3, MaxValueLen: 4, MaxAtomicWrites: 5, NoGrace: true, EndsCalls: true, Immediate: true,
		ReservedKey: func(string) bool { return true },
		Shard:       func(string) int { return 1 }, ShardOfPrefix: func(string) (int, bool) { return 1, true },
		Count: func(context.Context, kv.ScanRequest) (int, error) { return 1, nil },
	}
	if v := reflect.ValueOf(full); v.NumField() != 13 {
		t.Fatalf("rule: a new field of Info belongs to a level; Info has %d fields, and this test knows 13", v.NumField())
	}
	for i := range 13 {
		if reflect.ValueOf(full).Field(i).IsZero() {
			t.Fatalf("field %d of the test's Info is not set", i)
		}
	}
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return described{d, full} }))
	got := reflect.ValueOf(store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return d })).Info())
	for i := range got.NumField() {
		if name := got.Type().Field(i).Name; got.Field(i).IsZero() != (name == "Count") {
			t.Errorf("rule: middleware receives the fields of Info that it knows, but not Count; field %s is set: %v", name, !got.Field(i).IsZero())
		}
	}
}

func TestWrapRefusesUnknownLevels(t *testing.T) {
	t.Parallel()
	for _, level := range []kv.Level{0, kv.Level1 + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("rule: a level that this release does not know is refused; %d was taken", level)
				}
			}()
			kv.Wrap(level)
		}()
	}
}

// The store also checks the expiry of a record that middleware returns from its cache.
func TestCachingKeepsExpiry(t *testing.T) {
	t.Parallel()
	clock := time.Now().Truncate(time.Millisecond)
	store := memkv.New().With(
		kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &caching{Driver: d, records: make(map[string]kv.Record)} }),
		kv.Clock(func() time.Time { return clock }))
	if _, err := store.Put(t.Context(), "a", nil, kv.TTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Second)
	if _, err := store.Get(t.Context(), "a"); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("rule: the store judges the expiry, also of a cached record; got %v", err)
	}
}
