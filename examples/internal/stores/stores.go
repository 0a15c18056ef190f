// Package stores opens a store of every kind for the tests of the examples.
package stores

import (
	"path/filepath"
	"testing"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// OnEach runs test with an empty store of each provider. The stores of the services are on their
// emulators. OnEach skips providers whose emulator is not available. A package that calls OnEach
// needs a TestMain that calls emulator.Main.
func OnEach(t *testing.T, test func(t *testing.T, store *kv.Store)) {
	OnEachURL(t, func(t *testing.T, url string) {
		store, err := providers.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, store)
	})
}

// OnEachURL is like OnEach, for tests that open the store themselves.
func OnEachURL(t *testing.T, test func(t *testing.T, url string)) {
	service := func(kind emulator.Kind) func(*testing.T) string {
		return func(t *testing.T) string { return emulator.URL(t, kind) }
	}
	for scheme, makeURL := range map[string]func(t *testing.T) string{
		"mem":       func(*testing.T) string { return "mem:" },
		"file":      func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "store.db") },
		"dynamodb":  service(emulator.KindDynamoDB),
		"firestore": service(emulator.KindFirestore),
		"aztables":  service(emulator.KindAzureTables),
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			test(t, makeURL(t))
		})
	}
}
