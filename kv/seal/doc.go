// Package seal encrypts the values of a store before they leave the program, and refuses
// values that somebody else has changed or moved.
//
//	keys, err := seal.NewKeys("2026-11", map[string][]byte{"2026-11": key, "2026-05": old})
//	sealed, err := seal.Values(keys, nil)
//	store = store.With(sealed)
//
// It is a module of its own:
//
//	go get github.com/skykv/skykv/kv/seal@latest
//
// # What is sealed
//
// Each value is sealed by itself, together with the version of the scheme and the key under
// which it is stored, including its namespace. Every read refuses a value that was changed, cut
// short, or copied to another key. The error matches kv.ErrIncompatible and one of
// [ErrTampered], [ErrNotSealed], [ErrNoKey] and [ErrWrongKey]. A scan or batch reports the error
// with the key, and goes on. A write without a condition replaces such a value, and Delete
// removes it.
//
// Everything else works as it does without seal: versions, conditions, expiry, Touch, Update,
// Increment and AtomicWrite. An entry has the same version with and without seal. Writes of a
// kind that this package does not know return kv.ErrUnsupported.
//
// # Keys
//
// [Keys] holds AES-256-GCM keys, and uses the standard library. Any other [AEAD] works too. A
// tink.AEAD has the same methods, so Tink's keysets can be used, even those that a KMS protects.
// Read such a keyset when the program starts. An AEAD that asks a KMS for each value waits for
// the KMS each time, even after the context ends.
//
// A Keys with several keys can read the values that any of them sealed: see [Reseal] for how to
// change keys. The command skykv cannot change keys. It would need the keys, in its arguments,
// environment or files, and a way to name each kind of AEAD.
//
// To seal the values of a store that has been in use, put each entry into the sealed store
// with kv.IfVersion of its version: see the example of [Values].
//
// # Price
//
// Keys makes a value longer by 38 bytes and the length of the key's name. If the store's limit for
// values equals the driver's limit, it becomes lower by as much. That is so in a store with the
// largest [kv.MaxValue], and in Alien's layout on every service. Sealing or opening 1 KiB takes some 2
// microseconds, and most of that is the cipher.
//
// # Caveats
//
// The service sees keys, expiries, the lengths of values, and when each key is read and written.
//
// Somebody who can write to the service can delete entries, change their expiry, and bring
// back an earlier value of the same key. Between two stores with the same encryption key, the
// values of one key can also be swapped: give each store an encryption key of its own.
//
// Exists, Count and scans with kv.KeysOnly open no values, so they report entries whose values
// a Get refuses.
//
// With [Options].Compress, the length of a sealed value depends on its content.
package seal
