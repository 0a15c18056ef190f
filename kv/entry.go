package kv

import "time"

// Entry is a key with its value and what is known about it. The caller owns it.
type Entry struct {
	Key   string
	Value []byte // never nil, but for entries of a KeysOnly scan

	// Version names this state of the entry, for [IfVersion].
	Version Version

	// ExpiresAt is the instant from which on the entry is absent, in whole
	// milliseconds and UTC. It is the zero time when the entry does not expire.
	ExpiresAt time.Time
}

// Item is one entry to write with PutMany.
type Item struct {
	Key   string
	Value []byte

	// At most one of TTL and ExpiresAt is set: the entry expires TTL from now, or
	// at ExpiresAt. Without them it does not expire. See [TTL] and [ExpireAt].
	TTL       time.Duration
	ExpiresAt time.Time
}

// Page is a part of a scan.
type Page struct {
	Entries []Entry

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

// expired is the one rule of expiry. Both instants are in milliseconds; an
// expiry of zero stands for none.
func expired(expires, now int64) bool {
	return expires != 0 && now >= expires
}
