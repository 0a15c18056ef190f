package dynamokv

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Terraform returns the table that [Ensure] creates, but for its layout record, as a
// configuration of Terraform. It reads the URL, the environment and the shared AWS
// files, and sends nothing. The errors match kv.ErrInvalidOption.
func Terraform(url string) (string, error) {
	u, err := parseURL(url)
	if err != nil {
		return "", err
	}
	cfg, err := u.config(context.Background(), config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	if err != nil {
		return "", opError("terraform", err)
	}
	return fmt.Sprintf(terraform, u.table, cfg.Region), nil
}

// terraform is the configuration of table %[1]s in region %[2]s.
const terraform = `# The table of dynamodb://%[1]s?region=%[2]s
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

provider "aws" {
  region = "%[2]s"
}

resource "aws_dynamodb_table" "kv" {
  name         = "%[1]s"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "` + attrShard + `"
  range_key    = "` + attrKey + `"

  attribute {
    name = "` + attrShard + `"
    type = "S"
  }

  attribute {
    name = "` + attrKey + `"
    type = "S"
  }

  # DynamoDB deletes entries some time after this, an hour after their expiry.
  ttl {
    attribute_name = "` + attrTTL + `"
    enabled        = true
  }
}
`
