package conformance_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A provider's test of the whole contract.
func ExampleRun() {
	TestConformance := func(t *testing.T) {
		conformance.Run(t, conformance.Config{
			New: func(context.Context) (*kv.Store, error) { return memkv.New(), nil },
		})
	}
	_ = TestConformance // in the provider's package, declare it as a function, so that "go test" runs it
}

// A program that checks a store.
func ExampleCheck() {
	config := conformance.Config{
		New: func(context.Context) (*kv.Store, error) { return memkv.New(), nil },
	}
	failed := 0
	for result, err := range conformance.Check(context.Background(), config) {
		if err != nil {
			log.Fatal(err)
		}
		if err := result.Err(); err != nil {
			fmt.Printf("%s: %v\n", result.Name, err)
			failed++
		}
	}
	fmt.Println(failed, "cases failed")
	// Output: 0 cases failed
}
