package alien_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	buckets "github.com/skykv/skykv/internal/alien"
	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/testing/reference"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/alien"
	"github.com/skykv/skykv/providers/aztableskv"
	"github.com/skykv/skykv/providers/dynamokv"
	"github.com/skykv/skykv/providers/firestorekv"
	"github.com/skykv/skykv/providers/localkv"
)

func TestMain(m *testing.M) { emulator.Main(m) }

func TestOpenLocal(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	t.Setenv("ALIEN_MY_CACHE_BINDING", fmt.Sprintf(`{"service":"local-kv","dataDir":%q,"keyPrefix":"cache:"}`, dir))
	store, err := alien.Open(ctx, "my-cache")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(ctx, "a", []byte("value"), kv.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := localkv.New(filepath.Join(dir, alien.FileName), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Get(ctx, "cache:a"); err != nil {
		t.Errorf("the entry does not have keyPrefix in %s: %v", alien.FileName, err)
	}

	t.Setenv("ALIEN_PLAIN_BINDING", fmt.Sprintf(`{"keyPrefix":null,"dataDir":%q,"service":"local-kv"}`, dir))
	plain, err := alien.Open(ctx, "Plain")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Get(ctx, "cache:a"); err != nil {
		t.Errorf("without keyPrefix the store is the whole file: %v", err)
	}

	t.Setenv("ALIEN_NOWHERE_BINDING", fmt.Sprintf(`{"service":"local-kv","dataDir":%q}`, filepath.Join(dir, "absent")))
	if _, err := alien.Open(ctx, "nowhere"); !errors.Is(err, kv.ErrNotProvisioned) {
		t.Errorf("with a dataDir that does not exist: %v; want ErrNotProvisioned", err)
	}
	empty := t.TempDir()
	t.Setenv("ALIEN_BADPREFIX_BINDING", fmt.Sprintf(`{"service":"local-kv","dataDir":%q,"keyPrefix":"a/b"}`, empty))
	if _, err := alien.Open(ctx, "badprefix"); !errors.Is(err, kv.ErrInvalidOption) || !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("with a keyPrefix that is not legal: %v; want ErrInvalidOption and ErrInvalidKey", err)
	}
	if _, err := os.Stat(filepath.Join(empty, alien.FileName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rule: a binding is refused before any I/O; looking for the file after a bad keyPrefix returns %v", err)
	}
}

// The rule: a dynamodb binding opens the store of its service, at the binding's endpoint.
func TestOpenDynamoDB(t *testing.T) {
	endpoint := emulator.DynamoDB(t)
	t.Setenv("ALIEN_CACHE_BINDING", fmt.Sprintf(`{"service":"dynamodb","tableName":"no-such-table","region":"eu-central-1","endpointUrl":%q}`, endpoint))
	if _, err := alien.Open(t.Context(), "cache"); !errors.Is(err, kv.ErrNotProvisioned) {
		t.Errorf("a table that does not exist: %v; want ErrNotProvisioned, from the service", err)
	}
}

// The rule: under one dynamodb binding, this program and programs in other languages see
// each other's entries, without any other setup.
func TestOpenDynamoDBSharesTheTable(t *testing.T) {
	ctx := t.Context()
	endpoint := emulator.DynamoDB(t)
	table := fmt.Sprintf("alien-%d", time.Now().UnixNano())
	c, err := dynamokv.Connect(ctx, "dynamodb://"+table+"?region=eu-central-1&endpoint="+url.QueryEscape(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := types.ScalarAttributeTypeS
	if _, err := c.Client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: &table, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
		},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("pk"), AttributeType: text}, {AttributeName: aws.String("sk"), AttributeType: text},
		},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = c.Client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &table})
	})
	theirs := &reference.DynamoDB{Client: c.Client, Table: table, Bucket: buckets.Bucket, Now: time.Now}
	shareTheTable(t, fmt.Sprintf(`{"service":"dynamodb","tableName":%q,"region":"eu-central-1","endpointUrl":%q}`, table, endpoint), theirs)
}

// shareTheTable checks that two stores of one table see each other's entries: the store that the
// binding opens, and another program's store, which is the argument theirs.
func shareTheTable(t *testing.T, binding string, theirs reference.Store) {
	ctx := t.Context()
	if err := theirs.Put(ctx, "a", []byte("theirs"), time.Hour); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ALIEN_CACHE_BINDING", binding)
	store, err := alien.Open(ctx, "cache")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if e, err := store.Get(ctx, "a"); err != nil || string(e.Value) != "theirs" {
		t.Errorf("Get of another program's entry: %q, %v", e.Value, err)
	}
	if _, err := store.Put(ctx, "b", []byte("ours"), kv.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if value, _, found, err := theirs.Get(ctx, "b"); err != nil || !found || string(value) != "ours" {
		t.Errorf("their get of the program's entry: %q, %v, %v", value, found, err)
	}
	if _, err := alien.Open(ctx, "cache", alien.Layout(provider.LayoutSkykv)); !errors.Is(err, kv.ErrIncompatible) {
		t.Errorf("rule: the layouts are never mixed; with another layout Open returns %v", err)
	}
}

// The rule: under one tablestorage binding, this program and programs in other languages see
// each other's entries.
func TestOpenTableStorageSharesTheTable(t *testing.T) {
	ctx := t.Context()
	table := fmt.Sprintf("alien%d", time.Now().UnixNano())
	// The binding has no endpoint. The address of the emulator is in the environment
	// variable that Azure's own tools use.
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", fmt.Sprintf("AccountName=%s;AccountKey=%s;TableEndpoint=%s", emulator.AzureAccount, emulator.AzureKey, emulator.AzureTables(t)))
	c, err := aztableskv.Connect(ctx, "aztables://"+emulator.AzureAccount+"/"+table)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Client.CreateTable(ctx, table, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Client.DeleteTable(context.Background(), table, nil) })
	theirs := &reference.AzureTables{Client: c.Client.NewClient(table), Bucket: buckets.Bucket, Now: time.Now}
	shareTheTable(t, fmt.Sprintf(`{"service":"tablestorage","resourceGroupName":"g","accountName":%q,"tableName":%q}`, emulator.AzureAccount, table), theirs)
}

// The rule: a firestore binding shares its collection with other programs, even while the
// collection is empty. The binding has no endpoint. The address of the emulator is in the
// environment variable that Google's clients use.
func TestOpenFirestore(t *testing.T) {
	ctx := t.Context()
	t.Setenv("FIRESTORE_EMULATOR_HOST", emulator.Firestore(t))
	project := fmt.Sprintf("alien-%d", time.Now().UnixNano())
	t.Setenv("ALIEN_CACHE_BINDING", fmt.Sprintf(`{"service":"firestore","projectId":%q,"databaseId":"(default)","collectionName":"c"}`, project))
	store, err := alien.Open(ctx, "cache")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c, err := firestorekv.Connect(ctx, "firestore://"+project+"/c")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	theirs := &reference.Firestore{Client: c.Client, Database: "projects/" + project + "/databases/(default)", Collection: "c", Now: time.Now}
	if err := theirs.Put(ctx, "a", []byte("theirs"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if e, err := store.Get(ctx, "a"); err != nil || string(e.Value) != "theirs" {
		t.Errorf("Get of what another program stored: %q, %v", e.Value, err)
	}
	if _, err := store.Put(ctx, "b", []byte("ours"), kv.IfNotExists(), kv.TTL(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if value, _, found, err := theirs.Get(ctx, "b"); err != nil || !found || string(value) != "ours" {
		t.Errorf("their get of what the program stored: %q, %v, %v", value, found, err)
	}
	if _, err := alien.Open(ctx, "cache", alien.Layout(provider.LayoutSkykv)); !errors.Is(err, kv.ErrIncompatible) {
		t.Errorf("rule: the layouts are never mixed; with another layout Open says %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	const secret = "s3cret"
	for _, c := range []struct{ name, binding, says string }{
		{"unset", ``, "not set"},
		{"no JSON", secret, "not a JSON object"},
		{"an array", `[{"service":"dynamodb"}]`, "not a JSON object"},
		{"cut off", `{"service":"dynamodb","tableName":"` + secret, "not valid JSON"},
		{"cut off after a field", `{"service":"dynamodb"`, "not valid JSON"},
		{"two objects", `{"service":"local-kv","dataDir":"` + secret + `"} {}`, "after the JSON object"},
		{"a stray brace", `{"service":"local-kv","dataDir":"` + secret + `"}}`, "after the JSON object"},
		{"a stray bracket", `{"service":"local-kv","dataDir":"` + secret + `"}]`, "after the JSON object"},
		{"a stray quote", `{"service":"local-kv","dataDir":"` + secret + `"}"`, "after the JSON object"},
		{"a field twice", `{"service":"local-kv","dataDir":"a","dataDir":"` + secret + `"}`, `"dataDir" is there twice`},
		{"no service", `{"tableName":"t"}`, `"service" is missing`},
		{"redis", `{"service":"redis","connectionUrl":"redis://:` + secret + `@cache"}`, `"redis", which skykv has no provider for`},
		{"unknown service", `{"service":"` + secret + `"}`, "service is unknown; want one of dynamodb, firestore, local-kv, tablestorage"},
		{"service in other case", `{"service":"DynamoDB","tableName":"t","region":"r"}`, "service is unknown"},
		{"unknown field", `{"service":"dynamodb","tableName":"t","region":"r","keyPrefix":"` + secret + `"}`, `"keyPrefix" is unknown`},
		{"missing field", `{"service":"dynamodb","tableName":"t"}`, `"region" is missing`},
		{"null field", `{"service":"firestore","projectId":"p","databaseId":null,"collectionName":"c"}`, `"databaseId" is missing`},
		{"empty field", `{"service":"tablestorage","resourceGroupName":"g","accountName":"","tableName":"t"}`, `"accountName" is empty`},
		{"number", `{"service":"local-kv","dataDir":5}`, `"dataDir" is not a text`},
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
			_, err := alien.Open(t.Context(), "cache")
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
		if _, err := alien.Open(t.Context(), name); !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "binding's name") {
			t.Errorf("Open(%q) = %v; want ErrInvalidOption about the name", name, err)
		}
	}
}
