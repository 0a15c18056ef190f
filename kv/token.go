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
	// countFrom is the index of the last four characters, which count the attempts of one
	// write. The 108 bits before them are the same in all attempts of a write, and differ
	// from those of every other write.
	countFrom = TokenLen - 4

	// roundAttempts is the number of tokens of a write that the store reserves, in each of its
	// calls of the driver, for the driver's own attempts.
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

// AttemptToken returns the token that attempt n of a write stores. The argument token is
// the Token of the write's Record, which attempt 0 stores. The tokens of the first 4,096
// attempts are distinct. The store recognises each of them as a token of that write.
//
// AttemptToken is for drivers that use tokens as versions, and that retry requests that
// may still be applied. A delayed request may store its record again after another write.
// If every attempt stores a different token, that record has a version that never existed
// before. So a write with CondVersion is applied at most once.
func AttemptToken(token string, n int) string {
	if n == 0 || len(token) != TokenLen {
		return token
	}
	var count [4]byte
	_, _ = base64.RawURLEncoding.Decode(count[1:], []byte(token[countFrom:]))
	binary.BigEndian.PutUint32(count[:], binary.BigEndian.Uint32(count[:])+uint32(n))
	return token[:countFrom] + base64.RawURLEncoding.EncodeToString(count[1:])
}

// SameWrite reports whether two tokens are from attempts of the same write. It is for
// drivers that share records with other programs. Such a driver puts a copy of the write's
// token into each attribute that the other programs do not know. If the copy and the record's
// token are of different writes, the attribute is left over from an earlier write, and the
// driver ignores it.
func SameWrite(a, b string) bool {
	return len(a) == TokenLen && len(b) == TokenLen && a[:countFrom] == b[:countFrom]
}
