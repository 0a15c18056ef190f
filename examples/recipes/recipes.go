// Package recipes has what many applications build on a store, in a few lines each. Its tests
// run them.
package recipes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/kv/watch"
)

// ErrFunds is the error of a transfer of more than the account has.
var ErrFunds = errors.New("not enough funds")

// Transfer moves an amount between two accounts of one bank, all or nothing. The accounts are
// keys of one group, such as "bank::ann" and "bank::bob". After a lost response the error can
// match kv.ErrIndeterminate. The versions make sure that a transfer is never carried out twice.
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
		// Another transfer came first: read again.
	}
}

// Session returns the data of a session, which then lives for another idle. It returns
// kv.ErrNotFound when the session has ended.
func Session(ctx context.Context, sessions *kv.Store, id string, idle time.Duration) ([]byte, error) {
	session, err := sessions.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	// Only if nobody else has extended it since: a session that was ended stays ended.
	_, err = sessions.Touch(ctx, id, kv.TTL(idle), kv.IfVersion(session.Version))
	if err != nil && !errors.Is(err, kv.ErrConditionFailed) {
		return nil, err
	}
	return session.Value, nil
}

// Allow reports whether somebody may do something once more in the current window of time,
// which allows it a limited number of times.
func Allow(ctx context.Context, limits *kv.Store, who string, most int64, window time.Duration) (bool, error) {
	n, err := limits.Increment(ctx, kv.EscapeKey(who), 1, kv.TTLIfNew(window))
	return err == nil && n <= most, err
}

// Cron runs a job once per interval, until ctx ends or the job fails. All replicas call it, and
// one of them runs the job. The documentation of lease.Leases.Once says where intervals begin.
func Cron(ctx context.Context, jobs *lease.Leases, name string, every time.Duration, job func(context.Context) error) error {
	for {
		_, err := jobs.Once(ctx, name, every, func(ctx context.Context, _ *lease.Lease) error { return job(ctx) })
		if err != nil {
			return err
		}
		next := time.NewTimer(time.Until(time.Now().Truncate(every).Add(every)))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return ctx.Err()
		}
	}
}

// Flags are feature flags: what is stored under "flags::". The zero Flags has none.
type Flags struct{ values sync.Map }

// Get returns the value of a flag, empty if there is none.
func (f *Flags) Get(name string) string {
	value, _ := f.values.Load(name)
	text, _ := value.(string)
	return text
}

// Follow keeps the flags as they are in the store, until ctx ends, and returns its error. While
// the store is unavailable they stay unchanged.
func (f *Flags) Follow(ctx context.Context, store *kv.Store, every time.Duration) error {
	var last error
	for change, err := range watch.Watch(ctx, store, "flags::", every) {
		name := strings.TrimPrefix(change.Key, "flags::")
		switch {
		case err != nil:
			last = err
		case change.Deleted:
			f.values.Delete(name)
		default:
			f.values.Store(name, string(change.Value))
		}
	}
	return last
}
