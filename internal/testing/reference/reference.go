// Package reference plays the programs of the reference platform, Alien, for tests: it
// makes their requests on each service by the service's own SDK, with the same
// attributes, conditions and number formats. None of it is skykv's code.
package reference

import (
	"context"
	"time"
)

// Store is what those programs do with one table or collection.
type Store interface {
	// Get returns the value under a key and the version that CompareAndSwap takes, and
	// false where the key is absent or expired.
	Get(ctx context.Context, key string) (value []byte, version string, found bool, err error)

	// Put stores a value, for ever if ttl is 0.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// PutIfAbsent is Put unless the key has an entry that has not expired.
	PutIfAbsent(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error)

	// CompareAndSwap is Put if the key has that version still, and has not expired.
	CompareAndSwap(ctx context.Context, key, version string, value []byte, ttl time.Duration) (stored bool, err error)

	Delete(ctx context.Context, key string) error

	// Scan returns the keys with a prefix that have not expired, in no order.
	Scan(ctx context.Context, prefix string) ([]string, error)

	// Expires returns the instant of expiry of an entry that one of the programs stores at
	// now.
	Expires(now time.Time, ttl time.Duration) time.Time

	// Sees returns the instant from which on they take an entry for expired whose instant
	// of expiry is at.
	Sees(at time.Time) time.Time
}
