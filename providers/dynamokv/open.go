package dynamokv

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

const (
	// DefaultShards is the default number of shards of a table.
	DefaultShards = 16

	// MaxShards is the greatest number of shards: a scan reads all of them at once.
	MaxShards = 256

	defaultTimeout = time.Minute
)

// Options are the options of [New] and [EnsureWith].
type Options struct {
	// Layout says how the entries are stored in the table. It is fixed when the table is
	// first used. With the zero Layout, New opens a table that already has
	// [provider.LayoutSkykv], and EnsureWith sets up that layout. With
	// [provider.LayoutAlien] the table is shared with the reference platform's programs.
	Layout provider.Layout

	// Shards is the number of partition key values over which the keys are spread, from
	// 1 to [MaxShards]. Zero means [DefaultShards]. It is fixed when the table is first
	// used. The package comment says what DynamoDB can do for each shard. In
	// [provider.LayoutAlien] there are 16.
	Shards int

	// Timeout ends calls whose context has no deadline, with an error that matches
	// kv.ErrUnavailable and context.DeadlineExceeded. In batches, scans and EnsureWith
	// it applies to each request, including the SDK's retries. A batch also ends when
	// the service has processed nothing of it for that long. Zero means one minute.
	Timeout time.Duration
}

// New returns a store over an existing table, through the program's own client, which
// stays open when the store is closed. The table is a name or an ARN. Nil options mean
// the defaults.
//
// New reads the table's layout record once, with strong consistency. If the options name
// a layout, New creates the record in an empty table. If the layout is the reference
// platform's, it also creates the record in a table with items of only that platform's
// programs. It makes no call of the control plane. Besides context errors it returns
//   - kv.ErrInvalidOption for an invalid client, table or option,
//   - kv.ErrNotProvisioned if there is no such table, or if it is empty, has no layout
//     record, and the options name no layout,
//   - kv.ErrIncompatible if the table has another primary key, another layout, another
//     number of shards or another format, or if it has items but no layout record,
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

// open returns the driver's store after it has checked the layout record.
func (d *driver) open(ctx context.Context) (*kv.Store, error) {
	if err := d.checkLayout(ctx); err != nil {
		return nil, opError("open", err)
	}
	return kv.New(d), nil
}

// newDriver checks its arguments, without any I/O.
func newDriver(op string, client *dynamodb.Client, table string, opts *Options) (*driver, error) {
	var layout provider.Layout
	shards, timeout := DefaultShards, defaultTimeout
	if opts != nil {
		layout, shards, timeout = opts.Layout, cmp.Or(opts.Shards, shards), cmp.Or(opts.Timeout, timeout)
	}
	switch {
	case client == nil:
		return nil, errInvalid(op, "the client is nil; want a client of dynamodb.NewFromConfig or dynamodb.New")
	case timeout < 0:
		return nil, errInvalid(op, "the timeout is %s; want a positive duration, or zero for %s", timeout, defaultTimeout)
	case layout.Check() != nil:
		return nil, errInvalid(op, "%w", layout.Check())
	case layout == provider.LayoutAlien && shards != alienLayout.shards():
		return nil, errInvalid(op, "the number of shards is %d; want %d, or 0, in layout %s", shards, alienLayout.shards(), layout)
	case shards < 1 || shards > MaxShards:
		return nil, errInvalid(op, "the number of shards is %d; want 1 to %d, or 0 for %d", shards, MaxShards, DefaultShards)
	case !strings.HasPrefix(table, "arn:"):
		if problem := checkTable(table); problem != "" {
			return nil, errInvalid(op, "%s", problem)
		}
	}
	l := alienLayout
	if layout != provider.LayoutAlien {
		l = newLayout(shards)
	}
	d := &driver{client: watched(client), table: &table, layout: l, claims: layout != "", timeout: timeout, pause: backoff, now: time.Now}
	maxValueLen := kv.MaxLargeValueLen
	if l.shared {
		maxValueLen = kv.MaxValueLen // the limit of the other programs
	}
	d.info = kv.Info{
		Name: l.driver, Shards: shards, Shard: l.shard, ShardOfPrefix: l.shardOfPrefix,
		MaxValueLen: maxValueLen, MaxAtomicWrites: maxAtomicWrites, NoGrace: l.shared, Count: d.count,
	}
	return d, nil
}

// checkTable returns what is wrong with a table's name, and what is wanted:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
func checkTable(table string) string {
	if len(table) < 3 || len(table) > 255 || strings.IndexFunc(table, notInTable) >= 0 {
		return fmt.Sprintf("%q cannot be a table's name; want a name of 3 to 255 bytes of a-z A-Z 0-9 _ - .", table)
	}
	return ""
}

func notInTable(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
}
