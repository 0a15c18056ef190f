// Package reference is a model of the programs of the reference platform, Alien, for tests. It
// makes their requests to each service with the service's own SDK, with the same attributes,
// conditions and number formats. It does not use skykv's code.
package reference

import (
	"context"
	"time"
)

// Store has the operations of those programs on one table or collection.
type Store interface {
	// Get returns the value under a key and the version for CompareAndSwap, and false if
	// the key is absent or expired.
	Get(ctx context.Context, key string) (value []byte, version string, found bool, err error)

	// Put stores a value, without an expiry if ttl is 0.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// PutIfAbsent is Put unless the key has an entry that has not expired.
	PutIfAbsent(ctx context.Context, key string, value []byte, ttl time.Duration) (stored bool, err error)

	// CompareAndSwap is Put if the key still has that version, and has not expired.
	CompareAndSwap(ctx context.Context, key, version string, value []byte, ttl time.Duration) (stored bool, err error)

	Delete(ctx context.Context, key string) error

	// Scan returns the live keys with a prefix, in any order.
	Scan(ctx context.Context, prefix string) ([]string, error)

	// Expires returns the instant of expiry of an entry that these programs store at now.
	Expires(now time.Time, ttl time.Duration) time.Time

	// Sees returns the instant from which these programs see an entry with the expiry at as
	// expired.
	Sees(at time.Time) time.Time
}
