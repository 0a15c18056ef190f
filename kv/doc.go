// Package kv is a key-value store with one contract over DynamoDB, Firestore,
// Azure Tables, SQLite and memory.
//
// A [Store] comes from a provider. providers.Open(ctx, url) opens a store of any
// provider. A program that calls New or Open of one provider's package instead links only
// that provider's SDK.
//
//	store, err := providers.Open(ctx, os.Getenv("KV_URL"))
//	version, err := store.Put(ctx, "lock:job-7", value, kv.TTL(30*time.Second), kv.IfNotExists())
//	entry, err := store.Get(ctx, "user:42") // errors.Is(err, kv.ErrNotFound)
//	_, err = store.Put(ctx, entry.Key, next, kv.IfVersion(entry.Version), kv.ExpiresAt(entry.ExpiresAt))
//	for entry, err := range store.Scan(ctx, "user:", kv.Limit(100)) { … }
//	users := kv.JSON[User](store) // the same methods, for values of one type
//	_, err = store.Touch(ctx, "session:7", kv.TTL(30*time.Minute)) // the value stays as it is
//	n, err := store.Increment(ctx, "views:home", 1)
//	entry, err = store.Update(ctx, "cart:7", func(old kv.Entry, exists bool) (kv.Change, error) { … })
//	_, err = store.AtomicWrite(ctx, // all or nothing
//		kv.PutOp("user42::profile", value, kv.IfVersion(version)), kv.DeleteOp("user42::invite"))
//
// # Model
//
// Keys are 1 to 512 bytes of a-z A-Z 0-9 - _ : . and sort by their bytes. Every such
// string is legal, even "." and ".." and "__x__". There is one exception: in a collection
// shared with programs of the Alien platform, some keys are reserved (see
// [Info].ReservedKey).
//
// Values are 0 to 24,576 bytes. A nil value is stored as the empty value, and a read
// never returns nil. With [MaxValue] a store writes values of up to 393,216 bytes. Every
// store reads them. A Put replaces value and expiry together: without an expiry option
// the new entry does not expire. The values that a store returns belong to the caller. A
// store keeps no slice that it receives.
//
// The part of a key before its first "::" is its [Group]. Keys of one group are in one
// partition of the service, except in tables that programs of Alien share. A scan of the
// prefix "user42::" reads only that partition, and [Store.AtomicWrite] writes several keys
// of a group together. All keys of a group share the request rate of one partition.
// [EscapeKey] turns any text into a part of a key.
//
// Expiry is exact and logical. A TTL is added to the current time, and the sum is
// rounded up to the millisecond. An entry is expired when now >= ExpiresAt. From then on
// it is absent to every operation, whether or not the service has deleted it yet. "Now"
// is the time of the store's clock, which [Clock] replaces. The store reads the clock at
// the start of each call, once for each entry that a scan reads, and each time before it
// calls the functions of updates. Services and drivers delete an expired entry only after
// [ExpiryGrace], so that no live entry is lost if clocks differ. A DynamoDB table that
// the programs of Alien share has no such grace: see [Info].NoGrace.
//
// # Consistency
//
// Within the store's region, every get, batch and scan sees all writes that ended before it
// began. Only a store with [Stale] may miss some. Conditional writes are atomic. A scan is
// not a snapshot, but yields every entry that lives throughout the scan exactly once, in order.
// A cursor is a position that never expires. Batches are not atomic. An AtomicWrite is
// atomic, but a read that overlaps with it may see one key before the write and another
// key after it.
//
// # Errors
//
// The errors of a store are *[Error] and *[BatchError] values, with two exceptions:
// [Store.Update] also returns the errors of its function, unchanged, and [Store.Close]
// joins its *Error values with errors.Join. With errors.Is, an error matches the sentinel of
// this package that describes it, or the context's error, and the SDK's own error. No
// message holds a value or a secret.
//
// If the error of a write does not match [ErrIndeterminate], nothing was written. If the
// error does match, the write was sent, and it is unknown whether the write was or will be
// applied. Such an error also matches its cause. In a batch, this applies to the error of
// each key. [Store.DeletePrefix] is many writes, and returns the number of removed entries
// with its error.
//
// The services' SDKs retry requests that fail, and a retry can find what an earlier
// attempt wrote. Conditional puts are still exact: every write carries a random token,
// by which the store recognises its own writes. If the store cannot tell whether a write
// was applied, it returns ErrIndeterminate and never a wrong result. [Store.Update] and
// [Store.Increment] recognise their own writes even after others have updated the entry.
// So a counter is exact, even if several processes increment it.
//
// # Caveats
//
// Unconditional writes may be applied more than once. After a lost response, the retry
// of a Put may overwrite a later Put by somebody else, and the retry of a Delete may
// delete a re-created entry. A delayed request may be applied even after the call returned.
// A Put with [IfNotExists] may also be applied twice, if the key is deleted in between. The
// retry of a Touch may touch an entry that somebody else has put since. A write with
// [IfVersion] is applied at most once, because versions never repeat.
//
// Every host uses its own clock to decide whether an entry has expired. Hosts whose
// clocks differ by a second disagree about an entry for a second.
//
// There are no transactions over several groups, no secondary indexes, no reverse scans
// and no values of more than 393,216 bytes. Watches poll.
//
// # Packages built on kv
//
// Package lease has leases with fencing tokens, and leader election. Package watch
// reports what changes under a prefix. Package hedge sends a second request for reads
// that take unusually long. Packages cache (reads from memory), seal (encrypted values)
// and kvotel (OpenTelemetry) depend on other libraries, so each is a module of its own.
//
// # Coming from the reference API
//
// The operations of Alien's KV bindings, and their replacements here:
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
// Implement [Driver]. Its methods move records and report facts. The store is
// responsible for validation, expiry, cursors, versions and the meaning of outcomes.
// Return New(driver) from your constructor. Read providers/memkv, the reference driver,
// and run the suite of package conformance against yours: each failure quotes the rule that
// your driver breaks. With package provider, a URL can open your store.
//
// Cross-cutting work (metrics, encryption, caches) is done by middleware: a
// func(Driver) Driver that [Store.With] and [Wrap] put around a store's driver.
package kv
