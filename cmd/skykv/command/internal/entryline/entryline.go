// Package entryline reads and writes the text form of entries: one JSON object a line.
//
//	{"key":"user:42","value":"Ann","expiresAt":"2027-01-31T12:00:00.125Z"}
//	{"key":"picture:1","base64":"iVBORw0KGgo="}
//
// A value that is valid UTF-8 is in "value", any other in "base64". Both are missing if
// only keys were requested. Entries that do not expire have no "expiresAt". A "version" is
// written on request, and readers ignore it. Every field is a string. Each name appears at
// most once, in this spelling.
package entryline

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
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

// Encode writes one line. A nil Value means that only the key was requested.
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

// maxLine is several times the length of the longest possible line: a value of
// kv.MaxLargeValueLen bytes takes at most six characters a byte.
const maxLine = 8 << 20

// byteOrderMark is a character that some editors write at the beginning of files.
var byteOrderMark = []byte("\ufeff")

// Decoder reads lines. Its errors give the number of the wrong line. They may quote a key
// or the name of a field, but never a value.
type Decoder struct {
	r      *bufio.Reader
	line   int64
	offset int64
}

// NewDecoder returns a decoder. If r begins inside a file, offset and line are the numbers
// of bytes and lines before that place.
func NewDecoder(r io.Reader, offset, line int64) *Decoder {
	return &Decoder{bufio.NewReaderSize(r, maxLine), line, offset}
}

// Position returns the numbers of bytes and lines read so far. They include the bytes and lines
// before r, as given to NewDecoder.
func (d *Decoder) Position() (offset, line int64) { return d.offset, d.line }

// Decode reads the next entry, and skips blank lines. At the end it returns io.EOF. It does
// not check the length of the value, because stores have different limits.
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
		if d.offset == int64(len(text)) { // the first line
			text = bytes.TrimPrefix(text, byteOrderMark)
		}
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
	var object json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(text))
	if dec.Decode(&object) != nil || object[0] != '{' { // the error of Decode is dropped, because it quotes the text
		return kv.Entry{}, d.errorf("is not a complete JSON object of an entry")
	}
	if _, err := dec.Token(); err != io.EOF { // not dec.More, which reports the end before a stray }
		return kv.Entry{}, d.errorf("has text after the JSON object")
	}
	fields, err := d.fields(object)
	if err != nil {
		return kv.Entry{}, err
	}
	entry := kv.Entry{}
	if key := fields["key"]; key != nil {
		entry.Key = *key
	}
	switch value, base64Value := fields["value"], fields["base64"]; {
	case value != nil && base64Value != nil:
		return kv.Entry{}, d.errorf("has both a \"value\" and a \"base64\"")
	case value != nil:
		entry.Value = []byte(*value)
	case base64Value != nil:
		if entry.Value, err = base64.StdEncoding.DecodeString(*base64Value); err != nil {
			return kv.Entry{}, d.errorf("has a \"base64\" that is not standard base64 with its padding")
		}
	default:
		return kv.Entry{}, d.errorf("has neither a \"value\" nor a \"base64\"")
	}
	if err := kv.ValidateKey(entry.Key); err != nil {
		return kv.Entry{}, fmt.Errorf("line %d: %w", d.line, err)
	}
	if text := fields["expiresAt"]; text != nil {
		var at time.Time
		if at.UnmarshalText([]byte(*text)) != nil {
			return kv.Entry{}, d.errorf("has an \"expiresAt\" that is not an instant; want one such as 2027-01-31T12:00:00Z")
		}
		entry.ExpiresAt = at.UTC()
		if entry.ExpiresAt.IsZero() || entry.ExpiresAt.After(kv.MaxExpiry) {
			return kv.Entry{}, d.errorf("has an \"expiresAt\" out of range; want one after 0001-01-01T00:00:00Z and before the year 10000")
		}
	}
	return entry, nil
}

// known lists the names of the fields. Each field is a string.
var known = []string{"key", "value", "base64", "expiresAt", "version"}

// fields returns the fields of an object that is valid JSON. A null field counts as absent.
// [json.Unmarshal] is not strict enough: it ignores the case of names, and if a name occurs
// several times, it uses the last one.
func (d *Decoder) fields(object []byte) (map[string]*string, error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	_, _ = dec.Token() // the opening brace
	fields := make(map[string]*string, len(known))
	for dec.More() {
		token, err := dec.Token()
		name, isString := token.(string)
		if err != nil || !isString {
			return nil, d.errorf("is not a complete JSON object of an entry")
		}
		if !slices.Contains(known, name) {
			return nil, d.errorf("has a field %.80q; want only key, value, base64, expiresAt and version", name)
		}
		if _, twice := fields[name]; twice {
			return nil, d.errorf("has %q twice", name)
		}
		begin := dec.InputOffset()
		token, err = dec.Token()
		switch value := token.(type) {
		case string:
			// encoding/json turns half of a surrogate pair into a replacement character,
			// without an error. The value then has more of them than its JSON.
			if n := strings.Count(value, "\ufffd"); name == "value" && n > 0 && n > replacements(object[begin:dec.InputOffset()]) {
				return nil, d.errorf("has a value that is not valid text; such a value belongs in \"base64\"")
			}
			fields[name] = &value
		case nil:
			fields[name] = nil
		default:
			err = errors.New("not a string")
		}
		if err != nil {
			return nil, d.errorf("has a %q that is not a string; want \"%s\":\"…\"", name, name)
		}
	}
	return fields, nil
}

// replacements counts the replacement characters in a text of JSON, whether written
// directly or as \ufffd. It does not count \\ufffd, which is an escaped backslash and text.
func replacements(text []byte) int {
	escapes := bytes.ToLower(bytes.ReplaceAll(text, []byte(`\\`), nil))
	return bytes.Count(text, []byte("\ufffd")) + bytes.Count(escapes, []byte(`\ufffd`))
}

func (d *Decoder) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d %s", d.line, fmt.Sprintf(format, args...))
}
