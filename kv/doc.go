// Package kv is a key-value store with one contract over DynamoDB, Firestore,
// Azure Tables, SQLite and memory.
//
// A [Store] comes from a provider: providers.Open(ctx, url) for any of them, or
// the New and Open of one provider's package, which links that provider's SDK
// alone.
//
//	store, err := providers.Open(ctx, os.Getenv("KV_URL"))
//	version, err := store.Put(ctx, "lock:job-7", value, kv.TTL(30*time.Second), kv.IfNotExists())
//	entry, err := store.Get(ctx, "user:42") // errors.Is(err, kv.ErrNotFound)
//	_, err = store.Put(ctx, entry.Key, next, kv.IfVersion(entry.Version), kv.ExpiresAt(entry.ExpiresAt))
//	for entry, err := range store.Scan(ctx, "user:", kv.Limit(100)) { … }
//	users := kv.JSON[User](store) // the same verbs over values of one type
//	_, err = store.Touch(ctx, "session:7", kv.TTL(30*time.Minute)) // the value stays as it is
//	n, err := store.Increment(ctx, "views:home", 1)
//	entry, err = store.Update(ctx, "cart:7", func(old kv.Entry, exists bool) (kv.Change, error) { … })
//	_, err = store.AtomicWrite(ctx, // all or nothing
//		kv.PutOp("user42::profile", value, kv.IfVersion(version)), kv.DeleteOp("user42::invite"))
//
// # Model
//
// Keys are 1 to 512 bytes of a-z A-Z 0-9 - _ : . and sort by their bytes. Every
// such string is legal, "." and ".." and "__x__" too, but for [Info].ReservedKey in a
// collection that the reference platform's programs share. Values are 0 to 24,576 bytes;
// nil is the empty value, and no read returns nil for it. With [MaxValue] a store
// writes values of up to 393,216 bytes, which stores without it read as well. A Put replaces
// value and expiry together: without an expiry option the entry loses the one it
// had. What a store returns belongs to the caller, and a store keeps nothing that it
// is handed.
//
// The part of a key before its first "::" is its [Group]. Keys of one group are in
// one partition of the service: a scan of the prefix "user42::" asks that one alone, and
// [Store.AtomicWrite] writes several of them together. A group carries what one partition
// of the service does. [EscapeKey] makes parts of keys of any text.
//
// Expiry is exact and logical: the instant is now plus TTL rounded up to the
// millisecond, an entry is expired when now >= ExpiresAt, and from then on it is
// absent to every operation, whether or not the service has deleted it yet. "Now"
// is the store's clock ([Clock] replaces it), read once at the start of each call
// and once for each entry that a scan yields. Services and drivers delete expired
// entries after [ExpiryGrace], so that no live entry is lost to clocks that differ. In a
// DynamoDB table that the reference platform's programs share there is no such grace:
// [Info].NoGrace.
//
// # Consistency
//
// Reads see every write that ended before they began, within the region of the
// store; gets, batches and scans alike. Conditional writes are atomic. A scan is
// no snapshot, but yields every entry that lives throughout it exactly once, in
// order. A cursor is a position that never expires. Batches are not atomic. An
// AtomicWrite is, though a reader may see one of its keys before and another after it
// while it is under way.
//
// # Errors
//
// Every error is an *[Error] or *[BatchError] that matches, for errors.Is, one of
// the sentinels of this package or a context error, and wraps the SDK's own. No
// message holds a value or a secret.
//
// An error from a write that does not match [ErrIndeterminate] means that nothing
// was written. One that does means that the write was sent, and that whether it
// was or will be applied is unknown; it matches its cause as well.
//
// The services' SDKs retry what fails on the way, and a retry can meet the work
// of the attempt before it. Conditional puts are exact all the same: every write
// carries a random token, by which the store recognises its own. Where nothing
// can be recognised, the answer is ErrIndeterminate and never a wrong one.
// [Store.Update] and [Store.Increment] also recognise their work when others have
// updated the entry since, and so count exactly, between processes too.
//
// # Caveats
//
// Unconditional writes may be applied more than once: when a response is lost,
// the retry of a Put may overwrite a later Put of somebody else, and the retry of
// a Delete may erase what was re-created; a delayed request may do so even after
// the call returned. So may a put-if-absent whose key was removed meanwhile. A
// write with [IfVersion] is applied at most once, since no repeat brings a version
// back: use it where this matters.
//
// Expiry is judged by the clock of the host that asks. Hosts whose clocks differ
// by a second disagree for a second about whether an entry has expired.
//
// There are no transactions over several groups, secondary indexes, reverse scans or
// values of more than 393,216 bytes. Watches poll.
//
// # Built on it
//
// Package lease below kv has leases with fencing tokens and leader election, package watch
// what changes under a prefix. Package hedge sends a second request for reads that take
// unusually long. Packages cache (reads from memory), seal (encrypted values) and kvotel
// (OpenTelemetry) are modules of their own, for they need a library.
//
// # Coming from the reference API
//
// Of Alien's KV bindings:
//
//	get                          Get; null is ErrNotFound
//	getText                      string(entry.Value)
//	getJson, setJson             kv.JSON[T](store)
//	set, put                     Put
//	  ttlMs: n                   TTL(n * time.Millisecond)
//	  ifNotExists: true → false  IfNotExists → ErrConditionFailed
//	delete                       Delete
//	exists                       Exists
//	scan                         Scan
//	scanPage                     ScanPage, ordered and without repeats
//
// # Writing a provider
//
// Implement [Driver], whose methods move records and report facts; validation,
// expiry, cursors, versions and the meaning of outcomes are the store's. Return
// New(driver) from your constructor, read providers/memkv, the reference driver,
// and run the suite of package conformance against it: a case that fails quotes the
// rule. Package provider below has what makes a URL open it.
//
// Cross-cutting work (metrics, encryption, caches) is middleware over drivers, a
// func(Driver) Driver, put in place by [Store.With] and [Wrap].
package kv
