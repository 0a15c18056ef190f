package recipes

import (
	"context"
	"errors"
	"fmt"

	"github.com/skykv/skykv/kv"
)

// ErrFunds says that the payer's account has less than the amount.
var ErrFunds = errors.New("not enough funds")

// ErrAmount says that the amount is less than 1.
var ErrAmount = errors.New("the amount is less than 1")

// Transfer moves an amount between two accounts of one bank, all or nothing. The accounts are keys
// of one group, such as "bank::ann" and "bank::bob". If a response of the service is lost, the
// error may match kv.ErrIndeterminate. Each write depends on the versions of both accounts, so one
// call never moves the amount twice.
func Transfer(ctx context.Context, accounts *kv.Typed[int64], from, to string, amount int64) error {
	if amount < 1 {
		return ErrAmount // a negative amount would be taken from the payee, whose funds are not checked
	}
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
			return err // nil if the amount was moved
		}
		// Another transfer came first. Read both accounts again.
	}
}
