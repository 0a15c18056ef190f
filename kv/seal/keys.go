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

// Keys is a ring of named AES-256-GCM keys. New values are sealed with one of them, the
// primary. Values that others of them sealed stay readable. Keys is an [AEAD].
//
// What it seals begins with the length of the key's name, the name, and a check of 4 bytes
// by which another key of the same name is noticed. A nonce of 96 random bits and the
// ciphertext follow. Because of the nonce, a key must not seal more than 2^32 values.
type Keys struct {
	primary *key
	named   map[string]*key
}

type key struct {
	label []byte // begins what the key seals
	aead  cipher.AEAD
}

// NewKeys returns a ring of keys, by their names. Primary is the name of the one that seals.
// Names are those of kv's keys, of at most [MaxNameLen] bytes, and are stored with every
// value in the clear. Keys are [KeyLen] random bytes. It returns kv.ErrInvalidOption when a
// name or a key is none of these, or there is no key of the name primary. The slices are
// the caller's to clear.
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

// Decrypt returns what Encrypt sealed. It returns [ErrNoKey], [ErrWrongKey] or [ErrTampered].
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

// cutName returns the name of the key that sealed ciphertext, and what follows it: the
// check, the nonce and more.
func cutName(ciphertext []byte) (name, rest []byte, ok bool) {
	if len(ciphertext) == 0 || int(ciphertext[0]) > MaxNameLen || len(ciphertext) < 1+int(ciphertext[0])+checkLen {
		return nil, nil, false
	}
	end := 1 + int(ciphertext[0])
	return ciphertext[1:end], ciphertext[end:], true
}

// isPrimary reports whether the primary key sealed ciphertext.
func (k *Keys) isPrimary(ciphertext []byte) bool {
	return bytes.HasPrefix(ciphertext, k.primary.label)
}
