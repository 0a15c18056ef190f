// Package firestorekv keeps entries as the documents of one root collection in
// Google Cloud Firestore, in Native mode.
//
// [Open] takes a URL and makes a client, [New] takes one. It must be one of apiv1,
// cloud.google.com/go/firestore/apiv1, and not the high-level
// *firestore.Client: that one retries commits on its own and tells nobody, so that
// a put-if-absent which met its own first attempt could not be told from one that
// came too late; its Set takes no precondition and its Get no field mask; and it
// does not give away the apiv1 client inside. An apiv1 client is made with the
// same options, such as credentials, interceptors and connections:
//
//	client, err := apiv1.NewClient(ctx, option.WithCredentials(creds), option.WithGRPCConnectionPool(4),
//		option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second})))
//
// This is what Open does. Without the pings, calls hang until their deadlines on a
// connection that the network has forgotten, and nothing makes another one.
//
// # Layout of the stored data
//
// The ID of an entry's document is two lowercase hexadecimal digits, which are the
// shard of the key's [kv.Group], and the key: "00user:42" in a collection of one shard.
// The digits make every key a legal ID, also ".", ".." and "__x__", and the documents
// of a shard are in the order of their keys. The fields are
//
//	v  bytes      the value
//	x  timestamp  the expiry in whole milliseconds; absent when there is none
//	t  string     the token of the write, by which a retry recognises its own work
//	p  string     the writes that this one replaced, for the store; absent when empty
//
// The version of an entry is its document's update time. The document "skykv-layout"
// has the fields
//
//	format  integer  2
//	shards  integer  the number of shards
//
// and is written by [Ensure], or when the store is first opened. Documents with other
// IDs are not looked at. Sub-collections are of no concern to skykv.
//
// A document under the ID of a key without these fields was not written by skykv, nor
// was one in another shard than its key's: reads, conditional writes and scans report
// it with an error that matches [kv.ErrIncompatible] and names the key, scans go on
// after it, and DeletePrefix leaves it alone. An unconditional Put replaces it and an
// unconditional Delete removes it, as Firestore has no precondition that could prevent
// that without another request.
//
// # Shards
//
// Firestore keeps documents in the order of their names, splits a range that is busy,
// and serves its parts by several servers. Keys in a random order, such as those that
// begin with a hash or a user's ID, need no more than the one shard that is the
// default. Keys that grow with time, such as timestamps and counters, put all
// writes at the end of one range, where splits come too late: Firestore advises against
// more than about 500 writes a second there
// (https://cloud.google.com/firestore/native/docs/best-practices). With shards=N they
// go to N ranges at once. Keys of one [kv.Group] stay in one shard.
//
// A scan makes a query for each shard and merges the answers, unless its prefix fixes
// the group: with 16 shards a ScanPage of 100 entries makes 16 requests where it made
// one, and reads about 220 documents, since it cannot know which shards have the next
// keys. All else is as with one shard: Get, Put,
// Delete and the batches make the same requests. The number is laid down when
// the collection is first used. A URL or [Options] with another one is refused; to
// change it, copy the entries to another collection.
//
// # Consistency
//
// All reads are strongly consistent, those of scans too. A scan consists of queries
// of up to 1000 documents or about 4 MiB, each of which sees one moment and is read to
// its end before its entries are yielded. A query that breaks off is followed by one
// that starts after the last document received.
//
// The client's own retries are switched off call by call, whatever its
// CallOptions say of them; skykv makes up to 8 attempts with pauses that are
// random and grow to seconds, within the deadline of the context or
// [Options].Timeout. It notes whether an attempt that failed may have been
// applied. An interceptor or a gRPC retry policy that repeats writes below skykv
// hides attempts from it: conditional puts stay exact, thanks to the token, but a
// conditional delete may then report ErrConditionFailed though it was the one that
// deleted.
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
//	                       limit, and with several shards some more of each
//	GetMany                a request per 100 keys, a read per key
//	PutMany, DeleteMany    a request per 200 keys or 4 MiB, a write or delete per key
//	DeletePrefix           a scan of the keys, and a delete per entry
//	New, Open              one read, and one write in a new collection
//
// Exists, KeysOnly scans and the look at what made a condition fail do not
// transfer values; the reads cost the same. Deletions of expired documents by the
// TTL policy are billed as deletes.
//
// # Settings
//
// [Ensure] and [EnsureWith] write the layout document, set a TTL policy on x with an
// expiration offset of one hour ([kv.ExpiryGrace]), and exempt all fields from indexes;
// examples/terraform/firestore makes the same settings by Terraform, as does the
// configuration that [Terraform] returns. Entries expire exactly in any case: the policy
// only removes what is left of them, commonly within a day. Without the exemptions
// every write also writes two index entries for each field, and the index of the
// expiries, which mostly grow with time, limits a collection to about 500 writes a
// second, whatever its number of shards
// (https://cloud.google.com/firestore/native/docs/best-practices). [Inspect] says what
// is missing.
//
// # Permissions
//
// The role roles/datastore.user has all that a store needs, and with
// roles/datastore.indexAdmin all that Ensure needs. One by one
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
// A document takes about one write a second in the long run; more of them, to
// one hot key, are answered with contention: retried, and in the end
// [kv.ErrThrottled].
//
// Databases in Datastore mode are refused. The Enterprise edition, whose indexes
// differ, was not tried.
//
// What was tested is Google's emulator, and servers in the tests that fail in the
// ways in which the service is documented to fail and the emulator does not. The
// emulator takes any project and database for existing ones, and has no TTL
// policies and index settings.
package firestorekv
