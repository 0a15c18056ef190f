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
// 4 KiB. An item has some 30 bytes more than key and value, 48 with an expiry:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
//
// Exists and scans of keys alone save the transfer of values, not the charge for
// reading them. The same goes for expired items before DynamoDB deletes them,
// which is free of charge.
//
// Each shard takes some 1,000 KiB of writes and 3,000 reads of 4 KiB a second:
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
//
// # Permissions
//
// On the table, an IAM policy must permit:
//
//	New, Open          dynamodb:GetItem, and dynamodb:PutItem for the first one
//	                   of a table that EnsureWith did not see
//	Get, Exists        dynamodb:GetItem
//	Put                dynamodb:PutItem
//	Delete             dynamodb:DeleteItem
//	Scan, ScanPage     dynamodb:Query
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
//	                   dynamodb:GetItem, and dynamodb:Scan without a layout
//	                   record; it says what is not permitted
//
// A table that is encrypted with a key of one's own needs permissions on the key
// besides.
//
// # Caveats
//
//   - Items in the shards' partitions that skykv did not write are
//     kv.ErrIncompatible to every operation on their key, and Put and Delete
//     leave them alone. PutMany and DeleteMany do not see them: the service's
//     batches take no conditions.
//   - The retries are the SDK's, and the client's own where New was given one: as
//     a rule three attempts. kv.ErrThrottled and kv.ErrUnavailable mean that they
//     were used up. What a batch leaves unprocessed is sent again with pauses,
//     until nothing has been processed eleven times in a row.
//   - The SDK sets no limit to the time that a request takes: contexts should
//     have deadlines. Close of the store ends every request.
//   - An HTTP client that repeats requests by itself, below the SDK, repeats
//     versions as well, and skykv does not see it.
//   - Put replaces whole items: attributes that other programs added are gone.
//   - A client for New that many goroutines use should keep more idle connections
//     than the SDK's 10; a scan alone uses as many as there are shards. The
//     client of Open keeps 512, and cures a fault of the SDK (as of smithy-go
//     1.28.8) that makes net/http drop connections when it is busy.
//   - The condition of IAM dynamodb:LeadingKeys must permit "layout" for GetItem.
package dynamokv
