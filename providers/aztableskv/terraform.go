package aztableskv

import (
	"cmp"
	_ "embed"
	"fmt"
	"strings"

	"github.com/skykv/skykv/kv/provider"
)

// Terraform returns a Terraform configuration of the table that [Ensure] creates. It is the
// file main.tf of examples/terraform/aztables, with the account, the table, the layout and
// the shards of the URL. The subscription and the resource group are variables of the
// configuration. The layout record is not part of the configuration: the first program that
// opens the store writes it. Terraform does no I/O. The errors match kv.ErrInvalidOption.
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
