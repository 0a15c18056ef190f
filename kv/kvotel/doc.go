// Package kvotel tells OpenTelemetry what a [kv.Store] asks its service: a span and
// measurements for each request of the store to its driver, by the stable semantic
// conventions for database clients (version 1.43).
//
//	store = store.With(kvotel.Observe(&kvotel.Options{Collection: "users"}))
//
// [Log] writes the same to a [slog.Logger].
//
// # Spans
//
// A span is of kind client, and its name is the operation and the collection, as in
// "get users". It begins when the store asks its driver, and ends when the answer is there. The
// span of a scan or of a batch that is read ends when the loop over it does, so the time that the
// loop's body takes counts.
//
//	db.system.name           aws.dynamodb, gcp.firestore, azure.tables, sqlite or the driver's name
//	db.operation.name        get, put, delete, touch, scan, atomic_write; BATCH get, BATCH put, BATCH
//	db.operation.batch.size  the number of keys, from 2 on
//	db.collection.name, db.namespace, server.address, server.port    as Options say
//	error.type               throttled, unavailable, deadline_exceeded, ...; _OTHER
//	skykv.outcome            found, absent, done, condition_failed, stopped or error
//	skykv.requests           requests to the service
//	skykv.attempts           requests with their repetitions by the SDK
//	skykv.records            records that were read
//	skykv.sent, skykv.received       bytes of values, without keys and what the protocol adds
//	skykv.may_have_applied   true for a write that failed and may have been applied all the same
//	skykv.keys               the keys, of a scan both ends of its range; with Options.Keys only
//
// A condition that failed and a key that is absent are outcomes and no errors.
//
// # Metrics
//
//	db.client.operation.duration   histogram in seconds, with the buckets of the conventions
//	skykv.client.requests          counter of requests
//	skykv.client.attempts          counter of attempts
//	skykv.client.io                counter of the bytes of values, by network.io.direction
//
// All have the attributes of spans that have few values: system, operation, collection,
// namespace, server and, but for the counters, outcome and error.type.
//
// # Price
//
// Without an SDK for traces and metrics a request costs some 0.2 µs and 3 allocations more.
// With one that exports into memory it costs some 3 µs and 11 allocations, most of them the
// SDK's. A request that is logged costs what the handler does.
//
// # Caveats
//
// An operation is what the store asks its driver. One call of the store may be several: a scan
// has one for each shard, an Update a get and a put, and Exists is a get. Calls that the store
// refuses, for an invalid key for example, ask nothing and are not seen.
//
// Values are never told. Keys are not told unless [Options].Keys is set; then the text of errors
// is told as well, which may name keys. The keys are those at the place where Observe is in the
// chain: over a namespace they lack its prefix.
//
// What middleware below answers by itself has no requests. Observe over a cache measures what
// the program waits for, and Observe below it what the service is asked.
//
// Drivers without a service, memkv and localkv, count no requests.
package kvotel
