// Quickstart is a tour of the API on the store that KV_URL names, or on a file in the
// temporary folder if it is not set:
//
//	go run ./examples/quickstart
//	KV_URL='dynamodb://my-table?region=eu-west-1' go run ./examples/quickstart
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

func main() {
	log.SetFlags(0)
	url := cmp.Or(os.Getenv("KV_URL"), "file:"+filepath.Join(os.TempDir(), "skykv-quickstart.db"))
	if err := run(context.Background(), url); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string) error {
	store, err := providers.Open(ctx, url)
	if err != nil {
		return err
	}
	defer store.Close()
	fmt.Println("store:            ", store.Info().Name)

	// Remove what an earlier run left.
	if _, err := store.DeletePrefix(ctx, "quickstart:"); err != nil {
		return err
	}

	// A lock that frees itself after 30 seconds. Only one of two workers gets it.
	lock := "quickstart:lock:job-7"
	if _, err := store.Put(ctx, lock, []byte("worker-1"), kv.TTL(30*time.Second), kv.IfNotExists()); err != nil {
		return err
	}
	_, err = store.Put(ctx, lock, []byte("worker-2"), kv.TTL(30*time.Second), kv.IfNotExists())
	if !errors.Is(err, kv.ErrConditionFailed) {
		return fmt.Errorf("a second worker got the lock: %w", err)
	}
	holder, err := store.Get(ctx, lock)
	if err != nil {
		return err
	}
	fmt.Printf("lock held by:      %s, for another %s\n", holder.Value, time.Until(holder.ExpiresAt).Round(time.Second))

	// Compare-and-swap: a counter that loses no increment.
	visits := kv.JSON[int](store)
	if _, err := visits.Put(ctx, "quickstart:visits", 0); err != nil {
		return err
	}
	for range 3 {
		if err := increment(ctx, visits, "quickstart:visits"); err != nil {
			return err
		}
	}
	count, err := visits.Get(ctx, "quickstart:visits")
	if err != nil {
		return err
	}
	fmt.Println("visits:           ", count.Value)

	// Many entries in one call, and an ordered scan over them.
	type user struct{ Name string }
	users := kv.JSON[user](store)
	items := []kv.ItemOf[user]{
		{Key: "quickstart:user:3", Value: user{"Cleo"}},
		{Key: "quickstart:user:1", Value: user{"Ann"}},
		{Key: "quickstart:user:2", Value: user{"Ben"}},
	}
	if _, err := users.PutMany(ctx, items); err != nil {
		return err
	}
	for entry, err := range users.Scan(ctx, "quickstart:user:") {
		if err != nil {
			return err
		}
		fmt.Printf("scanned:           %s = %s\n", entry.Key, entry.Value.Name)
	}

	// The same scan in pages. Another process may continue it from a page's cursor.
	for cursor, more := "", true; more; more = cursor != "" {
		page, err := users.ScanPage(ctx, "quickstart:user:", 2, cursor)
		if err != nil {
			return err
		}
		fmt.Printf("page:              %d entries, more to come: %t\n", len(page.Entries), page.Next != "")
		cursor = page.Next
	}

	if err := store.Delete(ctx, lock); err != nil {
		return err
	}
	exists, err := store.Exists(ctx, lock)
	if err != nil {
		return err
	}
	fmt.Println("lock still there: ", exists)
	return nil
}

// increment adds one to the number under key. It tries again whenever another writer changes the
// number between its read and its write.
func increment(ctx context.Context, counters *kv.Typed[int], key string) error {
	for {
		entry, err := counters.Get(ctx, key)
		if err != nil {
			return err
		}
		_, err = counters.Put(ctx, key, entry.Value+1, kv.IfVersion(entry.Version), kv.ExpiresAt(entry.ExpiresAt))
		if !errors.Is(err, kv.ErrConditionFailed) {
			return err
		}
	}
}
