package idempotency

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/skykv/skykv/kv"
)

// New returns middleware that keeps its records in a store, which should be a
// [kv.Store.Namespace]. If an option is out of its bounds, the error matches
// [kv.ErrInvalidOption].
func New(store *kv.Store, options Options) (func(http.Handler) http.Handler, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return &handler{records{store}, options, next}
	}, nil
}

type handler struct {
	records records
	Options
	next http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	keys := r.Header.Values("Idempotency-Key")
	switch {
	case r.Method != http.MethodPost && r.Method != http.MethodPatch, len(keys) == 0 && !h.Required:
		h.next.ServeHTTP(w, r)
		return
	case len(keys) == 0:
		refuse(w, http.StatusBadRequest, "Idempotency-Key is missing")
		return
	case len(keys) > 1 || unquote(keys[0]) == "":
		refuse(w, http.StatusBadRequest, "Idempotency-Key is empty, or sent more than once")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("The body has more than %d bytes", h.MaxBody))
		return
	} else if err != nil {
		refuse(w, http.StatusBadRequest, "The body could not be read")
		return
	}

	// From here on, the request goes on even if the client disconnects.
	ctx := context.WithoutCancel(r.Context())
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body)) // Scope may read a form, which the handler then shares
	key := kv.HashKey(strconv.Quote(h.Scope(r)) + unquote(keys[0]))
	payload := fingerprint(r, body)
	claiming, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	claimed, other, err := h.records.claim(claiming, key, payload, 3*h.Timeout)
	if err == nil && claimed != nil && claiming.Err() != nil {
		// Claiming took longer than the timeout, for example because the process was stopped.
		// The claim may have expired.
		err = fmt.Errorf("to claim the key took too long: %w", claiming.Err())
	}
	switch {
	case err != nil:
		h.Log.ErrorContext(ctx, "idempotency: the request was refused", "error", err)
		refuseForNow(w, http.StatusServiceUnavailable, "The records of earlier requests are not available")
	case claimed != nil:
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.carryOut(w, r, claimed)
	case other.Fingerprint != payload:
		refuse(w, http.StatusUnprocessableEntity, "Idempotency-Key was used with another request")
	case !other.done():
		refuseForNow(w, http.StatusConflict, "A request with this Idempotency-Key is under way")
	case other.TooLong:
		refuse(w, http.StatusConflict, "The request was carried out; its response was too long to be kept")
	default:
		w.Header().Set("Idempotency-Replayed", "true")
		_ = write(w, other) // an error means that the client has disconnected
	}
}

// carryOut runs the handler, and stores and sends its response. It does not recover from a panic
// of the handler; the claim then expires.
func (h *handler) carryOut(w http.ResponseWriter, r *http.Request, claimed *claim) {
	ctx := r.Context()
	running, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	response := newResponse(w, h.records.store.Info().MaxValueLen)
	h.next.ServeHTTP(response, r.WithContext(running))
	response.WriteHeader(http.StatusOK)

	storing, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	var err error
	switch response.record.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		err = h.records.release(storing, claimed)
	default:
		err = h.records.complete(storing, claimed, response.record, h.TTL)
	}
	if err != nil {
		h.Log.ErrorContext(ctx, "idempotency: the response was not stored, so that the request may be carried out again", "error", err)
	}
	_ = response.send() // an error means that the client has disconnected
}

// unquote removes the quotes around a header that is a string as defined by RFC 8941. It returns
// any other header unchanged.
func unquote(header string) string {
	if len(header) >= 2 && header[0] == '"' && header[len(header)-1] == '"' {
		return header[1 : len(header)-1]
	}
	return header
}

// fingerprint returns a hash of the method, the URL and the body of a request.
func fingerprint(r *http.Request, body []byte) string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s %q\n", r.Method, r.URL.RequestURI())
	hash.Write(body)
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil))
}

// refuse responds with problem details: https://www.rfc-editor.org/rfc/rfc9457
func refuse(w http.ResponseWriter, status int, title string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": title, "status": status}) // an error means that the client has disconnected
}

// refuseForNow is refuse for a request that the client may repeat after a second.
func refuseForNow(w http.ResponseWriter, status int, title string) {
	w.Header().Set("Retry-After", "1")
	refuse(w, status, title)
}
