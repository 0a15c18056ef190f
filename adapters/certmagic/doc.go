// Package certmagic is the Storage of [github.com/caddyserver/certmagic], and so of Caddy, over a
// kv.Store: certificates, keys and locks that replicas share.
//
//	files, err := store.With(kv.MaxValue(256 << 10)).Namespace("certmagic::")
//	storage, err := certmagickv.New(files, nil)
//	certmagic.Default.Storage = storage
//
// # Locks
//
// A lock is a lease of package [github.com/skykv/skykv/kv/lease]: it is renewed in the background
// until Unlock. The lock of a process that died, or that cannot reach the store, is free for
// those that wait a TTL and a Poll later. No clocks need to agree.
//
// certmagic has no way to hear that a lock was lost. Unlock then returns an error that matches
// lease.ErrLost, which certmagic logs.
//
// # Price
//
// Load, Store and Stat of a file take one request each. List, Delete, and Exists and Stat of what is
// no file scan the keys below a path, without their values. In a namespace that ends a group, such as
// "certmagic::", a scan takes one request for some hundred keys. Elsewhere it takes one for each
// shard: 16. The price of a lock is that of a lease: a read and a write, a write every third of
// the TTL, and a write at the end.
//
// # Caveats
//
// A file has up to 24 KiB less 8 bytes, which hold the time when it was written. Certificates with
// their chains fit. For larger ones open the store with [kv.MaxValue], up to 384 KiB.
//
// The key of a file is kv.EscapeKey of its name, where a slash or an underscore takes three
// bytes. It has at most 507 bytes, less the namespace. A name has the domain twice, so one of
// more than some 200 bytes can be too long: Store returns kv.ErrInvalidKey.
//
// Write international names in their ASCII form ("xn--…"): certmagic stores a certificate under that
// form, and looks it up under the one that it was asked for.
//
// Exists has no error to return. As the interface wants it, it is false when the store failed.
//
// The record of each lock's name stays in the store, some 100 bytes.
//
// The store holds private keys.
package certmagic
