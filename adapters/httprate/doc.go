// Package httprate counts the requests of [github.com/go-chi/httprate] in a kv.Store, so that
// replicas share one limit.
//
//	router.Use(httprate.LimitBy(100, time.Minute, user))                // each replica by itself
//	router.Use(httprate.LimitBy(100, time.Minute, user,                 // all together
//		httprate.WithLimitCounter(httpratekv.New(store, time.Second))))
//
// A counter is one entry for each key and window. It ends by itself when no window needs it any
// more.
//
// # Price
//
// A request reads two small entries in one batch, and, unless it is refused, increments one: a
// write, and a read before it when the process has not written the counter before.
//
// # Caveats
//
// httprate reads, decides, and then increments. Replicas that do so at the same time let some
// requests more pass than the limit says, at most one for each replica.
//
// A limiter of httprate handles one request after the other, the calls of the counter
// included. A process then serves at most one request per round trip and limiter. Where this
// is too slow, count by [kv.Store.Increment] with [kv.TTLIfNew] alone, as examples/recipes does:
// one call, without a lock.
//
// When the store fails or takes longer than the timeout, the request is refused by httprate's
// handler of errors, by default with status 428 and the text of the error. Set one with
// httprate.WithErrorHandler.
//
// A key carries what one partition of the service does: a limit for all clients together is
// one entry.
package httprate
