package entryline

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
)

func TestWritten(t *testing.T) {
	t.Parallel()
	at := time.Date(2027, 1, 31, 12, 0, 0, 125e6, time.UTC)
	for _, c := range []struct {
		entry kv.Entry
		want  string
	}{
		{kv.Entry{Key: "a", Value: []byte("text")}, `{"key":"a","value":"text"}`},
		{kv.Entry{Key: "a", Value: []byte{}}, `{"key":"a","value":""}`},
		{kv.Entry{Key: "a"}, `{"key":"a"}`},
		{kv.Entry{Key: "a", Value: []byte("<\"\n&\x00ü\ufffd")}, `{"key":"a","value":"<\"\n&\u0000ü` + "\ufffd" + `"}`},
		{kv.Entry{Key: "a", Value: []byte{0xff, 0}}, `{"key":"a","base64":"/wA="}`},
		{kv.Entry{Key: "a", Value: []byte("v"), ExpiresAt: at}, `{"key":"a","value":"v","expiresAt":"2027-01-31T12:00:00.125Z"}`},
		{kv.Entry{Key: "a", Value: []byte("v"), ExpiresAt: kv.MaxExpiry}, `{"key":"a","value":"v","expiresAt":"9999-12-31T23:59:59.999Z"}`},
	} {
		var b bytes.Buffer
		if err := NewEncoder(&b, false).Encode(c.entry); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSuffix(b.String(), "\n"); got != c.want {
			t.Errorf("the entry is written\n%s; want\n%s", got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for _, c := range []struct{ line, says string }{
		{`{"key":"a","value":"` + secret, "not a complete JSON object"},
		{`"` + secret + `"`, "not a complete JSON object"},
		{`{"key":"a"}`, "neither"},
		{`{"key":"a","value":"` + secret + `","base64":""}`, "both"},
		{`{"key":"a","base64":"` + secret + `!"}`, `"base64" that is not standard base64`},
		{`{"key":"a","value":5}`, `"value" that is not a string`},
		{`{"key":"a","value":{"` + secret + `":1}}`, `"value" that is not a string`},
		{`{"key":"a","value":["` + secret + `"]}`, `"value" that is not a string`},
		{`{"key":"a","value":true}`, `"value" that is not a string`},
		{`{"key":"a","value":null}`, "neither"},
		{`{"key":5,"value":"` + secret + `"}`, `"key" that is not a string`},
		{`{"key":"a","value":"","expiresAt":1900000000}`, `"expiresAt" that is not a string`},
		{`{"key":"a","value":"` + secret + `","value":"` + secret + `"}`, `"value" twice`},
		{`{"key":"a","key":"b","value":"` + secret + `"}`, `"key" twice`},
		{`{"key":"a","value":null,"value":"` + secret + `"}`, `"value" twice`},
		{`{"key":"a","value":"` + secret + `","Value":"` + secret + `"}`, `field "Value"`},
		{`{"KEY":"a","value":"` + secret + `"}`, `field "KEY"`},
		{`{"key":"a","value":"` + secret + `","expiresat":"2099-01-01T00:00:00Z"}`, `field "expiresat"`},
		{"\ufeff" + `{"key":"a","value":"` + secret + `"}`, "not a complete JSON object"},
		{`{"key":"a","value":"` + secret + `","ttl":5}`, `field "ttl"`},
		{`{"key":"a","value":"` + secret + `"} {}`, "after the JSON object"},
		{`{"key":"a","value":"` + secret + `"}}`, "after the JSON object"},
		{`{"key":"a","value":"` + secret + `"}]`, "after the JSON object"},
		{`{"key":"a","value":"` + secret + `"} x`, "after the JSON object"},
		{`{"key":"a/b","value":""}`, "invalid key"},
		{`{"value":"` + secret + `"}`, "invalid key"},
		{`{"key":"a","value":"\ud800` + secret + `"}`, "not valid text"},
		{`{"key":"a","value":"\\ufffd \ud800` + secret + `"}`, "not valid text"},
		{`{"key":"a","value":"\uFFFD \udfff` + secret + `"}`, "not valid text"},
		{`{"key":"a","value":"` + "\ufffd" + ` \ud800\u0041` + secret + `"}`, "not valid text"},
		{`{"key":"a","version":"\ufffd","value":"\ud800` + secret + `"}`, "not valid text"},
		{`{"key":"a","version":"` + "\ufffd" + `","value":"` + secret + `\udfff"}`, "not valid text"},
		{`{"key":"a","value":"` + "\xff" + secret + `"}`, "UTF-8"},
		{`{"key":"a","value":"` + strings.Repeat("x", maxLine) + `"}`, "longer than"},
		{`{"key":"a","value":"","expiresAt":"tomorrow"}`, "not an instant"},
		{`{"key":"a","value":"","expiresAt":"0001-01-01T00:00:00Z"}`, "want one after 0001-01-01T00:00:00Z"},
	} {
		d := NewDecoder(strings.NewReader("\n"+c.line+"\n"), 0, 0)
		_, err := d.Decode()
		if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%.60s returns %v; want an error with %q and \"line 2\"", c.line, err, c.says)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("rule: no message contains a value; got %v", err)
		}
	}
}

// The rule: a replacement character in the line is text like any other character.
func TestReplacementCharacters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"\ufffd":       "\ufffd",
		`\ufffd\uFFFD`: "\ufffd\ufffd",
		`\\ufffd`:      `\ufffd`,
		`\\\ufffd`:     "\\\ufffd",
		`\"\\\uFffd\\`: "\"\\\ufffd\\",
	} {
		line := `{"key":"a","value":"` + text + `"}`
		if got, err := NewDecoder(strings.NewReader(line), 0, 0).Decode(); err != nil || string(got.Value) != want {
			t.Errorf("%s is read as %q, %v; want %q", line, got.Value, err, want)
		}
	}
}

// The rule: Decode skips a byte order mark at the beginning of the text. Position counts the
// bytes of the mark.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	const text = "\ufeff{\"key\":\"a\",\"value\":\"1\",\"version\":null}\n{\"key\":\"b\",\"value\":\"2\"}\n"
	d := NewDecoder(strings.NewReader(text), 0, 0)
	entry, err := d.Decode()
	offset, line := d.Position()
	if want := int64(strings.Index(text, "\n") + 1); err != nil || entry.Key != "a" || offset != want || line != 1 {
		t.Errorf("after a byte order mark the entry is %q, %v, up to byte %d of line %d; want a, up to byte %d of line 1", entry.Key, err, offset, line, want)
	}
	if entry, err := d.Decode(); err != nil || entry.Key != "b" {
		t.Errorf("the next line is %q, %v; want b", entry.Key, err)
	}
	if _, err := NewDecoder(strings.NewReader("\ufeff"), 0, 0).Decode(); err != io.EOF {
		t.Errorf("reading a file with only a byte order mark returns %v; want io.EOF", err)
	}
}

func TestPositionsContinue(t *testing.T) {
	t.Parallel()
	text := "{\"key\":\"a\",\"value\":\"1\"}\r\n\n{\"key\":\"b\",\"value\":\"2\",\"version\":\"x\"}\n{\"key\":\"c\",\"value\":\"3\"}"
	d := NewDecoder(strings.NewReader(text), 0, 0)
	for _, want := range []string{"a", "b", "c"} {
		offset, line := d.Position()
		for _, d := range []*Decoder{d, NewDecoder(strings.NewReader(text[offset:]), offset, line)} {
			if entry, err := d.Decode(); err != nil || entry.Key != want {
				t.Fatalf("after byte %d the entry is %q, %v; want %q", offset, entry.Key, err, want)
			}
		}
	}
	if _, err := d.Decode(); err != io.EOF {
		t.Errorf("at the end the error is %v; want io.EOF", err)
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("a", []byte("text"), int64(0))
	f.Add("..", []byte{0xff, 0xfe, 0}, int64(1_900_000_000_125))
	f.Add("_", []byte("\xed\xa0\x80 \u2028 \ufffd <>&\\u"), int64(1))
	f.Fuzz(func(t *testing.T, key string, value []byte, expires int64) {
		entry := kv.Entry{Key: key, Value: value}
		if expires != 0 {
			entry.ExpiresAt = time.UnixMilli(expires).UTC()
		}
		if kv.ValidateKey(key) != nil || kv.ValidateValue(value) != nil || value == nil || expires < 0 || entry.ExpiresAt.After(kv.MaxExpiry) {
			return
		}
		var b bytes.Buffer
		if err := NewEncoder(&b, false).Encode(entry); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b.Bytes(), []byte("\n")); n != 1 || !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
			t.Fatalf("an entry is one line; got %q", b.Bytes())
		}
		got, err := NewDecoder(&b, 0, 0).Decode()
		if err != nil || got.Key != key || !bytes.Equal(got.Value, value) || !got.ExpiresAt.Equal(entry.ExpiresAt) {
			t.Fatalf("%+v is read as %+v, %v", entry, got, err)
		}
	})
}
