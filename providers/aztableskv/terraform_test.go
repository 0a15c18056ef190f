package aztableskv

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
)

// The rule: Terraform returns a configuration of the table of a URL, without credentials or
// I/O. It requires a release of the Terraform provider, and uses the argument names of that
// release.
func TestTerraform(t *testing.T) {
	clearEnvironment(t)
	t.Setenv(envConnectionString, "of no interest")
	text, err := Terraform("aztables://myaccount/cache?endpoint=http://127.0.0.1:1&shards=4")
	if err != nil || strings.Count(text, "{") != strings.Count(text, "}") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, want := range []string{
		`default     = "myaccount"`, `default     = "cache"`, "skykv sweep 'aztables://myaccount/cache?layout=skykv&shards=4'\n",
		`"aztables://${var.account}/${azurerm_storage_table.kv.name}?layout=skykv&shards=4"`,
		"subscription_id = var.subscription", "storage_account_id = local.account_id", `version = "~> 4.78"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not contain %q:\n%s", want, text)
		}
	}
	for _, leftover := range []string{"ACCOUNT", "TABLE", "PARAMS", "storage_account_name"} {
		if strings.Contains(text, leftover) {
			t.Errorf("the text contains %q:\n%s", leftover, text)
		}
	}
	for _, url := range []string{"aztables://myaccount/a-b", "dynamodb://cache", "aztables://x/cache"} {
		if _, err := Terraform(url); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("%s: %v; want ErrInvalidOption", url, err)
		}
	}
}

// The rule: the example file is the text that Terraform returns.
func TestTerraformExample(t *testing.T) {
	t.Parallel()
	const url, path = "aztables://myaccount/kv1", "../../examples/terraform/aztables/main.tf"
	want, err := Terraform(url)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.NewReplacer("\r\n", "\n") // Git may write line ends in this form on Windows
	if got, err := os.ReadFile(path); err != nil || lines.Replace(string(got)) != lines.Replace(want) {
		t.Errorf("%s is not what Terraform returns for %s (%v); to write it, run in the repository: go run ./cmd/skykv provision --print terraform %s > %s", path, url, err, url, strings.TrimPrefix(path, "../../"))
	}
}
