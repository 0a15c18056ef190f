package kv

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
)

// TokenLen is the length of a [Record]'s Token: 128 random bits in the base64url
// alphabet. Drivers may use it to recognise records that skykv stored.
const TokenLen = 22

const (
	// countFrom is the index of the characters that count the requests of one write.
	// The 108 bits before them are the same in all requests of the write, and differ
	// from every other write.
	countFrom = TokenLen - 4

	// roundAttempts is the number of token counts that each round of a Put leaves for
	// the driver's attempts.
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

// AttemptToken returns the token that attempt n of a write stores. The argument is
// the Token of its Record, which is the token of attempt 0. The tokens of the first
// 4,096 attempts are distinct. The store recognises each of them as the token of that
// write.
//
// It is for drivers whose versions are tokens and which retry requests that may still
// be applied. Such a delayed request may store its record again after another write.
// If every attempt stores a token of its own, that record has a version that never
// existed before. So a write that asks for a version is applied at most once.
func AttemptToken(token string, n int) string {
	if n == 0 || len(token) != TokenLen {
		return token
	}
	var count [4]byte
	_, _ = base64.RawURLEncoding.Decode(count[1:], []byte(token[countFrom:]))
	binary.BigEndian.PutUint32(count[:], binary.BigEndian.Uint32(count[:])+uint32(n))
	return token[:countFrom] + base64.RawURLEncoding.EncodeToString(count[1:])
}

// SameWrite reports whether two tokens are from attempts of one write. It is for
// drivers whose records other programs write too: an attribute of skykv that names
// its write counts only while the record is from that write.
func SameWrite(a, b string) bool {
	return len(a) == TokenLen && len(b) == TokenLen && a[:countFrom] == b[:countFrom]
}
