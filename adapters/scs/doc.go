// Package scs keeps the sessions of [github.com/alexedwards/scs/v2] in a kv.Store.
//
//	sessions, err := store.Namespace("session:")
//	manager := scs.New()
//	manager.Store = scskv.New(sessions)
//
// A session ends exactly when scs wants it to, even if its entry is deleted later. No goroutine is
// needed to clean up, because the service, or skykv, deletes expired entries. Only in Azure Tables,
// a program must call aztableskv.Sweep now and then.
//
// # Price
//
// A request with a session reads once. A request that changes the session also writes once. With
// an IdleTimeout, every request with a session writes once. RenewToken deletes and writes. Iterate
// scans all sessions. Tokens are spread over all partitions.
//
// # Caveats
//
// Use a [kv.Store.Namespace], or a store, that holds nothing but sessions. A token is a key, and a
// client may send any text as a token. If the store held other entries, the token could be the key
// of one of them.
//
// The store holds the tokens. A person who can list the store can take sessions over, unless
// scs.SessionManager.HashTokenInStore is set.
//
// A session may have up to 24 KiB, or up to the kv.MaxValue of the store. Committing a larger one
// returns an error that matches kv.ErrValueTooLarge.
//
// scs reads and writes a session as a whole. If two requests change a session at the same time, the
// later write undoes the changes of the earlier one. It may even bring back a session that the
// other request destroyed.
package scs
