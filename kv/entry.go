package kv

import "time"

// Entry is a key with its value and what is known about it. The caller owns it.
// The Value of a store's entry is never nil, but for entries of a [KeysOnly] scan.
type Entry = EntryOf[[]byte]

// EntryOf is an [Entry] whose value is of type T, as a [Typed] view returns it.
type EntryOf[T any] struct {
	Key   string
	Value T

	// Version names this state of the entry, for [IfVersion].
	Version Version

	// ExpiresAt is the instant from which on the entry is absent, in whole
	// milliseconds and UTC. It is the zero time when the entry does not expire.
	ExpiresAt time.Time
}

// Item is one entry to write with PutMany.
type Item = ItemOf[[]byte]

// ItemOf is an [Item] whose value is of type T, for a [Typed] view.
type ItemOf[T any] struct {
	Key   string
	Value T

	// At most one of TTL and ExpiresAt is set: the entry expires TTL from now, or
	// at ExpiresAt. Without them it does not expire. They are the options [TTL] and
	// [ExpiresAt] of a Put.
	TTL       time.Duration
	ExpiresAt time.Time

	// At most one of these is set: the options [IfNotExists] and [IfVersion] of a Put. An
	// item with a condition must be the only one of its key.
	IfNotExists bool
	IfVersion   Version
}

// Page is a part of a scan.
type Page = PageOf[[]byte]

// PageOf is a [Page] whose values are of type T, as a [Typed] view returns it.
type PageOf[T any] struct {
	Entries []EntryOf[T]

	// Next is the cursor of the following page, empty exactly when there is none.
	// It is a position, not a session: it never expires, and continues the scan of
	// the same prefix in another process, on another store or shard count.
	Next string
}

// entry turns a record into what the caller gets.
func (s *Store) entry(rec Record, withValue bool) Entry {
	e := Entry{Key: rec.Key, Version: s.version(rec.Key, rec.Expires, rec.Version)}
	if withValue {
		e.Value = notNil(rec.Value)
	}
	if rec.Expires != 0 {
		e.ExpiresAt = time.UnixMilli(rec.Expires).UTC()
	}
	return e
}

// ExpiryGrace is how long past its expiry a record is kept at least, so that no entry
// that lives by one host's clock goes by another's. Services and drivers remove
// expired records after it; [Info].NoGrace says where a service does so before.
const ExpiryGrace = time.Hour

// expired is the one rule of expiry. Both instants are in milliseconds; an
// expiry of zero stands for none.
func expired(expires, now int64) bool {
	return expires != 0 && now >= expires
}
