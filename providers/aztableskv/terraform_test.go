package aztableskv

import (
	"errors"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
)

// The rule: Terraform writes the table of a URL, without credentials or any I/O.
func TestTerraform(t *testing.T) {
	clearEnvironment(t)
	t.Setenv(envConnectionString, "of no interest")
	text, err := Terraform("aztables://myaccount/cache?endpoint=http://127.0.0.1:1&shards=4")
	if err != nil || strings.Count(text, "{") != strings.Count(text, "}") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, want := range []string{`resource "azurerm_storage_table"`, `name                 = "cache"`, `storage_account_name = "myaccount"`, "skykv sweep aztables://myaccount/cache\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not hold %q:\n%s", want, text)
		}
	}
	for _, url := range []string{"aztables://myaccount/a-b", "dynamodb://cache", "aztables://x/cache"} {
		if _, err := Terraform(url); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("%s: %v; want ErrInvalidOption", url, err)
		}
	}
}
