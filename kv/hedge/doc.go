// Package hedge sends a second request for a read that takes unusually long, and takes the
// answer that comes first. It is for the slowest reads of a service: one in a hundred or a
// thousand, which met a bad moment of one server or connection.
//
//	store = store.With(hedge.Reads(nil))
//
// # Which reads
//
// Get and Exists are hedged, and the reads within Update and Increment. Batches and scans
// are not: their time depends on what they read, so that no threshold tells a slow one,
// and a second one would cost as much as all of its keys.
//
// Writes are never hedged. The second copy of a write could arrive after others have
// replaced what the first one wrote, and bring it back.
//
// All rules of reads hold: either answer is that of a read of the store that began and
// ended within the call. An error is returned only when both requests have failed.
//
// # When
//
// A read is late after 2 times the median, and after 1.25 times the 95th percentile, of the
// last 1,000 to 2,000 reads. Until 100 are known there are no second requests. At most one read
// in 50 gets one, ten in a row after a quiet time. A read gets none while four or more are under
// way and more than half of them are late: then the service is slow for all, and more requests
// would make it slower.
//
// # Price
//
// At most 2 percent more reads. A service that answers in 2 ms, and once in a hundred times in
// 100 ms, had a 99.9th percentile of 6 ms instead of 100. Where slowness strikes all requests
// at once, or times vary evenly, hedging changes little. A hedged read takes a goroutine, a
// timer and two contexts: some microseconds. That is nothing beside a network, and more than
// a Get of memkv or localkv takes: leave them alone.
//
// # Caveats
//
// What the slower request does after the call has returned depends on the protocol: see
// [Options]. Its read is paid for in any case.
//
// All reads count as alike. Where a tenth of the values is far larger than the others,
// their reads set the threshold for all.
//
// The time of a read is that of all that is below hedge, the retries of the service's SDK
// included. Middleware that waits by itself, such as a rate limiter, belongs above it.
package hedge
