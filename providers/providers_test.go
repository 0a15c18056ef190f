package providers_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// The rule: Open refuses what it does not know, before any I/O, and no message
// repeats a secret.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for url, says := range map[string]string{
		"":                                      "no scheme",
		secret:                                  "no scheme",
		"app.db":                                "no scheme",
		":" + secret:                            "no scheme",
		secret + "=:x":                          "no scheme",
		"AKIAIOSFODNN7EXAMPLE/" + secret + ":x": "no scheme",
		"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=" + secret + "==;TableEndpoint=https://acc.table.core.windows.net": "no scheme",
		"redis://:" + secret + "@host":            `scheme "redis" is unknown`,
		"MEM:":                                    `scheme "MEM" is unknown`,
		"mem":                                     "no scheme",
		"mem:x":                                   "mem:",
		"mem:?x=" + secret:                        `"x" is unknown`,
		"file:":                                   "path",
		"file:a.db?mode=" + secret:                `"mode" is unknown`,
		"file:a.db?readers=0":                     "readers",
		"file:a.db?readers=2&readers=3":           `"readers" must have one value`,
		"file://host/a.db":                        "host",
		"file:a.db#part":                          "fragment",
		"dynamodb:":                               "table",
		"dynamodb:table":                          "table",
		"dynamodb://t":                            "table",
		"dynamodb://table/path":                   "path",
		"dynamodb://table?region=":                `"region" must have one value`,
		"dynamodb://table?Region=eu-central-1":    `"Region" is unknown`,
		"dynamodb://table?shards=257":             "shards",
		"dynamodb://table?shards=x":               "shards",
		"dynamodb://table?endpoint=host:8000":     "endpoint",
		"dynamodb://key:" + secret + "@table":     "credentials",
		"firestore://project":                     "collection",
		"firestore:///kv":                         "project",
		"firestore://project/a/b":                 "collection",
		"firestore://project/kv?shards=257":       `"shards" must be a number from 1 to 256`,
		"firestore://project/kv?database=A B":     "database",
		"firestore://project/kv?endpoint=ftp:x":   "endpoint",
		"aztables://account":                      "table",
		"aztables://account/t":                    "table",
		"aztables://Account_1/table":              "account",
		"aztables://account/table?sig=" + secret:  `"sig" is unknown`,
		"aztables://account/table?shards=0":       "shards",
		"aztables://account:" + secret + "@x/tab": "credentials",
		"aztables://account/table?%zz=" + secret:  "cannot be parsed",
	} {
		store, err := providers.Open(t.Context(), url)
		if err == nil {
			store.Close()
		}
		if !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), secret) {
			t.Errorf("Open(%q) = %v; want ErrInvalidOption, %q, and no secret", url, err, says)
		}
	}
}

func TestOpenEnv(t *testing.T) {
	t.Setenv(providers.EnvURL, "")
	if _, err := providers.OpenEnv(t.Context()); !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "KV_URL") {
		t.Errorf("without KV_URL: %v; want ErrInvalidOption and the variable's name", err)
	}
	t.Setenv(providers.EnvURL, "redis://cache")
	if _, err := providers.OpenEnv(t.Context()); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("with an unknown scheme: %v; want ErrInvalidOption", err)
	}
	path := filepath.Join(t.TempDir(), "app.db")
	t.Setenv(providers.EnvURL, "file:"+path)
	store, err := providers.OpenEnv(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if store.Info().Name != "file" {
		t.Errorf("the store is a %q", store.Info().Name)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
