// Package entryline is the text form of entries: one JSON object a line.
//
//	{"key":"user:42","value":"Ann","expiresAt":"2027-01-31T12:00:00.125Z"}
//	{"key":"picture:1","base64":"iVBORw0KGgo="}
//
// A value that is valid UTF-8 is in "value", any other in "base64"; both are
// missing where only keys were asked for. Entries that do not expire have no
// "expiresAt". A "version" is written where it is asked for, and skipped when read.
package entryline

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/skykv/skykv/kv"
)

type line struct {
	Key       string     `json:"key"`
	Value     *string    `json:"value,omitempty"`
	Base64    *[]byte    `json:"base64,omitempty"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	Version   string     `json:"version,omitempty"`
}

// Encoder writes lines.
type Encoder struct {
	json     *json.Encoder
	versions bool
}

// NewEncoder returns an encoder, with or without the entries' versions.
func NewEncoder(w io.Writer, versions bool) *Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &Encoder{enc, versions}
}

// Encode writes one line; a nil Value is one that was not asked for.
func (e *Encoder) Encode(entry kv.Entry) error {
	l := line{Key: entry.Key}
	switch {
	case entry.Value == nil:
	case utf8.Valid(entry.Value):
		text := string(entry.Value)
		l.Value = &text
	default:
		l.Base64 = &entry.Value
	}
	if !entry.ExpiresAt.IsZero() {
		l.ExpiresAt = &entry.ExpiresAt
	}
	if e.versions {
		l.Version = entry.Version.String()
	}
	return e.json.Encode(l)
}

// maxLine is room for the longest value in its longest spelling, several times over.
const maxLine = 1 << 20

// Decoder reads lines. Its errors say which line is wrong and quote none of it.
type Decoder struct {
	r      *bufio.Reader
	line   int64
	offset int64
}

// NewDecoder returns a decoder of text that begins at offset, after line.
func NewDecoder(r io.Reader, offset, line int64) *Decoder {
	return &Decoder{bufio.NewReaderSize(r, maxLine), line, offset}
}

// Position says how much was read: the bytes, and the lines, so far.
func (d *Decoder) Position() (offset, line int64) { return d.offset, d.line }

// Decode reads the next entry, and skips blank lines. At the end it returns io.EOF.
func (d *Decoder) Decode() (kv.Entry, error) {
	for {
		text, err := d.r.ReadSlice('\n')
		d.line++
		d.offset += int64(len(text))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return kv.Entry{}, d.errorf("is longer than %d bytes", maxLine)
		case err != nil && err != io.EOF:
			return kv.Entry{}, fmt.Errorf("reading line %d: %w", d.line, err)
		}
		ended := err == io.EOF
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return d.parse(text)
		}
		if ended {
			return kv.Entry{}, io.EOF
		}
	}
}

func (d *Decoder) parse(text []byte) (kv.Entry, error) {
	if !utf8.Valid(text) {
		return kv.Entry{}, d.errorf("is not valid UTF-8; a value that is not text belongs in \"base64\"")
	}
	var l line
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		// encoding/json quotes what it read; the name of an unknown field is of use.
		if _, field, ok := strings.Cut(err.Error(), "json: unknown field "); ok {
			return kv.Entry{}, d.errorf("has a field %.80s; known are key, value, base64, expiresAt and version", field)
		}
		return kv.Entry{}, d.errorf("is not a complete JSON object of an entry")
	}
	if _, err := dec.Token(); err != io.EOF { // More takes a } for the end
		return kv.Entry{}, d.errorf("has text after the JSON object")
	}
	entry := kv.Entry{Key: l.Key}
	switch {
	case l.Value != nil && l.Base64 != nil:
		return kv.Entry{}, d.errorf("has both a \"value\" and a \"base64\"")
	case l.Value != nil:
		// Half of a surrogate pair has silently become another character, which then
		// is there more often than it was written.
		if n := strings.Count(*l.Value, "\ufffd"); n > 0 && n > replacements(text) {
			return kv.Entry{}, d.errorf("has a value that is not valid text; such a value belongs in \"base64\"")
		}
		entry.Value = []byte(*l.Value)
	case l.Base64 != nil:
		entry.Value = *l.Base64
	default:
		return kv.Entry{}, d.errorf("has neither a \"value\" nor a \"base64\"")
	}
	if err := kv.ValidateKey(entry.Key); err != nil {
		return kv.Entry{}, fmt.Errorf("line %d: %w", d.line, err)
	}
	if err := kv.ValidateValue(entry.Value); err != nil {
		return kv.Entry{}, fmt.Errorf("line %d: %w", d.line, err)
	}
	if l.ExpiresAt != nil {
		entry.ExpiresAt = l.ExpiresAt.UTC()
		if entry.ExpiresAt.IsZero() || entry.ExpiresAt.After(kv.MaxExpiry) {
			return kv.Entry{}, d.errorf("has an \"expiresAt\" that is not after 0001-01-01T00:00:00Z and before the year 10000")
		}
	}
	return entry, nil
}

// replacements counts the replacement characters in a line of JSON, as they are or
// escaped. In \\ufffd it is the backslash that is escaped.
func replacements(text []byte) int {
	escapes := bytes.ToLower(bytes.ReplaceAll(text, []byte(`\\`), nil))
	return bytes.Count(text, []byte("\ufffd")) + bytes.Count(escapes, []byte(`\ufffd`))
}

func (d *Decoder) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d %s", d.line, fmt.Sprintf(format, args...))
}
