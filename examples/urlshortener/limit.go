package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// limiter lets each client do something so many times in a window of time. The
// count is an entry that expires with its window; compare-and-swap keeps it right
// however many processes count at once.
type limiter struct {
	counts *kv.Typed[int]
	now    func() time.Time // the clock of the store, by which the counts expire
	most   int
	window time.Duration
}

// take counts one more for client, or returns how long it has to wait.
func (l limiter) take(ctx context.Context, client string) (wait time.Duration, err error) {
	hash := sha256.Sum256([]byte(client)) // addresses have bytes that keys have not
	key := "client:" + hex.EncodeToString(hash[:12])
	for {
		entry, err := l.counts.Get(ctx, key)
		switch {
		case errors.Is(err, kv.ErrNotFound):
			_, err = l.counts.Put(ctx, key, 1, kv.TTL(l.window), kv.IfNotExists())
		case err != nil:
			return 0, err
		case entry.Value >= l.most:
			return max(entry.ExpiresAt.Sub(l.now()), time.Millisecond), nil
		default:
			_, err = l.counts.Put(ctx, key, entry.Value+1, kv.IfVersion(entry.Version), kv.ExpiresAt(entry.ExpiresAt))
		}
		if !errors.Is(err, kv.ErrConditionFailed) {
			return 0, err // nil, or why it could not be counted
		}
		// Somebody else was faster, or the window has just ended: look again.
	}
}
