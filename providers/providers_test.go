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

// The rule: Open refuses everything that it does not know, before any I/O. No message
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
		"dynamodb:table":                          "no // after the scheme",
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

		"mem:?max-value=0":                                 "max-value",
		"mem:?max-value=384KiB":                            "max-value",
		"file:a.db?max-value=393217":                       "from 1 to 393216",
		"dynamodb://table?max-value=-1":                    "max-value",
		"firestore://project/kv?max-value=393217":          "max-value",
		"aztables://account/table?max-value=1&max-value=2": `"max-value" must have one value`,
		"aztables://account/table?max-value=" + secret:     "max-value",
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

func TestMaxValueInURL(t *testing.T) {
	t.Parallel()
	for _, p := range providers.All() {
		if !strings.Contains(p.Form, "max-value=BYTES") {
			t.Errorf("rule: the URLs of every provider have max-value; the form of %s is %s", p.Scheme, p.Form)
		}
	}
	file := "file:" + filepath.Join(t.TempDir(), "app.db")
	for url, want := range map[string]int{
		"mem:": kv.MaxValueLen, "mem:?max-value=393216": kv.MaxLargeValueLen, "mem:?max-value=10": 10,
		file: kv.MaxValueLen, file + "?max-value=393216&readers=2": kv.MaxLargeValueLen,
	} {
		store, err := providers.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if n := store.Info().MaxValueLen; n != want {
			t.Errorf("rule: max-value is MaxValue; the limit of %s is %d, want %d", url, n, want)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
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
