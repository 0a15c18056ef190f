package aztableskv

import (
	"context"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

const (
	// DefaultShards is the default number of shards of a table.
	DefaultShards = 16

	// MaxShards is the greatest number of shards. It is limited because a scan sends a
	// request to every shard at once.
	MaxShards = 256
)

// Options are the options of [New] and [EnsureWith].
type Options struct {
	// Layout says how the entries are stored in the table. The layout is fixed when the table
	// is first used. If Layout is empty, New opens only a table that already has
	// [provider.LayoutSkykv], and EnsureWith sets up that layout. With
	// [provider.LayoutAlien] programs of the Alien platform share the table: see docs/alien.md.
	Layout provider.Layout

	// Shards is the number of partitions over which the keys are spread, from 1 to
	// [MaxShards]. Zero means [DefaultShards]. The number is fixed when the table is first
	// used. The package comment says how many entities a second each shard takes.
	// [provider.LayoutAlien] always has 16 shards.
	Shards int

	// Retry has the retry options. They replace the retry options of the client, because the
	// SDK does not let a store read those. They also replace the retry options in a call's
	// context. The zero value means the SDK's defaults, with four attempts. ShouldRetry
	// works as it does in the SDK.
	Retry policy.RetryOptions

	// Timeout ends calls whose context has no deadline, with an error that matches
	// kv.ErrUnavailable and context.DeadlineExceeded. In calls of several requests, such
	// as batches, scans and writes that read after a failed condition, Timeout applies to
	// each request, including its retries. Zero means one minute.
	Timeout time.Duration
}

const defaultTimeout = time.Minute

// New returns a store over an existing table, through the program's own client. The client
// stays open when the store is closed. Nil options mean the defaults.
//
// New reads the table's layout record. If the options name a layout, New creates the record
// in an empty table. If that layout is the Alien platform's, New also creates the record
// in a table whose first entity is from that platform's programs. Besides context errors, it
// returns
//   - kv.ErrInvalidOption for an invalid client, table or option,
//   - kv.ErrNotProvisioned if there is no such table, or if the table is empty, has no
//     layout record, and the options name no layout,
//   - kv.ErrIncompatible if the table has a different layout, number of shards or
//     format, or if it has entities of another program but no layout record,
//   - kv.ErrPermission if the service refuses the credentials, or refuses to read or
//     create the layout record,
//   - kv.ErrThrottled and kv.ErrUnavailable in the same cases as all operations.
func New(ctx context.Context, client *aztables.ServiceClient, table string, opts *Options) (*kv.Store, error) {
	const op = "open"
	d, err := newDriver(op, client, table, opts)
	if err != nil {
		return nil, err
	}
	if err := d.checkLayout(ctx); err != nil {
		return nil, opError(op, err)
	}
	return kv.New(d), nil
}

// newDriver checks its arguments and returns a driver. It does no I/O.
func newDriver(op string, client *aztables.ServiceClient, table string, opts *Options) (*driver, error) {
	if opts == nil {
		opts = &Options{}
	}
	shards, timeout := opts.Shards, opts.Timeout
	if shards == 0 {
		shards = DefaultShards
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	layout := opts.Layout
	switch {
	case client == nil:
		return nil, errInvalid(op, "the client is nil; want one from aztables.NewServiceClient")
	case !tableName.MatchString(table):
		return nil, errInvalid(op, "the table's name is %q; want %s", table, tableNameRule)
	case layout.Check() != nil:
		return nil, errInvalid(op, "%w", layout.Check())
	case layout == provider.LayoutAlien && shards != alienLayout.shards():
		return nil, errInvalid(op, "the number of shards is %d; want %d, or 0, in layout %s", shards, alienLayout.shards(), layout)
	case shards < 1 || shards > MaxShards:
		return nil, errInvalid(op, "the number of shards is %d; want 1 to %d, or 0 for %d", opts.Shards, MaxShards, DefaultShards)
	case timeout < 0:
		return nil, errInvalid(op, "the timeout is %s; want a positive duration, or zero for %s", opts.Timeout, defaultTimeout)
	}
	d := &driver{table: client.NewClient(table), name: table, claims: layout != "", timeout: timeout, slots: newSlots(opts.Retry)}
	if layout == provider.LayoutAlien {
		d.setLayout(alienLayout)
	} else {
		d.setLayout(newLayout(shards))
	}
	return d, nil
}

// tableName matches the table names that the service permits.
// https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#table-names
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)

const tableNameRule = "3 to 63 letters and digits, the first of them a letter"
