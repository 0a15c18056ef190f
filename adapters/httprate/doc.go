// Package httprate counts the requests of [github.com/go-chi/httprate] in a kv.Store, so that
// replicas share one limit.
//
//	router.Use(httprate.LimitBy(100, time.Minute, user))                // each replica by itself
//	router.Use(httprate.LimitBy(100, time.Minute, user,                 // all together
//		httprate.WithLimitCounter(httpratekv.New(store, time.Second))))
//
// Each key has one entry for each window: the counter. The entry expires when no window needs it
// any more.
//
// # Price
//
// A request reads two small entries in one batch. Unless it is refused, it also increments a
// counter: a write, and usually a read before it if this process has not written the counter yet.
//
// # Caveats
//
// httprate reads, decides, and then increments. Replicas that do so at the same time let more
// requests pass than the limit says, at most one more for each replica.
//
// A limiter of httprate handles one request after another, and waits for the store each time. So
// with one limiter, a process serves at most one request per round trip to the store. Where this
// is too slow, count only by [kv.Store.Increment] with [kv.TTLIfNew], as examples/recipes does.
// That is one call without a lock.
//
// If the store fails or takes longer than the timeout, httprate's handler of errors refuses the
// request, by default with status 428 and the text of the error. Set a different handler with
// httprate.WithErrorHandler.
//
// Each key is limited to the request rate of one partition of the service. A limit that all clients
// share is one key.
package httprate
