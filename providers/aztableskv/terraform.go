package aztableskv

import (
	"cmp"
	_ "embed"
	"fmt"
	"strings"

	"github.com/skykv/skykv/kv/provider"
)

// Terraform returns the table that [Ensure] creates as a Terraform configuration: the file
// main.tf of examples/terraform/aztables, with the account, the table, the layout and the
// shards of the URL. It makes no I/O. The subscription and the resource group are variables
// of the configuration. It does not include the layout record: the first program that opens
// the store writes it. The errors match kv.ErrInvalidOption.
func Terraform(url string) (string, error) {
	at, err := parseURL(url)
	if err != nil {
		return "", err
	}
	params := "?layout=" + string(cmp.Or(at.layout, provider.LayoutSkykv))
	if at.shards != DefaultShards {
		params += fmt.Sprintf("&shards=%d", at.shards)
	}
	return strings.NewReplacer("ACCOUNT", at.account, "TABLE", at.table, "?PARAMS", params).Replace(terraform), nil
}

//go:embed terraform.tf
var terraform string
