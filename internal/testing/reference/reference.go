// Package reference imitates, for tests, the programs of the Alien platform. It
// makes their requests to each service with the service's own SDK, with the same attributes,
// conditions and number formats, and without skykv's code.
package reference

import (
	"context"
	"time"
)

// Store has the operations of the Alien platform's programs on one table or collection.
type Store interface {
	// Get returns the value of a key, and the version for CompareAndSwap. If the key is
	// absent or has expired, it returns false.
	Get(ctx context.Context, key string) (value []byte, version string, found bool, err error)

	// Put stores a value. If ttl is 0, the value does not expire.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// PutIfAbsent is like Put, but only if the key is absent or has expired.
	PutIfAbsent(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error)

	// CompareAndSwap is like Put, but only if the key still has that version and has not
	// expired.
	CompareAndSwap(ctx context.Context, key, version string, value []byte, ttl time.Duration) (stored bool, err error)

	Delete(ctx context.Context, key string) error

	// Scan returns the keys with a prefix that have not expired, in any order.
	Scan(ctx context.Context, prefix string) ([]string, error)

	// Expires returns the instant of expiry that these programs store with an entry at the
	// time now.
	Expires(now time.Time, ttl time.Duration) time.Time

	// Sees returns the first instant at which these programs see an entry as expired. The
	// parameter at is the expiry of the entry.
	Sees(at time.Time) time.Time
}
