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

// Terraform returns a Terraform configuration for the table that [Ensure] creates. The
// configuration is the file main.tf of examples/terraform/dynamodb, with the table, the layout
// and the shards of the URL, and with the region that a store opened by this URL would use. This
// function reads the URL, the environment and the shared AWS files, and makes no requests. The
// configuration does not include the layout record, which the first program that opens the
// store writes. The errors match kv.ErrInvalidOption.
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
	// Nothing else in the file looks like these placeholders. The table's name is inserted
	// last, because it may contain the text of a placeholder.
	text := strings.ReplaceAll(terraform, "&PARAMS", params)
	text = strings.ReplaceAll(text, "REGION", cfg.Region)
	return strings.ReplaceAll(text, "TABLE", u.table), nil
}

//go:embed terraform.tf
var terraform string
