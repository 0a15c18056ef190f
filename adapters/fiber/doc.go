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
// Values have up to 24 KiB, or what kv.MaxValue of the store says. A larger one is an error that matches
// kv.ErrValueTooLarge, which some of fiber's middleware, such as its cache, answers with a status of 500.
//
// fiber's limiter reads and then writes, so that requests at the same time are counted as one, and a
// session is written as a whole.
package fiber
