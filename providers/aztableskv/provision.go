package aztableskv

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// EnsureTable creates table unless it exists. There is nothing else to set up: a
// table has no settings, and [Sweep] does what a native TTL does elsewhere.
//
// It returns [kv.ErrUnavailable] for up to a minute after a table of that name
// was deleted, and [kv.ErrPermission] when the credentials do not allow it: the
// role Storage Table Data Contributor or a SAS for the account with the
// permission create.
func EnsureTable(ctx context.Context, client *aztables.ServiceClient, table string) error {
	const op = "ensure table"
	d, err := newDriver(op, client, table, policy.RetryOptions{})
	if err != nil {
		return err
	}
	callCtx, call := d.watch(ctx)
	_, err = d.table.CreateTable(callCtx, nil)
	switch code(err) {
	case aztables.TableAlreadyExists:
		return nil
	case aztables.TableBeingDeleted:
		return failed(op, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf(
			"table %s is being deleted, try again in a minute: %w", table, redact(err))})
	}
	if err != nil {
		return failed(op, call.read(ctx, err))
	}
	return nil
}
