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
// A Get is one read. A Put or a Delete is one write. The manager keeps certificates in memory. It
// reads a certificate when it first serves the name, and before each renewal. It writes a
// certificate after each order. An order usually writes a challenge too, and deletes it.
//
// # Caveats
//
// The manager reads the store under a lock. So while it reads a certificate for the first
// handshake for a name, handshakes for other names must wait until the read ends. If a client
// asks for the TLS-ALPN challenge, the manager does not ask the HostPolicy. It then reads the store
// for any name, unless it has the challenge certificate of the name in memory.
//
// autocert has no locks between processes. Replicas that need the same certificate at the same
// time each order one. The adapter for certmagic, next to this one, has locks.
//
// The store holds private keys.
package autocert
