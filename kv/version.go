package kv

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// Version names one state of one entry, for [IfVersion]. It is opaque. Versions
// can be compared with ==: equal versions name the same state of the same key on
// the same provider. The zero Version names no state.
//
// String and [ParseVersion] convert it for HTTP headers, forms and files.
// MarshalText and UnmarshalText convert it for JSON.
type Version struct {
	provider string
	key      uint64 // hash of the key: a version is valid for its key only
	expires  int64  // the entry's expiry, after which no entry has the version
	native   string
}

// A version's text is the base64url encoding of the byte versionFormat, a checksum
// of the bytes that follow, the hash of the key, the expiry, the length of the
// provider's name, the name, and the native version.
const versionFormat = 1

const versionHeader = 1 + 8 + 8 + 8 + 1

// maxNativeLen is greater than the length of any service's native version.
// maxVersionText is the length of the longest text. Longer texts are not decoded.
const (
	maxNativeLen   = 1024
	maxVersionText = (versionHeader + maxNameLen + maxNativeLen + 2) / 3 * 4
)

// IsZero reports whether v is the zero Version, which names no state.
func (v Version) IsZero() bool { return v == Version{} }

// String returns the version's text: printable ASCII without spaces, safe in
// URLs. The text of the zero Version is empty.
func (v Version) String() string {
	if v.IsZero() {
		return ""
	}
	b := make([]byte, versionHeader, versionHeader+len(v.provider)+len(v.native))
	b[0] = versionFormat
	binary.BigEndian.PutUint64(b[9:], v.key)
	binary.BigEndian.PutUint64(b[17:], uint64(v.expires))
	b[25] = byte(len(v.provider))
	b = append(append(b, v.provider...), v.native...)
	binary.BigEndian.PutUint64(b[1:], hash(string(b[9:])))
	return encodeText(b)
}

// ParseVersion returns the Version whose String returned text. For any other
// text, including the empty one, it returns an error that matches
// [ErrInvalidVersion].
func ParseVersion(text string) (Version, error) {
	if len(text) > maxVersionText {
		return Version{}, invalidVersion(fmt.Sprintf("the text has %d bytes, more than any version; want what Version.String returned", len(text)))
	}
	b, ok := decodeText(text)
	switch {
	case !ok || len(b) < versionHeader:
		return Version{}, invalidVersion("the text is not a version; want what Version.String returned")
	case b[0] != versionFormat:
		return Version{}, invalidVersion(fmt.Sprintf("the text has format %d; want %d", b[0], versionFormat))
	case binary.BigEndian.Uint64(b[1:]) != hash(string(b[9:])) || len(b) < versionHeader+int(b[25]):
		return Version{}, invalidVersion("the text is damaged; want what Version.String returned")
	}
	name := versionHeader + int(b[25])
	v := Version{
		key:      binary.BigEndian.Uint64(b[9:]),
		expires:  int64(binary.BigEndian.Uint64(b[17:])),
		provider: string(b[versionHeader:name]),
		native:   string(b[name:]),
	}
	if v.native == "" || len(v.native) > maxNativeLen || v.expires < 0 {
		return Version{}, invalidVersion("the text names no state; want what Version.String returned")
	}
	return v, nil
}

// encodeText and decodeText convert the bytes of cursors and versions to text and back.

func encodeText(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decodeText(text string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// Even strict decoding ignores line breaks.
	return b, err == nil && !strings.ContainsAny(text, "\r\n")
}

// MarshalText returns the text of [Version.String].
func (v Version) MarshalText() ([]byte, error) {
	return []byte(v.String()), nil
}

// UnmarshalText is like [ParseVersion], but accepts the empty text for the zero Version.
func (v *Version) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*v = Version{}
		return nil
	}
	parsed, err := ParseVersion(string(text))
	if err == nil {
		*v = parsed
	}
	return err
}

// version returns the Version of a state that a driver read or wrote.
func (s *Store) version(key string, expires int64, native string) Version {
	return Version{provider: s.info.Name, key: hash(key), expires: expires, native: native}
}

// replacedNative begins the native part of a version whose state was already replaced
// when the version was returned. No service's native version begins with a
// zero byte.
const replacedNative = "\x00"

// replacedVersion returns a version for a state that the write with this token
// made, if another write has replaced that state, or if that state was never stored.
// No entry is in that state, now or later.
func (s *Store) replacedVersion(key, token string) Version {
	return s.version(key, 0, replacedNative+token)
}

func (v Version) replaced() bool { return strings.HasPrefix(v.native, replacedNative) }

// checkVersion returns an error if v cannot be a version of key in this store.
func (s *Store) checkVersion(v Version, key string) *Error {
	switch {
	case v.IsZero():
		return invalidVersion("the version is empty; want what Get, Put or a scan returned")
	case v.native == "": // the write would have no condition
		return invalidVersion("the version names no state: its driver did not report one")
	case v.provider != s.info.Name:
		return invalidVersion(fmt.Sprintf("the version is of a %q store; this one is %q", v.provider, s.info.Name))
	case v.key != hash(key):
		return invalidVersion("the version belongs to another key")
	}
	return nil
}

func invalidVersion(why string) *Error {
	return &Error{Kind: ErrInvalidVersion, Err: fmt.Errorf("%s", why)}
}
