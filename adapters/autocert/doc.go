// Package autocert keeps the certificates of [golang.org/x/crypto/acme/autocert] in a kv.Store,
// so that replicas share them.
//
//	certificates, err := store.Namespace("autocert:")
//	manager := &autocert.Manager{
//		Prompt:     autocert.AcceptTOS,
//		HostPolicy: autocert.HostWhitelist("example.com"),
//		Cache:      autocertkv.New(certificates),
//	}
//
// # Price
//
// A Get is a read, a Put or Delete a write. The manager keeps certificates in memory: it reads
// one when it first serves the name, and writes one per renewal.
//
// # Caveats
//
// The manager reads under its lock: the first handshake of one name holds up those of others
// for the time of a read. A handshake that asks for the TLS-ALPN challenge is read before the HostPolicy
// is asked, whatever its name.
//
// autocert does not lock. Replicas that need the same certificate at the same time each order one. The
// package certmagic beside this one has locks.
//
// The store holds private keys.
package autocert
