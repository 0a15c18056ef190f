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
// Watch yields the latest state of every key that was put, touched or deleted, or that
// expired. It reports states, not events: of several changes between two polls, it yields the
// last one. It does not yield a new key that is put and deleted between two polls. It loses no
// lasting state: if a change could not be read, a later poll yields it. Without [From], the
// first poll yields all entries.
//
// [Change.Cursor] returns bytes that record the states that were yielded so far. If a later
// process passes these bytes to [From], Watch yields all that has changed since, including
// deletions. If a program ends before it has stored the cursor, it receives the change again.
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
// The keys of a prefix that contains a whole group ("flags::") are in one shard, and a poll
// takes one request for several hundred keys. With any other prefix, a poll takes at least one
// request to each shard, such as 16 instead of 1. See [kv.Group]. With [kv.Stale], a poll costs
// half as much on DynamoDB. Watch may then yield a change a little later. Before that, it may
// yield an earlier state of the key again, such as its absence.
//
// # Caveats
//
// A Watch keeps each key and 16 bytes in memory. A cursor has 8 bytes for each key, two
// lengths, and the part of the key that differs from the key before it. A cursor of 1,000 keys
// such as "flags::00042" has 11 KB. With more than some 2,000 such keys it is longer than a
// value may be: keep it in a file.
//
// The 8 bytes are a hash of the entry's version. Watch misses a change with a probability of 1
// in 2^64.
//
// Watch notices an expiry when a poll finds that the entry has expired by the store's clock.
package watch
