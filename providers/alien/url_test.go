package alien

import "testing"

// The rule: the binding of a cloud service becomes the URL of its store.
func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"service":"dynamodb","tableName":"my-table","region":"eu-central-1"}`:                               "dynamodb://my-table?region=eu-central-1",
		`{"service":"dynamodb","tableName":"t.1","region":"us-east-1","endpointUrl":"http://localhost:8000"}`: "dynamodb://t.1?endpoint=http%3A%2F%2Flocalhost%3A8000&region=us-east-1",
		`{"service":"dynamodb","tableName":"t.1","region":"us-east-1","endpointUrl":null}`:                    "dynamodb://t.1?region=us-east-1",
		`{"service":"firestore","projectId":"my-project","databaseId":"(default)","collectionName":"kv"}`:     "firestore://my-project/kv?database=%28default%29",
		`{"service":"tablestorage","resourceGroupName":"group","accountName":"account","tableName":"cache"}`:  "aztables://account/cache",
		` {"collectionName":"a b","databaseId":"db","projectId":"my-project", "service":"firestore"} `:        "firestore://my-project/a%20b?database=db",
	} {
		if b, err := parse(text); err != nil || b.url != want {
			t.Errorf("%s is %q, %v; want %q", text, b.url, err, want)
		}
	}
}
