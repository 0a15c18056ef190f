package kv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// Compare-and-swap: read, change, and write if nobody else wrote meanwhile.
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
		// ExpiresAt keeps the entry's expiry. A Put without an expiry option removes it.
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
	_, err := store.PutMany(ctx, []kv.Item{{Key: "user:2"}, {Key: "user:10"}, {Key: "order:1"}, {Key: "user:1"}})
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

// A web page can hold a cursor, so that another process continues the scan.
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

// A test can replace the clock, to move time forward without waiting.
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
	etag := version.String() // for a client, which sends it back
	version, err = kv.ParseVersion(etag)
	if err != nil {
		panic(err)
	}
	_, err = store.Put(ctx, "page", []byte("v2"), kv.IfVersion(version))
	fmt.Println(err)
	// Output: <nil>
}

func ExampleStore_AtomicWrite() {
	ctx, store := context.Background(), memkv.New()
	profile, _ := store.Put(ctx, "user42::profile", []byte("Ann"))
	_, err := store.AtomicWrite(ctx, // all or nothing
		kv.PutOp("user42::profile", []byte("Anna"), kv.IfVersion(profile)),
		kv.PutOp("user42::email:"+kv.EscapeKey("anna@example.com"), nil, kv.IfNotExists()),
		kv.DeleteOp("user42::invite"))
	fmt.Println(err)
	_, err = store.AtomicWrite(ctx,
		kv.PutOp("user42::profile", []byte("Annie"), kv.IfVersion(profile)),
		kv.PutOp("user42::nickname", []byte("Annie")))
	var failed *kv.Error
	if errors.As(err, &failed) && errors.Is(err, kv.ErrConditionFailed) {
		fmt.Println("failed:", failed.Keys)
	}
	for entry := range store.Scan(ctx, "user42::") {
		fmt.Printf("%s = %q\n", entry.Key, entry.Value)
	}
	// Output:
	// <nil>
	// failed: [user42::profile]
	// user42::email:anna_40example.com = ""
	// user42::profile = "Anna"
}

func ExampleStore_Touch() {
	ctx, store := context.Background(), memkv.New()
	_, _ = store.Put(ctx, "session:7", []byte("Ann"), kv.TTL(time.Minute))
	_, err := store.Touch(ctx, "session:7", kv.TTL(30*time.Minute))
	entry, _ := store.Get(ctx, "session:7")
	fmt.Printf("%s %v %s\n", entry.Value, err, time.Until(entry.ExpiresAt).Round(time.Minute))
	// Output: Ann <nil> 30m0s
}

func ExampleStore_Increment() {
	ctx, store := context.Background(), memkv.New()
	for range 3 {
		fmt.Println(store.Increment(ctx, "hits:home", 1, kv.TTLIfNew(time.Minute)))
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

func ExampleStore_Update() {
	ctx, store := context.Background(), memkv.New()
	for _, item := range []string{"pen", "ink"} {
		entry, err := store.Update(ctx, "cart:7", func(old kv.Entry, exists bool) (kv.Change, error) {
			if !exists {
				return kv.Change{Value: []byte(item), TTL: time.Hour}, nil
			}
			return kv.Change{Value: []byte(string(old.Value) + ", " + item)}, nil // the entry keeps its expiry
		})
		fmt.Printf("%s %v\n", entry.Value, err)
	}
	// Output:
	// pen <nil>
	// pen, ink <nil>
}

func ExampleStore_GetAndDelete() {
	ctx, store := context.Background(), memkv.New()
	_, _ = store.Put(ctx, "invite:x7", []byte("Ann"), kv.TTL(24*time.Hour))
	for range 2 {
		entry, err := store.GetAndDelete(ctx, "invite:x7")
		fmt.Printf("%q %v\n", entry.Value, errors.Is(err, kv.ErrNotFound))
	}
	// Output:
	// "Ann" false
	// "" true
}

func ExampleEscapeKey() {
	key := "user:" + kv.EscapeKey("ann+new@example.com")
	fmt.Println(key)
	fmt.Println(kv.UnescapeKey(strings.TrimPrefix(key, "user:")))
	// Output:
	// user:ann_2Bnew_40example.com
	// ann+new@example.com <nil>
}
