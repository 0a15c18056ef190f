// Package dynamokv keeps entries in a table of AWS DynamoDB.
//
//	err := dynamokv.Ensure(ctx, "dynamodb://kv1?region=eu-central-1") // once, or by another tool
//	store, err := dynamokv.Open(ctx, "dynamodb://kv1?region=eu-central-1")
//
// [EnsureWith] and [New] do the same with a client of the program's own.
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
//	ttl  N  the expiry in seconds, rounded up, and one hour; beside x only
//	p    S  the writes that the entry's own write replaced, absent if none are kept
//
// The shard of a key is kv.Shard(key, shards): keys of one group are in one shard. One
// more item, with pk "layout" and sk "skykv", holds the version of this layout in
// "format" (N), which is 2, and the number of shards in "shards" (N). The partition
// key is a string, so that this item has a place which is no shard's, and since the
// condition dynamodb:LeadingKeys of IAM compares strings.
//
// DynamoDB deletes items some time after their ttl. Exact expiry is the store's
// doing: reads and conditions go by x.
//
// # Layout of the reference platform
//
// With parameter layout=alien, or [provider.LayoutAlien] in [Options], the table is that
// of the programs which the platform Alien deploys. An entry is one item:
//
//	pk       S  "bucket_0" to "bucket_15", by the SipHash-1-3 of the key; the partition key
//	sk       S  the key; the sort key
//	value    B  the value
//	version  S  22 random characters, new with every attempt of a write; 32 hexadecimal
//	            digits where another program wrote the item
//	ttl      N  the expiry in seconds, rounded up; absent if there is none
//	skykv_x  N  the expiry in milliseconds; counts while it rounds up to ttl
//	skykv_p  S  the version that skykv wrote, a space, and the writes that this write
//	            replaced; counts while the version is of the same write
//
// The last two are skykv's own. The programs in other languages do not look at them, and
// their writes remove them. The layout record is the same item, with "alien" in "layout"
// (S). The primary key and the attribute of the TTL are those of the other layout.
//
// DynamoDB may delete an item as soon as its ttl has passed: kv.Info says NoGrace. Keys of
// one group are in several partitions, so that every scan reads all of them. A put-if-absent
// or a touch within the second that ends at ttl may take two requests. docs/alien.md says
// what holds between skykv and the other programs.
//
// # Consistency
//
// All reads, those of scans and batches included, are strongly consistent. A
// conditional write is one request, also where it takes over an expired entry:
// DynamoDB judges the condition, and sends the item that made it fail along. When
// the SDK has repeated a request, of which an earlier attempt may have been
// applied, the token tells whether the item is the call's own. The attempts
// differ in its last characters, so that one that is applied late does not
// bring an old version back.
//
// In a global table with eventual consistency between regions, all this holds
// within one region alone: writers in two regions may both win, and the later
// write stays. Those with strong consistency between regions have no TTL:
// EnsureWith fails on them, and expired items stay until something deletes them.
//
// # Requests and costs
//
// Get, Exists, Put and Delete are one request each, with and without a condition.
// GetMany makes one per 100 keys, PutMany and DeleteMany one per 25, eight of
// them at a time. Writes of a batch that have conditions are one request each,
// sixteen of them at a time. A scan makes one per shard to begin with, all at once,
// and one for each further page of a shard, which the service ends at 1 MiB. A scan
// within a group makes its requests to one shard.
//
// Writes are charged per KiB of item, failed conditions included, and reads per
// 4 KiB. An item has some 30 bytes more than key and value, 48 with an expiry, so that
// a value of 970 bytes under a key of 24 fits one write unit:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
//
// Put with IfNotExists pays for a write each time, also when the entry is there: who
// polls should Get first. Exists and scans of keys alone save the transfer of values, not
// the charge for reading them. The same goes for expired items before DynamoDB deletes
// them. That is free of charge, but the other regions of a global table pay for a write.
//
// A scan costs at least one read unit per shard, also where it finds nothing: 16 with 16
// shards, unless its prefix is within a group. A small store that is scanned often is
// cheaper with shards=1.
//
// # Throughput
//
// The service's limits are those of a physical partition: 1,000 write units and 3,000
// read units a second. See
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html.
// A shard begins in one of them, maybe with other shards. Under steady load the service
// splits partitions, and in the end a shard too, at one of its keys. That takes minutes,
// and does not help where all writes go to the greatest key:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html
//
// A new table on demand takes 4,000 write units and 12,000 read units a second, and twice
// its last peak after that. Who knows of a rush beforehand sets its warm throughput:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html
//
// # Permissions
//
// On the table, an IAM policy must permit:
//
//	New, Open          dynamodb:GetItem, and dynamodb:PutItem for the first one
//	                   of a table that EnsureWith did not see, which must name
//	                   the layout; with dynamodb:Scan that one refuses a table
//	                   that holds items of others
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
//	                   others; it says what is not permitted
//
// A table that is encrypted with a key of one's own needs permissions on the key
// besides.
//
// # Caveats
//
//   - Items in the shards' partitions that skykv did not write are
//     kv.ErrIncompatible to every operation on their key, and Put and Delete
//     leave them alone. PutMany and DeleteMany do not see them: the service's
//     batches take no conditions. So is a key in another shard than its own, in scans;
//     Get does not look there. Scans pass over names that are no keys. Inspect counts all
//     these among the first items of the table.
//   - The retries are the SDK's, and the client's own where New was given one: as
//     a rule three attempts. kv.ErrThrottled and kv.ErrUnavailable mean that they
//     were used up. What a batch leaves unprocessed, or all of it when the service
//     throttles it as a whole, is sent again with pauses of up to 5 s, until the context
//     ends. Without a deadline it ends after [Options].Timeout without progress.
//   - An answer that the service cannot have given is kv.ErrUnavailable, and of a write
//     kv.ErrIndeterminate: an empty one, one of another checksum, one about another key or
//     without a list of items, one that is larger than what was asked for, or one after a
//     redirect.
//   - The clients that Open makes limit each attempt at a request. A client for New has
//     the limits that the program gave it, and Options.Timeout. Close of the store ends
//     every request.
//   - A NAT or firewall may drop idle connections without a word; the first request on
//     one then waits for the limit of its attempt. The client of Open, as the SDK's,
//     closes connections that are idle for 90 s, and sends TCP keep-alives.
//   - Where the credentials know their account, the SDK goes to a host of that account,
//     such as 123456789012.ddb.us-east-1.amazonaws.com. A firewall or a private
//     connection that knows only the region's host needs
//     AWS_ACCOUNT_ID_ENDPOINT_MODE=disabled.
//   - An HTTP client that repeats requests by itself, below the SDK, repeats
//     versions as well, and skykv does not see it.
//   - Put replaces whole items: attributes that other programs added are gone.
//   - A client for New that many goroutines use should keep more idle connections
//     than the SDK's 10; a scan alone uses as many as there are shards. The
//     client of Open keeps 512, and cures a fault of the SDK (as of smithy-go
//     1.28.8) that makes net/http drop connections when it is busy.
//   - The condition of IAM dynamodb:LeadingKeys must permit "layout" for GetItem.
package dynamokv
