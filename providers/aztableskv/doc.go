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
//	t             String  22 random characters, new with every write
//	p             String  the writes that this write replaced, empty for most entries
//	c             String  22 random characters of the last check, if there was one
//
// The shard of a key is kv.Shard(key, shards): keys of one group are in one partition. One
// more entity, with PartitionKey "skykv" and RowKey "layout", has the version of this
// layout in "format", which is 2, and the number of shards in "shards", both Int32. The
// version of an entry is the entity's ETag.
//
// Table storage does not delete expired entities. The store itself makes expiry exact:
// reads, conditions and scans use x. An expired entity stays until a write replaces it, or
// until [Sweep] removes it, at least an hour after its expiry.
//
// A tombstone is an entity with an empty v and the expiry 1, which has passed by every
// clock. An AtomicWrite stores one for each key that it deletes without a condition or
// checks to be absent, and removes it afterwards: see below.
//
// # Layout of the reference platform
//
// With parameter layout=alien, or [provider.LayoutAlien] in [Options], the table is a
// table of the programs which the platform Alien deploys. An entry is one entity, whose
// properties are all strings:
//
//	PartitionKey  "p0" to "p15", by the SipHash-1-3 of the key
//	RowKey        the key
//	Value         the value in base64
//	ExpiresAt     the expiry, as 2026-01-31T12:00:00.123+00:00; absent if there is none
//	CreatedAt     the time of the write, by the writer's clock
//	skykv_t       22 random characters, new with every write, a space, CreatedAt, a space
//	              and ExpiresAt; valid while both are as skykv wrote them
//	skykv_p       the writes that this write replaced; valid if skykv_t is
//
// The last two are skykv's own. The programs in other languages ignore them, and their
// writes remove them. The layout record is the same entity, with "alien" in "layout".
// The version of an entry is the entity's ETag, as in the other layout.
//
// Keys of one group are in several partitions. Every scan therefore reads all of them, and
// there is no AtomicWrite: Info().MaxAtomicWrites is 0. Values have at most 24,576 bytes,
// which fill a string. A merge cannot remove ExpiresAt. So a touch that removes the expiry
// stores the last instant of the year 9999, which is read as no expiry. [Sweep] deletes
// the entities of all programs, at least an hour after their expiry. docs/alien.md says
// what is guaranteed between skykv and the other programs.
//
// # Consistency
//
// All reads are strongly consistent, also in scans and batches: they go to the primary
// region of the account. A put-if-absent is an insertion. If there is an entity already,
// the driver reads it, and replaces it under its ETag if it has expired. The other
// conditional writes use the ETag of the caller's version. If a request was repeated, and
// an earlier attempt may have been applied, the token shows whether the entity that made
// the condition fail is from this call.
//
// A touch merges x, t and p into the entity under its ETag, so that its value stays.
//
// # Atomic writes
//
// An AtomicWrite is one entity group transaction of one partition
// (https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions).
// The service takes 100 operations in at most 4 MiB. 100 keys with kv.MaxAtomicBytes of
// values are below this limit. The response has the ETags of the entities that were put
// and touched.
//
// The service fails a transaction that deletes an absent key, and has no operation that
// only checks. So a deletion without a condition replaces the entity by a tombstone, and a
// check for absence inserts a tombstone. A check by version merges c into the entity,
// which changes only its ETag. If a response is lost, the tokens of the entities and
// tombstones show that the transaction was applied. Deletions and checks by version leave
// no token: an AtomicWrite of only these, whose response was lost, is kv.ErrIndeterminate.
//
// AtomicWrite removes its tombstones in another transaction before it returns. A tombstone
// stays if that fails, or if the first response was lost. Every operation treats it as
// absent, like an expired entry. Sweep keeps it until the service's Timestamp shows that
// it is an hour old, because its writer may still look for it.
//
// # Requests and costs
//
// Get, Exists, Put and Delete are one request each, also with a condition. A condition
// that fails costs one more read. A put-if-absent that replaces an expired entry costs
// that read and a replacement. A touch by version is one request. Without a version it is
// two, because the service cannot judge the expiry. Exists is a query for both keys,
// because the SDK's GetEntity always transfers the value. Opening a store is a query, and
// in a new table one more query and an insertion.
//
// A put-if-absent that finds an entry is two requests: a program that polls should call
// Get first.
//
// An AtomicWrite is one request if all conditions hold. Each touch without a version costs
// a read before it. Tombstones cost one request after it, however many there are. If a
// condition fails, or there is an expired entry under a key, all its keys are read with a
// request each.
//
// GetMany makes one request per key, 32 at a time. PutMany and DeleteMany make one
// transaction per 100 keys of a shard, 16 at a time: 1,000 keys in 16 shards are 16
// transactions. A deletion of an absent key makes its transaction fail. The transaction is
// then split at that key, which takes two more requests, or replaced by single requests if
// many keys are absent. A scan begins with one request per shard, all at once, and makes
// one for each further page of a shard. A page has up to 1,000 entities, and about 1 MiB
// of them with their values. A scan within a group makes its requests to one shard. With
// shards=1 every scan begins with one request, which suits small stores.
//
// Azure charges for storage and for each request: a transaction or a page is one. It
// stores values as they are, not in base64. An entity has some 150 bytes more than key and
// value. In the layout of the reference platform it has some 400 bytes more, and 8 bytes
// for every 3 of the value. A partition, which is a shard, takes up to 2,000 entities of 1
// KiB a second, and an account 20,000 requests for all its tables together
// (https://learn.microsoft.com/azure/storage/tables/scalability-targets). With ten equally
// busy shards the account is the limit, and more shards add nothing. Keys of one group are
// in one shard, and share its 2,000.
//
// # Permissions
//
// In Microsoft Entra ID, the role Storage Table Data Contributor permits everything, and
// Storage Table Data Reader permits all reads. Both can be granted for a single table. The
// data actions below are those under
// Microsoft.Storage/storageAccounts/tableServices/tables/, and the last column has the
// permissions of a SAS:
//
//	New, Open, Ensure,
//	Inspect            entities/read                        r
//	  a new table      and entities/add/action, but not     ra
//	                   for Inspect
//	  no table         for Ensure the action tables/write   c, of an account SAS
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
//	AtomicWrite        as its operations;
//	                   entities/read if a condition
//	                   fails, and for a DeleteOp or a       raud
//	                   CheckOp as Put and Delete
//	DeletePrefix,
//	Sweep              entities/read, entities/delete       rd
//
// An account key permits everything. A SAS for one table works with a client for the
// account's URL, and as AZURE_STORAGE_SAS_TOKEN. A SAS for the account must be for the
// table service (ss=t), containers and objects (srt=co). New roles take some minutes to
// have an effect. Until then, operations return kv.ErrPermission.
//
// Outside of Azure's public cloud, the URL's endpoint or the connection string has the
// table service, such as https://myaccount.table.core.usgovcloudapi.net. Tokens of
// Microsoft Entra ID then come from the host in AZURE_AUTHORITY_HOST, such as
// https://login.microsoftonline.us or https://login.chinacloudapi.cn. Without it the SDK
// asks the public cloud, which refuses.
//
// # Retries
//
// A store must see every attempt that the SDK makes at a write. The SDK shows attempts
// only to the function that decides on retries. So Options.Retry replaces the retry
// options of the client, which are hidden, and the retry options in a context. Its zero
// value is the SDK's default: four attempts, after failures to send and the status codes
// 408, 429, 500, 502, 503 and 504, with pauses of about 1, 3 and 6 seconds. All other
// options and policies of the client stay in effect. The exception is a put-if-absent: it
// ignores headers in a context, because it uses them to request an empty response.
//
// The client of Open ends an attempt whose response is late, so that there is time for
// another: see [Open]. [Options].Timeout ends a call whose context has no deadline.
//
// kv.ErrThrottled and kv.ErrUnavailable mean that the attempts or the time were used up,
// or that the service cannot have sent a response: it is empty or too large, has another
// entity than the requested one, has no ETag, or comes after a redirect. For a write such
// a response is kv.ErrIndeterminate. A transaction with an incomplete response is not
// repeated.
//
// # Caveats
//
//   - Entities in the shards' partitions that skykv did not write are
//     kv.ErrIncompatible for every operation that reads them, and for conditional
//     writes. Put, PutMany, Delete and DeleteMany without a condition do not read:
//     they replace and delete them. DeletePrefix and Sweep keep them. If only v is
//     not as skykv writes it, operations that do not read values cannot know it:
//     Exists, scans of only keys, DeletePrefix and Sweep treat the entity as an
//     entry. Scans skip entities whose x has passed, as expired entries, and
//     entities whose RowKey is not a key.
//   - For a Get and a Delete, the service may send the same response if the entity or
//     if the table is missing. If somebody deletes the table of an open store, these
//     may report an absent key. Exists, scans, puts and New return
//     kv.ErrNotProvisioned.
//   - With a client for New, skykv cannot see whether a write still waits for a token
//     of Microsoft Entra ID. If the context ends then, the write is
//     kv.ErrIndeterminate although nothing was sent. With the client of Open it is not.
//   - A client for New that many goroutines use should keep more idle connections
//     than the SDK's 10; one scan uses as many as there are shards. The client of
//     Open keeps 512, for 90 seconds. Load balancers and NAT drop connections that are
//     idle for longer without notice, Azure's after 4 minutes.
//   - A client for New should follow no redirects, request no compression, and limit
//     each attempt and the size of its response, as the client of Open does. skykv
//     ignores a response after a redirect, but the redirect has sent the value, and a
//     SAS in the Referer, to another host.
//   - The SDK's client prints URLs in its errors, with the signature of a SAS and
//     parts of the service's responses. The errors of a store, and the errors that
//     they wrap, contain neither. They wrap *url.Error and *azcore.ResponseError as
//     copies. skykv does not change the logs of the SDK.
//   - Azure Cosmos DB for Table uses the same protocol, but does not return entities
//     in the order of their keys, and takes keys of at most 255 bytes
//     (https://learn.microsoft.com/azure/cosmos-db/table/faq). skykv refuses its
//     accounts.
package aztableskv
