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
// Open makes its client like this. Without the pings, calls on a connection that the
// network has dropped hang until they are cut off, and nothing makes a new connection.
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
// [Ensure] writes it, or the store when it is first opened with layout=skykv. skykv ignores
// documents with other IDs, and sub-collections. A collection that has documents and no
// layout document is another program's: it is not opened.
//
// A document that has the ID of a key but not these fields is not skykv's. Reads,
// conditional writes and scans report it with an error that matches
// [kv.ErrIncompatible] and names the key, as scans do with a document in another shard
// than its key's. Scans go on after it, and DeletePrefix keeps it. An unconditional Put replaces it, and an unconditional Delete removes it:
// Firestore has no precondition that prevents this without another request.
//
// With layout=alien, or [Options].Layout, the collection is one that the programs of the
// reference platform, Alien, use as well. The ID of a document is then the key, and there
// is one shard. The fields are
//
//	value       string     the value, in base64 with padding
//	expires_at  timestamp  the expiry; absent without an expiry
//	created_at  timestamp  when the entry was put
//	skykv_t     string     the token of skykv's write
//	skykv_p     string     the writes that it replaced; absent when empty
//
// The last two are skykv's own. The programs in other languages do not look at them, and
// their writes remove them. A write of skykv whose answer is lost is [kv.ErrIndeterminate]
// if one of theirs came next. Their expiries have microseconds; skykv rounds up to the
// millisecond. Firestore refuses some IDs, so that [kv.Info].ReservedKey is set: the keys
// ".", ".." and all that begin and end with "__" are [kv.ErrInvalidKey].
//
// There is no layout document in this layout, since its ID would be a key of theirs. New
// looks at the first document of the collection, and writes nothing. Two programs that open
// an empty collection at the same time in two layouts both succeed. The hour of grace is
// kept: their provisioning sets no TTL policy, and Ensure sets one with the offset, and
// refuses another one. docs/alien.md says what holds between skykv and the other programs.
//
// # Shards
//
// Firestore keeps documents in the order of their names. It splits a range that is busy,
// and serves the parts by several servers. Keys in random order, such as hashes or
// user IDs, need only one shard, which is the default. Keys that grow with time, such as
// timestamps and counters, put all writes at the end of one range, where a split comes
// too late. Firestore advises against more than about 500 writes a second there
// (https://cloud.google.com/firestore/native/docs/best-practices). With shards=N the writes
// go to N ranges at once, so that about N times 500 a second are within this advice.
// Keys of one [kv.Group] stay in one shard.
//
// A new collection is one range, also when its keys are in random order. Firestore wants
// at most 500 operations a second there at first, and half as many again every five
// minutes. Above that it refuses some, and splits. PutMany, DeleteMany and DeletePrefix
// begin at full speed, go on at half the speed at which Firestore refuses writes, and get
// faster again by a tenth every second. With shards a new collection is split sooner.
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
// [Options].Timeout, with random pauses that grow to seconds. A batch that Firestore
// refuses for its rate goes on for as long as some of it gets through. An attempt without
// an answer is cut off after a third of the time that is left, so that a connection that
// hangs does not use up the deadline. skykv notes whether a failed attempt may have been
// applied. An interceptor or a gRPC retry policy that repeats
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
//	New, Open              one read; without a layout document also a query of one
//	                       document, and one write with layout=skykv
//
// Exists, KeysOnly scans and the read after a failed condition do not transfer values.
// They cost the same. Firestore bills deletions by the TTL policy as deletes. A scan
// makes a query for each shard, and Firestore bills an empty query as one read: keep a
// small store that is scanned often at shards=1. Puts that fail their condition are
// refused requests with a read each: a program that waits for an entry should Get.
//
// # Settings
//
// [Ensure] and [EnsureWith] write the layout document, set a TTL policy on the field of the
// expiry with an expiration offset of one hour ([kv.ExpiryGrace]), and exempt all fields
// from indexes;
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
//	New, Open                 datastore.entities.get; in a collection without a layout document
//	                          .list, without which it is taken for empty, and .create
//	Ensure, EnsureWith        the same, and datastore.indexes.get, datastore.indexes.update (also
//	                          named datastore.schemas.*), datastore.operations.get
//	Inspect                   datastore.entities.get, datastore.indexes.get, datastore.entities.list
//
// With datastore.databases.get, Ensure and Inspect also know the edition of the database.
//
// User credentials, as of gcloud auth application-default login, bill their requests to a
// quota project. Without one, Firestore may refuse them with an error that names a project
// of Google's. Set it by gcloud auth application-default set-quota-project or by the
// environment variable GOOGLE_CLOUD_QUOTA_PROJECT. The user needs
// serviceusage.services.use there. Service accounts need none of this.
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
// Databases in Datastore mode are refused. In a database of the Enterprise edition, Ensure
// makes no exemptions, since there are no indexes to exempt from. That edition was not
// tried otherwise: without an index, its queries may read more than the range of a scan.
//
// Name a project by its ID, as Firestore's answers do. A number is refused when the store
// is opened.
//
// A network address translator, such as Cloud NAT, drops connections that are idle for
// some minutes. The client that Open makes sends a ping every 30 seconds while calls are
// under way, and connects anew after a lost one. A client of your own needs the keepalive
// parameters above.
//
// The tests run against Google's emulator, and against test servers that fail as the
// service's documentation says and as the emulator does not. The emulator accepts
// any project and database, and has no TTL policies and index settings.
package firestorekv
