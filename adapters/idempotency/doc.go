// Package idempotency is middleware for net/http. With it, a client may repeat a POST or PATCH,
// and the request is carried out only once. The client sends an Idempotency-Key, and a repetition
// gets the stored response to the first request.
//
//	records, err := store.Namespace("idempotency:")
//	once, err := idempotency.New(records, idempotency.Options{
//		Scope: func(r *http.Request) string { return userOf(r).ID },
//	})
//	mux.Handle("POST /payments", once(payments))
//
// It follows https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/:
//
//	no key                                     the request passes, or 400 with Required
//	a key that is empty, or sent twice         400
//	a new key                                  the handler runs
//	a key whose request is under way           409, with Retry-After
//	a key whose response is stored             that response, with Idempotency-Replayed: true
//	a key sent with other method, URL or body  422
//	a body that cannot be read                 400
//	a body of more than MaxBody                413
//	the store is not available                 503, with Retry-After; the handler does not run
//
// Requests with other methods pass. Errors are problem details (RFC 9457).
//
// # What is stored
//
// The key of an entry is [kv.HashKey] of the scope and the Idempotency-Key. Its value has the
// status, the changes that the handler made to the headers, the body, and a SHA-256 of method, URL
// and request body. It expires after TTL. A response is stored before it is sent, so a client that
// has seen it gets the same response again.
//
// Responses with status 429 and 503 mean that nothing was done. They are not stored, and the key is
// free again. All other responses are stored, including errors.
//
// A response that does not fit into a value of the store (24 KiB, or kv.MaxValue) is sent, but
// not stored. A repetition gets 409 without Retry-After, and the handler does not run again.
//
// # What can go wrong
//
// If the client disconnects, the handler runs on, because the client may come back for the
// response. The context of the handler ends after Timeout.
//
// If the process dies, or the handler panics, the key is free after three times the Timeout. A
// repetition then runs the handler again. The same happens if the response could not be stored. The
// failure is logged, and the client gets the response nevertheless. The same also happens if a
// handler ignores its context and runs for longer than three times the Timeout, or if its process
// is stopped for as long while the handler runs. If something must not happen twice even then,
// write it with its own condition. For example, put an order under its number with kv.IfNotExists.
//
// A lost response of the store does no such harm, because the middleware recognises its own
// records.
//
// # Price
//
// The first request writes twice. A repetition tries to write, and reads.
//
// # Caveats
//
// Responses are stored unchanged, including cookies and secrets.
//
// Request and response are held in memory. The handler's ResponseWriter is neither an http.Flusher
// nor an http.Hijacker.
//
// The hosts decide by their clocks when a key is free. The clocks should differ by less than the
// Timeout.
package idempotency
