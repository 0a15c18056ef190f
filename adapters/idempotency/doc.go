// Package idempotency is middleware for net/http that lets a client repeat a POST or PATCH
// without its being carried out twice: the client sends an Idempotency-Key, and a repetition gets
// the stored response of the first request.
//
//	records, err := store.Namespace("idempotency:")
//	once, err := idempotency.New(records, idempotency.Options{
//		Scope: func(r *http.Request) string { return userOf(r).ID },
//	})
//	mux.Handle("POST /payments", once(payments))
//
// It follows https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/:
//
//	no key                                     the request passes; with Required 400
//	a key that is empty, or sent twice         400
//	a new key                                  the handler runs
//	a key whose request is under way           409, with Retry-After
//	a key whose response is stored             that response, with Idempotency-Replayed: true
//	a key of another method, URL or body       422
//	a body of more than MaxBody                413
//	the store is not available                 503, with Retry-After; the handler does not run
//
// Other methods than POST and PATCH pass. Errors are problem details (RFC 9457).
//
// # What is stored
//
// The key is [kv.HashKey] of scope and Idempotency-Key. The entry is the status, the headers
// that the handler set, the body, and a SHA-256 of method, URL and request body. It expires after
// TTL. A response is stored before it is sent, so that a client which has seen it gets it again.
//
// Responses of 429 and 503 say that nothing was done. They are not stored, and the key is free again.
// Every other response is stored, those of failures as well.
//
// A response that does not fit into a value of the store (24 KiB, or kv.MaxValue) is sent, but
// not stored. A repetition gets 409 without Retry-After, and the handler does not run again.
//
// # What can go wrong
//
// The handler runs on when the client goes away: the client comes back for the response. The
// context of the handler ends after Timeout.
//
// When the process dies, or the handler panics, the key is free after three times the Timeout,
// and a repetition runs the handler again. So it is when the response could not be stored: the
// client has it nevertheless, and the failure is logged.
// What must not happen twice even then needs a condition of its own, such as the number of an
// order that is written by kv.IfNotExists.
//
// Lost responses of the store are no such case. The middleware recognises what it wrote.
//
// # Price
//
// The first request writes twice. A repetition tries to write, and reads.
//
// # Caveats
//
// Responses are stored as they are, cookies and secrets included.
//
// Request and response are held in memory. The ResponseWriter of the handler is no http.Flusher
// and no http.Hijacker.
//
// The hosts' clocks judge when a key is free: they should differ by less than the Timeout.
package idempotency
