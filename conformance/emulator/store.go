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

// StoreURL returns the URL of a store with that name in an emulator, for
// providers.Ensure and providers.Open: a table, or on Firestore a project with the
// collection "kv". A name of 3 to 24 lower-case letters and digits that begins
// with a letter is legal for all kinds.
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

// URL returns the URL of a store for one test: empty, set up, and used by no other
// test. It skips, fails and shares the emulator like [DynamoDB]. The entries of
// the store stay in the emulator until the emulator ends.
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

// Store returns a store for one test, like [URL]. It closes the store at the
// test's end.
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
