// Package kv is a key-value store with one contract over DynamoDB, Firestore,
// Azure Tables, SQLite and memory.
//
// A [Store] comes from a provider. providers.Open(ctx, url) opens any of them. The New
// and Open of one provider's package link that provider's SDK alone.
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
// Keys are 1 to 512 bytes of a-z A-Z 0-9 - _ : . and sort by their bytes. Every such
// string is legal, even "." and ".." and "__x__", except [Info].ReservedKey in a
// collection that the programs of the reference platform share. Values are 0 to 24,576
// bytes. A nil value is stored as the empty value, and a read never returns nil. With
// [MaxValue] a store writes values of up to 393,216 bytes. Every store reads them. A Put
// replaces value and expiry together: without an expiry option the new entry does not
// expire. What a store returns belongs to the caller. A store keeps no slice that it
// receives.
//
// The part of a key before its first "::" is its [Group]. Keys of one group are in one
// partition of the service. A scan of the prefix "user42::" reads that partition alone,
// and [Store.AtomicWrite] writes several keys of a group together. A group can have as
// many requests a second as one partition of the service. [EscapeKey] turns any text
// into a part of a key.
//
// Expiry is exact and logical. A TTL is added to the current time, and the sum is
// rounded up to the millisecond. An entry is expired when now >= ExpiresAt. From then on
// it is absent to every operation, whether or not the service has deleted it yet. "Now"
// is the store's clock ([Clock] replaces it). The store reads it once at the start of
// each call, and once for each entry that a scan yields. Services and drivers delete an
// expired entry only after [ExpiryGrace], so that clocks that differ lose no live entry.
// A DynamoDB table that the programs of the reference platform share has no such grace:
// see [Info].NoGrace.
//
// # Consistency
//
// Within the store's region, every read sees all writes that ended before it began. This
// includes gets, batches and scans. Conditional writes are atomic. A scan is no
// snapshot, but yields every entry that lives throughout it exactly once, in order. A
// cursor is a position that never expires. Batches are not atomic. An AtomicWrite is,
// but a reader that overlaps with it may see one of its keys before and another after
// it.
//
// # Errors
//
// Every error is an *[Error] or a *[BatchError]. It matches, for errors.Is, one of the
// sentinels of this package or a context error, and wraps the SDK's own error. No
// message holds a value or a secret.
//
// If the error of a write does not match [ErrIndeterminate], nothing was written. If it
// does, the write was sent, and it is unknown whether it was or will be applied. Such an
// error matches its cause as well.
//
// The services' SDKs retry requests that fail, and a retry can find what an earlier
// attempt wrote. Conditional puts are still exact: every write carries a random token,
// by which the store recognises its own writes. Where it can recognise nothing, it
// returns ErrIndeterminate and never a wrong result. [Store.Update] and
// [Store.Increment] also recognise their writes when others have updated the entry
// since. So they count exactly, also between processes.
//
// # Caveats
//
// Unconditional writes may be applied more than once. After a lost response, the retry
// of a Put may overwrite a later Put of somebody else, and the retry of a Delete may
// delete a re-created entry. A delayed request may do so even after the call returned.
// The same holds for a put-if-absent whose key was removed meanwhile. A write with
// [IfVersion] is applied at most once, because versions never repeat. Use it where this
// matters.
//
// A host judges expiry by its own clock. Hosts whose clocks differ by a second disagree
// for a second about whether an entry has expired.
//
// There are no transactions over several groups, no secondary indexes, no reverse scans
// and no values of more than 393,216 bytes. Watches poll.
//
// # Packages built on kv
//
// Package lease has leases with fencing tokens, and leader election. Package watch
// reports what changes under a prefix. Package hedge sends a second request for reads
// that take unusually long. Packages cache (reads from memory), seal (encrypted values)
// and kvotel (OpenTelemetry) need a library, and so are modules of their own.
//
// # Coming from the reference API
//
// The operations of Alien's KV bindings, and what replaces them here:
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
// Implement [Driver]. Its methods move records and report facts. The store owns
// validation, expiry, cursors, versions and the meaning of outcomes. Return New(driver)
// from your constructor. Read providers/memkv, the reference driver, and run the suite
// of package conformance against yours: a case that fails quotes the rule. Package
// provider makes a URL open your store.
//
// Cross-cutting work (metrics, encryption, caches) is middleware: a func(Driver) Driver
// that [Store.With] and [Wrap] put over a store's driver.
package kv
