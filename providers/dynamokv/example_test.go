package dynamokv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/dynamokv"
)

func ExampleOpen() {
	ctx := context.Background()
	store, err := dynamokv.Open(ctx, "dynamodb://kv1?region=eu-central-1")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	_, err = store.Put(ctx, "lock:job-7", []byte("me"), kv.IfNotExists(), kv.TTL(30*time.Second))
	if errors.Is(err, kv.ErrConditionFailed) {
		fmt.Println("somebody else has the lock")
	}
}

// For DynamoDB Local, Open needs neither a region nor credentials. To start it:
//
//	docker run -p 8000:8000 amazon/dynamodb-local
func ExampleOpen_emulator() {
	store, err := dynamokv.Open(context.Background(), "dynamodb://kv1?endpoint=http://localhost:8000")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
}

// New uses the program's own client, with its credentials, retries and middleware.
func ExampleNew() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion("eu-central-1"),
		config.WithRetryMaxAttempts(5),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
		})))
	if err != nil {
		log.Fatal(err)
	}
	store, err := dynamokv.New(ctx, dynamodb.NewFromConfig(cfg), "kv1", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
}

// Inspect finds out why a store does not work.
func ExampleInspect() {
	for check := range dynamokv.Inspect(context.Background(), "dynamodb://kv1?region=eu-central-1") {
		fmt.Println(check.Status, check.Name, check.Detail, check.Fix)
	}
}

func ExampleEnsure() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := dynamokv.Ensure(ctx, "dynamodb://kv1?region=eu-central-1&shards=4"); err != nil {
		log.Fatal(err)
	}
}

func ExampleEnsureWith() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	client := dynamodb.NewFromConfig(cfg)
	opts := &dynamokv.Options{Shards: 4}
	if err := dynamokv.EnsureWith(ctx, client, "kv1", opts); err != nil {
		log.Fatal(err)
	}
	store, err := dynamokv.New(ctx, client, "kv1", opts)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
}
