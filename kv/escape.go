package kv

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// EscapeKey turns any text, such as an e-mail address or a path, into a part of a
// key. ASCII letters and digits, "-" and "." do not change. Every other byte becomes "_" and
// its two hexadecimal digits: "user@example.com" becomes "user_40example.com".
// Different texts have different results. The result for a prefix of a text is a
// prefix of the result for the text. No result contains a colon, so a result within a key
// cannot end the key's [Group].
//
// For texts that are too long for a key see [HashKey].
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

// UnescapeKey returns the text for which EscapeKey returned key. For any other key it
// returns an error that matches [ErrInvalidKey].
func UnescapeKey(key string) (string, error) {
	b := make([]byte, 0, len(key))
	for i := 0; i < len(key); i++ {
		c := key[i]
		if c == '_' {
			high, low := unhex(key, i+1), unhex(key, i+2)
			if high < 0 || low < 0 || !escaped(byte(high<<4|low)) {
				return "", &Error{Key: key, Kind: ErrInvalidKey, Err: fmt.Errorf("byte %d does not begin an escaped byte; want a result of EscapeKey", i)}
			}
			c, i = byte(high<<4|low), i+2
		} else if escaped(c) {
			return "", &Error{Key: key, Kind: ErrInvalidKey, Err: fmt.Errorf("byte %d is %q, which EscapeKey escapes; want a result of EscapeKey", i, c)}
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

// HashKey returns the SHA-256 of a text of any length in base64url, 43 bytes, for use
// as a part of a key. The text can be found only by guessing, and no two texts with the
// same hash are known.
func HashKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encodeText(sum[:])
}
