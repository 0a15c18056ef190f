// Package cache has a near cache: a view of a [kv.Store] that keeps in memory what it has
// read and written.
//
//	cached, err := cache.New(store, &cache.Options{MaxAge: 10 * time.Second})
//	entry, err := cached.Get(ctx, "user:42") // from memory, if it was there within 10 s
//	users := kv.JSON[User](cached.Store)
//
// # What a read returns
//
// Get, Exists and GetMany of a [Cache] may be answered from memory. Such an answer was the
// state of the store at most [Options].MaxAge before the read began. So a write by another
// process is seen after at most MaxAge. A write through the same Cache is seen by every read
// that begins after it has returned: the Cache removes the key from its memory before the
// write is sent, and keeps what was stored with its version when it is done.
//
// An entry expires in memory to the millisecond as it does in the store, by the store's clock.
//
// Everything else goes to the store and is exact: scans, conditions, Update, Increment and
// AtomicWrite. A conditional write is judged by the store and never from memory. One that
// fails leaves the key out of memory, so that the read after it finds why.
//
// What a read does not find in memory it reads with strong consistency, also over a
// [kv.Stale] view. Callers that miss the same key at once share requests: while one request
// is under way, those that come wait for its end, and are then answered by one request
// together. No caller gets the answer to a request that was sent before the call.
//
// # Loading
//
// [Cache.GetOrLoad] computes what is not in the store and stores it. With [Options].Leases
// one process computes a key at a time, and the others wait for its result.
//
// # What is not kept
//
//   - the absence of keys, unless [Options].Absent is set,
//   - what scans read,
//   - an entry after [kv.Store.Touch], [kv.Store.Delete] or a write whose outcome is unknown,
//   - what was written while another write of the same key was under way.
//
// # Price
//
// A hit takes one allocation, the caller's copy of the value, and some 0.3 µs: up to twice the
// time of a lookup by otter and that copy. A miss costs one read of the store, as without the
// Cache. A write costs what it does without the Cache.
//
// A GetOrLoad that finds nothing costs seven requests with Leases: three reads of the key and
// its write, and a read and two writes of the lease. A process that waits for another one reads
// the key and the lease about 13 times a second.
//
// # Caveats
//
// Several entries that are read from memory may be of different moments, up to MaxAge apart.
// Programs that need what is current read from the store that the Cache was made of.
//
// Writes past the Cache, by that store for example, are those of another process to it.
//
// [Options].MaxBytes counts keys, values and 512 bytes for each entry. The Cache may exceed
// it for a moment. Entries older than MaxAge take memory until others need it.
//
// MaxAge is measured by the monotonic clock and by the wall clock, and the later one counts: the
// former stands still on Linux while the machine is suspended. Only if the wall clock is set back
// by as much in that time, entries are kept for longer.
//
// A write whose response was lost, and one that the service carries out late, is seen after
// at most MaxAge from when it is carried out.
package cache
