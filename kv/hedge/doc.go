// Package hedge sends a second request for a read that takes unusually long, and returns the
// answer that comes first. It makes the slowest reads of a service faster: those few in a
// thousand that are slow because of one server or one connection.
//
//	store = store.With(hedge.Reads(nil))
//
// # Which reads
//
// Get and Exists are hedged, and the reads within Update and Increment. Batches and scans
// are not. How long they take depends on how much they read, so that no threshold says
// which are slow. A second one would cost as much as all of its keys.
//
// Writes are never hedged. The second copy of a write could arrive after others have
// replaced what the first one wrote, and would undo their work.
//
// All rules of reads hold. Both requests are reads of the store that begin after the call
// does, and one of them ends before it. Get returns an error only when both have failed.
//
// # When
//
// A read is late after 2 times the median, or 1.25 times the 95th percentile, of the last
// 1,000 to 2,000 reads, whichever is longer. Until 100 reads are known there are no second
// requests. At most one read in 50 gets a second request, and at most ten in a row. A read gets
// none while four or more are under way and more than half of them are late: then the service
// is slow for all, and more requests would make it slower.
//
// # Price
//
// At most 2 percent more reads. In simulated time, a service that answers in 2 ms, and once in
// a hundred times in 100 ms, has a 99.9th percentile of 6 ms instead of 100. Where all requests
// are slow at once hedging changes little. A hedged read takes a goroutine, a timer and a
// context: some microseconds. A request over a network takes a hundred times as long. A Get of
// memkv takes less: do not hedge it.
//
// # Caveats
//
// The slower request may go on after the call has returned: see [Options]. The service
// charges for it in any case.
//
// There is one threshold for all reads. Where a tenth of the values are far larger than the
// others, their reads determine it.
//
// The time of a read includes all that is below hedge, such as the retries of the service's
// SDK. Middleware that waits by itself, such as a rate limiter, must be above it.
//
// A driver's Get runs in a goroutine of its own, where a panic ends the program.
package hedge
