// Package firestorekv keeps entries as the documents of one root collection in
// Google Cloud Firestore, in Native mode.
//
// [Open] takes a URL and makes a client. [New] takes a client of the package
// cloud.google.com/go/firestore/apiv1. It does not take the high-level
// *firestore.Client, for three reasons. That client retries commits and does not report
// it, so a put-if-absent may fail because of its own first attempt. Its Set takes no
// precondition, and its Get takes no field mask. It does not show the apiv1 client that
// it uses. An apiv1 client takes the same options, such as credentials, interceptors and
// connections:
//
//	client, err := apiv1.NewClient(ctx, option.WithCredentials(creds), option.WithGRPCConnectionPool(4),
//		option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second})))
//
// Open makes its client like this. Without the pings, calls hang on a connection that the
// network has dropped, and nothing makes a new connection.
//
// # Layout of the stored data
//
// The ID of an entry's document is two lowercase hexadecimal digits and the key, such
// as "00user:42". The digits are the shard of the key's [kv.Group]. They make every key
// a valid ID, also ".", ".." and "__x__". The documents of a shard are in the order of
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
// [Ensure] writes it, or the store when it is first opened with layout=skykv. skykv ignores
// documents with other IDs, and sub-collections. A collection with documents and without a
// layout document belongs to another program, and is refused.
//
// A document that has the ID of a key but not these fields is not skykv's. For reads,
// conditional writes and scans it is [kv.ErrIncompatible], with the key. Scans also return
// kv.ErrIncompatible for a document in the wrong shard. Scans go on after it, and
// DeletePrefix keeps it. An unconditional Put replaces it, and an unconditional Delete
// removes it: Firestore has no precondition that prevents this without another request.
//
// With layout=alien, or [Options].Layout, the programs of the reference platform, Alien,
// use the collection too. The ID of a document is then the key, and there is one shard. The
// fields are
//
//	value       string     the value, in base64 with padding
//	expires_at  timestamp  the expiry; absent without an expiry
//	created_at  timestamp  when the entry was put
//	skykv_t     string     the token of skykv's write
//	skykv_p     string     the writes that this write replaced; absent when empty
//
// The last two are skykv's own. The programs in other languages ignore them, and their
// writes remove them. If the response to a write of skykv is lost, and another program
// writes next, skykv's write is [kv.ErrIndeterminate]. The others' expiries have
// microseconds; skykv rounds up to the millisecond. Firestore refuses some IDs, so
// [kv.Info].ReservedKey is set: the keys ".", ".." and all that begin and end with "__" are
// [kv.ErrInvalidKey].
//
// This layout has no layout document, because its ID would be a key of the other programs.
// New reads the first document of the collection, and writes nothing. Two programs that
// open an empty collection at the same time with two layouts both succeed. The hour of
// grace is kept: the platform's provisioning sets no TTL policy, and Ensure sets one with
// the offset, and refuses another one. docs/alien.md says what is guaranteed between skykv
// and the other programs.
//
// # Shards
//
// Firestore keeps documents in the order of their names. It splits a busy range, and
// several servers serve the parts. Keys in random order, such as hashes or user IDs, need
// only one shard, which is the default. Keys that grow with time, such as timestamps and
// counters, put all writes at the end of one range, and a split does not help. Firestore
// advises against more than about 500 writes a second there
// (https://cloud.google.com/firestore/native/docs/best-practices). With shards=N the writes
// go to N ranges, so about N times 500 a second are within this advice.
// Keys of one [kv.Group] stay in one shard.
//
// A new collection is one range, also if its keys are in random order. Firestore wants at
// most 500 operations a second there at first, and 50% more every five minutes. Above that
// it refuses some, and splits the range. PutMany, DeleteMany and DeletePrefix begin at full
// speed. When Firestore refuses writes, they go on at half the speed, and get 10% faster
// every second. With several shards, Firestore splits a new collection sooner.
//
// A scan makes a query for each shard and merges the results, unless its prefix ends a
// group. With 16 shards a ScanPage of 100 entries makes 16 requests instead of one, and
// reads about 220 documents, because it cannot know which shards have the next keys. Get,
// Put, Delete and the batches make the same requests as with one shard. The number is fixed
// when the collection is first used. New refuses another number. To change it, copy the
// entries to another collection.
//
// # Consistency
//
// All reads are strongly consistent, also in scans. A scan makes queries of up to 1000
// documents or about 4 MiB. Each query reads one snapshot, and is read to its end before
// its entries are yielded. After an interrupted query, the next query starts after the
// last document received.
//
// skykv switches off the client's own retries for each call, whatever the client's
// CallOptions are. It makes up to 8 attempts within the deadline of the context or
// [Options].Timeout, with random pauses that grow to seconds. If Firestore throttles a
// batch, the batch goes on as long as it makes progress. An attempt without a response ends
// after a third of the remaining time, so that a connection that hangs does not use up the
// deadline. skykv notes whether a failed attempt may have been applied. An interceptor or a
// gRPC retry policy that repeats writes hides attempts from skykv. Conditional puts stay
// exact even then, because of the token. A conditional delete may then return
// ErrConditionFailed although it deleted the entry.
//
// # Costs
//
// Firestore bills documents read, written and deleted
// (https://cloud.google.com/firestore/pricing).
//
//	Get, Exists            one request, one document read, also if there is none
//	Put, Delete            one request, one document written or deleted
//	  ... condition fails  one more request, and one document read
//	  ... expired entry    IfNotExists replaces it with one more request
//	Scan, ScanPage         one read per document found, expired ones included, and
//	                       at least one per query; ScanPage reads one more than its
//	                       limit, and with several shards some more of each shard
//	GetMany                a request per 100 keys, a read per key
//	PutMany, DeleteMany    a request per 200 keys or 4 MiB, a write or delete per key
//	DeletePrefix           a scan of the keys, and a delete per entry
//	New, Open              one read; without a layout document also a query of one
//	                       document, and one write with layout=skykv
//
// Exists, KeysOnly scans and the read after a failed condition do not transfer values.
// They cost the same. Firestore bills deletions by the TTL policy as deletes. A scan makes
// a query for each shard, and Firestore bills an empty query as one read: a small store
// that is scanned often is cheaper with shards=1. A put with a failed condition costs a
// read: a program that polls should call Get first.
//
// # Settings
//
// [Ensure] and [EnsureWith] write the layout document, set a TTL policy on the field of the
// expiry with an expiration offset of one hour ([kv.ExpiryGrace]), and exempt all fields
// from indexes. The Terraform configuration that [Terraform] returns, as in
// examples/terraform/firestore, makes the same settings. Entries expire exactly in any
// case. The policy only removes expired documents, usually within a day. Without the
// exemptions, every write also writes two index entries for each field. Expiries usually
// grow with time, so their index limits a collection to about 500 writes a second with any
// number of shards (https://cloud.google.com/firestore/native/docs/best-practices).
// [Inspect] lists the missing settings.
//
// # Permissions
//
// The role roles/datastore.user has all permissions that a store needs. Ensure also needs
// roles/datastore.indexAdmin. The single permissions are
// (https://cloud.google.com/firestore/docs/security/iam):
//
//	Get, Exists, GetMany      datastore.entities.get
//	Scan, ScanPage            datastore.entities.get, datastore.entities.list
//	Put, PutMany              datastore.entities.create, datastore.entities.update
//	  ... IfNotExists         datastore.entities.create, .get, and .update to replace expired entries
//	  ... IfVersion           datastore.entities.update, .get
//	Delete, DeleteMany        datastore.entities.delete
//	  ... IfVersion           datastore.entities.delete, .get
//	DeletePrefix              datastore.entities.get, .list, .delete
//	New, Open                 datastore.entities.get; in a collection without a layout document
//	                          also .list, without which New treats it as empty, and .create
//	Ensure, EnsureWith        the same, and datastore.indexes.get, datastore.indexes.update (also
//	                          named datastore.schemas.*), datastore.operations.get
//	Inspect                   datastore.entities.get, datastore.indexes.get, datastore.entities.list
//
// With datastore.databases.get, Ensure and Inspect also know the edition of the database.
//
// User credentials, such as from gcloud auth application-default login, bill their requests
// to a quota project. Without one, Firestore may refuse them with an error about a project
// of Google. Set it with gcloud auth application-default set-quota-project or with the
// environment variable GOOGLE_CLOUD_QUOTA_PROJECT. The user needs
// serviceusage.services.use there. Service accounts need none of this.
//
// Security rules apply to mobile and web clients, not to skykv. They should deny access to
// the collection.
//
// # Caveats
//
// A document takes about one write a second in the long run. Firestore refuses more
// writes to one key as contention. skykv retries them, and in the end returns
// [kv.ErrThrottled].
//
// Databases in Datastore mode are refused. In a database of the Enterprise edition, Ensure
// makes no exemptions, because it has no automatic indexes. skykv was not tested with that
// edition: without an index, its queries may read more than the range of a scan.
//
// The project must be a project's ID, as in Firestore's responses. New refuses a project's
// number.
//
// Network address translation, such as Cloud NAT, drops connections that are idle for some
// minutes. The client of Open sends a ping every 30 seconds during calls, and makes a new
// connection after a lost ping. A client for New needs the keepalive parameters above.
//
// The tests run against Google's emulator, and against test servers that fail as the
// service's documentation says and the emulator cannot. The emulator accepts any project
// and database, and has no TTL policies and index settings.
package firestorekv
