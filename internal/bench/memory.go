package main

import (
	"bytes"
	"context"
	"sync"

	"gocloud.dev/docstore"
	"gocloud.dev/docstore/memdocstore"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A turn is so long that it includes a fair share of garbage collection.
var memoryWorks = []work{
	{name: "Get/service=memory", turns: 10, ops: 50_000, open: memoryContenders(true)},
	{name: "Put/service=memory", turns: 10, ops: 50_000, open: memoryContenders(false)},
}

// oneKey is the key of works that need only one.
const oneKey = "user:0123456789"

var oneValue = bytes.Repeat([]byte("v"), valueLen)

// lockedMap is a map with a lock. It copies the values, because skykv has to copy them, too.
type lockedMap struct {
	mu     sync.RWMutex
	values map[string][]byte
}

func (m *lockedMap) get(key string) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return bytes.Clone(m.values[key])
}

func (m *lockedMap) put(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[key] = bytes.Clone(value)
}

// document is an entry of docstore. It has no field for a revision, so docstore keeps none.
type document struct {
	Key   string `docstore:"k"`
	Value []byte `docstore:"v"`
}

func memoryContenders(get bool) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		m := &lockedMap{values: make(map[string][]byte)}
		store := memkv.New()
		b.onClose(store.Close)
		coll, err := memdocstore.OpenCollection("k", nil)
		if err != nil {
			return nil, err
		}
		b.onClose(coll.Close)
		puts := []contender{
			{store: "map", do: each(func(context.Context) error { m.put(oneKey, oneValue); return nil })},
			{store: "skykv", do: skykvPut(store)},
			{store: "docstore", do: docstorePut(coll)},
		}
		if !get {
			return puts, nil
		}
		for _, c := range puts {
			if err := c.do(b.ctx, 1); err != nil {
				return nil, err
			}
		}
		return []contender{
			{store: "map", do: each(func(context.Context) error { return checkLen(len(m.get(oneKey)), nil) })},
			{store: "skykv", do: skykvGet(store)},
			{store: "docstore", do: docstoreGet(coll)},
		}, nil
	}
}

func skykvGet(store *kv.Store) func(context.Context, int) error { return each(skykvGetOne(store)) }

func skykvGetOne(store *kv.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		entry, err := store.Get(ctx, oneKey)
		return checkLen(len(entry.Value), err)
	}
}

func skykvPut(store *kv.Store) func(context.Context, int) error {
	return each(func(ctx context.Context) error {
		_, err := store.Put(ctx, oneKey, oneValue)
		return err
	})
}

func docstoreGet(coll *docstore.Collection) func(context.Context, int) error {
	return each(docstoreGetOne(coll))
}

func docstoreGetOne(coll *docstore.Collection) func(context.Context) error {
	return func(ctx context.Context) error {
		doc := document{Key: oneKey}
		err := coll.Get(ctx, &doc)
		return checkLen(len(doc.Value), err)
	}
}

func docstorePut(coll *docstore.Collection) func(context.Context, int) error {
	return each(func(ctx context.Context) error {
		return coll.Put(ctx, &document{Key: oneKey, Value: oneValue})
	})
}

// docstoreGetMany reads keys with one list of actions. docstore turns it into batches of
// the service.
func docstoreGetMany(coll *docstore.Collection, keys []string) func(context.Context, int) error {
	return each(func(ctx context.Context) error {
		docs := make([]document, len(keys))
		actions := coll.Actions()
		for i, key := range keys {
			docs[i].Key = key
			actions.Get(&docs[i])
		}
		if err := actions.Do(ctx); err != nil {
			return err
		}
		for _, doc := range docs {
			if err := checkLen(len(doc.Value), nil); err != nil {
				return err
			}
		}
		return nil
	})
}
