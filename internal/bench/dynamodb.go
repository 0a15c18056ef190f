package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	gokvdynamodb "github.com/philippgille/gokv/dynamodb"
	"gocloud.dev/docstore"
	"gocloud.dev/docstore/awsdynamodb/v2"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/dynamokv"
)

const (
	scanEntries    = 100_000
	millionEntries = 1_000_000

	// manyKeys is how many keys one call of GetMany reads. The contender that reads one key
	// after another reads only loopKeys of them. Its figures are multiplied by manyKeys/loopKeys,
	// because they are proportional to the number of keys.
	manyKeys = 1000
	loopKeys = 200
)

var dynamoWorks = []work{
	{name: "Get/service=dynamodb", turns: 40, ops: 40, open: dynamoOne(dynamoGet)},
	{name: "Put/service=dynamodb", turns: 40, ops: 40, open: dynamoOne(dynamoPut)},
	{name: "Get-by-64/service=dynamodb-tls", turns: 2, ops: 1000, open: dynamoConcurrent(0)},
	{name: "Get-by-64/service=dynamodb-tls/delay=5ms", turns: 2, ops: 1000, open: dynamoConcurrent(5 * time.Millisecond)},
	{name: "GetMany-1000/service=dynamodb/delay=5ms", turns: 1, ops: 1, open: dynamoGetMany},
	{name: "Scan-10/service=dynamodb/delay=5ms", turns: 3, ops: 5, open: dynamoScanFew},
	{name: "Scan-100000/service=dynamodb", turns: 1, ops: 1, heap: true, open: dynamoScan(scanEntries, 0)},
	{name: "Scan-100000/service=dynamodb/delay=50ms", turns: 1, ops: 1, heap: true, open: dynamoScan(scanEntries, 50*time.Millisecond)},
	{name: "Scan-group-10/service=dynamodb/delay=5ms", turns: 3, ops: 10, open: dynamoScanGroup},
	{name: "Touch-24KiB/service=dynamodb/delay=5ms", turns: 3, ops: 20, open: dynamoTouch},
	{name: "Scan-1000000/service=dynamodb", turns: 1, ops: 1, heap: true, rounds: 2, open: dynamoScan(millionEntries, 0)},
}

// dynamoConfig is a configuration that does not depend on the environment.
func dynamoConfig() aws.Config {
	return aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("skykv", "skykv", "")}
}

// roomyClient is the SDK's client with room for more idle connections, as
// docs/getting-started.md recommends to users who bring a client of their own.
func roomyClient(cfg aws.Config, endpoint string) *dynamodb.Client {
	return dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
		o.BaseEndpoint = &endpoint
		sdk, ok := o.HTTPClient.(*awshttp.BuildableClient)
		if !ok {
			sdk = awshttp.NewBuildableClient()
		}
		o.HTTPClient = sdk.WithTransportOptions(func(t *http.Transport) { t.MaxIdleConns, t.MaxIdleConnsPerHost = 512, 512 })
	})
}

// steadyClient is roomyClient with a workaround for a bug of the SDK that breaks connections:
// see plainBody in providers/dynamokv.
func steadyClient(cfg aws.Config, endpoint string) *dynamodb.Client {
	client := roomyClient(cfg, endpoint)
	return dynamodb.New(client.Options(), func(o *dynamodb.Options) { o.HTTPClient = plainBody{o.HTTPClient} })
}

// plainBody is an HTTP client that hides the method WriteTo of the request bodies.
type plainBody struct{ dynamodb.HTTPClient }

func (c plainBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

// dynamoOperation is one operation, written for each of the stores.
type dynamoOperation struct {
	sdk      func(*dynamodb.Client) func(context.Context) error
	skykv    func(*kv.Store) func(context.Context, int) error
	docstore func(*docstore.Collection) func(context.Context, int) error
	gokv     func(gokvdynamodb.Client) func(context.Context) error
}

var dynamoGet = dynamoOperation{sdkDynamoGet, skykvGet, docstoreGet, gokvDynamoGet}

var dynamoPut = dynamoOperation{
	func(client *dynamodb.Client) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.PutItem(ctx, &dynamodb.PutItemInput{
				TableName: aws.String(skykvTable),
				Item:      sdkDynamoItem(oneKey),
			})
			return err
		}
	},
	skykvPut, docstorePut,
	func(client gokvdynamodb.Client) func(context.Context) error {
		return func(context.Context) error { return client.Set(oneKey, oneValue) }
	},
}

func sdkDynamoItem(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: strconv.Itoa(kv.Shard(key, dynamoShards))},
		"sk": &types.AttributeValueMemberS{Value: key},
		"v":  &types.AttributeValueMemberB{Value: oneValue},
		"t":  &types.AttributeValueMemberS{Value: anyToken},
	}
}

func sdkDynamoGet(client *dynamodb.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		value, err := sdkDynamoGetKey(ctx, client, oneKey)
		return checkLen(len(value), err)
	}
}

func sdkDynamoGetKey(ctx context.Context, client *dynamodb.Client, key string) ([]byte, error) {
	out, err := client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(skykvTable),
		Key: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: strconv.Itoa(kv.Shard(key, dynamoShards))},
			"sk": &types.AttributeValueMemberS{Value: key},
		},
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, err
	}
	value, ok := out.Item["v"].(*types.AttributeValueMemberB)
	if !ok {
		return nil, errors.New("the item has no value")
	}
	return value.Value, nil
}

func gokvDynamoGet(client gokvdynamodb.Client) func(context.Context) error {
	return func(context.Context) error {
		var value []byte
		_, err := client.Get(oneKey, &value)
		return checkLen(len(value), err)
	}
}

func openGokvDynamo(endpoint string) (gokvdynamodb.Client, error) {
	return gokvdynamodb.NewClient(gokvdynamodb.Options{
		Region: "us-east-1", TableName: peerTable, CustomEndpoint: endpoint,
		AWSaccessKeyID: "skykv", AWSsecretAccessKey: "skykv", Codec: rawCodec{},
	})
}

func openDocstoreDynamo(b *bed, client *dynamodb.Client) (*docstore.Collection, error) {
	coll, err := awsdynamodb.OpenCollection(client, peerTable, "k", "", &awsdynamodb.Options{ConsistentRead: true})
	if err == nil {
		b.onClose(coll.Close)
	}
	return coll, err
}

// dynamoOne measures single operations, one after another. The stores that use version 2 of
// the SDK share one client, except sdk-default.
func dynamoOne(op dynamoOperation) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		s, err := b.start("dynamodb", 0)
		if err != nil {
			return nil, err
		}
		return dynamoStores(b, "http://"+s.addr, op)
	}
}

// openDynamo opens a store. It also returns the client of the SDK, which the store shares
// with the other stores.
func openDynamo(b *bed, endpoint string) (*dynamodb.Client, *kv.Store, error) {
	client := steadyClient(dynamoConfig(), endpoint)
	store, err := dynamokv.New(b.ctx, client, skykvTable, nil)
	if err == nil {
		b.onClose(store.Close)
	}
	return client, store, err
}

func dynamoStores(b *bed, endpoint string, op dynamoOperation) ([]contender, error) {
	client, store, err := openDynamo(b, endpoint)
	if err != nil {
		return nil, err
	}
	coll, err := openDocstoreDynamo(b, client)
	if err != nil {
		return nil, err
	}
	gokv, err := openGokvDynamo(endpoint)
	if err != nil {
		return nil, err
	}
	standard := dynamodb.NewFromConfig(dynamoConfig(), func(o *dynamodb.Options) { o.BaseEndpoint = &endpoint })
	return []contender{
		{store: "sdk", do: each(op.sdk(client))},
		{store: "skykv", do: op.skykv(store)},
		{store: "docstore", do: op.docstore(coll)},
		{store: "gokv", do: each(op.gokv(gokv))},
		{store: "sdk-default", do: each(op.sdk(standard))},
	}, nil
}

// openDynamoTLS starts a service that speaks TLS, and opens a store on it as a program
// would: by URL.
func openDynamoTLS(b *bed, delay time.Duration, args ...string) (service, *kv.Store, error) {
	s, err := b.startTLS("dynamodb", delay, args...)
	if err != nil {
		return service{}, nil, err
	}
	host, _, err := net.SplitHostPort(s.addr)
	if err != nil {
		return service{}, nil, err
	}
	// AWS_CA_BUNDLE makes clients trust the service, and SKYKV_TRUSTED_HOSTS makes the
	// store send it credentials.
	for name, value := range map[string]string{
		"AWS_CA_BUNDLE": s.certificate, "AWS_ACCESS_KEY_ID": "skykv", "AWS_SECRET_ACCESS_KEY": "skykv", "AWS_REGION": "us-east-1",
		"SKYKV_TRUSTED_HOSTS": host,
	} {
		restore, set := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil {
			return service{}, nil, err
		}
		b.onClose(func() error {
			if set {
				return os.Setenv(name, restore)
			}
			return os.Unsetenv(name)
		})
	}
	store, err := dynamokv.Open(b.ctx, "dynamodb://"+skykvTable+"?endpoint=https://"+s.addr)
	if err != nil {
		return service{}, nil, err
	}
	b.onClose(store.Close)
	return s, store, nil
}

// dynamoConcurrent reads over TLS with 64 goroutines. The contender "sdk-default" uses a client
// with the SDK's defaults. The contenders with "512-idle" use clients that keep more idle
// connections. skykv and gokv make their own clients.
func dynamoConcurrent(delay time.Duration) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		s, store, err := openDynamoTLS(b, delay)
		if err != nil {
			return nil, err
		}
		dials, err := s.gauge(acceptedPath, dialsUnit)
		if err != nil {
			return nil, err
		}
		gauges := []gauge{dials}
		endpoint := "https://" + s.addr
		cfg, err := config.LoadDefaultConfig(b.ctx)
		if err != nil {
			return nil, err
		}
		standard := dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.BaseEndpoint = &endpoint })
		coll, err := openDocstoreDynamo(b, roomyClient(cfg, endpoint))
		if err != nil {
			return nil, err
		}
		gokv, err := openGokvDynamo(endpoint)
		if err != nil {
			return nil, err
		}
		const goroutines = 64
		return []contender{
			{store: "sdk-default", gauges: gauges, do: from(goroutines, sdkDynamoGet(standard))},
			{store: "skykv", gauges: gauges, do: from(goroutines, skykvGetOne(store))},
			{store: "sdk-512-idle", gauges: gauges, do: from(goroutines, sdkDynamoGet(roomyClient(cfg, endpoint)))},
			{store: "docstore-512-idle", gauges: gauges, do: from(goroutines, docstoreGetOne(coll))},
			{store: "gokv", gauges: gauges, do: from(goroutines, gokvDynamoGet(gokv))},
		}, nil
	}
}

func manyKeyNames() []string {
	keys := make([]string, manyKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("%s%08d", manyPrefix, i)
	}
	return keys
}

// loopOf returns a contender that reads the first loopKeys keys one after another, as programs
// with the SDK do when they do not use batches.
func loopOf(keys []string, get func(ctx context.Context, key string) ([]byte, error)) contender {
	return contender{store: "sdk", part: len(keys) / loopKeys, do: each(func(ctx context.Context) error {
		for _, key := range keys[:loopKeys] {
			value, err := get(ctx, key)
			if err := checkLen(len(value), err); err != nil {
				return err
			}
		}
		return nil
	})}
}

func skykvGetMany(store *kv.Store, keys []string) func(context.Context, int) error {
	return each(func(ctx context.Context) error {
		entries, err := store.GetMany(ctx, keys)
		if err == nil && len(entries) != len(keys) {
			err = fmt.Errorf("%d entries of %d", len(entries), len(keys))
		}
		return err
	})
}

func dynamoGetMany(b *bed) ([]contender, error) {
	s, err := b.start("dynamodb", 5*time.Millisecond)
	if err != nil {
		return nil, err
	}
	client, store, err := openDynamo(b, "http://"+s.addr)
	if err != nil {
		return nil, err
	}
	coll, err := openDocstoreDynamo(b, client)
	if err != nil {
		return nil, err
	}
	keys := manyKeyNames()
	return []contender{
		loopOf(keys, func(ctx context.Context, key string) ([]byte, error) { return sdkDynamoGetKey(ctx, client, key) }),
		{store: "skykv", do: skykvGetMany(store, keys)},
		{store: "docstore", do: docstoreGetMany(coll, keys)},
	}, nil
}

func dynamoScanFew(b *bed) ([]contender, error) {
	s, err := b.start("dynamodb", 5*time.Millisecond)
	if err != nil {
		return nil, err
	}
	client, store, err := openDynamo(b, "http://"+s.addr)
	if err != nil {
		return nil, err
	}
	return []contender{
		{store: "sdk", do: each(func(ctx context.Context) error { return scanInSequence(ctx, client, fewPrefix, fewEntries) })},
		{store: "skykv", do: skykvScan(store, fewPrefix, fewEntries)},
		{store: "one-query", do: each(func(ctx context.Context) error {
			_, err := scanShard(ctx, client, fewPrefix, 0)
			return err
		})},
	}, nil
}

// dynamoScanGroup scans a small group in a table with a million other entries.
func dynamoScanGroup(b *bed) ([]contender, error) {
	s, err := b.start("dynamodb", 5*time.Millisecond, "-entries", strconv.Itoa(millionEntries))
	if err != nil {
		return nil, err
	}
	client, store, err := openDynamo(b, "http://"+s.addr)
	if err != nil {
		return nil, err
	}
	requests := kv.NewMeter(nil)
	return []contender{
		{store: "one-query", do: each(func(ctx context.Context) error {
			n, err := scanShard(ctx, client, groupPrefix, kv.Shard(groupPrefix, dynamoShards))
			if err != nil {
				return err
			}
			return checkCount(n, fewEntries)
		})},
		{store: "skykv", gauges: requestsOf(requests), do: skykvScan(meter(store, requests, 0), groupPrefix, fewEntries)},
	}, nil
}

// dynamoTouch changes the expiry of a large entry: by reading and writing the whole entry,
// and by Touch.
func dynamoTouch(b *bed) ([]contender, error) {
	s, err := b.start("dynamodb", 5*time.Millisecond)
	if err != nil {
		return nil, err
	}
	_, store, err := openDynamo(b, "http://"+s.addr)
	if err != nil {
		return nil, err
	}
	wire, err := s.gauge(bytesPath, wireUnit)
	if err != nil {
		return nil, err
	}
	requests := kv.NewMeter(nil)
	store = meter(store, requests, 0)
	gauges := append(requestsOf(requests), wire)
	return []contender{
		{store: "get-and-put", gauges: gauges, do: each(func(ctx context.Context) error {
			entry, err := store.Get(ctx, largeKey)
			if err == nil && len(entry.Value) != largeLen {
				err = fmt.Errorf("a value of %d bytes, not %d", len(entry.Value), largeLen)
			}
			if err != nil {
				return err
			}
			_, err = store.Put(ctx, largeKey, entry.Value, kv.TTL(time.Hour), kv.IfVersion(entry.Version))
			return err
		})},
		{store: "skykv", gauges: gauges, do: each(func(ctx context.Context) error {
			_, err := store.Touch(ctx, largeKey, kv.TTL(time.Hour))
			return err
		})},
	}, nil
}

func skykvScan(store *kv.Store, prefix string, want int) func(context.Context, int) error {
	return each(func(ctx context.Context) error {
		n := 0
		for entry, err := range store.Scan(ctx, prefix) {
			if err := checkLen(len(entry.Value), err); err != nil {
				return err
			}
			n++
		}
		return checkCount(n, want)
	})
}

func checkCount(n, want int) error {
	if n != want {
		return fmt.Errorf("a scan of %d entries, not %d", n, want)
	}
	return nil
}

// scanInSequence scans one shard after another, as the implementations of Alien's KV API do.
// It is what a simple program does with the SDK alone.
func scanInSequence(ctx context.Context, client *dynamodb.Client, prefix string, want int) error {
	all := 0
	for shard := range dynamoShards {
		n, err := scanShard(ctx, client, prefix, shard)
		if err != nil {
			return err
		}
		all += n
	}
	return checkCount(all, want)
}

// scanShard counts the items of one shard. It requests pages without a limit.
func scanShard(ctx context.Context, client *dynamodb.Client, prefix string, shard int) (n int, err error) {
	pages := dynamodb.NewQueryPaginator(client, &dynamodb.QueryInput{
		TableName:              aws.String(skykvTable),
		KeyConditionExpression: aws.String("pk = :p AND sk BETWEEN :from AND :to"),
		ExpressionAttributeValues: map[string]types.AttributeValue{
			":p":    &types.AttributeValueMemberS{Value: strconv.Itoa(shard)},
			":from": &types.AttributeValueMemberS{Value: prefix},
			":to":   &types.AttributeValueMemberS{Value: prefix + "~"},
		},
		ConsistentRead: aws.Bool(true),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return n, err
		}
		for _, item := range page.Items {
			value, ok := item["v"].(*types.AttributeValueMemberB)
			if !ok {
				return n, errors.New("an item has no value")
			}
			if err := checkLen(len(value.Value), nil); err != nil {
				return n, err
			}
		}
		n += len(page.Items)
	}
	return n, nil
}

func dynamoScan(entries int, delay time.Duration) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		s, err := b.start("dynamodb", delay, "-entries", strconv.Itoa(entries))
		if err != nil {
			return nil, err
		}
		client, store, err := openDynamo(b, "http://"+s.addr)
		if err != nil {
			return nil, err
		}
		skykv := contender{store: "skykv", do: skykvScan(store, manyPrefix, entries)}
		if entries > scanEntries {
			return []contender{skykv}, nil
		}
		coll, err := openDocstoreDynamo(b, client)
		if err != nil {
			return nil, err
		}
		return []contender{
			{store: "sdk", do: each(func(ctx context.Context) error { return scanInSequence(ctx, client, manyPrefix, entries) })},
			skykv,
			{store: "docstore", do: docstoreScan(coll, entries+2*fewEntries)},
		}, nil
	}
}

// docstoreScan reads the whole table, in any order, because docstore has no query for a range
// of keys over several partitions.
func docstoreScan(coll *docstore.Collection, want int) func(context.Context, int) error {
	return each(func(ctx context.Context) error {
		iter := coll.Query().Get(ctx)
		defer iter.Stop()
		n := 0
		for {
			var doc document
			err := iter.Next(ctx, &doc)
			if err == io.EOF {
				return checkCount(n, want)
			}
			if err := checkLen(len(doc.Value), err); err != nil {
				return err
			}
			n++
		}
	})
}
