package kv

import (
	"fmt"
	"strings"
	"time"
)

// Limits of every store. Drivers, middleware and namespaces may lower them: see [Store.Info].
const (
	// MaxKeyLen is the greatest length of a key or prefix, in bytes.
	MaxKeyLen = 512

	// MaxValueLen is the greatest length of a value in a store without [MaxValue], in
	// bytes: 24 KiB.
	MaxValueLen = 24 * 1024

	// MaxLargeValueLen is the highest limit that [MaxValue] can set, in bytes: 384 KiB. A
	// value of that length fits into one item of DynamoDB, whose limit of 400 KB is the
	// lowest of all services:
	// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
	MaxLargeValueLen = 384 * 1024

	// KeyAlphabet has the bytes of keys in ascending order. Keys sort by their bytes,
	// so "-" comes first and "z" last.
	KeyAlphabet = "-.0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

	keyAlphabetText = "a-z A-Z 0-9 - _ : ."

	// firstKey is the lowest key. afterKeys is greater than every byte of a key. Both
	// are printable ASCII, which all services compare alike.
	firstKey  = "-"
	afterKeys = "~"
)

// MaxExpiry is the latest time at which an entry can expire: the last millisecond of the
// year 9999. It is Firestore's limit.
var MaxExpiry = time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC)

// inKey marks the bytes of KeyAlphabet.
var inKey = func() (set [256]bool) {
	for i := range len(KeyAlphabet) {
		set[KeyAlphabet[i]] = true
	}
	return set
}()

// ValidateKey returns an error unless key is legal: 1 to [MaxKeyLen] bytes of
// [KeyAlphabet]. The error matches [ErrInvalidKey], and says what is wrong and what is
// required.
func ValidateKey(key string) error {
	return asError(checkKey(key, MaxKeyLen))
}

// ValidatePrefix returns an error unless prefix is empty or legal as a key. The error
// matches [ErrInvalidKey].
func ValidatePrefix(prefix string) error {
	return asError(checkPrefix(prefix, MaxKeyLen))
}

// ValidateValue returns an error if value has more than [MaxValueLen] bytes, the limit
// of stores without [MaxValue]. The error matches [ErrValueTooLarge].
func ValidateValue(value []byte) error {
	return asError(checkValue(value, MaxValueLen))
}

func checkKey(key string, most int) *Error {
	if key == "" {
		return &Error{Kind: ErrInvalidKey, Err: fmt.Errorf("the key is empty; it must have 1 to %d bytes of %s", most, keyAlphabetText)}
	}
	return checkKeyBytes("key", key, most)
}

func checkPrefix(prefix string, most int) *Error {
	return checkKeyBytes("prefix", prefix, most)
}

func checkKeyBytes(what, s string, most int) *Error {
	if len(s) > most {
		return &Error{Key: s, Kind: ErrInvalidKey, Err: fmt.Errorf("the %s has %d bytes; it must have at most %d", what, len(s), most)}
	}
	for i := range len(s) {
		if !inKey[s[i]] {
			return &Error{Key: s, Kind: ErrInvalidKey, Err: fmt.Errorf("byte %d of the %s is %q; it must be one of %s; EscapeKey turns any text into a key", i, what, s[i:i+1], keyAlphabetText)}
		}
	}
	return nil
}

func checkValue(value []byte, most int) *Error {
	if len(value) > most {
		return &Error{Kind: ErrValueTooLarge, Err: fmt.Errorf("the value has %d bytes; it must have at most %d", len(value), most)}
	}
	return nil
}

// checkInstant converts an instant to milliseconds, rounded up. It returns an error if this
// instant cannot be an expiry.
func checkInstant(at time.Time, now int64) (int64, *Error) {
	ms := at.UnixMilli()
	if at.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	switch {
	case !at.After(time.UnixMilli(0)): // 0 means no expiry in a record; earlier times may overflow
		return 0, &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("the expiry is not later than %s", formatMillis(0))}
	case at.After(MaxExpiry):
		return 0, &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("the expiry is later than %s", MaxExpiry.Format(time.RFC3339Nano))}
	case ms <= now:
		return 0, &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("the expiry %s is not later than the store's clock, which reads %s",
			formatMillis(ms), formatMillis(now))}
	}
	return ms, nil
}

// checkTTL returns the sum of now and ttl in milliseconds, rounded up. It returns an error if
// ttl is less than a millisecond, or if the sum cannot be an expiry.
func checkTTL(ttl time.Duration, now time.Time) (int64, *Error) {
	if ttl < time.Millisecond {
		return 0, errTTL(ttl)
	}
	return checkInstant(now.Add(ttl), now.UnixMilli())
}

func errTTL(ttl time.Duration) *Error {
	return &Error{Kind: ErrInvalidOption, Err: fmt.Errorf("the TTL is %s; it must be at least 1ms", ttl)}
}

func formatMillis(ms int64) string {
	return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)
}

// quote quotes a key for a message, and shortens a key that is too long.
func quote(key string) string {
	if len(key) > MaxKeyLen {
		key = strings.ToValidUTF8(key[:64], "") + "…"
	}
	return fmt.Sprintf("%q", key)
}
