package watch_test

import (
	"context"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv/watch"
	"github.com/skykv/skykv/providers/memkv"
)

// A program follows its feature flags in the store.
func ExampleWatch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := memkv.New()
	if _, err := store.Put(ctx, "flags::dark-mode", []byte("on")); err != nil {
		panic(err)
	}

	for change, err := range watch.Watch(ctx, store, "flags::", 10*time.Millisecond) {
		if err != nil {
			fmt.Println("the flags may be old:", err)
			continue
		}
		if change.Deleted {
			fmt.Println(change.Key, "is gone")
			break
		}
		fmt.Printf("%s is %s\n", change.Key, change.Value)
		if err := store.Delete(ctx, change.Key); err != nil { // as another program would
			panic(err)
		}
	}
	// Output:
	// flags::dark-mode is on
	// flags::dark-mode is gone
}

// A program keeps the cursor in a file or an entry, and its next process continues from there.
func ExampleFrom() {
	ctx := context.Background()
	store := memkv.New()
	for _, key := range []string{"order:1", "order:2"} {
		if _, err := store.Put(ctx, key, nil); err != nil {
			panic(err)
		}
	}
	var cursor []byte
	process := func(changes int) {
		for change, err := range watch.Watch(ctx, store, "order:", time.Second, watch.From(cursor)) {
			if err != nil {
				panic(err)
			}
			fmt.Println(change.Key, change.Deleted)
			cursor = change.Cursor() // after the change was handled
			if changes--; changes == 0 {
				return
			}
		}
	}
	process(2)
	fmt.Println("a new process")
	if err := store.Delete(ctx, "order:1"); err != nil {
		panic(err)
	}
	process(1)
	// Output:
	// order:1 false
	// order:2 false
	// a new process
	// order:1 true
}
