// Package stores gives the examples' tests a store of every kind.
package stores

import (
	"context"
	"crypto/rand"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
	"github.com/skykv/skykv/providers/aztableskv"
	"github.com/skykv/skykv/providers/dynamokv"
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
		"mem":       func(*testing.T) string { return "mem:" },
		"file":      func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "store.db") },
		"dynamodb":  dynamoDB,
		"firestore": firestore,
		"aztables":  azureTables,
	} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			test(t, makeURL(t))
		})
	}
}

func dynamoDB(t *testing.T) string {
	endpoint, table := emulator.DynamoDB(t), name()
	client := dynamodb.New(dynamodb.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint), Credentials: credentials.NewStaticCredentialsProvider("skykv", "skykv", ""),
	})
	if err := dynamokv.EnsureTable(t.Context(), client, table, nil); err != nil {
		t.Fatal(err)
	}
	// What Open takes from the environment, or else makes up, DynamoDB Local ignores.
	return "dynamodb://" + table + "?region=us-east-1&endpoint=" + url.QueryEscape(endpoint)
}

func firestore(t *testing.T) string {
	return "firestore://" + name() + "/kv?endpoint=" + url.QueryEscape("http://"+emulator.Firestore(t))
}

func azureTables(t *testing.T) string {
	u := "aztables://" + emulator.AzureAccount + "/" + name() + "?endpoint=" + url.QueryEscape(emulator.AzureTables(t))
	conn, err := aztableskv.Connect(u)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := aztableskv.EnsureTable(context.WithoutCancel(t.Context()), conn.Client, conn.Table); err != nil {
		t.Fatal(err)
	}
	return u
}

// name is one that nobody else uses, and that every service takes.
func name() string { return "example" + strings.ToLower(rand.Text()) }
