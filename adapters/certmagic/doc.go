// Package certmagic implements the Storage of [github.com/caddyserver/certmagic], and so of Caddy,
// over a kv.Store. Replicas share its certificates, keys and locks.
//
//	files, err := store.With(kv.MaxValue(256 << 10)).Namespace("certmagic::")
//	storage, err := certmagickv.New(files, nil)
//	certmagic.Default.Storage = storage
//
// # Locks
//
// A lock is a lease of package [github.com/skykv/skykv/kv/lease]. It is renewed in the background
// until Unlock. If the process that holds the lock dies, or cannot reach the store, another process
// that waits for the lock gets it within a TTL and a Poll. No clocks need to agree.
//
// certmagic cannot be told that a lock was lost. After the loss of a lock, Unlock returns an error
// that matches lease.ErrLost, and certmagic logs the error.
//
// # Price
//
// Load, Store and Stat of a file take one request each. List and Delete scan the keys below a path,
// without their values. So do Exists and Stat if there is no file with the name. In a namespace
// that ends with "::", such as "certmagic::", all keys are in one shard, and a scan takes one
// request for several hundred keys. In other namespaces a scan takes at least one request for each
// shard. By default, a DynamoDB table and an Azure table have 16 shards. A lock costs the same as
// a lease: a read and a write, a write every third of the TTL, and a write at the end.
//
// # Caveats
//
// A file may have up to 24 KiB minus 8 bytes. The 8 bytes hold the time when the file was written.
// Certificates with their chains fit. For larger files open the store with [kv.MaxValue], up to
// 384 KiB.
//
// The key of a file is kv.EscapeKey of its name. In the key, a slash or an underscore takes three
// bytes. The key may have 507 bytes minus the length of the namespace. The name of a file contains
// the domain twice. So if a domain has more than some 200 bytes, the key may be too long. Store
// then returns kv.ErrInvalidKey.
//
// Write international names in their ASCII form ("xn--…"). certmagic stores a certificate under the
// ASCII form, but looks it up under the form that the program passes.
//
// Exists cannot return an error. If the store fails, it returns false, as the interface demands.
//
// For the name of each lock, a record of some 100 bytes remains in the store.
//
// The store holds private keys.
package certmagic
