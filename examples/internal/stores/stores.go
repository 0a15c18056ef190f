// Package stores opens a store of every kind for the tests of the examples.
package stores

import (
	"path/filepath"
	"testing"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// OnEach runs test with an empty store of each provider, those of the services on
// their emulators, and skips unavailable ones. Packages that call it have a
// TestMain with emulator.Main.
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

// OnEachURL is OnEach for tests that open the store themselves.
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
