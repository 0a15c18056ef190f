package main

import (
	"context"
	"time"

	"github.com/skykv/skykv/kv"
)

// limiter allows each client to do something a limited number of times in a window of time. The
// count is an entry that expires at the end of its window.
type limiter struct {
	counts *kv.Typed[int]
	now    func() time.Time // the store's clock, by which the counts expire
	most   int
	window time.Duration
}

// take counts one use by the client and returns 0, or returns how long the client has to wait.
// The count is exact, even if many processes count at once.
func (l limiter) take(ctx context.Context, client string) (wait time.Duration, err error) {
	key := "client:" + kv.HashKey(client) // addresses may have bytes that keys must not have
	_, err = l.counts.Update(ctx, key, func(count kv.EntryOf[int], exists bool) (kv.ChangeOf[int], error) {
		wait = 0
		switch {
		case !exists:
			return kv.ChangeOf[int]{Value: 1, TTL: l.window}, nil
		case count.Value >= l.most:
			wait = max(count.ExpiresAt.Sub(l.now()), time.Millisecond)
			return kv.ChangeOf[int]{Leave: true}, nil
		}
		return kv.ChangeOf[int]{Value: count.Value + 1}, nil
	})
	return wait, err
}
