package service

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/dynamokv"
)

type dynamoDB struct {
	client           *dynamodb.Client
	credentials      error
	table            string
	region, endpoint string
	opts             dynamokv.Options
}

// newDynamoDB reads the URL as dynamokv.Open does.
func newDynamoDB(ctx context.Context, url string) (*dynamoDB, error) {
	u, err := provider.ParseURL("dynamodb", "dynamodb://TABLE?region=REGION&endpoint=URL&shards=N", url)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || u.Path != "" {
		return nil, u.Errorf("it must name a table and nothing after it")
	}
	d := &dynamoDB{table: u.Host}
	if d.opts.Shards, err = u.Int("shards", dynamokv.DefaultShards, 1, dynamokv.MaxShards); err != nil {
		return nil, err
	}
	given, err := u.Endpoint("endpoint")
	if err != nil {
		return nil, err
	}
	emulator := strings.HasPrefix(given, "http:")
	load := []func(*config.LoadOptions) error{config.WithRegion(u.Get("region")), config.WithLogger(logging.Nop{})}
	if emulator {
		load = append(load, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, &kv.Error{Op: "open", Provider: "dynamodb", Kind: kv.ErrInvalidOption, Err: err}
	}
	if cfg.Region == "" {
		if !emulator {
			return nil, u.Errorf("no region is given, by it, AWS_REGION or the shared AWS files")
		}
		cfg.Region = "us-east-1"
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if emulator {
			cfg.Credentials = credentials.NewStaticCredentialsProvider("skykv", "skykv", "")
		} else {
			d.credentials = err
		}
	}
	d.region, d.endpoint = cfg.Region, given
	d.client = dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
		if given != "" {
			o.BaseEndpoint = &given
		}
	})
	if d.endpoint == "" {
		resolved, err := dynamodb.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, dynamodb.EndpointParameters{Region: &cfg.Region})
		if err != nil {
			return nil, &kv.Error{Op: "open", Provider: "dynamodb", Kind: kv.ErrInvalidOption, Err: err}
		}
		d.endpoint = resolved.URI.String()
	}
	return d, nil
}

func (d *dynamoDB) Endpoint() string { return d.endpoint }
func (d *dynamoDB) Close()           {}

func (d *dynamoDB) Credentials(context.Context) []Check {
	if d.credentials != nil {
		return []Check{failed("credentials", d.credentials, "log in as for the aws command, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")}
	}
	return []Check{{Name: "credentials", Status: OK, Detail: "found, for region " + d.region}}
}

func (d *dynamoDB) Settings(ctx context.Context) (checks []Check) {
	steps := []Check{
		{Name: "table", Status: Fail, Detail: fmt.Sprintf("there is no table %q in %s", d.table, d.region), Fix: provision,
			Step: fmt.Sprintf("create table %q with partition key pk (S), sort key sk (S) and on-demand billing", d.table)},
		{Name: "ttl", Status: Warn, Detail: "off: expired entries stay, and cost, for ever", Fix: provision,
			Step: "switch on the TTL of attribute \"ttl\""},
	}
	out, err := d.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &d.table})
	if _, absent := errors.AsType[*types.ResourceNotFoundException](err); absent {
		return append(steps, layout(false, ""))
	}
	switch {
	case denied(err): // a store works without
		checks = append(checks, Check{Name: "table", Status: Warn, Detail: "cannot be looked at: dynamodb:DescribeTable is not allowed", Fix: "allow it to those who provision"})
	case err != nil:
		return []Check{failed("table", err, "see the message")}
	default:
		keys := ""
		for _, element := range out.Table.KeySchema {
			keys += fmt.Sprintf(" %s %s", element.KeyType, aws.ToString(element.AttributeName))
		}
		billing := types.BillingModeProvisioned
		if out.Table.BillingModeSummary != nil {
			billing = out.Table.BillingModeSummary.BillingMode
		}
		c := Check{Name: "table", Status: OK, Detail: fmt.Sprintf("%q is %s, %s", d.table, out.Table.TableStatus, billing)}
		switch {
		case keys != " HASH pk RANGE sk":
			c.Status, c.Detail, c.Fix = Fail, "its primary key is"+keys+", not HASH pk RANGE sk: it belongs to another program", "name another table"
		case out.Table.TableStatus != types.TableStatusActive && out.Table.TableStatus != types.TableStatusUpdating:
			c.Status, c.Fix = Fail, "wait until it is ACTIVE"
		}
		if checks = append(checks, c); c.Status == Fail {
			return checks
		}
	}
	ttl, err := d.client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &d.table})
	switch {
	case denied(err):
		checks = append(checks, Check{Name: "ttl", Status: Warn, Detail: "cannot be looked at: dynamodb:DescribeTimeToLive is not allowed", Fix: "allow it to those who provision"})
	case err != nil:
		return append(checks, failed("ttl", err, "see the message"))
	default:
		checks = append(checks, checkTTL(ttl.TimeToLiveDescription, steps[1]))
	}
	item, err := d.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &d.table, ConsistentRead: aws.Bool(true),
		Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "layout"}, "sk": &types.AttributeValueMemberS{Value: "skykv"}}})
	if err != nil {
		fix := "see the message"
		if denied(err) {
			fix = "allow dynamodb:GetItem, and what else the package documentation of dynamokv lists"
		}
		return append(checks, failed("layout", err, fix))
	}
	shards, _ := item.Item["shards"].(*types.AttributeValueMemberN)
	if shards == nil {
		return append(checks, layout(false, ""))
	}
	n, err := strconv.Atoi(shards.Value)
	if err != nil {
		return append(checks, Check{Name: "layout", Status: Fail, Detail: "the layout record is not skykv's", Fix: "name another table"})
	}
	return append(checks, sharded(n, d.opts.Shards))
}

func checkTTL(ttl *types.TimeToLiveDescription, off Check) Check {
	if ttl == nil {
		return off
	}
	switch attr := aws.ToString(ttl.AttributeName); ttl.TimeToLiveStatus {
	case types.TimeToLiveStatusEnabled, types.TimeToLiveStatusEnabling:
		if attr != "ttl" {
			return Check{Name: "ttl", Status: Fail, Detail: fmt.Sprintf("is on attribute %q, not on \"ttl\"", attr), Fix: "switch that off, and provision an hour later"}
		}
		return Check{Name: "ttl", Status: OK, Detail: strings.ToLower(string(ttl.TimeToLiveStatus)) + ", on attribute \"ttl\""}
	case types.TimeToLiveStatusDisabling:
		return Check{Name: "ttl", Status: Warn, Detail: "is being switched off", Fix: "wait up to an hour, then " + provision}
	}
	return off
}

func denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "AccessDeniedException"
}

func (d *dynamoDB) Provision(ctx context.Context) error {
	return dynamokv.EnsureTable(ctx, d.client, d.table, &d.opts)
}

func (d *dynamoDB) Terraform() (string, error) {
	return fmt.Sprintf(`# The table of dynamodb://%[1]s?region=%[2]s
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

provider "aws" {
  region = %[2]q
}

resource "aws_dynamodb_table" "kv" {
  name         = %[1]q
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"
  range_key    = "sk"

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  # DynamoDB deletes entries some time after this, an hour after their expiry.
  ttl {
    attribute_name = "ttl"
    enabled        = true
  }
}
`, d.table, d.region), nil
}
