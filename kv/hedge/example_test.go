package hedge_test

import (
	"context"
	"fmt"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/hedge"
	"github.com/skykv/skykv/providers/memkv"
)

// A program hedges the reads of the store that it opened.
func ExampleReads() {
	ctx := context.Background()
	store := memkv.New().With(hedge.Reads(nil)) // as a rule: providers.Open(ctx, url)
	defer store.Close()
	if _, err := store.Put(ctx, "user:42", []byte("Ann")); err != nil {
		panic(err)
	}
	entry, err := store.Get(ctx, "user:42")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", entry.Value)
	// Output: Ann
}

// Firestore uses HTTP/2, so the slower one of two requests can be cancelled without harm.
func ExampleOptions() {
	open := func(url string) *kv.Store { return memkv.New() } // providers.Open
	store := open("firestore://project/collection").With(hedge.Reads(&hedge.Options{CancelSlower: true}))
	defer store.Close()
	_, err := store.Get(context.Background(), "user:42")
	fmt.Println(err)
	// Output: kv: get "user:42" on mem: not found
}
