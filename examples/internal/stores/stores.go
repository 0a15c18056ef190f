// Package stores has a store of every kind for the examples' tests.
package stores

import (
	"crypto/rand"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// OnEach runs test with an empty store of each provider, those of the services on
// their emulators, and skips the ones that are not to be had. Packages that call
// it have a TestMain with emulator.Main.
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
	for scheme, makeURL := range map[string]func(t *testing.T) string{
		"mem":  func(*testing.T) string { return "mem:" },
		"file": func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "store.db") },
		"dynamodb": func(t *testing.T) string {
			// DynamoDB Local ignores the credentials that the environment has or lacks.
			return "dynamodb://" + name() + "?region=us-east-1&endpoint=" + url.QueryEscape(emulator.DynamoDB(t))
		},
		"firestore": func(t *testing.T) string {
			return "firestore://" + name() + "/kv?endpoint=" + url.QueryEscape("http://"+emulator.Firestore(t))
		},
		"aztables": func(t *testing.T) string {
			return "aztables://" + emulator.AzureAccount + "/" + name() + "?endpoint=" + url.QueryEscape(emulator.AzureTables(t))
		},
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			url := makeURL(t)
			if err := providers.Ensure(t.Context(), url); err != nil {
				t.Fatal(err)
			}
			test(t, url)
		})
	}
}

// name is one that nobody else uses, and that every service takes.
func name() string { return "example" + strings.ToLower(rand.Text()) }
