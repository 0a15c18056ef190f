package alien

import (
	"testing"

	"github.com/skykv/skykv/kv/provider"
)

// The rule: the binding of a cloud service becomes the URL of its store.
func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"service":"dynamodb","tableName":"my-table","region":"eu-central-1"}`:                               "dynamodb://my-table?layout=alien&region=eu-central-1",
		`{"service":"dynamodb","tableName":"t.1","region":"us-east-1","endpointUrl":"http://localhost:8000"}`: "dynamodb://t.1?endpoint=http%3A%2F%2Flocalhost%3A8000&layout=alien&region=us-east-1",
		`{"service":"dynamodb","tableName":"t.1","region":"us-east-1","endpointUrl":null}`:                    "dynamodb://t.1?layout=alien&region=us-east-1",
		`{"service":"firestore","projectId":"my-project","databaseId":"(default)","collectionName":"kv"}`:     "firestore://my-project/kv?database=%28default%29&layout=alien",
		`{"service":"tablestorage","resourceGroupName":"group","accountName":"account","tableName":"cache"}`:  "aztables://account/cache?layout=alien",
		` {"collectionName":"a b","databaseId":"db","projectId":"my-project", "service":"firestore"} `:        "firestore://my-project/a%20b?database=db&layout=alien",
	} {
		if b, err := parse(text, options{}); err != nil || b.url != want {
			t.Errorf("%s is %q, %v; want %q", text, b.url, err, want)
		}
	}
	const text = `{"service":"dynamodb","tableName":"t.1","region":"us-east-1"}`
	for binding, want := range map[string]string{
		text: "dynamodb://t.1?layout=skykv&region=us-east-1",
		`{"service":"firestore","projectId":"p","databaseId":"db","collectionName":"kv"}`:                "firestore://p/kv?database=db&layout=skykv",
		`{"service":"tablestorage","resourceGroupName":"g","accountName":"account","tableName":"cache"}`: "aztables://account/cache?layout=skykv",
	} {
		if b, err := parse(binding, options{layout: provider.LayoutSkykv}); err != nil || b.url != want {
			t.Errorf("rule: an option chooses the layout; got %q, %v; want %q", b.url, err, want)
		}
	}
	const local = `{"service":"local-kv","dataDir":"d"}`
	if b, err := parse(local, options{layout: provider.LayoutSkykv}); err != nil {
		t.Errorf("rule: every store has skykv's layout; got %q, %v", b.url, err)
	}
	if b, err := parse(local, options{layout: provider.LayoutAlien}); err == nil {
		t.Errorf("rule: a layout that skykv does not know there is refused; got %q", b.url)
	}
	if b, err := parse(text, options{layout: "other"}); err == nil {
		t.Errorf("rule: an unknown layout is refused; got %q", b.url)
	}
}
