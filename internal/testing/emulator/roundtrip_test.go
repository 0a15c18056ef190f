package emulator

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// roundTrip has, for each kind, a function that writes a value and reads it back, in the
// service's own protocol.
var roundTrip = map[Kind]func(t *testing.T, endpoint string){
	KindDynamoDB:    roundTripDynamoDB,
	KindFirestore:   roundTripFirestore,
	KindAzureTables: roundTripAzureTables,
}

func roundTripDynamoDB(t *testing.T, endpoint string) {
	call := func(region, accessKey, operation, body string) string {
		req := request(t, http.MethodPost, endpoint+"/", body)
		req.Header.Set("Content-Type", "application/x-amz-json-1.0")
		req.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
		req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/20250101/%s/dynamodb/aws4_request, SignedHeaders=host, Signature=0", accessKey, region))
		return answer(t, req)
	}
	call("us-east-1", "one", "CreateTable", `{"TableName":"roundtrip","BillingMode":"PAY_PER_REQUEST",
		"AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}],"KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}]}`)
	call("us-east-1", "one", "PutItem", `{"TableName":"roundtrip","Item":{"pk":{"S":"a"},"v":{"S":"round trip"}}}`)
	got := call("eu-west-1", "two", "GetItem", `{"TableName":"roundtrip","Key":{"pk":{"S":"a"}},"ConsistentRead":true}`)
	if !strings.Contains(got, "round trip") {
		t.Errorf("GetItem in another region with other credentials: got %s; all clients see the same tables", got)
	}
}

func roundTripFirestore(t *testing.T, endpoint string) {
	document := "http://" + endpoint + "/v1/projects/roundtrip/databases/(default)/documents/c/d"
	put := request(t, http.MethodPatch, document, `{"fields":{"v":{"stringValue":"round trip"}}}`)
	put.Header.Set("Content-Type", "application/json")
	put.Header.Set("Authorization", "Bearer owner")
	answer(t, put)
	get := request(t, http.MethodGet, document, "")
	get.Header.Set("Authorization", "Bearer owner")
	if got := answer(t, get); !strings.Contains(got, "round trip") {
		t.Errorf("the document read back is %s", got)
	}
}

func roundTripAzureTables(t *testing.T, endpoint string) {
	call := func(method, path, body string) string {
		req := request(t, method, endpoint+path, body)
		req.Header.Set("Content-Type", "application/json")
		signAzure(req)
		return answer(t, req)
	}
	call(http.MethodPost, "/Tables", `{"TableName":"roundtrip"}`)
	call(http.MethodPost, "/roundtrip", `{"PartitionKey":"p","RowKey":"r","v":"round trip"}`)
	got := call(http.MethodGet, "/roundtrip(PartitionKey='p',RowKey='r')", "")
	if !strings.Contains(got, "round trip") {
		t.Errorf("the entity read back is %s", got)
	}
}

func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func answer(t *testing.T, req *http.Request) string {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, bytes.TrimSpace(body))
	}
	return string(body)
}
