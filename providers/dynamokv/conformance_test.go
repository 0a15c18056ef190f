package dynamokv

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

func TestMain(m *testing.M) { emulator.Main(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, suite(t, nil))
}

// suite returns a configuration in which each case has its own table.
func suite(t *testing.T, opts *Options) conformance.Config {
	client := local(t)
	open := func(ctx context.Context, through *dynamodb.Client) (*kv.Store, error) {
		table := newTable(t, client)
		if err := EnsureWith(ctx, client, table, opts); err != nil {
			return nil, err
		}
		return New(ctx, through, table, opts)
	}
	return conformance.Config{
		New: func(ctx context.Context) (*kv.Store, error) { return open(ctx, client) },
		Faulty: func(ctx context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			proxy, err := faults.NewHTTP(*client.Options().BaseEndpoint)
			if err != nil {
				return nil, err
			}
			t.Cleanup(proxy.Close)
			proxy.Use(faults.DecidedBy(decide))
			return open(ctx, dynamodb.New(client.Options(), func(o *dynamodb.Options) {
				o.BaseEndpoint = &proxy.URL
				o.Retryer = retry.AddWithMaxBackoffDelay(o.Retryer, 10*time.Millisecond)
			}))
		},
	}
}

// local returns a client like the client of Open, for DynamoDB Local. DynamoDB Local
// accepts any credentials, and may have separate tables for each access key.
func local(t testing.TB) *dynamodb.Client {
	client, transport := newClient(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("skykv", "skykv", ""),
	}, emulator.DynamoDB(t))
	t.Cleanup(transport.CloseIdleConnections)
	return client
}

var (
	tables atomic.Int64
	run    = time.Now().UnixNano()
)

// newTable returns the name of a table that no other test uses, and removes it
// when t ends.
func newTable(t testing.TB, client *dynamodb.Client) string {
	table := fmt.Sprintf("skykv-test-%d-%d", run, tables.Add(1))
	t.Cleanup(func() {
		// An emulator that runs longer than the tests keeps the tables.
		_, _ = client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &table})
	})
	return table
}
