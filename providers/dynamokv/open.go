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

	// MaxShards is the greatest number of shards. A scan reads all shards at once.
	MaxShards = 256

	defaultTimeout = time.Minute
)

// Options are the options of [New] and [EnsureWith].
type Options struct {
	// Layout says how the entries are stored in the table. It is fixed when the table is
	// first used. With the zero Layout, New opens a table that already has
	// [provider.LayoutSkykv], and EnsureWith sets up that layout. With
	// [provider.LayoutAlien] programs of the Alien platform share the table: see docs/alien.md.
	Layout provider.Layout

	// Shards is the number of partition key values over which the keys are spread, from 1
	// to [MaxShards]. Zero means [DefaultShards]. It is fixed when the table is first
	// used. The package comment says how many requests a second DynamoDB permits for a
	// shard. With [provider.LayoutAlien] the number is 16.
	Shards int

	// Timeout ends calls whose context has no deadline. The error matches
	// context.DeadlineExceeded. It also matches kv.ErrUnavailable, unless the last attempt failed
	// with another error. In batches, scans and EnsureWith, Timeout applies to each request,
	// including the SDK's retries. A batch also ends, with kv.ErrThrottled, when the service has
	// processed nothing of it for that long. Zero means one minute. An AtomicWrite ends after at
	// most two minutes, even if Timeout or the context's deadline permits more.
	Timeout time.Duration
}

// New returns a store over an existing table. The store uses the program's own client,
// and does not close it. The table is a name or an ARN. Nil options mean the defaults.
//
// New reads the table's layout record. If there is none and the table is empty, New
// creates the record, provided that the options name a layout. For
// [provider.LayoutAlien], New also creates the record if the table's first item is from
// the Alien platform's programs. New calls no operation of the control plane. Besides
// context errors it returns
//   - kv.ErrInvalidOption for an invalid client, table or option,
//   - kv.ErrNotProvisioned if there is no such table, or if the table is empty and the
//     options name no layout,
//   - kv.ErrIncompatible if the table has a different primary key, layout, number of
//     shards or format, or if it has items of another program and no layout record,
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

// open checks the table's layout and returns the store.
func (d *driver) open(ctx context.Context) (*kv.Store, error) {
	if err := d.checkLayout(ctx); err != nil {
		return nil, opError("open", err)
	}
	return kv.New(d), nil
}

// newDriver checks its arguments and returns a driver. It does no I/O.
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

// checkTable returns a text that says what is wrong with a table's name, or "" if the
// name is valid. See
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
