package dynamokv

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

// The rule: Terraform returns the configuration of a URL's table. It sends nothing.
func TestTerraform(t *testing.T) {
	clearAWS(t, nil)
	got, err := Terraform("dynamodb://TABLE-REGION?region=eu-central-1&endpoint=http://localhost:1&shards=4&timeout=5s")
	if err != nil || strings.Count(got, "{") != strings.Count(got, "}") {
		t.Errorf("%v\n%s", err, got)
	}
	for _, want := range []string{
		`default     = "TABLE-REGION"`, `default     = "eu-central-1"`, `attribute_name = "ttl"`, `hash_key     = "pk"`, `range_key    = "sk"`,
		"dynamodb://TABLE-REGION?region=eu-central-1&layout=skykv&shards=4:", `"dynamodb://${aws_dynamodb_table.kv.name}?region=${var.region}&layout=skykv&shards=4"`,
		`"skykv-${substr(var.table, 0, 95)}-"`, // 102 characters, the limit of IAM
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the configuration does not contain %q:\n%s", want, got)
		}
	}
	_, err = Terraform("dynamodb://cache")
	wantError(t, "Terraform without a region", err, kv.ErrInvalidOption, false, "no region")
	_, err = Terraform("dynamodb://cache?shards=0")
	wantError(t, "Terraform", err, kv.ErrInvalidOption, false, "1 to 256")
	t.Setenv("AWS_REGION", "ap-south-1")
	if got, err := Terraform("dynamodb://cache"); err != nil || !strings.Contains(got, `"ap-south-1"`) || strings.Contains(got, "PARAMS") {
		t.Errorf("rule: the region may come from the environment; got %v\n%s", err, got)
	}
}

// The rule: the example is the text that Terraform returns.
func TestTerraformExample(t *testing.T) {
	clearAWS(t, nil)
	const url, path = "dynamodb://kv1?region=eu-central-1", "../../examples/terraform/dynamodb/main.tf"
	want, err := Terraform(url)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.NewReplacer("\r\n", "\n") // Git on Windows may write \r\n
	if got, err := os.ReadFile(path); err != nil || lines.Replace(string(got)) != lines.Replace(want) {
		t.Errorf("%s is not what Terraform returns for %s (%v); to write it, run in the repository: go run ./cmd/skykv provision --print terraform %q > %s", path, url, err, url, strings.TrimPrefix(path, "../../"))
	}
}

// The rule: the policy in the configuration permits the requests of a store.
func TestTerraformPermits(t *testing.T) {
	clearAWS(t, nil)
	configuration, err := Terraform("dynamodb://kv1?region=eu-central-1")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t, ok("{}"))
	s := f.store(t)
	for _, call := range storeCalls {
		_ = call.do(t.Context(), s)
	}
	_, _ = s.Touch(t.Context(), "key", kv.TTL(time.Hour))
	_, _ = s.GetAndDelete(t.Context(), "key")
	_, _ = s.Increment(t.Context(), "key", 1)
	_, _ = s.AtomicWrite(t.Context(), kv.PutOp("key", nil), kv.CheckOp("key::a", kv.IfNotExists()))
	asked := map[string]bool{"ConditionCheckItem": true, "DeleteItem": true}
	for _, op := range f.ops() {
		asked[op] = true
	}
	if !asked["TransactWriteItems"] || !asked["UpdateItem"] {
		t.Fatalf("the calls requested only %v", asked)
	}
	delete(asked, "TransactWriteItems") // its operations are permitted one by one
	for op := range asked {
		if !strings.Contains(configuration, `"dynamodb:`+op+`"`) {
			t.Errorf("rule: the policy permits what a store requests; it does not permit dynamodb:%s", op)
		}
	}
}
