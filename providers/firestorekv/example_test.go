package firestorekv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	admin "cloud.google.com/go/firestore/apiv1/admin"
	"google.golang.org/api/option"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/firestorekv"
)

func ExampleOpen() {
	ctx := context.Background()
	store, err := firestorekv.Open(ctx, "firestore://my-project/kv")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	_, err = store.Put(ctx, "lock:job-7", []byte("worker-1"), kv.IfNotExists(), kv.TTL(30*time.Second))
	if errors.Is(err, kv.ErrConditionFailed) {
		fmt.Println("somebody else has the lock")
	}
}

// New uses the program's own client, with its credentials and connections.
func ExampleNew() {
	ctx := context.Background()
	client, err := firestore.NewClient(ctx,
		option.WithQuotaProject("my-billing-project"),
		option.WithGRPCConnectionPool(4), // a connection takes about 100 calls at a time
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := firestorekv.New(ctx, client, "my-project", "kv", &firestorekv.Options{
		Database: "orders",
		Timeout:  10 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	entry, err := store.Get(ctx, "user:42")
	fmt.Println(string(entry.Value), err)
}

// Set up a collection, with the layout document and the settings, once before it is used.
// The settings may also be made later.
func ExampleEnsureWith() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	client, err := firestore.NewClient(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	adminClient, err := admin.NewFirestoreAdminClient(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer adminClient.Close()
	opts := &firestorekv.Options{Shards: 16}
	if err := firestorekv.EnsureWith(ctx, client, adminClient, "my-project", "kv", opts); err != nil {
		log.Fatal(err)
	}
}

// Set up the collection of a URL.
func ExampleEnsure() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	if err := firestorekv.Ensure(ctx, "firestore://my-project/kv?shards=16"); err != nil {
		log.Fatal(err)
	}
}

// Print every check of the collection of a URL, with its result.
func ExampleInspect() {
	for check := range firestorekv.Inspect(context.Background(), "firestore://my-project/kv") {
		fmt.Println(check.Status, check.Name, check.Detail)
	}
}
