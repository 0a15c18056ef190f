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
	// DefaultShards is the number of partitions that a table's keys are spread
	// over unless [Options] or the URL say otherwise.
	DefaultShards = 16

	// MaxShards is the greatest number of partitions.
	MaxShards = 256
)

// Options adjusts [New] and [EnsureWith]. The zero Options is the default.
type Options struct {
	// Layout is how the entries lie in the table. It is laid down when the table is first
	// used and cannot be changed. With the zero Layout, New opens a table in
	// [provider.LayoutSkykv] that has been in use, and EnsureWith lays that layout down.
	// With [provider.LayoutAlien] the table is the one that the reference platform's
	// programs use as well.
	Layout provider.Layout

	// Shards is the number of partitions that the keys are spread over, from 1 to
	// [MaxShards]; zero stands for [DefaultShards]. It is laid down when the table is
	// first used, and must be the same ever after. In [provider.LayoutAlien] there are 16.
	// A partition serves up to
	// 2,000 entities per second
	// (https://learn.microsoft.com/azure/storage/tables/scalability-targets); a
	// scan reads all partitions at once, each with requests of its own.
	Shards int

	// Retry says how requests are repeated. The SDK does not show the
	// retry options that the client was made with, so these take their place, and
	// that of options in a call's context: the zero value stands for the SDK's
	// defaults, four attempts. ShouldRetry, when set, decides as it does in the SDK.
	Retry policy.RetryOptions

	// Timeout ends calls whose context has no deadline, with an error that matches
	// kv.ErrUnavailable and context.DeadlineExceeded. Calls of several requests, such as
	// batches, scans and writes that read after a failed condition, have it for each of
	// their requests, retries included. Zero stands for one minute.
	Timeout time.Duration
}

const defaultTimeout = time.Minute

// New returns a store over table, which must exist: see [EnsureWith]. The client
// stays the caller's, and is left open by Close. Nil options stand for the zero
// Options.
//
// New reads the table's layout record. If the options name a layout it writes the record
// in an empty table, and in one that the reference platform's programs have in use, if the
// layout is theirs. It returns [kv.ErrNotProvisioned] when the table does not exist, or is
// empty, has no layout record, and the options name no layout; [kv.ErrIncompatible] when it
// has another layout or number of shards, or entities but no layout record;
// [kv.ErrPermission] when the credentials do not permit that, and
// [kv.ErrInvalidOption] when the table's name or an option is out of its range.
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

// newDriver checks the arguments of an operation and returns a driver for them.
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
		return nil, errInvalid(op, "the client is nil")
	case !tableName.MatchString(table):
		return nil, errInvalid(op, "the table's name is %q; it must be %s", table, tableNameRule)
	case layout.Check() != nil:
		return nil, errInvalid(op, "%w", layout.Check())
	case layout == provider.LayoutAlien && shards != alienLayout.shards():
		return nil, errInvalid(op, "Shards is %d; it must be %d, or 0, in layout %s", shards, alienLayout.shards(), layout)
	case shards < 1 || shards > MaxShards:
		return nil, errInvalid(op, "Shards is %d; it must be 1 to %d", opts.Shards, MaxShards)
	case timeout < 0:
		return nil, errInvalid(op, "the timeout is %s; want a positive one, or zero for %s", opts.Timeout, defaultTimeout)
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
