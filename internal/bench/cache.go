package main

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/skykv/skykv/kv/cache"
	"github.com/skykv/skykv/providers/memkv"
)

var cacheWorks = []work{
	{name: "Get-hit/service=cache", turns: 10, ops: 50_000, open: cacheHits},
}

// cacheHits reads an entry that is in memory, from kv/cache and from the library on which
// kv/cache is built. The library's contender also copies the value, because kv/cache has to
// copy it.
func cacheHits(b *bed) ([]contender, error) {
	library, err := otter.New(&otter.Options[string, []byte]{
		MaximumWeight: cache.DefaultMaxBytes,
		Weigher:       func(key string, value []byte) uint32 { return uint32(len(key) + len(value)) },
	})
	if err != nil {
		return nil, err
	}
	library.Set(oneKey, oneValue)
	store := memkv.New()
	b.onClose(store.Close)
	cached, err := cache.New(store, &cache.Options{MaxAge: time.Hour})
	if err != nil {
		return nil, err
	}
	if _, err := cached.Put(b.ctx, oneKey, oneValue); err != nil {
		return nil, err
	}
	b.onClose(func() error {
		if misses := cached.Stats().Misses; misses != 0 {
			return errors.New("some of the hits were misses")
		}
		return nil
	})
	return []contender{
		{store: "otter", do: each(func(context.Context) error {
			value, _ := library.GetIfPresent(oneKey)
			return checkLen(len(bytes.Clone(value)), nil)
		})},
		{store: "skykv", do: skykvGet(cached.Store)},
	}, nil
}
