// Package firestorekv keeps entries as the documents of one root collection in
// Google Cloud Firestore, in Native mode.
//
// [Open] takes a URL and makes a client, [New] takes one. It wants the apiv1
// client, cloud.google.com/go/firestore/apiv1, and not the high-level
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
// The document of an entry has the ID "k" + key. The letter makes every key a
// legal ID, also ".", ".." and "__x__", and keeps the order of the keys. Its
// fields are
//
//	v  bytes      the value
//	x  timestamp  the expiry in whole milliseconds; missing when there is none
//	t  string     the token of the write, by which a retry recognises its own work
//
// The version of an entry is its document's update time. The document
// "skykv-layout" holds the format of all this in its field "format", which is 1.
// Documents with other IDs are not looked at. Sub-collections are of no concern to
// skykv.
//
// A document under "k" + key without these fields was not written by skykv:
// reads, conditional writes and scans report it with an error that matches
// [kv.ErrIncompatible] and names the key, scans go on after it, and DeletePrefix
// leaves it alone. An unconditional Put replaces it and an unconditional Delete
// removes it, as Firestore has no precondition that could prevent that without
// another request.
//
// # Consistency
//
// All reads are strongly consistent, those of scans too. A scan consists of queries
// of up to 1000 documents, each of which sees one moment. A query that breaks off
// is followed by one that starts after the last document received.
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
//	                       limit
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
// [EnsureCollection] sets a TTL policy on x with an expiration offset of one hour,
// and exempts v, x and t from indexes; examples/terraform/firestore does the same
// by Terraform. Entries expire exactly in any case: the policy only removes what
// is left of them, commonly within a day. Without the exemptions every write also
// writes six index entries, and the index of the expiries, which mostly grow with
// time, limits a collection to about 500 writes a second
// (https://cloud.google.com/firestore/native/docs/best-practices).
//
// # Permissions
//
// The role roles/datastore.user has all that a store needs, roles/datastore.indexAdmin
// all that EnsureCollection needs. One by one
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
//	EnsureCollection          datastore.indexes.get, datastore.indexes.update (also named
//	                          datastore.schemas.*), datastore.operations.get
//
// Security rules concern mobile and web clients, not this one; deny them the
// collection.
//
// # Caveats
//
// A document takes about one write a second in the long run; more of them, to
// one hot key, are answered with contention: retried, and in the end
// [kv.ErrThrottled]. Keys that grow with time, such as timestamps, put all writes
// into one place of the database, which then limits their rate: begin keys with
// something that varies.
//
// Databases in Datastore mode are refused. The Enterprise edition, whose indexes
// differ, was not tried.
//
// What was tested is Google's emulator, and servers in the tests that fail in the
// ways in which the service is documented to fail and the emulator does not. The
// emulator takes any project and database for existing ones, and has no TTL
// policies and index settings.
package firestorekv
