// Package watch tells a program what changes in a [kv.Store], by polling.
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
// # What is told
//
// Watch yields the latest state of every key that changed: put, touched, deleted or
// expired. It tells states and not events: of several changes between two polls it yields
// the last. A key that is put and deleted between two polls is not yielded. No state that
// lasts is lost: a change that could not be read is yielded by a later poll. The first poll
// yields all entries there are.
//
// [Change.Cursor] keeps what was yielded, for [From] in a later process. It yields what has
// changed since, deletions included. A change is yielded again when the program ends before
// it has stored the cursor.
//
// # Price
//
// A poll is a [kv.Store.Scan] of the prefix with [kv.KeysOnly], and a [kv.Store.GetMany] of the
// keys that changed. 1,000 entries of at most 1 KiB that do not change, in one shard, cost a
// minute with a poll every ten seconds:
//
//	DynamoDB         1,500 read units
//	Firestore        6,000 document reads
//	Azure Tables     12 requests
//
// A prefix that ends a group ("flags::") is one shard, and takes one request for some hundred
// keys. A prefix that does not takes a request of every shard: 16 instead of 1. See
// [kv.Group]. A [kv.Stale] view is watched at half the price on DynamoDB, and tells a change a
// little later.
//
// # Caveats
//
// A Watch keeps each key and 16 bytes in memory. A cursor has 8 bytes for each
// key, two lengths, and the part of the key that differs from the key before it. One of 1,000
// keys such as "flags::00042" has 11 KB. From some 2,000 such keys on it is longer than a value
// may be: a file is the place for it.
//
// The 8 bytes are a hash of the entry's version. A change is missed with a probability of 1
// to 2^64.
//
// An expiry is noticed by the store's clock at a poll.
package watch
