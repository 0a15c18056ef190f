package idempotency

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
)

// record is the value of a key: a line of JSON, and after it the body of the response.
type record struct {
	Format      int    `json:"format"`
	Holder      string `json:"holder"`      // a random text for each request that claims a key
	Fingerprint string `json:"fingerprint"` // the fingerprint of the request

	// Status is 0 while the request is under way. TooLong says that the response did not
	// fit into a value.
	Status  int  `json:"status,omitempty"`
	TooLong bool `json:"tooLong,omitempty"`
	headers

	body []byte
}

// headers are the changes that a handler made to the headers of its response: the headers that it
// set, the values that it added to headers of the outer middleware, and the headers of the outer
// middleware that it removed.
type headers struct {
	Header  fields   `json:"header,omitempty"`
	Added   fields   `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// fields are fields of a header. A value may have any bytes, but JSON has only characters. So in
// JSON, each byte of a value is the character of the same number.
type fields http.Header

// MarshalJSON implements json.Marshaler.
func (f fields) MarshalJSON() ([]byte, error) {
	texts := make(http.Header, len(f))
	for name, values := range f {
		texts[name] = make([]string, len(values))
		for i, value := range values {
			text := make([]rune, len(value))
			for at := range len(value) {
				text[at] = rune(value[at])
			}
			texts[name][i] = string(text)
		}
	}
	return json.Marshal(texts)
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *fields) UnmarshalJSON(raw []byte) error {
	if err := json.Unmarshal(raw, (*http.Header)(f)); err != nil {
		return err
	}
	for _, values := range *f {
		for i, text := range values {
			value := make([]byte, 0, len(text))
			for _, char := range text {
				value = append(value, byte(char))
			}
			values[i] = string(value)
		}
	}
	return nil
}

const format = 1

// maxStatus is the greatest status that net/http sends. It panics if a handler sets a greater one.
const maxStatus = 999

func (r record) done() bool { return r.Status != 0 }

func (r record) encode() []byte {
	r.Format = format
	head, err := json.Marshal(r)
	if err != nil {
		panic(err) // cannot happen: the fields are numbers and texts
	}
	return append(append(head, '\n'), r.body...)
}

func decode(value []byte) (record, error) {
	var r record
	head, body, found := bytes.Cut(value, []byte("\n"))
	if !found || json.Unmarshal(head, &r) != nil || r.Format != format || r.Holder == "" || r.Fingerprint == "" ||
		r.done() && (r.Status < http.StatusOK || r.Status > maxStatus) {
		return record{}, errors.New("the value is no record of a request; want what package idempotency wrote")
	}
	r.body = body
	return r, nil
}
