package idempotency

import (
	"maps"
	"net/http"
	"slices"
)

// response is the ResponseWriter of a handler. It holds the response back until send is called. If
// the body has more than limit bytes, it sends the response at once.
type response struct {
	to     http.ResponseWriter
	before http.Header // the headers that the outer middleware had set when the handler began
	header http.Header
	limit  int

	record record // at the time of WriteHeader: the status, and the changes of the handler to the headers
	sent   bool
}

func newResponse(to http.ResponseWriter, limit int) *response {
	return &response{to: to, before: to.Header().Clone(), header: to.Header().Clone(), limit: limit}
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	switch {
	case r.record.done():
	case status < http.StatusOK || status > maxStatus: // an informational response, before the final one, or a panic
		header := r.to.Header()
		clear(header)
		maps.Copy(header, r.header)
		r.to.WriteHeader(status)
		clear(header)
		maps.Copy(header, r.before)
	default:
		r.record.Status, r.record.headers = status, difference(r.before, r.header)
	}
}

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if !r.sent && len(r.record.body)+len(p) > r.limit {
		err := r.send()
		r.record.TooLong, r.record.headers, r.record.body = true, headers{}, nil
		if err != nil {
			return 0, err // the record is already TooLong, so the incomplete response is not stored
		}
	}
	if r.sent {
		return r.to.Write(p)
	}
	r.record.body = append(r.record.body, p...)
	return len(p), nil
}

// send sends the response that was held back, unless it was sent before.
func (r *response) send() error {
	if r.sent {
		return nil
	}
	r.sent = true
	return write(r.to, r.record)
}

// write sends a response.
func write(w http.ResponseWriter, r record) error {
	r.apply(w.Header())
	w.WriteHeader(r.Status)
	_, err := w.Write(r.body)
	return err
}

// difference returns the changes that a handler made to the headers. It does not include headers
// of the outer middleware that the handler did not change, because the middleware sets them again
// for each response.
func difference(before, after http.Header) headers {
	changed := headers{Header: make(fields), Added: make(fields)}
	for name, values := range after {
		old, had := before[name]
		switch {
		case had && slices.Equal(old, values):
		case len(old) > 0 && len(values) > len(old) && slices.Equal(old, values[:len(old)]):
			changed.Added[name] = slices.Clone(values[len(old):])
		default:
			changed.Header[name] = slices.Clone(values)
		}
	}
	for name := range before {
		if _, has := after[name]; !has {
			changed.Removed = append(changed.Removed, name)
		}
	}
	return changed
}

// apply changes the headers of a response as the handler did.
func (h headers) apply(header http.Header) {
	for _, name := range h.Removed {
		delete(header, name)
	}
	maps.Copy(header, h.Header)
	for name, values := range h.Added {
		header[name] = append(slices.Clip(header[name]), values...)
	}
}
