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
// [Keys] holds AES-256-GCM keys of the standard library. [AEAD] takes any other kind: tink.AEAD
// has its methods, so that Tink's keysets do, those that a KMS protects included. Read the
// keyset once, by the KMS, when the program starts. An AEAD that asks a KMS for each
// value waits for it at each value, whatever the context says.
//
// Several keys in Keys make it possible to change them: see [Reseal]. There is no command
// for it. A command would need the keys, in its arguments, environment or files, and a way to
// name each kind of AEAD. The program that has the keys calls Reseal in one line.
//
// To seal the values of a store that has been in use, put each entry of the store into the
// sealed store, under its version: see the example of [Values].
//
// # Price
//
// With Keys a value becomes 38 bytes and the length of the key's name longer. So much less than the
// driver's limit may a value have. Without [kv.MaxValue] that matters on drivers whose own limit is
// kv.MaxValueLen, such as DynamoDB in Alien's layout. Sealing or opening 1 KiB takes some 2
// microseconds, most of them the cipher's.
//
// # Caveats
//
// Keys, expiries, and how long values are, stay in the clear. So does who reads and writes which
// key, and when.
//
// Somebody who can write to the service can delete entries, change their expiry, and bring
// back an earlier value of the same key. Two stores with the same secret can have values
// swapped between them under the same key: give each store a secret of its own.
//
// Exists, Count and scans of keys alone open nothing, and so find values that a Get refuses.
//
// With [Options].Compress a value's length depends on what is in it.
package seal
