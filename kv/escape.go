package kv

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// EscapeKey makes a part of a key of any text, such as an e-mail address or a path.
// Letters, digits, "-" and "." stand for themselves, every other byte for "_" and its
// two hexadecimal digits: "user@example.com" is "user_40example.com". Different texts
// have different results. That of a prefix is a prefix of the result. No result holds
// a colon, so that none reaches into another part of the key or another [Group].
//
// Texts that are too long for a key are for [HashKey].
func EscapeKey(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; escaped(c) {
			b.Write([]byte{'_', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func escaped(c byte) bool { return !inKey[c] || c == '_' || c == ':' }

// UnescapeKey returns the text of which EscapeKey made key. Anything else is an error
// that matches [ErrInvalidKey].
func UnescapeKey(key string) (string, error) {
	b := make([]byte, 0, len(key))
	for i := 0; i < len(key); i++ {
		c := key[i]
		if c == '_' {
			high, low := unhex(key, i+1), unhex(key, i+2)
			if high < 0 || low < 0 || !escaped(byte(high<<4|low)) {
				return "", &Error{Key: key, Kind: ErrInvalidKey, Err: fmt.Errorf("byte %d begins no escaped byte; want what EscapeKey returned", i)}
			}
			c, i = byte(high<<4|low), i+2
		} else if escaped(c) {
			return "", &Error{Key: key, Kind: ErrInvalidKey, Err: fmt.Errorf("byte %d is %q, which EscapeKey escapes; want what it returned", i, c)}
		}
		b = append(b, c)
	}
	return string(b), nil
}

// unhex returns the value of the hexadecimal digit at i, or -1.
func unhex(s string, i int) int {
	if i >= len(s) {
		return -1
	}
	return strings.IndexByte("0123456789ABCDEF", s[i])
}

// HashKey makes a part of a key of a text of any length: its SHA-256 in base64url, 43
// bytes. Nobody can tell the text by it, and no two texts are known to have one hash.
func HashKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encodeText(sum[:])
}
