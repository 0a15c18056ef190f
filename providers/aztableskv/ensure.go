package aztableskv

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// Ensure is like [EnsureWith], for the table of a URL: see [Open].
func Ensure(ctx context.Context, url string) error {
	const op = "ensure"
	c, err := Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	d, err := c.driver(op)
	if err != nil {
		return err
	}
	return d.ensure(ctx, op)
}

// EnsureWith creates the table and its layout record, if they do not exist yet. A table has
// no settings, and the service does not delete expired entities: see [Sweep]. Nil options
// mean the defaults, with skykv's own layout.
//
// EnsureWith returns
//
//   - [kv.ErrIncompatible] for a table with a different layout, a different number of
//     shards, or entities of another program. EnsureWith does not change such a table.
//     Entities without a layout record belong to another program, unless the layout is
//     [provider.LayoutAlien] and the entities are the Alien platform's,
//   - [kv.ErrUnavailable] while the service deletes an earlier table of that name, which
//     takes 40 seconds or longer,
//   - [kv.ErrPermission] if the credentials do not suffice. To create a table they need
//     the role Storage Table Data Contributor, or the permission create of a SAS for the
//     account,
//   - otherwise the errors of [New].
func EnsureWith(ctx context.Context, client *aztables.ServiceClient, table string, opts *Options) error {
	const op = "ensure"
	d, err := newDriver(op, client, table, opts)
	if err != nil {
		return err
	}
	return d.ensure(ctx, op)
}

func (d *driver) ensure(ctx context.Context, op string) error {
	d.claims = true
	err := d.checkLayout(ctx)
	if own, ok := err.(*kv.Error); ok && own.Kind == kv.ErrNotProvisioned {
		if err = d.createTable(ctx); err == nil {
			err = d.checkLayout(ctx)
		}
	}
	if err != nil {
		return opError(op, err)
	}
	return nil
}

func (d *driver) createTable(ctx context.Context) error {
	callCtx, call := d.watch(ctx, nil)
	_, err := d.table.CreateTable(callCtx, nil)
	err = call.end(err)
	switch code := codeOf(err); {
	case err == nil, code == aztables.TableAlreadyExists:
		return nil
	case code == aztables.TableBeingDeleted:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("table %s is being deleted; try again in a minute: %w", d.name, redact(err))}
	}
	return call.failRead(err)
}
