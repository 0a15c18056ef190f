package recipes

import (
	"context"
	"errors"
	"fmt"

	"github.com/skykv/skykv/kv"
)

// ErrFunds is the error of a transfer of more than there is.
var ErrFunds = errors.New("not enough funds")

// Transfer moves an amount between two accounts of one bank, all or nothing. The accounts
// are keys of one group, such as "bank::ann" and "bank::bob". A lost response can make the
// error match kv.ErrIndeterminate: the versions see to it that a transfer is never
// carried out twice.
func Transfer(ctx context.Context, accounts *kv.Typed[int64], from, to string, amount int64) error {
	for {
		payer, err := accounts.Get(ctx, from)
		if err != nil {
			return err
		}
		payee, err := accounts.Get(ctx, to)
		if err != nil {
			return err
		}
		if payer.Value < amount {
			return fmt.Errorf("%w in %s", ErrFunds, from)
		}
		_, err = accounts.AtomicWrite(ctx,
			accounts.PutOp(from, payer.Value-amount, kv.IfVersion(payer.Version)),
			accounts.PutOp(to, payee.Value+amount, kv.IfVersion(payee.Version)))
		if !errors.Is(err, kv.ErrConditionFailed) {
			return err // nil, or why nothing was moved
		}
		// Another transfer came first: look again.
	}
}
