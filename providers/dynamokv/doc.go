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
//	t    S  22 random characters, new with every attempt of a write: the version
//	x    N  the expiry in milliseconds since 1970, absent if there is none
//	ttl  N  the expiry in seconds, rounded up, plus one hour; only together with x
//	p    S  the writes that the entry's own write replaced, absent if none are kept
//
// The shard of a key is kv.Shard(key, shards): keys of one group are in one shard. One
// more item, with pk "layout" and sk "skykv", has the version of this layout in "format"
// (N), which is 2, and the number of shards in "shards" (N). The partition key is a
// string, so that this item has a partition that is no shard's, and because the condition
// dynamodb:LeadingKeys of IAM compares strings.
//
// DynamoDB deletes items some time after their ttl. The store itself makes expiry exact:
// reads and conditions use x.
//
// # Layout of the reference platform
//
// With parameter layout=alien, or [provider.LayoutAlien] in [Options], the table is a
// table of the programs which the platform Alien deploys. An entry is one item:
//
//	pk       S  "bucket_0" to "bucket_15", by the SipHash-1-3 of the key; the partition key
//	sk       S  the key; the sort key
//	value    B  the value
//	version  S  22 random characters, new with every attempt of a write; 32 hexadecimal
//	            digits if another program wrote the item
//	ttl      N  the expiry in seconds, rounded up; absent if there is none
//	skykv_x  N  the expiry in milliseconds; valid if it rounds up to ttl
//	skykv_p  S  the version that skykv wrote, a space, and the writes that this write
//	            replaced; valid if the version is from the same write
//
// The last two are skykv's own. The programs in other languages ignore them, and their
// writes remove them. The layout record is the same item, with "alien" in "layout" (S).
// The primary key and the attribute of the TTL are as in the other layout.
//
// DynamoDB may delete an item as soon as its ttl has passed: kv.Info says NoGrace. Keys
// of one group are in several partitions, so every scan reads all of them. A
// put-if-absent or a touch within the second that ends at ttl may take two requests.
// docs/alien.md says what is guaranteed between skykv and the other programs.
//
// # Consistency
//
// All reads are strongly consistent, also in scans and batches. A conditional write is
// one request, also if it replaces an expired entry: DynamoDB judges the condition, and
// returns the item that made it fail. If the SDK has retried a request, and an earlier
// attempt may have been applied, the token shows whether the item is from this call. The
// attempts differ in the last characters of the token, so an attempt that is applied late
// does not bring an old version back.
//
// In a global table with eventual consistency between regions, all this holds within one
// region only: writers in two regions may both succeed, and the later write stays. Global
// tables with strong consistency between regions have no TTL: EnsureWith fails on them,
// and expired items stay until something deletes them.
//
// # Requests and costs
//
// Get, Exists, Put and Delete are one request each, with and without a condition. GetMany
// makes one request per 100 keys, PutMany and DeleteMany one per 25, eight at a time.
// Each write of a batch that has a condition is a separate request, sixteen at a time. A
// scan begins with one request per shard, all at once, and makes one for each further
// page of a shard, which the service ends at 1 MiB. A scan within a group makes its
// requests to one shard.
//
// The service charges writes per KiB of item, also for failed conditions, and reads per 4
// KiB. An item has some 30 bytes more than key and value, 48 with an expiry, so a value
// of 970 bytes under a key of 24 fits into one write unit:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
//
// Put with IfNotExists pays for a write each time, also if the entry exists: a program
// that polls should call Get first. Exists and scans of keys only save the transfer of
// values, not the charge for reading them. The same holds for expired items until
// DynamoDB deletes them. That is free of charge, but the other regions of a global table
// pay for a write.
//
// A scan costs at least one read unit per shard, also if it finds nothing: 16 with 16
// shards, unless its prefix is within a group. A small store that is scanned often is
// cheaper with shards=1.
//
// # Throughput
//
// The service limits each physical partition to 1,000 write units and 3,000 read units a
// second. See
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html.
// A shard begins in one partition, maybe together with other shards. Under steady load
// the service splits partitions, and in the end also a shard, at one of its keys. That
// takes minutes, and does not help if all writes go to the greatest key:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html
//
// A new table on demand takes 4,000 write units and 12,000 read units a second, and later
// twice its last peak. If you expect a peak, set the table's warm throughput before:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html
//
// # Permissions
//
// On the table, an IAM policy must permit:
//
//	New, Open          dynamodb:GetItem, and dynamodb:PutItem for the first one
//	                   of a table that EnsureWith did not set up, which must name
//	                   the layout; with dynamodb:Scan it refuses a table
//	                   with items of other programs
//	Get, Exists        dynamodb:GetItem
//	Put                dynamodb:PutItem
//	Touch              dynamodb:UpdateItem
//	Update, Increment, dynamodb:GetItem, dynamodb:PutItem; to delete also
//	GetAndDelete       dynamodb:UpdateItem, dynamodb:DeleteItem
//	AtomicWrite        dynamodb:PutItem, dynamodb:UpdateItem,
//	                   dynamodb:DeleteItem, dynamodb:ConditionCheckItem
//	Delete             dynamodb:DeleteItem
//	Scan, ScanPage,    dynamodb:Query
//	Count
//	GetMany            dynamodb:BatchGetItem
//	PutMany            dynamodb:BatchWriteItem
//	DeleteMany         dynamodb:BatchWriteItem
//	DeletePrefix       dynamodb:Query, dynamodb:BatchWriteItem
//	Ensure, EnsureWith dynamodb:DescribeTable, dynamodb:DescribeTimeToLive,
//	                   dynamodb:GetItem; to complete an empty table also
//	                   dynamodb:UpdateTimeToLive, dynamodb:PutItem,
//	                   dynamodb:Scan; to create it all these and
//	                   dynamodb:CreateTable
//	Inspect            dynamodb:DescribeTable, dynamodb:DescribeTimeToLive,
//	                   dynamodb:GetItem, and dynamodb:Scan to find items of
//	                   other programs; it says what is not permitted
//
// A table with its own encryption key also needs permissions on the key.
//
// # Caveats
//
//   - Items in the shards' partitions that skykv did not write are
//     kv.ErrIncompatible for every operation on their key, and Put and Delete do
//     not change them. PutMany and DeleteMany replace and delete them: the service's
//     batches take no conditions. Scans also return kv.ErrIncompatible for a key in
//     the wrong shard; Get does not look there. Scans skip names that are not keys.
//     Inspect counts all these among the first items of the table.
//   - The SDK makes the retries, or the client that New received: usually three
//     attempts. kv.ErrThrottled and kv.ErrUnavailable mean that they were used up.
//     If a batch leaves items unprocessed, or the service throttles the whole batch,
//     the rest is sent again with pauses of up to 5 s, until the context ends.
//     Without a deadline the batch ends after [Options].Timeout without progress.
//   - A response that the service cannot have sent is kv.ErrUnavailable, for a write
//     kv.ErrIndeterminate: an empty response, one with a wrong checksum, one about
//     another key or without a list of items, one that is too large for the request,
//     or one after a redirect.
//   - The clients of Open limit each attempt at a request. A client for New has the
//     limits that the program set, and Options.Timeout. Close of the store ends every
//     request.
//   - A NAT or firewall may drop idle connections without notice; the first request on
//     such a connection then waits for the limit of its attempt. The client of Open,
//     like the SDK's, closes connections that are idle for 90 s, and sends TCP
//     keep-alives.
//   - If the credentials have an account, the SDK sends requests to a host of that
//     account, such as 123456789012.ddb.us-east-1.amazonaws.com. A firewall or a
//     private connection that permits only the region's host needs
//     AWS_ACCOUNT_ID_ENDPOINT_MODE=disabled.
//   - An HTTP client below the SDK that retries requests also repeats their versions,
//     and skykv does not see it.
//   - Put replaces whole items: it removes attributes that other programs added.
//   - A client for New that many goroutines use should keep more idle connections
//     than the SDK's 10; one scan uses as many as there are shards. The client of
//     Open keeps 512. It also avoids a bug of the SDK (as of smithy-go 1.28.8) that
//     makes net/http drop connections under load.
//   - The condition of IAM dynamodb:LeadingKeys must permit "layout" for GetItem.
package dynamokv
