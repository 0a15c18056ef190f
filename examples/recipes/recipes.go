// Package recipes has what many applications build on a store, in a few lines each. Its
// tests run them.
package recipes

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// Session returns the data of a session, which then lives on for idle from now. It
// returns kv.ErrNotFound when the session has ended.
func Session(ctx context.Context, sessions *kv.Store, id string, idle time.Duration) ([]byte, error) {
	session, err := sessions.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	// Where nobody else has extended it since: a session that was ended stays ended.
	_, err = sessions.Touch(ctx, id, kv.TTL(idle), kv.IfVersion(session.Version))
	if err != nil && !errors.Is(err, kv.ErrConditionFailed) {
		return nil, err
	}
	return session.Value, nil
}

// Allow reports whether somebody may do something once more within a window of time, in
// which it may be done so many times.
func Allow(ctx context.Context, limits *kv.Store, who string, most int64, window time.Duration) (bool, error) {
	n, err := limits.Increment(ctx, kv.EscapeKey(who), 1, kv.TTLIfNew(window))
	return err == nil && n <= most, err
}
