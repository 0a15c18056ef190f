package dynamokv

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

const (
	// DefaultShards is the number of shards of a table unless Options says otherwise.
	DefaultShards = 16

	// MaxShards is the greatest number of shards: a scan reads all of them at once.
	MaxShards = 256

	defaultTimeout = time.Minute
)

// Options are those of [New] and [EnsureWith].
type Options struct {
	// Shards is the number of partition key values that the keys are spread over,
	// from 1 to [MaxShards]; zero stands for [DefaultShards]. It is laid down when
	// the table is first used and cannot be changed. The package comment says what
	// DynamoDB serves of each.
	Shards int

	// Timeout ends calls whose context has no deadline, with an error that matches
	// kv.ErrUnavailable and context.DeadlineExceeded. Batches, scans and EnsureWith have
	// it for each of their requests, the SDK's retries included. A batch ends as well
	// when the service has processed nothing of it for so long. Zero stands for one
	// minute.
	Timeout time.Duration
}

// New returns a store over a table that exists, reached by the program's own
// client, which stays open when the store is closed. The table is a name or an
// ARN. With nil options, their defaults apply.
//
// New reads the table's layout record once, with strong consistency, and creates
// it in an empty table; it makes no call of the control plane. Besides context
// errors it returns
//   - kv.ErrInvalidOption for an invalid client, table or option,
//   - kv.ErrNotProvisioned if there is no such table,
//   - kv.ErrIncompatible if the table has another primary key, another number of
//     shards or another format, or if it holds items but no layout record,
//   - kv.ErrPermission if the service refuses the credentials, the read or the
//     creation of the layout record,
//   - kv.ErrThrottled and kv.ErrUnavailable as all operations do.
func New(ctx context.Context, client *dynamodb.Client, table string, opts *Options) (*kv.Store, error) {
	d, err := newDriver("open", client, table, opts)
	if err != nil {
		return nil, err
	}
	return d.open(ctx)
}

// open returns the driver's store once it has checked the layout record.
func (d *driver) open(ctx context.Context) (*kv.Store, error) {
	if err := d.checkLayout(ctx); err != nil {
		return nil, opError("open", err)
	}
	return kv.New(d), nil
}

// newDriver checks what it is given, without any I/O.
func newDriver(op string, client *dynamodb.Client, table string, opts *Options) (*driver, error) {
	shards, timeout := DefaultShards, defaultTimeout
	if opts != nil {
		shards, timeout = cmp.Or(opts.Shards, shards), cmp.Or(opts.Timeout, timeout)
	}
	switch {
	case client == nil:
		return nil, errInvalid(op, "the client is nil; want one that dynamodb.NewFromConfig or dynamodb.New returned")
	case timeout < 0:
		return nil, errInvalid(op, "the timeout is %s; want a positive one, or zero for %s", timeout, defaultTimeout)
	case shards < 1 || shards > MaxShards:
		return nil, errInvalid(op, "the number of shards is %d; want 1 to %d, or 0 for %d", shards, MaxShards, DefaultShards)
	case !strings.HasPrefix(table, "arn:"):
		if problem := checkTable(table); problem != "" {
			return nil, errInvalid(op, "%s", problem)
		}
	}
	l := newLayout(shards)
	return &driver{
		client: watched(client), table: &table, layout: l, timeout: timeout, pause: backoff, now: time.Now,
		info: kv.Info{
			Name: name, Shards: shards, Shard: l.shard, ShardOfPrefix: l.shardOfPrefix,
			MaxValueLen: kv.MaxLargeValueLen, MaxAtomicWrites: maxAtomicWrites,
		},
	}, nil
}

// checkTable says what is wrong with a table's name, and what is wanted:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
func checkTable(table string) string {
	if len(table) < 3 || len(table) > 255 || strings.IndexFunc(table, notInTable) >= 0 {
		return fmt.Sprintf("%q cannot be a table; want a name of 3 to 255 bytes of a-z A-Z 0-9 _ - .", table)
	}
	return ""
}

func notInTable(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
}
