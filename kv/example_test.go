package kv_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func Example() {
	ctx := context.Background()
	store := memkv.New()
	defer store.Close()

	_, err := store.Put(ctx, "lock:job-7", []byte("worker-1"), kv.TTL(30*time.Second), kv.IfNotExists())
	fmt.Println("first:", err)
	_, err = store.Put(ctx, "lock:job-7", []byte("worker-2"), kv.TTL(30*time.Second), kv.IfNotExists())
	fmt.Println("second failed:", errors.Is(err, kv.ErrConditionFailed))

	entry, err := store.Get(ctx, "lock:job-7")
	fmt.Printf("%s %v\n", entry.Value, err)
	// Output:
	// first: <nil>
	// second failed: true
	// worker-1 <nil>
}

// Compare-and-swap: read, change, and write unless somebody was faster.
func ExampleIfVersion() {
	ctx := context.Background()
	store := memkv.New()
	counters := kv.JSON[int](store)
	if _, err := counters.Put(ctx, "visits", 41); err != nil {
		panic(err)
	}
	for {
		entry, err := counters.Get(ctx, "visits")
		if err != nil {
			panic(err)
		}
		// ExpiresAt keeps the entry's expiry; a Put without one would remove it.
		_, err = counters.Put(ctx, "visits", entry.Value+1, kv.IfVersion(entry.Version), kv.ExpiresAt(entry.ExpiresAt))
		if errors.Is(err, kv.ErrConditionFailed) {
			continue
		}
		fmt.Println(entry.Value+1, err)
		break
	}
	// Output: 42 <nil>
}

func ExampleStore_Scan() {
	ctx := context.Background()
	store := memkv.New()
	err := store.PutMany(ctx, []kv.Item{{Key: "user:2"}, {Key: "user:10"}, {Key: "order:1"}, {Key: "user:1"}})
	if err != nil {
		panic(err)
	}
	for entry, err := range store.Scan(ctx, "user:") {
		if err != nil {
			panic(err)
		}
		fmt.Println(entry.Key)
	}
	// Output:
	// user:1
	// user:10
	// user:2
}

// A cursor goes through a web page and back, to another process if need be.
func ExampleStore_ScanPage() {
	ctx := context.Background()
	store := memkv.New()
	for i := range 5 {
		if _, err := store.Put(ctx, fmt.Sprintf("row:%d", i), nil); err != nil {
			panic(err)
		}
	}
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := store.ScanPage(ctx, "row:", 2, cursor)
		if err != nil {
			panic(err)
		}
		fmt.Println(len(page.Entries), page.Next != "")
		cursor = page.Next
	}
	// Output:
	// 2 true
	// 2 true
	// 1 false
}

// A clock of the test's own moves time without waiting.
func ExampleClock() {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	store := memkv.New().With(kv.Clock(func() time.Time { return now }))

	if _, err := store.Put(ctx, "session", nil, kv.TTL(time.Minute)); err != nil {
		panic(err)
	}
	now = now.Add(time.Minute - time.Millisecond)
	fmt.Println(store.Exists(ctx, "session"))
	now = now.Add(time.Millisecond)
	fmt.Println(store.Exists(ctx, "session"))
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleJSON() {
	type User struct{ Name string }
	ctx := context.Background()
	users := kv.JSON[User](memkv.New())
	if _, err := users.Put(ctx, "user:42", User{Name: "Ann"}); err != nil {
		panic(err)
	}
	entry, err := users.Get(ctx, "user:42")
	fmt.Println(entry.Value.Name, err)
	// Output: Ann <nil>
}

func ExampleParseVersion() {
	ctx := context.Background()
	store := memkv.New()
	version, err := store.Put(ctx, "page", []byte("v1"))
	if err != nil {
		panic(err)
	}
	etag := version.String() // to a client, which hands it back
	version, err = kv.ParseVersion(etag)
	if err != nil {
		panic(err)
	}
	_, err = store.Put(ctx, "page", []byte("v2"), kv.IfVersion(version))
	fmt.Println(err)
	// Output: <nil>
}
