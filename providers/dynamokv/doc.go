// Package dynamokv keeps entries in a table of AWS DynamoDB.
//
//	err := dynamokv.Ensure(ctx, "dynamodb://kv1?region=eu-central-1") // once, or by another tool
//	store, err := dynamokv.Open(ctx, "dynamodb://kv1?region=eu-central-1")
//
// [EnsureWith] and [New] do the same with the program's own client.
//
// # Layout of the table
//
// An entry is one item:
//
//	pk   S  the shard, "0" to "15" with 16 shards; the partition key
//	sk   S  the key; the sort key
//	v    B  the value
//	t    S  the version: 22 random characters, new with every write
//	x    N  the expiry in milliseconds since 1970, absent if there is none
//	ttl  N  the expiry in seconds, rounded up, plus one hour; only together with x
//	p    S  names of up to eight earlier states that updates replaced; absent if none
//
// The shard of a key is kv.Shard(key, shards), so keys of one group are in one shard. The
// layout record is one more item, with pk "layout" and sk "skykv". Its attribute "format"
// (N) is the version of this layout, 2. Its attribute "shards" (N) is the number of
// shards. The partition key is a string for two reasons: the layout record needs a
// partition that is not a shard, and the IAM condition dynamodb:LeadingKeys compares
// strings.
//
// DynamoDB deletes items some time after their ttl. The store itself makes expiry exact:
// reads and conditions use x.
//
// # Layout of the Alien platform
//
// With layout=alien, or [provider.LayoutAlien] in [Options], the table is shared with the
// programs that the platform Alien deploys. An entry is one item:
//
//	pk       S  "bucket_0" to "bucket_15", by the SipHash-1-3 of the key; the partition key
//	sk       S  the key; the sort key
//	value    B  the value
//	version  S  22 random characters, new with every write; 32 hexadecimal digits if
//	            another program wrote the item
//	ttl      N  the expiry in seconds, rounded up; absent if there is none
//	skykv_x  N  the expiry in milliseconds; valid if it rounds up to ttl
//	skykv_p  S  the version that skykv wrote, a space, and the text of p in skykv's own
//	            layout; valid if the item's version is from the same write
//
// The last two are skykv's own. The programs in other languages ignore them, and their
// writes remove them. The layout record also has the attribute "layout" (S), "alien". The
// primary key and the TTL attribute are the same as in skykv's own layout.
//
// DynamoDB may delete an item as soon as its ttl has passed, so kv.Info.NoGrace is set.
// Keys of one group are in several partitions, so every scan reads all partitions. In the
// second that ends at an entry's ttl, a put-if-absent or a touch may take two requests.
// docs/alien.md says what is guaranteed between skykv and the other programs.
//
// # Consistency
//
// All reads are strongly consistent, including scans and batches, except in a view made
// with kv.Stale. A conditional write is one request, even if it replaces an expired
// entry. DynamoDB checks the condition, and returns the item that made it fail. If an
// earlier attempt at the same request may have been applied, the item's version shows
// whether this call wrote it. The versions that the attempts at one write store differ in
// the last characters, so an attempt that is applied late does not bring back an old
// version. All attempts at an AtomicWrite store the same versions. DynamoDB applies only
// one of these attempts, because they have the same ClientRequestToken.
//
// In a global table with eventual consistency between regions, all this holds within one
// region only. Conditional writes in two regions may both succeed, and the later one
// wins. Global tables with strong consistency between regions have no TTL, so EnsureWith
// fails, and expired items remain until a program deletes them.
//
// # Requests and costs
//
// Get, Exists, Put and Delete are one request each, with and without a condition. GetMany
// makes one request per 100 keys. PutMany and DeleteMany make one per 25 keys or 4 MiB of
// values. Up to eight of these requests run at a time. In a batch, each write with a
// condition is a separate request, and up to sixteen such requests run at a time. A scan
// begins with one request per shard, all at once. Each further page of a shard is one
// more request. A page has at most 1 MiB, and usually at most 640 items. A scan within a
// group reads only one shard.
//
// The service charges a write unit per KiB of the item, even if the condition fails, and
// a read unit per 4 KiB. An item has about 30 bytes more than its key and value, or 48
// with an expiry, and up to 184 more if updates changed it. So a value of 970 bytes under
// a key of 24 bytes fits into one write unit if it has neither:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
//
// Put with IfNotExists costs a write even if the entry exists, so a program that polls
// should call Get first. Exists and scans of only keys do not transfer values, but cost
// as much as if they did. Scans also pay for expired items until DynamoDB deletes them.
// The deletion is free of charge, except in a global table, where each other region pays
// for a write.
//
// A scan costs at least one read unit for each shard that it reads, even if it finds
// nothing. With 16 shards this is 16 units, unless the prefix is within a group. A small
// store that is scanned often is cheaper with shards=1.
//
// # Throughput
//
// The service limits each physical partition to 1,000 write units and 3,000 read units a
// second. See
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html.
// A shard begins in one partition, perhaps together with other shards. Under steady load
// the service splits partitions, and finally splits even a single shard, at one of its
// keys. A split takes minutes, and does not help if all writes go to the greatest key:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html
//
// A new on-demand table takes 4,000 write units and 12,000 read units a second, and later
// twice its last peak. If you expect a greater peak, raise the table's warm throughput
// first:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html
//
// # Permissions
//
// On the table, an IAM policy must permit:
//
//	New, Open          dynamodb:GetItem. For a table that EnsureWith did not set
//	                   up, the first call also needs dynamodb:PutItem, and must
//	                   name the layout. With dynamodb:Scan it refuses a table
//	                   that has items of other programs.
//	Get, Exists        dynamodb:GetItem
//	Put                dynamodb:PutItem
//	Touch              dynamodb:UpdateItem
//	Update, Increment, dynamodb:GetItem, dynamodb:PutItem; for a deletion also
//	GetAndDelete       dynamodb:UpdateItem, dynamodb:DeleteItem
//	AtomicWrite        dynamodb:PutItem, dynamodb:UpdateItem,
//	                   dynamodb:DeleteItem, dynamodb:ConditionCheckItem;
//	                   dynamodb:BatchGetItem to report failed conditions,
//	                   and after a lost response
//	Delete             dynamodb:DeleteItem
//	Scan, ScanPage,    dynamodb:Query
//	Count
//	GetMany            dynamodb:BatchGetItem
//	PutMany            dynamodb:BatchWriteItem; dynamodb:PutItem for items
//	                   with a condition
//	DeleteMany         dynamodb:BatchWriteItem
//	DeletePrefix       dynamodb:Query, dynamodb:BatchWriteItem
//	Ensure, EnsureWith dynamodb:DescribeTable, dynamodb:DescribeTimeToLive,
//	                   dynamodb:GetItem; to complete an empty table also
//	                   dynamodb:UpdateTimeToLive, dynamodb:PutItem,
//	                   dynamodb:Scan; to create a table all these and
//	                   dynamodb:CreateTable
//	Inspect            dynamodb:DescribeTable, dynamodb:DescribeTimeToLive,
//	                   dynamodb:GetItem, and dynamodb:Scan to find items of
//	                   other programs. It reports if one of the first three
//	                   is not permitted.
//
// A table with its own encryption key also needs permissions on the key.
//
// # Caveats
//
//   - If skykv did not write an item in a shard's partition, operations on its key return
//     kv.ErrIncompatible and do not change the item. Only PutMany and DeleteMany replace
//     and delete it, because the service's batches take no conditions. Scans also return
//     kv.ErrIncompatible for a key in the wrong shard, where Get does not look. Scans
//     skip sort keys that are not valid keys. Inspect looks for all such items among the
//     first 1,000 items of the table, or its first 1 MiB.
//   - The SDK retries requests as its client is configured, usually with three attempts.
//     kv.ErrThrottled and kv.ErrUnavailable mean that the attempts or the time were used
//     up. If the service leaves items of a batch unprocessed, or throttles the whole
//     batch, the rest is sent again with pauses of up to 5 s, until the context ends. If
//     the context has no deadline, the batch ends after [Options].Timeout without
//     progress.
//   - After a response that the service cannot have sent, a read returns
//     kv.ErrUnavailable, and a write returns kv.ErrIndeterminate. For example, such a
//     response is empty, has a wrong checksum, is about another key, has no list of
//     items, is too large for the request, or comes after a redirect.
//   - The client of Open limits the time of each attempt at a request. With a client for
//     New, only the program's own limits and Options.Timeout apply. Close ends all
//     requests of the store.
//   - A NAT or firewall may drop idle connections without notice. The first request on
//     such a connection waits until its attempt is cut off. The client of Open, like the
//     SDK's, closes connections that are idle for 90 s, and sends TCP keep-alives.
//   - If the credentials name an account, the SDK sends requests to a host of that
//     account, such as 123456789012.ddb.us-east-1.amazonaws.com. If a firewall or a
//     private connection permits only the region's host, set
//     AWS_ACCOUNT_ID_ENDPOINT_MODE=disabled.
//   - If an HTTP client below the SDK retries requests, skykv does not see these
//     attempts, and all of them store the same version.
//   - Put replaces whole items: it removes attributes that other programs added.
//   - A client for New that many goroutines use should keep more idle connections than
//     the SDK's 10, because one scan uses as many as there are shards. The client of Open
//     keeps 512. With every client, skykv avoids a bug of the SDK (as of smithy-go
//     1.28.8) that makes net/http drop connections under load.
//   - An IAM condition on dynamodb:LeadingKeys must permit "layout" for GetItem.
package dynamokv
