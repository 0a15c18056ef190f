package recipes

import (
	"context"
	"time"

	"github.com/skykv/skykv/kv"
)

// Allow reports whether somebody may do something once more within a window of time, in
// which it may be done so many times.
func Allow(ctx context.Context, limits *kv.Store, who string, most int64, window time.Duration) (bool, error) {
	n, err := limits.Increment(ctx, kv.EscapeKey(who), 1, kv.TTLIfNew(window))
	return err == nil && n <= most, err
}
