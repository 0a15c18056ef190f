// Package fiber is the Storage of [github.com/gofiber/fiber] over a kv.Store, for its sessions,
// caches, limiters and CSRF tokens. It fits versions 2 and 3, and imports neither.
//
//	sessions, err := store.Namespace("session:")
//	app.Use(session.New(session.Config{Storage: fiberkv.New(sessions, 5*time.Second)}))
//
// Expiries are exact to the millisecond, also where the service deletes later.
//
// # Price
//
// A Get is a read, a Set or Delete a write. Reset scans the namespace and deletes its entries.
//
// # Caveats
//
// Keys are hashed ([kv.HashKey]): fiber's keys have any length and hold what clients send.
// The store shows no URL, and no session ID that could be taken over.
//
// Values have up to 24 KiB, or what kv.MaxValue of the store says. Storing a larger one returns
// an error that matches kv.ErrValueTooLarge.
//
// The sessions of fiber pass errors of the store on. The limiter, cache and CSRF middleware of
// version 2 ignores them: while the store is unavailable, that limiter lets every request pass.
//
// A limiter reads and then writes, so that requests of two replicas at the same time can count
// as one. A session is written as a whole.
package fiber
