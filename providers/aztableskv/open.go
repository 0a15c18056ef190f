package aztableskv

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

const (
	// DefaultShards is the number of partitions that a table's keys are spread
	// over unless [Options] or the URL say otherwise.
	DefaultShards = 16

	// MaxShards is the greatest number of partitions.
	MaxShards = 256
)

// Options adjusts [New]. The zero Options is the default.
type Options struct {
	// Shards is the number of partitions that the keys are spread over, from 1 to
	// [MaxShards]; zero stands for [DefaultShards]. It is fixed when the table is
	// first opened, and must be the same ever after. A partition serves up to 2,000
	// entities per second
	// (https://learn.microsoft.com/azure/storage/tables/scalability-targets); a
	// scan reads all partitions at once, each with requests of its own.
	Shards int

	// Retry says how the store's requests are repeated. The SDK does not show the
	// retry options that the client was made with, so these take their place, and
	// that of options in a call's context: the zero value stands for the SDK's
	// defaults, four attempts. ShouldRetry, when set, decides as it does in the SDK.
	Retry policy.RetryOptions
}

// New returns a store over table, which must exist: see [EnsureTable]. The client
// stays the caller's, and is left open by Close. Nil options stand for the zero
// Options.
//
// New reads the table's layout record, and writes it when the table is new. It
// returns [kv.ErrNotProvisioned] when the table does not exist,
// [kv.ErrIncompatible] when it has another layout or number of shards,
// [kv.ErrPermission] when the credentials do not allow that, and
// [kv.ErrInvalidOption] when the table's name or an option is out of its range.
func New(ctx context.Context, client *aztables.ServiceClient, table string, opts *Options) (*kv.Store, error) {
	const op = "open"
	if opts == nil {
		opts = &Options{}
	}
	shards := opts.Shards
	if shards == 0 {
		shards = DefaultShards
	}
	if shards < 1 || shards > MaxShards {
		return nil, invalid(op, "Shards is %d; allowed are 1 to %d", opts.Shards, MaxShards)
	}
	d, err := newDriver(op, client, table, opts.Retry)
	if err != nil {
		return nil, err
	}
	d.setShards(shards)
	if err := d.checkLayout(ctx); err != nil {
		return nil, failed(op, err)
	}
	return kv.New(d), nil
}

// newDriver returns a driver that does not know its number of shards yet.
func newDriver(op string, client *aztables.ServiceClient, table string, retry policy.RetryOptions) (*driver, error) {
	if client == nil {
		return nil, invalid(op, "the client is nil")
	}
	if err := checkTable(op, table); err != nil {
		return nil, err
	}
	return &driver{table: client.NewClient(table), name: table, retry: retry}, nil
}

// tableName is the service's rule.
// https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#table-names
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)

const tableNameRule = "3 to 63 letters and digits, the first of them a letter"

func checkTable(op, table string) error {
	if !tableName.MatchString(table) {
		return invalid(op, "the table's name is %q; allowed are %s", table, tableNameRule)
	}
	return nil
}

// The layout record says how the table is laid out. Its partition is none that
// keys are in.
const (
	layoutFormat    = 1
	layoutPartition = "skykv"
	layoutRow       = "layout"
)

// layout is the content of the layout record. Both are Edm.Int32.
type layout struct {
	Format int `json:"format"`
	Shards int `json:"shards"`
}

// checkLayout compares the table's layout record to d's layout, and creates it
// when there is none.
func (d *driver) checkLayout(ctx context.Context) error {
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		if found, err = d.addLayout(ctx); err == nil && found == nil {
			// Somebody else was first.
			found, err = d.readLayout(ctx)
		}
	}
	switch {
	case err != nil:
		return err
	case found == nil:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the layout record of table %s vanished", d.name)}
	case found.Shards != d.shards:
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has %d shards; asked for were %d", d.name, found.Shards, d.shards)}
	}
	return nil
}

// readLayout returns the layout record, or nil when there is none.
func (d *driver) readLayout(ctx context.Context) (*layout, error) {
	callCtx, call := d.watch(ctx)
	resp, err := d.table.GetEntity(callCtx, layoutPartition, layoutRow, nil)
	switch {
	case err != nil && absent(code(err)):
		return nil, nil
	case err != nil:
		return nil, d.unprovisioned(call.read(ctx, err))
	}
	var found layout
	if err := json.Unmarshal(resp.Value, &found); err != nil || found.Format != layoutFormat || found.Shards < 1 || found.Shards > MaxShards {
		return nil, &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf(
			"the layout record of table %s is not of format %d; another version of skykv may have written it", d.name, layoutFormat)}
	}
	return &found, nil
}

// addLayout creates the layout record and returns it, or nil when there is one.
func (d *driver) addLayout(ctx context.Context) (*layout, error) {
	own := layout{Format: layoutFormat, Shards: d.shards}
	body, err := json.Marshal(struct {
		PartitionKey, RowKey string
		layout
	}{layoutPartition, layoutRow, own})
	if err != nil {
		return nil, err
	}
	callCtx, call := d.watch(ctx)
	_, err = d.table.AddEntity(callCtx, body, nil)
	switch {
	case err == nil:
		return &own, nil
	case code(err) == aztables.EntityAlreadyExists:
		return nil, nil
	}
	return nil, d.unprovisioned(call.read(ctx, err))
}

// unprovisioned tells how the table comes into being.
func (d *driver) unprovisioned(err error) error {
	if e, ok := err.(*kv.Error); ok && e.Kind == kv.ErrNotProvisioned {
		e.Err = fmt.Errorf("there is no table %s, EnsureTable creates it: %w", d.name, e.Err)
	}
	return err
}
