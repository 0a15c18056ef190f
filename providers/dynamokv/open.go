package dynamokv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/logging"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/kv"
)

const (
	// DefaultShards is the number of shards of a table unless Options says otherwise.
	DefaultShards = 16

	// MaxShards is the greatest number of shards: a scan reads all of them at once.
	MaxShards = 256
)

// Options are those of [New] and [EnsureTable].
type Options struct {
	// Shards is the number of partition key values that the keys are spread over,
	// from 1 to [MaxShards]; zero stands for [DefaultShards]. It is laid down when
	// the table is first used and cannot be changed. DynamoDB serves up to 1,000
	// writes and 3,000 reads a second of each:
	// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
	Shards int
}

// New returns a store over a table that exists, reached by the program's own
// client, which stays open when the store is closed. The table is a name or an
// ARN. With nil options, their defaults apply.
//
// New reads the table's layout record once, with strong consistency, and creates
// it if there is none; it makes no call of the control plane. Besides context
// errors it returns
//   - kv.ErrInvalidOption for an invalid client, table or option,
//   - kv.ErrNotProvisioned if there is no such table,
//   - kv.ErrIncompatible if the table has another primary key, another number of
//     shards or another format,
//   - kv.ErrPermission if the service refuses the credentials, the read or the
//     creation of the layout record,
//   - kv.ErrThrottled and kv.ErrUnavailable as all operations do.
func New(ctx context.Context, client *dynamodb.Client, table string, opts *Options) (*kv.Store, error) {
	d, err := newDriver(client, table, opts)
	if err == nil {
		err = d.checkLayout(ctx)
	}
	if err != nil {
		return nil, opError("open", err)
	}
	return kv.New(d), nil
}

// urlForm is what the URLs of Open look like.
const urlForm = "dynamodb://TABLE?region=REGION&endpoint=URL&shards=N"

// Open returns a store over the table that a URL names:
//
//	dynamodb://TABLE?region=REGION&endpoint=URL&shards=N
//
// All parameters are optional. The region and the credentials come from where
// the AWS command line finds them too: the environment, the shared files, the
// role of the machine or container. The endpoint is that of an emulator or of a
// private connection. N is [Options].Shards.
//
// An endpoint with http, without s, is taken for an emulator: if the environment
// and the shared files give no region or no credentials, it is reached with
// "us-east-1" and with placeholders, which DynamoDB Local needs and does not
// check; the metadata service of EC2 is not asked.
//
// The errors are those of [New]. An invalid URL or configuration is
// kv.ErrInvalidOption, and missing credentials are kv.ErrPermission, before any
// request to DynamoDB.
func Open(ctx context.Context, url string) (*kv.Store, error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return nil, err
	}
	if u.Path != "" {
		return nil, u.Errorf("there is a path behind the table")
	}
	if problem := checkTable(u.Host); problem != "" {
		return nil, u.Errorf("%s", problem)
	}
	region := u.Get("region")
	if !isRegion(region) {
		return nil, u.Errorf(`parameter "region" must be the name of a region such as us-east-1`)
	}
	shards, err := u.Int("shards", DefaultShards, 1, MaxShards)
	if err != nil {
		return nil, err
	}
	endpoint, err := u.Endpoint("endpoint")
	if err != nil {
		return nil, err
	}
	cfg, err := loadConfig(ctx, region, strings.HasPrefix(endpoint, "http:"))
	if err != nil {
		return nil, opError("open", err)
	}
	client, closeIdle := newClient(cfg, endpoint)
	d, err := newDriver(client, u.Host, &Options{Shards: shards})
	if err == nil {
		err = d.checkLayout(ctx)
	}
	if err != nil {
		closeIdle()
		return nil, opError("open", err)
	}
	d.close = closeIdle
	return kv.New(d), nil
}

// loadConfig gives the environment's configuration, complete with a region and
// credentials.
func loadConfig(ctx context.Context, region string, emulator bool) (aws.Config, error) {
	// The SDK's own logger warns on standard error of every failed condition: that
	// the checksum of its body, which nobody read, is not the one of the header.
	load := []func(*config.LoadOptions) error{config.WithRegion(region), config.WithLogger(logging.Nop{})}
	if emulator {
		load = append(load, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return cfg, &kv.Error{Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the AWS configuration cannot be loaded: %w", err)}
	}
	if cfg.Region == "" {
		if !emulator {
			return cfg, &kv.Error{Kind: kv.ErrInvalidOption, Err: errors.New(`no region is given; allowed are parameter "region", AWS_REGION, and a region in the shared AWS files`)}
		}
		cfg.Region = "us-east-1"
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		switch {
		case ctx.Err() != nil:
			return cfg, &kv.Error{Err: fmt.Errorf("no AWS credentials were found in time: %w", err)}
		case !emulator:
			return cfg, &kv.Error{Kind: kv.ErrPermission, Err: fmt.Errorf("no AWS credentials were found in the environment, the shared files or the role: %w", err)}
		}
		cfg.Credentials = credentials.NewStaticCredentialsProvider("skykv", "skykv", "")
	}
	return cfg, nil
}

// idleConns is how many idle connections are kept, where the SDK keeps 10: more
// than a scan's shards and a batch's requests, so that concurrent ones do not
// dial anew all the time.
const idleConns = 512

// newClient makes a client, and a function that closes its idle connections.
func newClient(cfg aws.Config, endpoint string) (*dynamodb.Client, func()) {
	var conns *http.Client
	client := dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		// The configuration may hold a client with the certificates of AWS_CA_BUNDLE.
		sdk, ok := o.HTTPClient.(*awshttp.BuildableClient)
		if !ok {
			sdk = awshttp.NewBuildableClient()
		}
		transport := sdk.GetTransport()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = idleConns, idleConns
		conns = &http.Client{
			Transport: transport,
			Timeout:   sdk.GetTimeout(),
			// Requests are signed for one host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		o.HTTPClient = plainBody{conns}
	})
	return client, conns.CloseIdleConnections
}

// plainBody is an HTTP client that hides the WriteTo method of request bodies.
//
// The SDK closes the body of a request when the answer is there. By then
// net/http may not have looked yet whether more of the body follows; it does so
// by WriteTo, which the SDK's closed body answers with an error where its Read
// ends in peace. net/http then drops the connection, at times with the answer
// still on it, which makes the SDK repeat the request.
type plainBody struct{ aws.HTTPClient }

func (c plainBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

// newDriver checks what it is given, without any I/O.
func newDriver(client *dynamodb.Client, table string, opts *Options) (*driver, error) {
	if opts == nil {
		opts = &Options{}
	}
	shards := opts.Shards
	if shards == 0 {
		shards = DefaultShards
	}
	problem := ""
	switch {
	case client == nil:
		problem = "the client is nil; allowed is one that dynamodb.NewFromConfig or dynamodb.New returned"
	case shards < 1 || shards > MaxShards:
		problem = fmt.Sprintf("the number of shards is %d; allowed are 1 to %d, and 0 for %d", shards, MaxShards, DefaultShards)
	case !strings.HasPrefix(table, "arn:"):
		problem = checkTable(table)
	}
	if problem != "" {
		return nil, &kv.Error{Kind: kv.ErrInvalidOption, Err: errors.New(problem)}
	}
	d := &driver{client: client, table: &table, pause: backoff}
	for shard := range shards {
		d.partitions = append(d.partitions, text(strconv.Itoa(shard)))
	}
	return d, nil
}

// checkTable says what is wrong with a table's name, and what is allowed:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
func checkTable(table string) string {
	if len(table) < 3 || len(table) > 255 || strings.IndexFunc(table, notInTable) >= 0 {
		return fmt.Sprintf("%q cannot be a table; allowed are names of 3 to 255 bytes of a-z A-Z 0-9 _ - .", table)
	}
	return ""
}

func notInTable(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
}

// isRegion refuses what cannot be part of a host name.
func isRegion(region string) bool {
	return len(region) <= 63 && !strings.ContainsFunc(region, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	})
}

// opError completes an error outside the operations of a store.
func opError(op string, err error) error {
	e := *err.(*kv.Error)
	e.Op, e.Provider = op, name
	return &e
}
