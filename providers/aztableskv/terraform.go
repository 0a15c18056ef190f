package aztableskv

import (
	"cmp"
	_ "embed"
	"fmt"
	"strings"

	"github.com/skykv/skykv/kv/provider"
)

// Terraform returns the table of a URL's store as a configuration of Terraform, without
// any I/O: the file main.tf of examples/terraform/aztables, with the account, the table,
// the layout and the shards of the URL. The configuration asks for the subscription and the resource
// group, which a URL does not name. The layout record is not in it: the program that
// opens the store first writes it. Errors match [kv.ErrInvalidOption].
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
