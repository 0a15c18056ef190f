package console

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/skykv/skykv/kv"
)

// entry is an entry as a page shows it.
type entry struct {
	Key, Version string
	Size         int
	Expires      time.Time
	As           string // the name of the selected way
	Ways         []way
	Value        string
	Error        string
}

// way is a way to show a value.
type way struct {
	Name, Link string
	Selected   bool
}

// show fills in e. It shows the value in the requested way if that is possible, and
// otherwise in the way that suits the value best.
func (e *entry) show(found kv.Entry, as, link string) {
	e.Version, e.Size, e.Expires = found.Version.String(), len(found.Value), found.ExpiresAt
	values := map[string]string{"hex": hex.Dump(found.Value)}
	best := "hex"
	if utf8.Valid(found.Value) {
		values["text"] = visible(string(found.Value))
		if !strings.ContainsFunc(string(found.Value), isBinary) {
			best = "text"
		}
	}
	if json.Valid(found.Value) && nesting(found.Value) <= mostPretty/len(found.Value) {
		var pretty bytes.Buffer
		_ = json.Indent(&pretty, found.Value, "", "  ") // no error: it is valid
		values["JSON"] = visible(pretty.String())
		best = "JSON"
	}
	if e.As = as; values[as] == "" {
		e.As = best
	}
	e.Value = values[e.As]
	for _, name := range []string{"JSON", "text", "hex"} {
		if _, ok := values[name]; ok {
			e.Ways = append(e.Ways, way{name, link + "&as=" + name, name == e.As})
		}
	}
}

// mostPretty limits the indentation of JSON: the length of a value times how deep it is nested.
// Without a limit, a value of 24 KiB could become a page of 200 MB.
const mostPretty = 4 << 20

// nesting returns how deep valid JSON is nested.
func nesting(value []byte) (most int) {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber() // otherwise a number such as 1e999 is an error
	for depth := 0; ; {
		token, err := dec.Token()
		switch {
		case err != nil:
			return most
		case token == json.Delim('['), token == json.Delim('{'):
			depth++
			most = max(most, depth)
		case token == json.Delim(']'), token == json.Delim('}'):
			depth--
		}
	}
}

// isBinary reports whether a value with this character is probably not text.
func isBinary(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }

// visible escapes characters that hide text or change its direction.
func visible(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
