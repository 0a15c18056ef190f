package emulator_test

import (
	"errors"
	"testing"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

func TestStores(t *testing.T) {
	t.Parallel()
	for _, kind := range []emulator.Kind{emulator.KindDynamoDB, emulator.KindFirestore, emulator.KindAzureTables} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			store, other := emulator.Store(t, kind), emulator.Store(t, kind)
			if _, err := store.Put(t.Context(), "key", []byte("value")); err != nil {
				t.Fatal(err)
			}
			if _, err := other.Get(t.Context(), "key"); !errors.Is(err, kv.ErrNotFound) {
				t.Errorf("rule: each test has its own store; a key of another store is read as %v", err)
			}
			again, err := providers.Open(t.Context(), emulator.URL(t, kind))
			if err != nil {
				t.Fatalf("rule: providers.Open opens the result of URL; got %v", err)
			}
			defer again.Close()
			for entry, err := range again.Scan(t.Context(), "") {
				t.Errorf("rule: the store is empty; it yields %q, %v", entry.Key, err)
			}
		})
	}
}
