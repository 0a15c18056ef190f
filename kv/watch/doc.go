// Package watch reports what changes in a [kv.Store], by polling.
//
//	for change, err := range watch.Watch(ctx, store, "flags::", 10*time.Second) {
//		if err != nil {
//			log.Print(err) // the loop may go on: nothing is lost
//			continue
//		}
//		if change.Deleted {
//			delete(flags, change.Key)
//		} else {
//			flags[change.Key] = change.Value
//		}
//	}
//
// # What is reported
//
// Watch yields the latest state of every key that changed: put, touched, deleted or expired.
// It reports states, not events: of several changes between two polls it yields the last. It
// does not yield a key that is put and deleted between two polls. It loses no state that
// lasts: if a change could not be read, a later poll yields it. The first poll yields all
// entries.
//
// [Change.Cursor] returns a record of what was yielded, for [From] in a later process, which
// then yields what has changed since, deletions included. If the program ends before it has
// stored the cursor, it receives the change again.
//
// # Price
//
// A poll is a [kv.Store.Scan] of the prefix with [kv.KeysOnly], and a [kv.Store.GetMany] of
// the keys that changed. With a poll every ten seconds, 1,000 entries of at most 1 KiB that do
// not change, in one shard, cost each minute:
//
//	DynamoDB         1,500 read units
//	Firestore        6,000 document reads
//	Azure Tables     12 requests
//
// A prefix that ends a group ("flags::") is in one shard, and takes one request for some
// hundred keys. Any other prefix takes a request to every shard: 16 instead of 1. See
// [kv.Group]. A [kv.Stale] view costs half as much on DynamoDB, and reports a change a little
// later.
//
// # Caveats
//
// A Watch keeps each key and 16 bytes in memory. A cursor has 8 bytes for each key, two
// lengths, and the part of the key that differs from the key before it. A cursor of 1,000 keys
// such as "flags::00042" has 11 KB. With more than some 2,000 such keys it is longer than a
// value may be: keep it in a file.
//
// The 8 bytes are a hash of the entry's version. Watch misses a change with a probability of 1
// to 2^64.
//
// A poll notices an expiry by the store's clock.
package watch
