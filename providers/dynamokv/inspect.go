package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// inspect makes the checks of [Inspect], one after another. It uses the functions of
// EnsureWith, so that both refuse the same tables.
func (c *Connection) inspect(ctx context.Context, yield func(provider.Check) bool) {
	reached := provider.Reach(ctx, c.transport, c.endpoint)
	for _, check := range reached {
		if !yield(check) {
			return
		}
	}
	if reached[0].Status == provider.Fail {
		return
	}
	region := c.Client.Options().Region
	if c.missing != nil {
		yield(provider.Failed(provider.CheckCredentials, c.missing, "log in as for the aws command, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"))
		return
	}
	detail := "found, for region " + region
	if c.stand {
		detail = "placeholders, because the endpoint is not encrypted, for region " + region
	}
	if !yield(provider.Check{Name: provider.CheckCredentials, Status: provider.OK, Detail: detail}) {
		return
	}
	d, err := newDriver("inspect", c.Client, c.Table, &c.Options)
	if err != nil {
		yield(provider.Failed("url", err, "see: skykv help"))
		return
	}
	described, err := d.describeTable(ctx)
	if err == nil && described == nil {
		for _, check := range []provider.Check{d.noTable(region), ttlOff, provider.NoLayout()} {
			if !yield(check) {
				return
			}
		}
		return
	}
	if check := d.inspectTable(described, err); !yield(check) || check.Status == provider.Fail {
		return
	}
	ttl, err := d.describeTTL(ctx)
	if !yield(d.inspectTTL(ttl, err)) || err != nil && !isDenied(err) {
		return
	}
	layout := d.inspectLayout(ctx)
	if !yield(layout) || layout.Status != provider.OK {
		return
	}
	if n, of := d.countForeign(ctx); n > 0 {
		yield(provider.Check{
			Name: "records", Status: provider.Warn, Detail: fmt.Sprintf("%d of the first %d items are not skykv's, or are in the wrong place", n, of),
			Fix: "delete them, or keep them in another table",
		})
	}
}

// foreignSample is the greatest number of items that countForeign reads. The service also
// ends the response at 1 MiB.
const foreignSample = 1000

// countForeign reads items of the table with one request. n is the number of these items that no
// store can read by key, not counting the layout record. total is the number of all these items.
// If the request fails, both are 0.
func (d *driver) countForeign(ctx context.Context) (n, total int) {
	metadata, names := d.layout.projection(false)
	out, err := d.scanPage(ctx, &dynamodb.ScanInput{
		TableName: d.table, Limit: aws.Int32(foreignSample),
		ProjectionExpression: aws.String(attrShard + ", " + *metadata), ExpressionAttributeNames: names,
	})
	if err != nil {
		return 0, 0
	}
	record := d.layout.position(d.layout.recordKey())
	for _, it := range out.Items {
		key := d.layout.keyOf(it)
		_, err := d.layout.decode(key, it, false)
		at := d.layout.position(it)
		if at != record && (err != nil || kv.ValidateKey(key) != nil || at != d.layout.position(d.layout.primaryKey(key))) {
			n++
		}
	}
	return n, len(out.Items)
}

func (d *driver) noTable(region string) provider.Check {
	return provider.Check{
		Name: "table", Status: provider.Fail, Detail: fmt.Sprintf("there is no table %q in %s", *d.table, region), Fix: provider.Provision,
		Step: fmt.Sprintf("create table %q with primary key %s and on-demand billing", *d.table, keyText(keySchema, keyAttributes)),
	}
}

// notPermitted returns the check of a setting that cannot be read without the permission
// for an action. A store works without that permission.
func notPermitted(name, action string) provider.Check {
	return provider.Check{
		Name: name, Status: provider.Warn, Detail: "cannot be checked: " + action + " is not permitted",
		Fix: "permit it for whoever provisions",
	}
}

// inspectTable turns the results of describeTable into a check.
func (d *driver) inspectTable(described *types.TableDescription, err error) provider.Check {
	switch {
	case isDenied(err):
		return notPermitted("table", "dynamodb:DescribeTable")
	case err != nil:
		return provider.Failed("table", err, "see the message")
	}
	if err := d.layout.checkTable(*d.table, described); err != nil {
		return provider.Failed("table", err, "name another table")
	}
	billing := types.BillingModeProvisioned
	if described.BillingModeSummary != nil {
		billing = described.BillingModeSummary.BillingMode
	}
	check := provider.Check{Name: "table", Status: provider.OK, Detail: fmt.Sprintf("%q is %s, %s", *d.table, described.TableStatus, billing)}
	switch ready, err := d.checkStatus(described); {
	case err != nil:
		return provider.Failed("table", err, "wait until it is ACTIVE, or name another table")
	case !ready:
		check.Status, check.Fix, check.Step = provider.Fail, "wait until it is ACTIVE", fmt.Sprintf("wait until table %q is ACTIVE", *d.table)
	}
	return check
}

var ttlOff = provider.Check{
	Name: "ttl", Status: provider.Warn, Detail: "off: expired entries stay and cost money forever", Fix: provider.Provision,
	Step: fmt.Sprintf("switch on the TTL of attribute %q", attrTTL),
}

// inspectTTL turns the results of describeTTL into a check.
func (d *driver) inspectTTL(described *types.TimeToLiveDescription, err error) provider.Check {
	switch {
	case isDenied(err):
		return notPermitted("ttl", "dynamodb:DescribeTimeToLive")
	case err != nil:
		return provider.Failed("ttl", err, "see the message")
	}
	switch off, err := d.checkTTL(described); {
	case errors.Is(err, kv.ErrUnavailable): // a store works even while the TTL is being switched off
		return provider.Check{Name: "ttl", Status: provider.Warn, Detail: "is being switched off", Fix: "wait up to an hour, then " + provider.Provision}
	case err != nil:
		return provider.Failed("ttl", err, "switch that TTL off, and provision an hour later")
	case off:
		return ttlOff
	}
	return provider.Check{Name: "ttl", Status: provider.OK, Detail: fmt.Sprintf("%s, on attribute %q", strings.ToLower(string(described.TimeToLiveStatus)), attrTTL)}
}

func (d *driver) inspectLayout(ctx context.Context) provider.Check {
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		// Without the permission to look for other programs' items, assume that there
		// are none.
		if found, err = d.checkOwner(ctx); isDenied(err) {
			err = nil
		}
	}
	switch {
	case isDenied(err):
		return provider.Failed("layout", err, "permit dynamodb:GetItem, and the other actions in the package documentation of dynamokv")
	case errors.Is(err, kv.ErrIncompatible):
		return provider.ForeignLayout(err)
	case err != nil:
		return provider.Failed("layout", err, "see the message")
	case found == nil:
		return provider.NoLayout()
	}
	layout, shards, err := readRecord(*d.table, found)
	switch {
	case err != nil:
		return provider.ForeignLayout(err)
	case layout != d.layout.name:
		return provider.OtherLayout(d.layout.errOther(*d.table, layout), layout)
	}
	return provider.LayoutRecord(shards, d.layout.shards())
}
