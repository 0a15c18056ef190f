package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"

	"github.com/skykv/skykv/kv"
)

const (
	// KeyLen is the length of a key of Keys, in bytes.
	KeyLen = 32

	// MaxNameLen is the greatest length of the name of a key, in bytes.
	MaxNameLen = 32

	checkLen = 4
)

// Keys is a ring of named AES-256-GCM keys. One of them, the primary, seals new values.
// The others can still open the values that they sealed. Keys is an [AEAD].
//
// The result of Encrypt begins with the length of the key's name, the name, and 4 bytes of a hash
// of the key, which detect another key of the same name. A nonce of 96 random bits and the
// ciphertext follow. Because the nonces are random, a key must not seal more than 2^32 values.
type Keys struct {
	primary *key
	named   map[string]*key
}

type key struct {
	label []byte // the beginning of every result of Encrypt with this key
	aead  cipher.AEAD
}

// NewKeys returns a ring of keys. keys maps names to keys, and primary is the name of the
// key that seals new values. A name is a legal key of kv of at most [MaxNameLen] bytes, and
// is stored unencrypted with every value. A key has [KeyLen] random bytes. NewKeys returns
// kv.ErrInvalidOption if a name or a key is not valid, or if there is no key named primary.
// It keeps no slice, so the caller may clear the keys.
func NewKeys(primary string, keys map[string][]byte) (*Keys, error) {
	ring := &Keys{named: make(map[string]*key, len(keys))}
	for name, secret := range keys {
		if err := kv.ValidateKey(name); err != nil || len(name) > MaxNameLen {
			return nil, invalid("the name of a key has %d bytes; want 1 to %d of those that keys of kv are made of", len(name), MaxNameLen)
		}
		if len(secret) != KeyLen {
			return nil, invalid("the key %q has %d bytes; want %d", name, len(secret), KeyLen)
		}
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, invalid("the key %q: %w", name, err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, invalid("the key %q: %w", name, err)
		}
		sum := sha256.Sum256(append([]byte("skykv/kv/seal check\x00"), secret...))
		label := append(append([]byte{byte(len(name))}, name...), sum[:checkLen]...)
		ring.named[name] = &key{label: label, aead: aead}
	}
	if ring.primary = ring.named[primary]; ring.primary == nil {
		return nil, invalid("there is no key of the name %q, which is to be the primary", primary)
	}
	return ring, nil
}

// Encrypt seals plaintext with the primary key.
func (k *Keys) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	p := k.primary
	sealed := make([]byte, 0, len(p.label)+len(plaintext)+p.aead.Overhead())
	return p.aead.Seal(append(sealed, p.label...), nil, plaintext, associatedData), nil
}

// Decrypt returns the plaintext that Encrypt sealed. An error is [ErrTampered], or wraps
// [ErrNoKey] or [ErrWrongKey].
func (k *Keys) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	name, rest, ok := cutName(ciphertext)
	if !ok {
		return nil, ErrTampered
	}
	with, ok := k.named[string(name)]
	switch {
	case !ok && kv.ValidateKey(string(name)) != nil:
		return nil, ErrTampered
	case !ok:
		return nil, fmt.Errorf("%w: %q", ErrNoKey, name)
	case !bytes.HasPrefix(ciphertext, with.label):
		return nil, fmt.Errorf("%w: %q", ErrWrongKey, name)
	}
	plaintext, err := with.aead.Open(nil, nil, rest[checkLen:], associatedData)
	if err != nil {
		return nil, ErrTampered
	}
	return plaintext, nil
}

// cutName returns the name of the key with which ciphertext was sealed, and the rest, which begins
// with the hash of the key and the nonce. ok is false if ciphertext does not begin with a name and
// a hash.
func cutName(ciphertext []byte) (name, rest []byte, ok bool) {
	if len(ciphertext) == 0 || int(ciphertext[0]) > MaxNameLen || len(ciphertext) < 1+int(ciphertext[0])+checkLen {
		return nil, nil, false
	}
	end := 1 + int(ciphertext[0])
	return ciphertext[1:end], ciphertext[end:], true
}

// isPrimary reports whether ciphertext was sealed with the primary key.
func (k *Keys) isPrimary(ciphertext []byte) bool {
	return bytes.HasPrefix(ciphertext, k.primary.label)
}
