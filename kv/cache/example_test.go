package cache_test

import (
	"context"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/cache"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/memkv"
)

// Reads are answered from memory for ten seconds, but the program sees its own writes at once.
func Example() {
	ctx := context.Background()
	store := memkv.New()
	cached, err := cache.New(store, &cache.Options{MaxAge: 10 * time.Second})
	if err != nil {
		panic(err)
	}
	type user struct{ Name string }
	users := kv.JSON[user](cached.Store)

	if _, err := users.Put(ctx, "user:42", user{"Ann"}); err != nil {
		panic(err)
	}
	entry, err := users.Get(ctx, "user:42") // the Put has left it in memory
	if err != nil {
		panic(err)
	}
	fmt.Println(entry.Value.Name)

	// Another process changes the name. The Cache sees the change within MaxAge. The store
	// knows it already, so the condition fails.
	others := kv.JSON[user](store)
	if _, err := others.Put(ctx, "user:42", user{"Anna"}); err != nil {
		panic(err)
	}
	entry, _ = users.Get(ctx, "user:42")
	fmt.Println(entry.Value.Name)
	_, err = users.Put(ctx, "user:42", user{"Annie"}, kv.IfVersion(entry.Version))
	fmt.Println(err)
	entry, _ = users.Get(ctx, "user:42") // from the store: the failed write removed the key from memory
	fmt.Println(entry.Value.Name)
	fmt.Printf("%d hits, %d misses\n", cached.Stats().Hits, cached.Stats().Misses)
	// Output:
	// Ann
	// Ann
	// kv: put "user:42" on mem: condition failed: the entry has another version now, or is gone
	// Anna
	// 2 hits, 1 misses
}

// One process computes the report. Other processes would wait, and then read the stored entry.
func ExampleCache_GetOrLoad() {
	ctx := context.Background()
	store := memkv.New()
	namespace, err := store.Namespace("cache-lease:")
	if err != nil {
		panic(err)
	}
	leases, err := lease.New(namespace, &lease.Options{TTL: 2 * time.Second})
	if err != nil {
		panic(err)
	}
	cached, err := cache.New(store, &cache.Options{MaxAge: time.Minute, Leases: leases})
	if err != nil {
		panic(err)
	}
	for range 3 {
		entry, err := cached.GetOrLoad(ctx, "report:today", time.Hour, func(context.Context) ([]byte, error) {
			fmt.Println("computed")
			return []byte("the report"), nil
		})
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", entry.Value)
	}
	// Output:
	// computed
	// the report
	// the report
	// the report
}
