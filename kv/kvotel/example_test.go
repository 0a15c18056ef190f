package kvotel_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/skykv/skykv/kv/kvotel"
	"github.com/skykv/skykv/providers/memkv"
)

// A program that has set up OpenTelemetry globally does not need to set TracerProvider.
func ExampleObserve() {
	ctx := context.Background()
	spans := tracetest.NewInMemoryExporter()
	store := memkv.New().With(kvotel.Observe(&kvotel.Options{
		Collection:     "users",
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
	}))
	if _, err := store.Put(ctx, "user:42", []byte("Ann")); err != nil {
		panic(err)
	}
	for _, span := range spans.GetSpans() {
		fmt.Println(span.Name)
		for _, a := range span.Attributes {
			fmt.Printf("  %s: %s\n", a.Key, a.Value.String())
		}
	}
	// Output:
	// put users
	//   db.operation.name: put
	//   db.system.name: mem
	//   db.collection.name: users
	//   skykv.outcome: done
	//   skykv.requests: 0
	//   skykv.attempts: 0
	//   skykv.sent: 3
}

// With Keys the log names keys. It never has values.
func ExampleLog() {
	ctx := context.Background()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr { // removes what differs each time
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{}
			}
			return a
		},
	}))
	store := memkv.New().With(kvotel.Log(logger, &kvotel.Options{Keys: true}))
	if _, err := store.Exists(ctx, "user:42"); err != nil {
		panic(err)
	}
	// Output:
	// level=DEBUG msg=get db.system.name=mem db.operation.name=get skykv.outcome=absent skykv.requests=0 skykv.attempts=0 skykv.records=0 skykv.received=0 skykv.keys=[user:42]
}
