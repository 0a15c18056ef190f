package aztableskv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/aztableskv"
)

func ExampleOpen() {
	ctx := context.Background()
	store, err := aztableskv.Open(ctx, "aztables://myaccount/kv1")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	if _, err := store.Put(ctx, "lock:job-7", []byte("me"), kv.IfNotExists(), kv.TTL(time.Minute)); errors.Is(err, kv.ErrConditionFailed) {
		fmt.Println("somebody else has the lock")
	}
}

// This store is in Azurite, which needs no credentials in the environment.
func ExampleOpen_azurite() {
	ctx := context.Background()
	const url = "aztables://devstoreaccount1/kv1?endpoint=http://127.0.0.1:10002/devstoreaccount1"
	if err := aztableskv.Ensure(ctx, url); err != nil { // creates the table unless it exists
		log.Fatal(err)
	}
	store, err := aztableskv.Open(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
}

// This store uses the program's own client, which may have any credentials and policies.
func ExampleNew() {
	ctx := context.Background()
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := aztables.NewServiceClient("https://myaccount.table.core.windows.net", cred, nil)
	if err != nil {
		log.Fatal(err)
	}
	opts := &aztableskv.Options{Shards: 64}
	if err := aztableskv.EnsureWith(ctx, client, "kv1", opts); err != nil { // once, or by another tool
		log.Fatal(err)
	}
	store, err := aztableskv.New(ctx, client, "kv1", opts)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close() // the client stays open
}

// This program uses a store, and sweeps it every hour.
func ExampleSweep() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go aztableskv.Sweep(ctx, "aztables://myaccount/kv1", &provider.SweepOptions{
		Interval: time.Hour,
		Rate:     100,
		Progress: func(p provider.SweepProgress) {
			if p.Done {
				log.Printf("sweep %d: %d entities deleted, error: %v", p.Pass, p.Deleted, p.Err)
			}
		},
	})
	// ...
}
