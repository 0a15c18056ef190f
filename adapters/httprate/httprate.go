package httprate

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/skykv/skykv/kv"
)

// Counter is an httprate.LimitCounter. Each limiter needs its own, because httprate sets the
// window of the Counter.
type Counter struct {
	store   *kv.Store
	timeout time.Duration
	window  time.Duration
}

// New returns a counter whose entries are in a store, which may be a [kv.Store.Namespace]. A
// call takes at most the time timeout, because the interface of httprate has no contexts. Limiters
// that use the same store, with windows of the same length, share their counts.
func New(store *kv.Store, timeout time.Duration) *Counter {
	return &Counter{store: store, timeout: timeout}
}

// Config sets the length of a window. The limiter of httprate calls it.
func (c *Counter) Config(_ int, window time.Duration) { c.window = window }

// Increment counts one request.
func (c *Counter) Increment(key string, window time.Time) error { return c.IncrementBy(key, window, 1) }

// IncrementBy counts as many requests as amount says. After an error that matches
// [kv.ErrIndeterminate], they may have been counted.
func (c *Counter) IncrementBy(key string, window time.Time, amount int) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	// The next window needs the count as well. So an entry that is created when its window begins
	// must last for two windows.
	ttl := 2 * min(c.window, math.MaxInt64/2) // the double of a window of centuries would overflow
	_, err := c.store.Increment(ctx, c.key(key, window), int64(amount), kv.TTLIfNew(ttl))
	return err
}

// Get returns the counts of the current and the previous window.
func (c *Counter) Get(key string, current, previous time.Time) (int, int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	keys := [2]string{c.key(key, current), c.key(key, previous)}
	entries, err := c.store.GetMany(ctx, keys[:])
	if err != nil {
		return 0, 0, err
	}
	var counts [2]int
	for i, key := range keys {
		entry, exists := entries[key]
		if !exists {
			continue
		}
		if counts[i], err = strconv.Atoi(string(entry.Value)); err != nil {
			return 0, 0, &kv.Error{Op: "get", Provider: c.store.Info().Name, Key: key, Kind: kv.ErrInvalidValue,
				Err: errors.New("the value is no decimal number; want what Increment wrote")}
		}
	}
	return counts[0], counts[1], nil
}

// key returns the key of a counter. It contains only the hash of httprate's key, because that key
// has any length and contains text that clients send.
func (c *Counter) key(key string, window time.Time) string {
	return kv.HashKey(key) + ":" + strconv.FormatInt(c.window.Milliseconds(), 10) + ":" + strconv.FormatInt(window.UnixMilli(), 10)
}
