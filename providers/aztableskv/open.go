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

	// MaxShards is the greatest number of shards: a scan reads all of them at once.
	MaxShards = 256
)

// Options are the options of [New] and [EnsureWith].
type Options struct {
	// Layout says how the entries are stored in the table. It is fixed when the table is
	// first used. With the zero Layout, New opens a table that already has
	// [provider.LayoutSkykv], and EnsureWith sets up that layout. With
	// [provider.LayoutAlien] the table is shared with the reference platform's programs.
	Layout provider.Layout

	// Shards is the number of partitions over which the keys are spread, from 1 to
	// [MaxShards]. Zero means [DefaultShards]. It is fixed when the table is first used.
	// The package comment says what Azure can do for each shard. In
	// [provider.LayoutAlien] there are 16.
	Shards int

	// Retry has the retry options. They replace the retry options of the client, which
	// the SDK does not show, and those in a call's context. The zero value means the
	// SDK's defaults, with four attempts. ShouldRetry works as in the SDK.
	Retry policy.RetryOptions

	// Timeout ends calls whose context has no deadline, with an error that matches
	// kv.ErrUnavailable and context.DeadlineExceeded. In calls of several requests, such
	// as batches, scans and writes that read after a failed condition, it applies to each
	// request, including its retries. Zero means one minute.
	Timeout time.Duration
}

const defaultTimeout = time.Minute

// New returns a store over an existing table, through the program's own client, which
// stays open when the store is closed. Nil options mean the defaults.
//
// New reads the table's layout record. If the options name a layout, New creates the
// record in an empty table. If the layout is the reference platform's, it also creates the
// record in a table with entities of only that platform's programs. Besides context errors
// it returns
//   - kv.ErrInvalidOption for an invalid client, table or option,
//   - kv.ErrNotProvisioned if there is no such table, or if it is empty, has no layout
//     record, and the options name no layout,
//   - kv.ErrIncompatible if the table has another layout, another number of shards or
//     another format, or if it has entities but no layout record,
//   - kv.ErrPermission if the service refuses the credentials, the read or the
//     creation of the layout record,
//   - kv.ErrThrottled and kv.ErrUnavailable as all operations do.
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

// newDriver checks its arguments, without any I/O.
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

// tableName is the service's rule.
// https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#table-names
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)

const tableNameRule = "3 to 63 letters and digits, the first of them a letter"
