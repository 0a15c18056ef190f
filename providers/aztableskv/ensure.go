package aztableskv

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// Ensure creates what the store of a URL needs, as [EnsureWith] does, with the
// credentials of [Open].
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

// EnsureWith creates table, and its layout record, unless they exist. There is nothing
// else to set up: a table has no settings, and [Sweep] does what a native TTL does
// elsewhere. Nil options stand for the zero [Options], and so for skykv's own layout.
//
// It returns [kv.ErrIncompatible] when the table has another layout or number of
// shards, or entities of somebody else's, and leaves it as it is. Entities without a
// layout record are somebody else's, unless the layout is provider.LayoutAlien and they
// are the reference platform's. It returns [kv.ErrUnavailable] for up to a minute after a table of that name was
// deleted, and [kv.ErrPermission] when the credentials do not permit what is needed. To
// create a table they need the role Storage Table Data Contributor, or the permission
// create of a SAS for the account.
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
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("table %s is being deleted, try again in a minute: %w", d.name, redact(err))}
	}
	return call.failRead(err)
}
