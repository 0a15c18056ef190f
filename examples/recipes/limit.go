package recipes

import (
	"context"
	"time"

	"github.com/skykv/skykv/kv"
)

// Allow reports whether a user may do something once more. The parameter most is how often a user
// may do it in each window of time.
func Allow(ctx context.Context, limits *kv.Store, who string, most int64, window time.Duration) (bool, error) {
	n, err := limits.Increment(ctx, kv.EscapeKey(who), 1, kv.TTLIfNew(window))
	return err == nil && n <= most, err
}
