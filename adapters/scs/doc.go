// Package scs keeps the sessions of [github.com/alexedwards/scs/v2] in a kv.Store.
//
//	sessions, err := store.Namespace("session:")
//	manager := scs.New()
//	manager.Store = scskv.New(sessions)
//
// A session ends exactly when scs wants it to, also where the service deletes it later. No
// goroutine cleans up: the service, or skykv, deletes what has expired.
//
// # Price
//
// A request with a session reads once. A request that changes the session writes once, and
// with an IdleTimeout every request does. RenewToken deletes and writes. Iterate scans all
// sessions. Tokens are spread over all partitions.
//
// # Caveats
//
// Give it a [kv.Store.Namespace], or a store, that holds nothing else. A token is a key, and a
// client can send any: without a namespace it could name an entry that is no session.
//
// The store holds the tokens. Whoever can list it can take sessions over, unless
// scs.SessionManager.HashTokenInStore is set.
//
// A session has up to 24 KiB, or what kv.MaxValue of the store says. Committing a larger one
// is an error that matches kv.ErrValueTooLarge.
//
// scs reads a session, and writes it as a whole. Of two requests of one session at the same
// time, the later one undoes what the earlier one changed, and may bring back a session that
// the earlier one destroyed.
package scs
