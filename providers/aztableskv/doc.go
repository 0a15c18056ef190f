// Package aztableskv keeps entries in a table of Azure Table storage.
//
//	err := aztableskv.Ensure(ctx, "aztables://myaccount/kv1") // once, or by another tool
//	store, err := aztableskv.Open(ctx, "aztables://myaccount/kv1")
//
// [EnsureWith] and [New] do the same with the program's own client.
//
// # Layout of the table
//
// An entry is one entity:
//
//	PartitionKey  String  the shard in two hexadecimal digits, "00" to "0f" with 16 shards
//	RowKey        String  the key
//	v             Binary  the value, or its first 64 KiB
//	v1 to v5      Binary  the following parts of the value, up to 64 KiB each
//	x             Int64   the expiry in milliseconds since 1970, 0 if there is none
//	t             String  the token of the last write: 22 random characters
//	p             String  names of earlier states that updates replaced; empty for most entries
//	c             String  the token of the last CheckOp by version since the last put, if any
//
// The shard of a key is kv.Shard(key, shards), so keys of one group are in one partition.
// One more entity, with PartitionKey "skykv" and RowKey "layout", is the layout record. It
// has the version of this layout in "format", which is 2, and the number of shards in
// "shards", both Int32. The version of an entry is the entity's ETag.
//
// Table storage does not delete expired entities. The store itself makes expiry exact:
// reads, conditions and scans compare x with the clock. An expired entity is kept until a
// write replaces or deletes it, or until [Sweep] deletes it, at least an hour after its expiry.
//
// A tombstone is an entity with an empty v and the expiry 1, which is an instant in 1970. An
// AtomicWrite stores a tombstone for each key that it deletes without a condition or checks
// to be absent, and removes it afterwards: see below.
//
// # Layout of the Alien platform
//
// With the parameter layout=alien, or [provider.LayoutAlien] in [Options], the table belongs
// to programs that the platform Alien deploys. An entry is one entity, whose properties are
// all strings:
//
//	PartitionKey  "p0" to "p15", by the SipHash-1-3 of the key
//	RowKey        the key
//	Value         the value in base64
//	ExpiresAt     the expiry, as 2026-01-31T12:00:00.123+00:00; absent if there is none
//	CreatedAt     the time of the write, by the writer's clock
//	skykv_t       the token of the write (22 random characters), a space, a copy of
//	              CreatedAt, a space, and a copy of ExpiresAt; valid while both copies
//	              match the entity
//	skykv_p       like p in skykv's own layout; valid while skykv_t is valid
//
// Only skykv uses the last two properties. The platform's other programs ignore them, and
// their writes remove them. The layout record is the same entity as in skykv's own
// layout, plus the property "layout", which is "alien". The version of an entry is the
// entity's ETag here too.
//
// Keys of one group are in several partitions. Every scan therefore reads all partitions,
// and there is no AtomicWrite: Info().MaxAtomicWrites is 0. Values have at most 24,576
// bytes, because a string property holds no more in base64. A touch is a merge, which cannot
// remove ExpiresAt. So a touch that removes the expiry stores the last instant of the year
// 9999, which is read as no expiry. [Sweep] deletes the expired entities of all programs, at
// least an hour after their expiry.
// docs/alien.md says what is guaranteed between skykv and the other programs.
//
// # Consistency
//
// All reads are strongly consistent, including scans and batches, because they go to the
// primary region of the account. A put-if-absent is an insertion. If there already is an
// entity, the store reads it. If the entity has expired, the store replaces it on
// condition that its ETag has not changed. The other conditional writes use the ETag of
// the caller's version. If a request was repeated, an earlier attempt may have been
// applied, and may have made the condition of a later attempt fail. The token of the
// entity then shows whether the entity is from this call.
//
// A touch merges x, t and p into the entity, on condition of its ETag. So the value is kept.
//
// # Atomic writes
//
// An AtomicWrite is one entity group transaction in one partition
// (https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions).
// The service takes 100 operations in at most 4 MiB. An AtomicWrite with 100 operations and
// kv.MaxAtomicBytes is below this limit. The response has the ETags of the entities that were
// put and touched.
//
// The service fails a transaction that deletes an absent key, and has no operation that only
// checks. So a deletion without a condition replaces the entity by a tombstone, and a check
// for absence inserts a tombstone. A check by version merges c into the entity. That changes
// the entity's ETag, but no property that a store reads. If a response is lost, the values of
// t in the entities and tombstones show that the transaction was applied. A deletion by
// version leaves no entity, and a check by version does not change t. So an AtomicWrite that
// has only such deletions and checks returns kv.ErrIndeterminate if its response was lost.
//
// AtomicWrite removes its tombstones in a second transaction before it returns. A tombstone
// remains if the removal fails, or if the response to the first transaction was lost. Every
// operation treats a tombstone as absent, like an expired entry. Sweep keeps a tombstone
// until the service's Timestamp shows that it is an hour old, because the AtomicWrite that
// stored it may still look for its token.
//
// # Requests and costs
//
// Get, Exists, Put and Delete are one request each, even with a condition. A condition
// that fails costs one more read, unless there is no entity. A put-if-absent that replaces
// an expired entry costs that read and a replacement. A touch by version is one request. A
// touch without a version is two requests, because the service cannot decide whether the
// entry has expired. Exists is a query for PartitionKey and RowKey, because the SDK's
// GetEntity always transfers the value. Opening a store is a query. In a new table, it is
// two queries. If the caller names a layout, an insertion follows. Otherwise opening returns
// kv.ErrNotProvisioned.
//
// A put-if-absent that finds an entry is two requests. So a program that repeats it until
// the key is free should call Get first.
//
// An AtomicWrite is one request if all conditions hold. Each touch without a version costs
// one read before this request. If the AtomicWrite stores tombstones, one more request
// removes all of them. If a condition fails, each key that has a condition is read with a
// request of its own. The same happens if a key that must be absent has an expired entry or
// a tombstone. Then the AtomicWrite is sent once more.
//
// GetMany makes one request per key, 32 at a time. PutMany and DeleteMany make transactions
// of up to 100 keys of a shard and 4 MiB, 16 at a time: 1,000 keys in 16 shards are 16
// transactions. A deletion of an absent key makes its transaction fail. The transaction is
// then split at that key, which takes two more requests, or replaced by single requests if
// many keys are absent.
//
// A scan begins with one request per shard, all at once, and makes one request for each
// further page of a shard. A page has up to 640 entities. With values, the first page has
// up to 100 entities, and each later page has about 1 MiB in base64 and with metadata, such
// as 500 values of 1 KiB. A scan within a group makes its requests to one shard. With
// shards=1 every scan begins with one request, which suits small stores.
//
// Azure charges for storage and for each request. A transaction or a page counts as one
// request. Binary properties are stored as they are, not in base64. An entity takes about
// 150 bytes in addition to key and value. In the layout of the Alien platform it takes
// about 400 bytes in addition to the key, and 8 bytes for every 3 of the value. A partition,
// which is a shard, takes up to 2,000 entities of 1 KiB a second, and an account 20,000
// requests a second for all its tables together
// (https://learn.microsoft.com/azure/storage/tables/scalability-targets). With ten equally
// busy shards the account is the limit, and more shards add nothing. Keys of one group are
// in one shard, and share its 2,000 entities a second.
//
// # Permissions
//
// In Microsoft Entra ID, the role Storage Table Data Contributor permits everything, and
// Storage Table Data Reader permits all reads. Both can be granted for a single table. The
// data actions in the second column are those under
// Microsoft.Storage/storageAccounts/tableServices/tables/. The last column has the
// permissions of a SAS:
//
//	New, Open, Ensure,
//	Inspect            entities/read                        r
//	New, Open, Ensure
//	in a new table     also entities/add/action             ra
//	Ensure without
//	a table            also the action tables/write         c, of an account SAS
//	Get, GetMany,
//	Exists, Scan       entities/read                        r
//	Put, PutMany       entities/write                       au
//	Put IfNotExists    entities/add/action; if there is     a
//	                   an entity also entities/read,        aru
//	                   entities/update/action
//	Put IfVersion      entities/update/action; if it        u
//	                   fails also entities/read             ru
//	Delete, DeleteMany entities/delete                      d
//	Delete IfVersion   if it fails also
//	                   entities/read                        rd
//	Touch              entities/read,
//	                   entities/update/action               ru
//	AtomicWrite        what its operations need alone, and
//	                   entities/read if a condition fails
//	with a DeleteOp    also all that Put and Delete need    raud
//	or a CheckOp
//	DeletePrefix,
//	Sweep              entities/read, entities/delete       rd
//
// An account key permits everything. A SAS for one table works in AZURE_STORAGE_SAS_TOKEN,
// and with a client for the account's URL. A SAS for the account must be for the table
// service (ss=t), containers and objects (srt=co). New roles take some minutes to have an
// effect. Until then, operations return kv.ErrPermission.
//
// Outside of Azure's public cloud, the URL's endpoint or the connection string must name the
// table service, such as https://myaccount.table.core.usgovcloudapi.net. Tokens of Microsoft
// Entra ID then come from the host in AZURE_AUTHORITY_HOST, such as
// https://login.microsoftonline.us or https://login.chinacloudapi.cn. Without this variable
// the SDK asks the public cloud, which refuses.
//
// # Retries
//
// A store must see every attempt that the SDK makes at a write. Once a client exists, the SDK
// shows attempts only to the function that decides on retries. So Options.Retry replaces both
// the retry options of the client, which a store cannot read, and the retry options in a context.
// The zero value of Options.Retry is the SDK's default: four attempts, with pauses of about
// 1, 3 and 6 seconds, after failures to send and after the status codes 408, 429, 500, 502,
// 503 and 504. All other options and policies of the client stay in effect. There is one
// exception: a put-if-absent ignores the headers that the caller adds to the context with
// policy.WithHTTPHeader, because the store uses the same function to request an empty
// response.
//
// The client of Open cuts off an attempt whose response is late, so that there is time for
// another attempt: see [Open]. [Options].Timeout ends a call whose context has no deadline.
//
// kv.ErrThrottled and kv.ErrUnavailable mean that the attempts or the time were used up.
// kv.ErrUnavailable may also mean that the response cannot be from the service: it is
// empty or too large, has an entity that was not requested, has no valid ETag, or comes after a
// redirect. After such a response, a write also returns kv.ErrIndeterminate. A
// transaction with an incomplete response is not repeated.
//
// # Caveats
//
//   - If skykv did not write an entity in a shard's partition, every operation that
//     reads the entity, and every conditional write of its key, returns
//     kv.ErrIncompatible. Put, PutMany, Delete and DeleteMany without a condition do not
//     read: they replace or delete the entity. DeletePrefix and Sweep keep it. If only v
//     is not as skykv writes it, operations that do not read values cannot know this:
//     Exists, scans of only keys, DeletePrefix and Sweep treat the entity as an entry.
//     Scans skip entities whose x has passed, which look like expired entries, and
//     entities whose RowKey is not a key.
//   - For a Get and a Delete, the service may send the same response whether the entity
//     or the table is missing. If somebody deletes the table of an open store, Get and
//     Delete may report an absent key. Exists, scans, puts and New return
//     kv.ErrNotProvisioned.
//   - With a client for New, skykv cannot see whether a write is still waiting for a
//     token of Microsoft Entra ID. If the context ends during this wait, the write
//     returns kv.ErrIndeterminate although nothing was sent. This does not happen with
//     the client of Open.
//   - A client for New that many goroutines use should keep more idle connections than
//     the SDK's 10. One scan uses one connection per shard. The client of Open keeps
//     512, for 90 seconds. Load balancers and NAT drop connections that are idle for
//     longer, without notice. Azure's load balancers do so after 4 minutes.
//   - A client for New should follow no redirects, request no compression, and limit
//     each attempt and the size of its response, as the client of Open does. skykv
//     ignores a response after a redirect, but by then the client has sent the value,
//     and a SAS in the Referer, to a different host.
//   - The errors of the SDK's client contain URLs, with the signature of a SAS, and
//     parts of the service's responses. The errors of a store, and the errors that they
//     wrap, contain neither signatures nor responses. They wrap copies of *url.Error and
//     *azcore.ResponseError. skykv does not change the logs of the SDK.
//   - Azure Cosmos DB for Table uses the same protocol, but does not return entities in
//     the order of their keys, and takes keys of at most 255 bytes
//     (https://learn.microsoft.com/azure/cosmos-db/table/faq). skykv refuses its
//     accounts.
package aztableskv
