package kv

import "time"

// Entry is a key with its value and its metadata. It belongs to the caller. The Value of an
// entry that exists is not nil, except in a [KeysOnly] scan.
type Entry = EntryOf[[]byte]

// EntryOf is an [Entry] whose value is of type T, as a [Typed] view returns it.
type EntryOf[T any] struct {
	Key   string
	Value T

	// Version names this state of the entry, for [IfVersion].
	Version Version

	// ExpiresAt is the instant from which the entry is absent, in whole milliseconds
	// and UTC. It is the zero time when the entry does not expire.
	ExpiresAt time.Time
}

// Item is one entry to write with PutMany.
type Item = ItemOf[[]byte]

// ItemOf is an [Item] whose value is of type T, for a [Typed] view.
type ItemOf[T any] struct {
	Key   string
	Value T

	// At most one of TTL and ExpiresAt may be set: the entry expires TTL from now, or at
	// ExpiresAt. Without them it does not expire. They mean what the options [TTL]
	// and [ExpiresAt] of a Put mean.
	TTL       time.Duration
	ExpiresAt time.Time

	// At most one of IfNotExists and IfVersion may be set. They mean what the options
	// [IfNotExists] and [IfVersion] of a Put mean. An item with a condition must be the
	// only item with its key.
	IfNotExists bool
	IfVersion   Version
}

// Page is a part of a scan, the result of [Store.ScanPage].
type Page = PageOf[[]byte]

// PageOf is a [Page] whose values are of type T, as a [Typed] view returns it.
type PageOf[T any] struct {
	Entries []EntryOf[T]

	// Next is the cursor of the following page, or empty if there is none. A cursor is
	// a position, not a session: it never expires. It can continue a scan of the same
	// prefix in another process, on another store or with another number of shards.
	Next string
}

// entry returns the entry of a record.
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

// ExpiryGrace is the minimum time between the expiry of a record and its removal by a
// service or a driver. Without it, a record could be removed while it is still live by the
// clock of another host. If [Info].NoGrace is set, the service may remove records earlier.
const ExpiryGrace = time.Hour

// expired reports whether a record with this Expires is expired at the time now. Both are
// in milliseconds. An expires of zero means that the record does not expire.
func expired(expires, now int64) bool {
	return expires != 0 && now >= expires
}
