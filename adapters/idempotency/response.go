package idempotency

import (
	"maps"
	"net/http"
)

// response is the ResponseWriter of a handler. It holds the response back until send, unless the
// body has more than limit bytes.
type response struct {
	to     http.ResponseWriter
	header http.Header
	limit  int

	record record // status, and headers as they were at WriteHeader
	sent   bool
}

func newResponse(to http.ResponseWriter, limit int) *response {
	return &response{to: to, header: make(http.Header), limit: limit}
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	switch {
	case r.record.done():
	case status < http.StatusOK: // informational, and not the response
		maps.Copy(r.to.Header(), r.header)
		r.to.WriteHeader(status)
	default:
		r.record.Status, r.record.Header = status, r.header.Clone()
	}
}

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if !r.sent && len(r.record.body)+len(p) > r.limit {
		if err := r.send(); err != nil {
			return 0, err
		}
		r.record.TooLong, r.record.Header, r.record.body = true, nil, nil
	}
	if r.sent {
		return r.to.Write(p)
	}
	r.record.body = append(r.record.body, p...)
	return len(p), nil
}

// send sends what was held back, if it was not sent before.
func (r *response) send() error {
	if r.sent {
		return nil
	}
	r.sent = true
	return write(r.to, r.record)
}

// write sends a response.
func write(w http.ResponseWriter, r record) error {
	maps.Copy(w.Header(), r.Header)
	w.WriteHeader(r.Status)
	_, err := w.Write(r.body)
	return err
}
