package idempotency

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
)

// record is what is stored for a key: a line of JSON, and the body of the response.
type record struct {
	Format      int    `json:"format"`
	Holder      string `json:"holder"`      // a random text for each request that claims a key
	Fingerprint string `json:"fingerprint"` // of the request

	// Status is 0 while the request is under way. TooLong is a response that did not fit.
	Status  int         `json:"status,omitempty"`
	TooLong bool        `json:"tooLong,omitempty"`
	Header  http.Header `json:"header,omitempty"`

	body []byte
}

const format = 1

func (r record) done() bool { return r.Status != 0 }

func (r record) encode() []byte {
	r.Format = format
	head, err := json.Marshal(r)
	if err != nil {
		panic(err) // numbers and texts alone
	}
	return append(append(head, '\n'), r.body...)
}

func decode(value []byte) (record, error) {
	var r record
	head, body, found := bytes.Cut(value, []byte("\n"))
	if !found || json.Unmarshal(head, &r) != nil || r.Format != format || r.Holder == "" || r.Fingerprint == "" {
		return record{}, errors.New("the value is no record of a request; want what package idempotency wrote")
	}
	r.body = body
	return r, nil
}
