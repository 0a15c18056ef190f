// Package aztableskv keeps entries in a table of Azure Table storage.
//
//	err := aztableskv.Ensure(ctx, "aztables://myaccount/kv1") // once, or by another tool
//	store, err := aztableskv.Open(ctx, "aztables://myaccount/kv1")
//	store, err := aztableskv.New(ctx, client, "kv1", nil) // with the program's own client
//
// # Layout of the table
//
// This is format 2. An entry is one entity:
//
//	PartitionKey  String  the shard in two hexadecimal digits, "00" to "0f" with 16 shards
//	RowKey        String  the key
//	v             Binary  the value, or its first 64 KiB
//	v1 to v5      Binary  the following 64 KiB each, where there are any
//	x             Int64   the expiry in milliseconds since 1970, 0 if there is none
//	t             String  22 random characters, new with every write
//	p             String  the writes that this one replaced, empty for most entries
//	c             String  22 random characters of the last check, where there was one
//
// The shard of a key is kv.Shard(key, shards), so that keys of one group are in one
// partition. One more entity, with PartitionKey "skykv" and RowKey "layout", holds the
// format in "format" and the number of shards in "shards", both Int32. A table of
// another format is refused. The version of an entry is the entity's ETag.
//
// Table storage deletes nothing by itself. Exact expiry is the store's doing:
// reads, conditions and scans go by x. What has expired stays until it is
// replaced, or until [Sweep] removes it, an hour after its expiry or later.
//
// A tombstone is an entity with an empty v and the expiry 1, which has passed by every
// clock. An AtomicWrite stores one for each key that it deletes without a condition, or
// that it checks to be absent, and removes it after its success: see below.
//
// # Layout of the reference platform
//
// With parameter layout=alien, or [provider.LayoutAlien] in [Options], the table is that
// of the programs which the platform Alien deploys. An entry is one entity, whose
// properties are all strings:
//
//	PartitionKey  "p0" to "p15", by the SipHash-1-3 of the key
//	RowKey        the key
//	Value         the value in base64
//	ExpiresAt     the expiry, as 2026-01-31T12:00:00.123+00:00; absent if there is none
//	CreatedAt     when the entity was written, by the writer's clock
//	skykv_t       22 random characters, new with every write, a space, CreatedAt, a space
//	              and ExpiresAt, all as skykv wrote them; counts while both are the same
//	skykv_p       the writes that this one replaced; counts with skykv_t
//
// The last two are skykv's own. The programs in other languages do not look at them, and
// their writes remove them. The layout record is the same entity, with "alien" in "layout".
// The version of an entry is the entity's ETag, here as well.
//
// Keys of one group are in several partitions. Every scan therefore reads all of them, and
// there is no AtomicWrite: Info().MaxAtomicWrites is 0. Values have at most 24,576 bytes,
// which fill a string. A merge cannot remove ExpiresAt, so that a touch to live for ever
// stores the last instant of the year 9999, which is read as no expiry. [Sweep] deletes the
// entities of all programs, an hour after their expiry or later. docs/alien.md says what
// holds between skykv and the other programs.
//
// # Consistency
//
// All reads, those of scans and batches included, are strongly consistent: they
// go to the primary region of the account. A put-if-absent is an insertion. Where
// it meets an entity it reads that, and takes it over under its ETag if it has
// expired. Compare-and-swap and delete-if-version are under the ETag at once.
// When a request was repeated, and an earlier attempt may have been carried out,
// the token tells whether an entity that is in the way is the call's own.
//
// A touch merges x, t and p into the entity under its ETag, so that its value stays.
//
// # Atomic writes
//
// An AtomicWrite is one entity group transaction, of one partition
// (https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions).
// The service takes 100 operations in at most 4 MiB, which 100 keys and values of
// kv.MaxAtomicBytes together do not reach. The ETags of what was put and touched are in the
// answer.
//
// The service fails a transaction that deletes an absent key, and has no operation that
// only checks. So a deletion without a condition replaces the entity by a tombstone, and a
// check for absence inserts one. A check by version merges c into the entity, which changes its
// ETag and nothing else. The tokens of the entities and tombstones also tell, after an answer was
// lost, that all of it was applied. Deletions and checks by version leave no token: an
// AtomicWrite of nothing else, whose answer was lost, is kv.ErrIndeterminate.
//
// Tombstones are removed by another transaction before AtomicWrite returns. One that stays,
// since that failed or the first answer was lost, is absent to every operation, as an
// expired entry is. A sweep leaves it alone until the service's Timestamp says that it was written
// an hour ago: until then it may be looked for.
//
// # Requests and costs
//
// Get, Exists, Put and Delete are one request each, with a condition as well. A
// condition that does not hold costs a read more, and a put-if-absent that takes
// over an expired entry that read and a replacement. A touch by version is one request, and
// one without it two, since the service cannot judge the expiry. Exists is a query for both
// keys, since the SDK's GetEntity transfers the value in any case. Opening a store is a
// query, and another one and an insertion more where it lays down the layout of a new table.
//
// A put-if-absent that meets an entry is two requests. A program that asks again and
// again whether a key has become free makes one with Get, and puts when there is none.
//
// An AtomicWrite is one request where all conditions hold. Each touch without a version
// costs a read before it, and tombstones cost one request after it, however many there are.
// Where a condition does not hold, or an expired entry is in the way, all its keys
// are read, each by a request.
//
// GetMany makes one request per key, 32 of them at a time. PutMany and DeleteMany
// make one transaction per 100 keys of a shard, 16 at a time: 1,000 keys in 16
// shards are 16 transactions. A key that is absent makes the transaction fail
// that is to delete it. It is then split around that key, which takes two
// requests more, or made key by key when many are absent. A scan makes one request
// per shard to begin with, all at once, and one for each further page of a shard,
// which has up to 1,000 entities, and about 1 MiB of them with their values. A scan
// within one group makes that of one shard. With shards=1 any scan makes one request to
// begin with: that suits small stores.
//
// Azure charges by request, a transaction or a page being one, and for storage. It
// stores values as they are, not in base64, and an entity has some 150 bytes
// besides its key and value. In the layout of the reference platform it stores 8 bytes for
// every 3 of a value, and some 400 besides. A partition, which is a shard, takes up to
// 2,000 entities of 1 KiB a second, and an account 20,000 requests, all its tables together
// (https://learn.microsoft.com/azure/storage/tables/scalability-targets). So with ten
// shards that are equally busy the account is the limit, and further ones add nothing.
// Keys of one group are in one shard, and have its 2,000 alone.
//
// # Permissions
//
// Of Microsoft Entra ID, the role Storage Table Data Contributor permits all of it,
// and Storage Table Data Reader all that reads; they can be given for a single
// table. As data actions below
// Microsoft.Storage/storageAccounts/tableServices/tables/, and as the permissions
// of a SAS, operations need:
//
//	New, Open, Ensure,
//	Inspect            entities/read                        r
//	  a new table      and entities/add/action, but not     ra
//	                   for Inspect
//	  no table         for Ensure the action tables/write   c, of an account SAS
//	Get, GetMany,
//	Exists, Scan       entities/read                        r
//	Put, PutMany       entities/write                       au
//	Put IfNotExists    entities/add/action, and where an    a
//	                   entity is in the way entities/read,  aru
//	                   entities/update/action
//	Put IfVersion      entities/update/action, and where    u
//	                   it does not hold entities/read       ru
//	Delete, DeleteMany entities/delete                      d
//	Delete IfVersion   and where it does not hold
//	                   entities/read                        rd
//	Touch              entities/read,
//	                   entities/update/action               ru
//	AtomicWrite        those of its operations,
//	                   entities/read where a condition does
//	                   not hold, and for a DeleteOp or a    raud
//	                   CheckOp those of Put and Delete
//	DeletePrefix,
//	Sweep              entities/read, entities/delete       rd
//
// An account key permits everything. A SAS for one table works with a client for
// the account's URL, and as AZURE_STORAGE_SAS_TOKEN; one for the account has to
// be for the table service (ss=t), containers and objects (srt=co). New roles take
// some minutes to have an effect, in which operations are kv.ErrPermission.
//
// Outside of Azure's public cloud, the URL's endpoint or the connection string names the
// table service, such as https://myaccount.table.core.usgovcloudapi.net. Tokens of
// Microsoft Entra ID then come from the host that AZURE_AUTHORITY_HOST names, such as
// https://login.microsoftonline.us or https://login.chinacloudapi.cn: without it the
// public cloud is asked, and refuses.
//
// # Retries
//
// A store must know of every attempt that the SDK makes at a write, and the SDK
// tells that to the function alone that decides on repetitions. Options.Retry
// therefore takes the place of the retry options of the client, which are hidden, and of
// those that a context carries. Its zero value is the SDK's default: four attempts, after
// failures to send of any kind and the status codes 408, 429, 500, 502, 503 and 504, with
// pauses of about 1, 3 and 6 seconds. All other options and policies of the
// client stay in effect, but for headers that a context carries into a
// put-if-absent, which asks for an empty answer that way.
//
// The client of Open ends an attempt whose answer is late, so that the others have time:
// see [Open]. [Options].Timeout ends a call whose context has no deadline.
//
// kv.ErrThrottled and kv.ErrUnavailable mean that these attempts were used up, that the
// time was, or that an answer cannot be the service's: it is empty or too large, has
// another entity than the one asked for or none with an ETag, or comes from a redirect. A
// write with such an answer is kv.ErrIndeterminate too, and a transaction whose answer is
// not complete is not repeated.
//
// # Caveats
//
//   - Entities in the shards' partitions that skykv did not write are
//     kv.ErrIncompatible to every operation that reads them, and to conditional
//     writes that meet them. Put, PutMany, Delete and DeleteMany without a
//     condition do not read: they replace and delete them. DeletePrefix and Sweep
//     leave them alone. An entity that has x, t and p as skykv writes them, and only
//     v differs, cannot be told by what does not read values: Exists, scans of
//     keys alone, DeletePrefix and Sweep take it for an entry; and one whose x has
//     passed is left out of scans as expired entries are. Scans pass over
//     entities whose RowKey is not a key.
//   - To a Get and a Delete, the service may say the same whether the entity or the
//     table is missing. If somebody deletes the table of an open store, these may find
//     an absent key. Exists, scans, puts and a store that is opened then say
//     kv.ErrNotProvisioned.
//   - A client that New is given does not tell whether a write still waits for a
//     token of Microsoft Entra ID. If the context ends then, the write is
//     kv.ErrIndeterminate, though nothing was sent. The client of Open tells.
//   - A client for New that many goroutines use should keep more idle connections
//     than the SDK's 10; a scan alone uses as many as there are shards. The
//     client of Open keeps 512, for 90 seconds: load balancers and NAT drop those that
//     are idle for longer, Azure's after 4 minutes, and say nothing.
//   - A client for New should follow no redirects, ask for nothing compressed, and limit
//     each attempt and the size of its answer, as the client of Open does. No answer from
//     a redirect is believed, but to follow one hands a value, and in the Referer a SAS,
//     to another host.
//   - The SDK's client prints URLs in its errors, with the signature of a SAS, and
//     the answers of the service. Errors of a store, and those that they wrap,
//     show neither; *url.Error and *azcore.ResponseError are found in them, as
//     copies. The logs of the SDK are its own affair.
//   - Azure Cosmos DB for Table speaks the same protocol, but does not return entities in
//     the order of their keys, and takes keys of at most 255 bytes
//     (https://learn.microsoft.com/azure/cosmos-db/table/faq). Its accounts are refused.
package aztableskv
