// Package firestorekv keeps entries as the documents of one root collection in
// Google Cloud Firestore, in Native mode.
//
// [Open] takes a URL and makes a client. [New] takes a client of the package
// cloud.google.com/go/firestore/apiv1. It does not take the high-level
// *firestore.Client, for three reasons. That client retries commits without saying so,
// so that a put-if-absent which meets its own first attempt looks like one that came
// too late. Its Set takes no precondition, and its Get takes no field mask. It does not
// show the apiv1 client that it uses. An apiv1 client takes the same options, such as
// credentials, interceptors and connections:
//
//	client, err := apiv1.NewClient(ctx, option.WithCredentials(creds), option.WithGRPCConnectionPool(4),
//		option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second})))
//
// Open makes its client like this. Without the pings, a call on a connection that the
// network has dropped hangs until its deadline, and nothing makes a new connection.
//
// # Layout of the stored data
//
// The ID of an entry's document is two lowercase hexadecimal digits and the key, such
// as "00user:42". The digits are the shard of the key's [kv.Group]. They make every key
// a legal ID, also ".", ".." and "__x__". The documents of a shard are in the order of
// their keys. The fields are
//
//	v  bytes      the value
//	x  timestamp  the expiry in whole milliseconds; absent without an expiry
//	t  string     the token of the write, by which a retry recognises its own write
//	p  string     the writes that this write replaced; absent when empty
//
// The version of an entry is its document's update time. The document "skykv-layout"
// has the fields
//
//	format  integer  2
//	shards  integer  the number of shards
//
// [Ensure] writes it, or the store when it is first opened. skykv ignores documents with
// other IDs, and sub-collections.
//
// A document that has the ID of a key but not these fields is not skykv's. Reads,
// conditional writes and scans report it with an error that matches
// [kv.ErrIncompatible] and names the key. Scans go on after it, and DeletePrefix keeps
// it. An unconditional Put replaces it, and an unconditional Delete removes it:
// Firestore has no precondition that prevents this without another request.
//
// # Shards
//
// Firestore keeps documents in the order of their names. It splits a range that is busy,
// and serves the parts by several servers. Keys in random order, such as hashes or
// user IDs, need only one shard, which is the default. Keys that grow with time, such as
// timestamps and counters, put all writes at the end of one range, where a split comes
// too late. Firestore advises against more than about 500 writes a second there
// (https://cloud.google.com/firestore/native/docs/best-practices). With shards=N the writes
// go to N ranges at once. Keys of one [kv.Group] stay in one shard.
//
// A scan makes a query for each shard and merges the results, unless its prefix ends a
// group. With 16 shards a ScanPage of 100 entries makes 16 requests where it made
// one, and reads about 220 documents, since it cannot know which shards have the next
// keys. All else is as with one shard: Get, Put,
// Delete and the batches make the same requests. The number is laid down when
// the collection is first used. A URL or [Options] with another one is refused; to
// change it, copy the entries to another collection.
//
// # Consistency
//
// All reads are strongly consistent, also in scans. A scan makes queries of up to 1000
// documents or about 4 MiB. Each query reads one snapshot, and is read to its end before
// its entries are yielded. After a query that breaks off, the next query starts after
// the last document received.
//
// skykv switches off the client's own retries for each call, whatever the client's
// CallOptions are. It makes up to 8 attempts within the deadline of the context or
// [Options].Timeout, with random pauses that grow to seconds. It notes whether a failed
// attempt may have been applied. An interceptor or a gRPC retry policy that repeats
// writes hides attempts from skykv. Conditional puts stay exact even then, thanks to
// the token. A conditional delete may then return ErrConditionFailed although it
// deleted the entry.
//
// # Costs
//
// Firestore bills documents read, written and deleted
// (https://cloud.google.com/firestore/pricing).
//
//	Get, Exists            one request, one document read, also when there is none
//	Put, Delete            one request, one document written or deleted
//	  ... condition fails  one more request, and one document read
//	  ... expired entry    IfNotExists takes it over with one more request again
//	Scan, ScanPage         one read per document met, expired ones included, and
//	                       at least one per query; ScanPage reads one more than its
//	                       limit, and with several shards some more of each shard
//	GetMany                a request per 100 keys, a read per key
//	PutMany, DeleteMany    a request per 200 keys or 4 MiB, a write or delete per key
//	DeletePrefix           a scan of the keys, and a delete per entry
//	New, Open              one read, and one write in a new collection
//
// Exists, KeysOnly scans and the read after a failed condition do not transfer values.
// They cost the same. Firestore bills deletions by the TTL policy as deletes.
//
// # Settings
//
// [Ensure] and [EnsureWith] write the layout document, set a TTL policy on x with an
// expiration offset of one hour ([kv.ExpiryGrace]), and exempt all fields from indexes;
// examples/terraform/firestore makes the same settings by Terraform, as does the
// configuration that [Terraform] returns. Entries expire exactly in any case. The policy
// only removes expired documents, commonly within a day. Without the exemptions,
// every write also writes two index entries for each field. Expiries mostly grow with
// time, so that their index limits a collection to about 500 writes a second, whatever
// its number of shards (https://cloud.google.com/firestore/native/docs/best-practices).
// [Inspect] lists the missing settings.
//
// # Permissions
//
// The role roles/datastore.user has all permissions that a store needs. Ensure also needs
// roles/datastore.indexAdmin. One by one
// (https://cloud.google.com/firestore/docs/security/iam):
//
//	Get, Exists, GetMany      datastore.entities.get
//	Scan, ScanPage            datastore.entities.get, datastore.entities.list
//	Put, PutMany              datastore.entities.create, datastore.entities.update
//	  ... IfNotExists         datastore.entities.create, .get, and .update to take over expired entries
//	  ... IfVersion           datastore.entities.update, .get
//	Delete, DeleteMany        datastore.entities.delete
//	  ... IfVersion           datastore.entities.delete, .get
//	DeletePrefix              datastore.entities.get, .list, .delete
//	New, Open                 datastore.entities.get, and .create in a new collection
//	Ensure, EnsureWith        the same, and datastore.indexes.get, datastore.indexes.update (also
//	                          named datastore.schemas.*), datastore.operations.get
//	Inspect                   datastore.entities.get, datastore.indexes.get
//
// Security rules concern mobile and web clients, not this one; deny them the
// collection.
//
// # Caveats
//
// A document takes about one write a second in the long run. Firestore refuses more
// writes to one key as contention. skykv retries them, and at last returns
// [kv.ErrThrottled].
//
// Databases in Datastore mode are refused. The Enterprise edition, whose indexes
// differ, was not tried.
//
// The tests run against Google's emulator, and against test servers that fail as the
// service's documentation says and as the emulator does not. The emulator accepts
// any project and database, and has no TTL policies and index settings.
package firestorekv
