package emulator

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// StoreURL returns the URL of a store in the emulator, for providers.Ensure and
// providers.Open. The argument name is the name of the table. On Firestore it is the name of the
// project, and the collection is "kv". A name of 3 to 24 lower-case letters and digits that
// begins with a letter is legal for all kinds.
func (e *Emulator) StoreURL(name string) string {
	return storeURL(e.Kind, e.Endpoint, name)
}

func storeURL(kind Kind, endpoint, name string) string {
	switch kind {
	case KindDynamoDB:
		return "dynamodb://" + name + "?region=us-east-1&endpoint=" + url.QueryEscape(endpoint)
	case KindFirestore:
		return "firestore://" + name + "/kv?endpoint=" + url.QueryEscape("http://"+endpoint)
	case KindAzureTables:
		return "aztables://" + AzureAccount + "/" + name + "?endpoint=" + url.QueryEscape(endpoint)
	}
	return ""
}

// URL returns the URL of a new store for one test. The store is set up and empty, and no
// other test uses it. The tests of a binary share one emulator of each kind. If no emulator is
// available, URL skips the test. If the environment asks for an emulator that does not work, or
// the store cannot be set up, URL fails the test. The entries of the store stay in the emulator
// until the emulator ends.
//
//	store, err := providers.Open(ctx, emulator.URL(t, emulator.KindDynamoDB))
func URL(t testing.TB, kind Kind) string {
	t.Helper()
	endpoints := map[Kind]func(testing.TB) string{KindDynamoDB: DynamoDB, KindFirestore: Firestore, KindAzureTables: AzureTables}
	endpoint, known := endpoints[kind]
	if !known {
		t.Fatalf("emulator: the kind is %q; it must be %s, %s or %s", kind, KindDynamoDB, KindFirestore, KindAzureTables)
	}
	u := storeURL(kind, endpoint(t), "test"+strings.ToLower(rand.Text())[:16])
	if err := providers.Ensure(context.WithoutCancel(t.Context()), u); err != nil {
		t.Fatal(fmt.Errorf("emulator: setting up a store: %w", err))
	}
	return u
}

// Store opens a new store for one test, by a URL from [URL], and closes it at the end of
// the test.
func Store(t testing.TB, kind Kind) *kv.Store {
	t.Helper()
	store, err := providers.Open(t.Context(), URL(t, kind))
	if err != nil {
		t.Fatal(fmt.Errorf("emulator: opening a store: %w", err))
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}
