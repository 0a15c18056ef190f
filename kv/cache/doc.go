// Package cache has a near cache: a view of a [kv.Store] that keeps in memory the entries
// that it has read and written.
//
//	cached, err := cache.New(store, &cache.Options{MaxAge: 10 * time.Second})
//	entry, err := cached.Get(ctx, "user:42") // from memory, if it was read in the last 10 s
//	users := kv.JSON[User](cached.Store)
//
// # What a read returns
//
// Get, Exists and GetMany of a [Cache] may be answered from memory. Such an answer was the
// state of the store at most [Options].MaxAge before the read began. So the Cache sees a
// write by another process after at most MaxAge. When a write through the
// same Cache has returned, all reads that begin later see it: the Cache removes a key from its
// memory before it sends a write, and keeps the new entry when the write is done.
//
// In memory, an entry expires at the same millisecond as in the store, by the store's clock.
// When an entry has expired by the wall clock, the next read asks the store, where another
// process may have changed the expiry. The wall clock counts here even under [kv.Clock].
//
// Everything else goes to the store and is exact, such as scans, conditions, Update, Increment
// and AtomicWrite. Only the store decides whether the condition of a write holds. After a
// conditional write that failed, the key is not in memory, so the next read asks the store
// and finds the entry that made the write fail.
//
// If a key is not in memory, the Cache reads it with strong consistency, even over a
// [kv.Stale] view. Calls of Get that miss the same key at the same time share requests. While one
// request for the key is under way, further calls wait for its end, and then one more request
// answers all of them. No call gets the answer to a request that was sent before the call.
//
// # Loading
//
// [Cache.GetOrLoad] computes and stores an entry that is not in the store. With
// [Options].Leases, one process at a time computes the value of a key, and the others wait for
// its result.
//
// # What is not kept
//
//   - the absence of keys, unless [Options].Absent is set,
//   - what scans and Exists find,
//   - an entry after [kv.Store.Touch], [kv.Store.Delete] or a write whose outcome is unknown,
//   - an entry that was read or written while another write of the same key was under way,
//   - an entry that is larger than [Options].MaxBytes.
//
// # Price
//
// A hit takes one allocation, the caller's copy of the value, and some 0.3 µs. That is up to
// twice as long as a lookup in otter, the underlying cache, with the same copy. A miss costs
// one read of the store, as without the Cache. A write costs the same as without the Cache.
//
// With Leases, a GetOrLoad that finds nothing costs seven requests: three reads and a write of
// the key, and a read and two writes of the lease. A process that waits for another one reads
// the key and the lease about 13 times a second.
//
// # Caveats
//
// Entries that are read from memory may be of different moments, up to MaxAge apart. A program
// that needs the current entry must read it from the store that was passed to New.
//
// To the Cache, writes that do not pass through it are like writes by another process. That
// includes the writes that this program makes through the store that was passed to New.
//
// [Options].MaxBytes includes keys, values and 512 bytes for each entry. The Cache may exceed
// it for a moment. Entries older than MaxAge stay in memory until other entries need the room.
//
// MaxAge is measured by the monotonic clock and by the wall clock, and the longer time counts,
// because on Linux the monotonic clock stops while the machine is suspended. A read returns an
// older entry only if the machine was suspended and its wall clock was also set back.
//
// A request that several calls share runs in a goroutine of its own, so a panic of the store's
// driver there ends the program.
//
// If the response to a write is lost, or the service carries out a write late, reads see the
// write at most MaxAge after it is carried out.
package cache
