// Package seal encrypts the values of a store before they leave the program, and refuses
// values that somebody else has changed or moved.
//
//	keys, err := seal.NewKeys("2026-11", map[string][]byte{"2026-11": key, "2026-05": old})
//	sealed, err := seal.Values(keys, nil)
//	store = store.With(sealed)
//
// It is a module of its own: go get github.com/skykv/skykv/kv/seal.
//
// # What is sealed
//
// Each value is sealed by itself, together with the version of the scheme and the key that it
// is stored under, its namespace included. A value that was changed, cut short, or copied to
// another key is refused by every read. The error matches kv.ErrIncompatible and one of
// [ErrTampered], [ErrNotSealed], [ErrNoKey] and [ErrWrongKey]. A scan or batch yields it beside
// the key, and goes on. A write without a condition replaces such a value, and Delete removes
// it.
//
// Everything else works as without seal: versions, conditions, expiry, Touch, Update,
// Increment and AtomicWrite. The same versions name the same states with and without it.
// Writes of a kind that this package does not know are refused with kv.ErrUnsupported.
//
// # Keys
//
// [Keys] holds AES-256-GCM keys, by the standard library. Any other [AEAD] will do. A
// tink.AEAD has the same methods, so Tink's keysets fit, also those that a KMS protects. Read
// such a keyset when the program starts. An AEAD that asks a KMS for each value waits for the
// KMS each time, and does not heed the context.
//
// Keys with several keys reads what each of them sealed: see [Reseal] for how to change keys.
// There is no command for it. A command would need the keys, in its arguments, environment or
// files, and a way to name each kind of AEAD.
//
// To seal the values of a store that has been in use, put each entry into the sealed store
// under its version: see the example of [Values].
//
// # Price
//
// Keys makes a value longer by 38 bytes and the key's name. The limit of values is as much
// shorter where it is the driver's own: in a store with the largest [kv.MaxValue], and on
// DynamoDB in Alien's layout. Sealing or opening 1 KiB takes some 2 microseconds, and most of
// that is the cipher.
//
// # Caveats
//
// The service sees keys, expiries, the lengths of values, and when each key is read and written.
//
// Somebody who can write to the service can delete entries, change their expiry, and bring
// back an earlier value of the same key. Values can also be swapped between two stores that
// have the same secret, under the same key: give each store a secret of its own.
//
// Exists, Count and scans of keys alone open nothing, and so find values that a Get refuses.
//
// With [Options].Compress a value's length depends on what is in it.
package seal
