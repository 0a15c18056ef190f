package reference

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB is a table. Bucket returns the number of a key's partition. Now is the clock.
type DynamoDB struct {
	Client *dynamodb.Client
	Table  string
	Bucket func(key string) int
	Now    func() time.Time
}

// names has the placeholders for attributes whose names are reserved words.
var names = map[string]string{"#version": "version", "#ttl": "ttl"}

func (d *DynamoDB) key(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: fmt.Sprintf("bucket_%d", d.Bucket(key))},
		"sk": &types.AttributeValueMemberS{Value: key},
	}
}

func (d *DynamoDB) item(key string, value []byte, ttl time.Duration) map[string]types.AttributeValue {
	var uuid [16]byte
	rand.Read(uuid[:])
	item := d.key(key)
	item["value"] = &types.AttributeValueMemberB{Value: value}
	item["version"] = &types.AttributeValueMemberS{Value: hex.EncodeToString(uuid[:])}
	if ttl != 0 {
		item["ttl"] = number(d.Expires(d.Now(), ttl).Unix())
	}
	return item
}

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// Expires returns the instant of expiry, rounded down to the second.
func (d *DynamoDB) Expires(now time.Time, ttl time.Duration) time.Time {
	return time.Unix(now.Add(ttl).Unix(), 0)
}

// Sees returns the expiry, rounded up to the second.
func (d *DynamoDB) Sees(at time.Time) time.Time {
	if at.Nanosecond() == 0 {
		return at
	}
	return time.Unix(at.Unix()+1, 0)
}

func (d *DynamoDB) expired(item map[string]types.AttributeValue) (bool, error) {
	ttl, ok := item["ttl"].(*types.AttributeValueMemberN)
	if !ok {
		return false, nil
	}
	n, err := strconv.ParseInt(ttl.Value, 10, 64)
	return d.Now().Unix() >= n, err
}

// Get reads the item by a strongly consistent GetItem.
func (d *DynamoDB) Get(ctx context.Context, key string) (value []byte, version string, found bool, err error) {
	out, err := d.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &d.Table, Key: d.key(key), ConsistentRead: aws.Bool(true)})
	if err != nil || out.Item == nil {
		return nil, "", false, err
	}
	if expired, err := d.expired(out.Item); expired || err != nil {
		return nil, "", false, err
	}
	b, isBinary := out.Item["value"].(*types.AttributeValueMemberB)
	v, hasVersion := out.Item["version"].(*types.AttributeValueMemberS)
	if !isBinary || !hasVersion {
		return nil, "", false, fmt.Errorf("the item of %q has no value or no version", key)
	}
	return b.Value, v.Value, true, nil
}

// put makes a PutItem, with a condition unless condition is empty.
func (d *DynamoDB) put(ctx context.Context, item map[string]types.AttributeValue, condition string, values map[string]types.AttributeValue, used ...string) (bool, error) {
	in := &dynamodb.PutItemInput{TableName: &d.Table, Item: item}
	if condition != "" {
		in.ConditionExpression, in.ExpressionAttributeValues = &condition, values
		in.ExpressionAttributeNames = make(map[string]string)
		for _, name := range used {
			in.ExpressionAttributeNames[name] = names[name]
		}
	}
	_, err := d.Client.PutItem(ctx, in)
	if _, failed := errors.AsType[*types.ConditionalCheckFailedException](err); failed {
		return false, nil
	}
	return err == nil, err
}

// Put replaces the item.
func (d *DynamoDB) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := d.put(ctx, d.item(key, value, ttl), "", nil)
	return err
}

// PutIfAbsent puts the item if there is none, or if it has expired.
func (d *DynamoDB) PutIfAbsent(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	return d.put(ctx, d.item(key, value, ttl), "attribute_not_exists(pk) OR (attribute_exists(#ttl) AND #ttl <= :now)",
		map[string]types.AttributeValue{":now": number(d.Now().Unix())}, "#ttl")
}

// CompareAndSwap puts the item on condition that the old item has the version and has not expired.
func (d *DynamoDB) CompareAndSwap(ctx context.Context, key, version string, value []byte, ttl time.Duration) (bool, error) {
	return d.put(ctx, d.item(key, value, ttl), "#version = :version AND (attribute_not_exists(#ttl) OR #ttl > :now)",
		map[string]types.AttributeValue{":version": &types.AttributeValueMemberS{Value: version}, ":now": number(d.Now().Unix())}, "#version", "#ttl")
}

// Delete deletes the item without a condition.
func (d *DynamoDB) Delete(ctx context.Context, key string) error {
	_, err := d.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &d.Table, Key: d.key(key)})
	return err
}

// Scan queries one partition after another.
func (d *DynamoDB) Scan(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	for bucket := range 16 {
		pages := dynamodb.NewQueryPaginator(d.Client, &dynamodb.QueryInput{
			TableName:              &d.Table,
			KeyConditionExpression: aws.String("pk = :pk AND begins_with(sk, :prefix)"),
			ExpressionAttributeValues: map[string]types.AttributeValue{
				":pk":     &types.AttributeValueMemberS{Value: fmt.Sprintf("bucket_%d", bucket)},
				":prefix": &types.AttributeValueMemberS{Value: prefix},
			},
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, item := range page.Items {
				expired, err := d.expired(item)
				key, ok := item["sk"].(*types.AttributeValueMemberS)
				if err != nil || !ok {
					return nil, fmt.Errorf("an item of partition %d cannot be read: %w", bucket, err)
				}
				if !expired {
					keys = append(keys, key.Value)
				}
			}
		}
	}
	return keys, nil
}
