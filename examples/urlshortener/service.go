package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/skykv/skykv/kv"
)

const (
	codeLen = 7
	maxTTL  = 365 * 24 * time.Hour
)

type link struct {
	URL string `json:"url"`
}

type service struct {
	links   *kv.Typed[link]
	clients limiter
}

// newService returns the service's handler. All its state is in store. The parameter now is the
// service's only clock, by which links and counts expire, too.
func newService(store *kv.Store, now func() time.Time) http.Handler {
	store = store.With(kv.Clock(now))
	s := &service{links: kv.JSON[link](store), clients: limiter{counts: kv.JSON[int](store), now: now, most: 10, window: time.Minute}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /links", s.create)
	mux.HandleFunc("GET /{code}", s.follow)
	return mux
}

// create makes a link. The request is {"url":…,"ttl":…}, the response {"code":…}.
func (s *service) create(w http.ResponseWriter, r *http.Request) {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	wait, err := s.clients.take(r.Context(), client)
	switch {
	case err != nil:
		fail(w, err)
		return
	case wait > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		http.Error(w, "too many links, try again later", http.StatusTooManyRequests)
		return
	}

	var request struct{ URL, TTL string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<10)).Decode(&request); err != nil {
		http.Error(w, `want {"url":"https://…","ttl":"24h"}`, http.StatusBadRequest)
		return
	}
	target, err := url.Parse(request.URL)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		http.Error(w, "url must be one of http or https", http.StatusBadRequest)
		return
	}
	ttl, err := time.ParseDuration(request.TTL)
	if err != nil || ttl < time.Millisecond || ttl > maxTTL {
		http.Error(w, "ttl must be a duration such as 24h, of a millisecond to a year", http.StatusBadRequest)
		return
	}

	for {
		code := rand.Text()[:codeLen]
		_, err := s.links.Put(r.Context(), "link:"+code, link{request.URL}, kv.TTL(ttl), kv.IfNotExists())
		if errors.Is(err, kv.ErrConditionFailed) {
			continue // the code is taken
		}
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "/"+code)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": code}) // the client may be gone
		return
	}
}

// follow redirects to a link's URL until the link expires.
func (s *service) follow(w http.ResponseWriter, r *http.Request) {
	key := "link:" + r.PathValue("code")
	if kv.ValidateKey(key) != nil {
		http.NotFound(w, r) // no link has such a code
		return
	}
	entry, err := s.links.Get(r.Context(), key)
	if errors.Is(err, kv.ErrNotFound) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		fail(w, err)
		return
	}
	http.Redirect(w, r, entry.Value.URL, http.StatusFound)
}

// fail responds that the store could not be used. It logs the error, but does not send it. The
// store's errors contain no values or secrets, but clients need not see them.
func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	http.Error(w, "try again later", http.StatusServiceUnavailable)
}
