// Package fiber implements the Storage of [github.com/gofiber/fiber] over a kv.Store, for
// sessions, caches, limiters and CSRF tokens. It fits versions 2 and 3, and imports neither.
//
//	sessions, err := store.Namespace("session:")
//	app.Use(session.New(session.Config{Storage: fiberkv.New(sessions, 5*time.Second)}))
//
// Expiries are exact to the millisecond, even if the service deletes entries later.
//
// # Price
//
// A Get is a read. A Set or a Delete is a write. Reset scans the namespace and deletes its entries.
//
// # Caveats
//
// Keys are hashed by [kv.HashKey], because fiber's keys have any length and contain text that
// clients send. So whoever reads the store finds no URLs, and no session IDs to take over.
//
// Values may have up to 24 KiB, or up to the kv.MaxValue of the store. Storing a larger value
// returns an error that matches kv.ErrValueTooLarge.
//
// The sessions of fiber return errors of the store. The limiter, cache and CSRF middleware of
// version 2 ignores them. So the limiter of version 2 lets every request pass while the store is
// unavailable.
//
// A limiter reads and then writes. So requests to two replicas at the same time may count as one.
// A session is written as a whole. If two requests change a session at the same time, the later
// write undoes the changes of the earlier one.
package fiber
