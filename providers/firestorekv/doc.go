// Package firestorekv keeps entries as the documents of one root collection in
// Google Cloud Firestore, in Native mode.
//
// [Open] takes a URL and makes a client. [New] takes a client of the package
// cloud.google.com/go/firestore/apiv1. It does not take the high-level *firestore.Client,
// for three reasons. The high-level client retries commits without reporting it, so a
// put-if-absent may fail because of its own first attempt. Its Set takes no precondition,
// and its Get takes no field mask. It does not expose the apiv1 client that it uses. An apiv1
// client takes the same options, such as credentials, interceptors and connections:
//
//	client, err := apiv1.NewClient(ctx, option.WithCredentials(creds), option.WithGRPCConnectionPool(4),
//		option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second})))
//
// Open makes its client like this. Without the keepalive pings, calls hang on a connection
// that the network has dropped, and the client makes no new connection.
//
// # Layout of the stored data
//
// The ID of an entry's document is two lowercase hexadecimal digits and the key, such as
// "00user:42". The digits are the shard of the key's [kv.Group]. They make every key a
// valid ID, even ".", ".." and "__x__". The documents of a shard are in the order of their
// keys. The fields are
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
// [Ensure] writes this layout document. Without Ensure, the first store that is opened with
// layout=skykv writes it. skykv ignores documents with other IDs, and sub-collections. A
// collection that has documents but no layout document belongs to another program, and
// skykv refuses it.
//
// A document that has the ID of a key but not these fields is not skykv's. Reads,
// conditional writes and scans return [kv.ErrIncompatible] for its key. Scans also return
// kv.ErrIncompatible for a document in the wrong shard. A scan goes on after this error.
// DeletePrefix keeps the document. An unconditional Put replaces it, and an unconditional
// Delete removes it: Firestore has no precondition that prevents this without another
// request.
//
// With layout=alien, or [provider.LayoutAlien] in [Options], the collection is shared with
// the programs that the Alien platform deploys. The ID of a document is then
// the key, and there is one shard. The fields are
//
//	value       string     the value, in base64 with padding
//	expires_at  timestamp  the expiry; absent without an expiry
//	created_at  timestamp  when the entry was put
//	skykv_t     string     the token of skykv's write
//	skykv_p     string     the writes that this write replaced; absent when empty
//
// The last two fields are skykv's own. The other programs ignore these fields, and their
// writes remove them. If the response to a write of skykv is lost, and another program
// writes next, skykv's write is [kv.ErrIndeterminate]. The other programs store expiries in
// microseconds, and skykv rounds them up to the millisecond. Firestore refuses some IDs, so
// some keys are reserved: ".", "..", and all of at least four bytes that begin and end with
// "__". Operations on these keys return [kv.ErrInvalidKey], as [kv.Info].ReservedKey says.
//
// This layout has no layout document, because the ID of such a document would be a key of
// the other programs. New looks at the first document of the collection, and writes
// nothing. If two programs open an empty collection at the same time with different
// layouts, both succeed. Expired documents remain for at least the hour of
// [kv.ExpiryGrace]: the platform's provisioning sets no TTL policy. Ensure sets a policy
// with an offset of an hour, and refuses one with a different offset. docs/alien.md says
// what is guaranteed between skykv and the other programs.
//
// # Shards
//
// Firestore keeps documents in the order of their names. It splits a busy range, and
// several servers serve the parts. Keys in random order, such as hashes or user IDs, need
// only one shard, which is the default. Keys that grow with time, such as timestamps and
// counters, put all writes at the end of one range, where a split does not help. Firestore
// advises against more than about 500 writes a second there
// (https://cloud.google.com/firestore/native/docs/best-practices). With shards=N the writes
// go to N ranges, so about N times 500 a second are within this advice. Keys of one
// [kv.Group] stay in one shard.
//
// A new collection is one range, even if its keys are in random order. Firestore advises at
// most 500 operations a second in it at first, and 50% more every five minutes. Above that,
// Firestore refuses some operations, and splits the range. PutMany, DeleteMany and
// DeletePrefix begin at full speed. When Firestore refuses writes, these calls go on at
// half the speed, which then grows by 10% every second. With several shards, Firestore
// splits a new collection sooner.
//
// A scan makes a query for each shard and merges the results, unless its prefix is within a
// group. With 16 shards a ScanPage of 100 entries makes 16 requests instead of one, and
// reads about 220 documents, because it cannot know which shards have the next keys. Get,
// Put, Delete and the batches make the same requests as with one shard. The number of
// shards is fixed when the collection is first used, and New refuses any other number. To
// change it, copy the entries to another collection.
//
// # Consistency
//
// All reads are strongly consistent, including scans. A scan makes queries of up to 1000
// documents or about 4 MiB. Each query reads one snapshot, and is read to its end before
// its entries are yielded. After an interrupted query, the next query starts after the last
// document received.
//
// skykv switches off the client's own retries in each call, even if the client's
// CallOptions ask for them. It makes up to 8 attempts within the deadline of the context or
// [Options].Timeout, with random pauses that grow to seconds. If Firestore throttles a
// batch, the batch goes on as long as it makes progress. Each attempt has a time limit, which
// [Options].Timeout describes. So a connection that hangs normally leaves time for another
// attempt. skykv notes whether a failed attempt may have been applied. An interceptor or a
// gRPC retry policy that repeats writes hides attempts from skykv. Conditional puts are
// exact even then, because of the token. But a conditional delete may return
// ErrConditionFailed although it deleted the entry.
//
// # Costs
//
// Firestore bills documents read, written and deleted
// (https://cloud.google.com/firestore/pricing).
//
//	Get, Exists            one request, one document read, also if the key is absent
//	Put, Delete            one request, one document written or deleted
//	  ... condition fails  one more request, and one document read
//	  ... expired entry    IfNotExists then replaces it with a third request
//	Scan, ScanPage         one read per document found, expired ones included, and
//	                       at least one per query; a ScanPage of up to 639 entries
//	                       reads one more, and with several shards some more from
//	                       each; if it needs a second query, because it is longer or
//	                       entries have expired, that may read 1000 more
//	GetMany                a request per 100 keys, a read per key
//	PutMany, DeleteMany    a request per 200 keys or 4 MiB, a write or delete per key
//	DeletePrefix           a scan of the keys, and a delete per entry
//	New, Open              one read; without a layout document also a query of one
//	                       document, and one write with layout=skykv
//
// Exists, KeysOnly scans and the read after a failed condition do not transfer values, but
// cost as much as if they did. Firestore bills deletions by the TTL policy as deletes. A
// scan makes a query for each shard, and Firestore bills an empty query as one read, so a
// small store that is scanned often is cheaper with shards=1. A put whose condition fails
// is two requests, so a program that polls should call Get first.
//
// # Settings
//
// [Ensure] and [EnsureWith] write the layout document, set a TTL policy on the field of the
// expiry with an expiration offset of one hour ([kv.ExpiryGrace]), and exempt all fields
// from indexes. The Terraform configuration that [Terraform] returns, as in
// examples/terraform/firestore, makes the same settings. Entries expire exactly even
// without the policy, which only removes expired documents, usually within a day. Without
// the exemptions, every write also writes two index entries for each field. Expiries
// usually grow with time, so their index limits a collection to about 500 writes a second
// with any number of shards
// (https://cloud.google.com/firestore/native/docs/best-practices). [Inspect] lists the
// missing settings.
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
//	                          also .list and .create; without .list, New treats it as empty
//	Ensure, EnsureWith        the same, and datastore.indexes.get, datastore.indexes.update (also
//	                          named datastore.schemas.*), datastore.operations.get
//	Inspect                   datastore.entities.get, datastore.indexes.get, datastore.entities.list
//
// With datastore.databases.get, Ensure and Inspect can also read the edition of the
// database.
//
// Requests with user credentials, such as those of gcloud auth application-default login,
// are billed to a quota project. Without a quota project, Firestore may refuse the requests
// with an error about a project of Google. Set the quota project with gcloud auth
// application-default set-quota-project or with the environment variable
// GOOGLE_CLOUD_QUOTA_PROJECT. The user needs the permission serviceusage.services.use in
// that project. Service accounts need none of this.
//
// Security rules apply to mobile and web clients, not to skykv. They should deny access to
// the collection.
//
// # Caveats
//
// Firestore accepts about one write a second to a document in the long run. It refuses more
// writes to one key as contention. skykv retries the refused writes, and finally returns
// [kv.ErrThrottled].
//
// skykv refuses databases in Datastore mode. A database of the Enterprise edition has no
// automatic indexes, so Ensure makes no exemptions in it. skykv was not tested with that
// edition. Without an index, the queries of a scan may read more documents than its range
// has.
//
// The project must be a project's ID, as in Firestore's responses. New refuses a project's
// number.
//
// Network address translation, such as Cloud NAT, drops connections that are idle for some
// minutes. During calls, the client of Open sends a ping when it has received nothing for 30
// seconds, and makes a new connection after a lost ping. A client for New needs the keepalive
// parameters above.
//
// The tests run against Google's emulator, and against test servers. These fail in ways
// that the service's documentation describes and the emulator cannot reproduce. The
// emulator accepts any project and database, and has neither TTL policies nor index
// settings.
package firestorekv
