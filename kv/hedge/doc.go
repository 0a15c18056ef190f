// Package hedge sends a second request for a read that takes unusually long, and returns the
// answer that comes first. It makes the slowest reads of a service faster: those few in a
// thousand that are slow because of one server or one connection.
//
//	store = store.With(hedge.Reads(nil))
//
// # Which reads
//
// Get and Exists are hedged, and so are the reads within Update, Increment and GetAndDelete.
// Batches and scans are not: their time depends on how much they read, so no threshold tells which
// of them are slow, and a second request would cost as much as the first.
//
// Writes are never hedged. The second copy of a write could arrive after others have
// replaced what the first one wrote, and would undo their work.
//
// Hedged reads keep all guarantees of reads. Both requests are sent after the call begins,
// and the call returns the answer to one of them. Get returns an error only if all requests
// that it sent have failed, or if the call's context has ended.
//
// # When
//
// A read is late after 2 times the median or 1.25 times the 95th percentile, whichever is longer.
// Both are of the times of the last 1,000 to 2,000 reads that succeeded. Until 100 reads were
// measured there are no second requests. On average at most one read in 50 gets a second request,
// and at most ten reads in a row. A read gets none while four or more reads are under way and
// more than half of them are late: then the service is slow for all, and more requests would make
// it slower.
//
// # Price
//
// Hedging costs at most 2 percent more reads. In a simulation, a service that answers in 2 ms,
// and once in a hundred times in 100 ms, has a 99.9th percentile of 6 ms instead of 100. If all
// requests are slow at once, hedging changes little. A hedged read needs a goroutine, a timer
// and a context, which takes some microseconds. A request over a network takes a hundred times
// as long. A Get of memkv takes less than these microseconds: do not hedge memkv.
//
// # Caveats
//
// The slower request may go on after the call has returned: see [Options]. The service
// charges for it in any case.
//
// There is one threshold for all reads. If a tenth of the values are far larger than the
// others, the reads of these values determine the threshold.
//
// The time of a read includes all that the wrapped driver does, such as the retries of the
// service's SDK. Middleware that waits by itself, such as a rate limiter, must wrap hedge, not
// be wrapped by it.
//
// After the first 100 reads, a driver's Get runs in a goroutine of its own, so a panic there ends
// the program.
package hedge
