package providers_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
	"github.com/skykv/skykv/providers/localkv"
)

func TestMain(m *testing.M) { emulator.Main(m) }

// The rule: what Open does not know it refuses, before any I/O, and repeats no
// secret.
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
		"firestore://project/kv?shards=2":         `"shards" is unknown`,
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

func TestOpenBindingLocal(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	t.Setenv("ALIEN_MY_CACHE_BINDING", fmt.Sprintf(`{"service":"local-kv","dataDir":%q,"keyPrefix":"cache:"}`, dir))
	store, err := providers.OpenBinding(ctx, "my-cache")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(ctx, "a", []byte("value"), kv.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := localkv.New(filepath.Join(dir, providers.BindingFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Get(ctx, "cache:a"); err != nil {
		t.Errorf("the entry is not under keyPrefix in %s: %v", providers.BindingFile, err)
	}

	t.Setenv("ALIEN_PLAIN_BINDING", fmt.Sprintf(`{"keyPrefix":null,"dataDir":%q,"service":"local-kv"}`, dir))
	plain, err := providers.OpenBinding(ctx, "Plain")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Get(ctx, "cache:a"); err != nil {
		t.Errorf("without keyPrefix the whole store is seen: %v", err)
	}

	t.Setenv("ALIEN_NOWHERE_BINDING", fmt.Sprintf(`{"service":"local-kv","dataDir":%q}`, filepath.Join(dir, "absent")))
	if _, err := providers.OpenBinding(ctx, "nowhere"); !errors.Is(err, kv.ErrNotProvisioned) {
		t.Errorf("with a dataDir that does not exist: %v; want ErrNotProvisioned", err)
	}
	empty := t.TempDir()
	t.Setenv("ALIEN_BADPREFIX_BINDING", fmt.Sprintf(`{"service":"local-kv","dataDir":%q,"keyPrefix":"a/b"}`, empty))
	if _, err := providers.OpenBinding(ctx, "badprefix"); !errors.Is(err, kv.ErrInvalidOption) || !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("with a keyPrefix that is no prefix: %v; want ErrInvalidOption and ErrInvalidKey", err)
	}
	if _, err := os.Stat(filepath.Join(empty, providers.BindingFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rule: a binding is refused before any I/O; the file of one with a keyPrefix that is no prefix gives %v", err)
	}
}

// The cloud bindings reach the provider that they name, with what they say.
func TestOpenBindingDynamoDB(t *testing.T) {
	endpoint := emulator.DynamoDB(t)
	t.Setenv("ALIEN_CACHE_BINDING", fmt.Sprintf(`{"service":"dynamodb","tableName":"no-such-table","region":"eu-central-1","endpointUrl":%q}`, endpoint))
	if _, err := providers.OpenBinding(t.Context(), "cache"); !errors.Is(err, kv.ErrNotProvisioned) {
		t.Errorf("a table that does not exist gives %v; want ErrNotProvisioned, from the service", err)
	}
}

func TestOpenBindingRefuses(t *testing.T) {
	const secret = "s3cret"
	for _, c := range []struct{ name, binding, says string }{
		{"unset", ``, "not set"},
		{"no JSON", secret, "not a JSON object"},
		{"an array", `[{"service":"dynamodb"}]`, "not a JSON object"},
		{"cut off", `{"service":"dynamodb","tableName":"` + secret, "not valid JSON"},
		{"cut off behind a field", `{"service":"dynamodb"`, "not valid JSON"},
		{"two objects", `{"service":"local-kv","dataDir":"` + secret + `"} {}`, "after the JSON object"},
		{"a stray brace", `{"service":"local-kv","dataDir":"` + secret + `"}}`, "after the JSON object"},
		{"a stray bracket", `{"service":"local-kv","dataDir":"` + secret + `"}]`, "after the JSON object"},
		{"a stray quote", `{"service":"local-kv","dataDir":"` + secret + `"}"`, "after the JSON object"},
		{"a field twice", `{"service":"local-kv","dataDir":"a","dataDir":"` + secret + `"}`, `"dataDir" is there twice`},
		{"no service", `{"tableName":"t"}`, `"service" is missing`},
		{"redis", `{"service":"redis","connectionUrl":"redis://:` + secret + `@cache"}`, `"redis", which skykv has no provider for`},
		{"unknown service", `{"service":"` + secret + `"}`, "service is unknown; allowed are dynamodb, firestore, local-kv, tablestorage"},
		{"service in other case", `{"service":"DynamoDB","tableName":"t","region":"r"}`, "service is unknown"},
		{"unknown field", `{"service":"dynamodb","tableName":"t","region":"r","keyPrefix":"` + secret + `"}`, `"keyPrefix" is unknown`},
		{"missing field", `{"service":"dynamodb","tableName":"t"}`, `"region" is missing`},
		{"null field", `{"service":"firestore","projectId":"p","databaseId":null,"collectionName":"c"}`, `"databaseId" is missing`},
		{"empty field", `{"service":"tablestorage","resourceGroupName":"g","accountName":"","tableName":"t"}`, `"accountName" is empty`},
		{"number", `{"service":"local-kv","dataDir":5}`, `"dataDir" is no text`},
		{"secret reference", `{"service":"tablestorage","resourceGroupName":"g","accountName":{"secretRef":{"name":"` + secret + `","key":"k"}},"tableName":"t"}`, `"accountName" is a reference to a secret`},
		{"expression", `{"service":"dynamodb","tableName":{"Ref":"` + secret + `"},"region":"r"}`, `"tableName" is an expression`},
		{"expression of a list", `{"service":"dynamodb","tableName":["` + secret + `"],"region":"r"}`, `"tableName" is an expression`},
		{"expression as the service", `{"service":{"Fn::If":["` + secret + `"]}}`, `"service" is an expression`},
		{"no account's name", `{"service":"tablestorage","resourceGroupName":"g","accountName":"Not_One","tableName":"t"}`, "account"},
		{"no table's name", `{"service":"dynamodb","tableName":"a?region=b","region":"r"}`, "table"},
		{"no project's ID", `{"service":"firestore","projectId":"p/q","databaseId":"d","collectionName":"c"}`, "project"},
		{"no collection's ID", `{"service":"firestore","projectId":"pro","databaseId":"d","collectionName":"a/b"}`, "collection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("ALIEN_CACHE_BINDING", c.binding)
			_, err := providers.OpenBinding(t.Context(), "cache")
			switch {
			case !errors.Is(err, kv.ErrInvalidOption):
				t.Errorf("got %v; want ErrInvalidOption", err)
			case !strings.Contains(err.Error(), c.says):
				t.Errorf("the error %q does not say %q", err, c.says)
			case strings.Contains(err.Error(), secret):
				t.Errorf("rule: no message repeats a value; got %q", err)
			}
		})
	}
	for _, name := range []string{"", "a b", "a=b", "1st", "cäche"} {
		if _, err := providers.OpenBinding(t.Context(), name); !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "binding's name") {
			t.Errorf("OpenBinding(%q) = %v; want ErrInvalidOption about the name", name, err)
		}
	}
}
