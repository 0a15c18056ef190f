package kv

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
)

// TokenLen is the length of a [Record]'s Token: 128 random bits in the base64url
// alphabet. Drivers may tell by it what skykv stored from what others did.
const TokenLen = 22

const (
	// countFrom is where the characters begin that count the requests of one write.
	// What is before them, of 108 bits, they have in common, and with no other write.
	countFrom = TokenLen - 4

	// roundAttempts is how many attempts of a driver each round of a Put has room for.
	roundAttempts = 1 << 12
)

// newToken draws a Record's Token.
func newToken() string {
	var raw [16]byte
	rand.Read(raw[:]) // never fails
	var text [TokenLen]byte
	base64.RawURLEncoding.Encode(text[:], raw[:])
	return string(text[:])
}

// AttemptToken returns the token that attempt n of a write stores, given the Token
// of its Record, which is that of attempt 0. The tokens of the first 4,096 attempts
// are distinct, and the store recognises each of them as that write's.
//
// It is for drivers whose versions are tokens, and which repeat requests that may
// be carried out yet: only if every attempt stores a token of its own does a record
// that a delayed request brings back have a version which it never had before, so
// that a write which asks for a version is applied at most once.
func AttemptToken(token string, n int) string {
	if n == 0 || len(token) != TokenLen {
		return token
	}
	var count [4]byte
	_, _ = base64.RawURLEncoding.Decode(count[1:], []byte(token[countFrom:]))
	binary.BigEndian.PutUint32(count[:], binary.BigEndian.Uint32(count[:])+uint32(n))
	return token[:countFrom] + base64.RawURLEncoding.EncodeToString(count[1:])
}

// SameWrite reports whether two tokens are those of attempts of one write. It is for
// drivers whose records other programs write too: an attribute of skykv's own that
// names its write counts only while the record is of that write.
func SameWrite(a, b string) bool {
	return len(a) == TokenLen && len(b) == TokenLen && a[:countFrom] == b[:countFrom]
}
