package dynamokv

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/skykv/skykv/kv/provider"
)

// Terraform returns the table that [Ensure] creates as a Terraform configuration: the file main.tf
// of examples/terraform/dynamodb, with the table, the region, the layout and the shards of the
// URL. It reads the URL, the environment and the shared AWS files, and sends nothing. It does not
// include the layout record: the first program that opens the store writes it. The errors match
// kv.ErrInvalidOption.
func Terraform(url string) (string, error) {
	u, err := parseURL(url)
	if err != nil {
		return "", err
	}
	cfg, err := u.config(context.Background(), config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	if err != nil {
		return "", opError("terraform", err)
	}
	params := "&layout=" + string(cmp.Or(u.layout, provider.LayoutSkykv))
	if u.shards != DefaultShards {
		params += fmt.Sprintf("&shards=%d", u.shards)
	}
	// The file's own words are in lower case. The table's name is replaced last, because it may
	// contain any of them.
	text := strings.ReplaceAll(terraform, "&PARAMS", params)
	text = strings.ReplaceAll(text, "REGION", cfg.Region)
	return strings.ReplaceAll(text, "TABLE", u.table), nil
}

//go:embed terraform.tf
var terraform string
