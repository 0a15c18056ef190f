package scs_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"

	scskv "github.com/skykv/skykv/adapters/scs"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

var _ interface {
	scs.CtxStore
	scs.IterableCtxStore
	scs.IterableStore
} = (*scskv.Store)(nil)

func manager(store *kv.Store) *scs.SessionManager {
	m := scs.New()
	m.Store = scskv.New(store)
	return m
}

// site returns a handler that sets, shows, renews and ends the session of the client.
func site(m *scs.SessionManager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/set", func(_ http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "user", r.URL.Query().Get("user")) })
	mux.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, m.GetString(r.Context(), "user")) })
	mux.HandleFunc("/renew", func(w http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		if err := m.Destroy(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return m.LoadAndSave(mux)
}

func TestManager(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "store.db")
	open := func() *kv.Store {
		store, err := localkv.Open(t.Context(), "file:"+filepath.ToSlash(file))
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	mem := memkv.New()
	for name, c := range map[string]struct {
		store   *kv.Store
		restart func(*kv.Store) *kv.Store
	}{
		"memkv": {mem, func(s *kv.Store) *kv.Store { return s }},
		"localkv": {open(), func(s *kv.Store) *kv.Store {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			return open()
		}},
	} {
		m := manager(c.store)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { site(m).ServeHTTP(w, r) }))
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Jar: jar}
		expect := func(path, want string) {
			t.Helper()
			response, err := client.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK || string(body) != want {
				t.Errorf("%s: %s returns %d %q, %v; want %q", name, path, response.StatusCode, body, err, want)
			}
		}
		expect("/get", "")
		expect("/set?user=ann", "")
		c.store = c.restart(c.store)
		m = manager(c.store)
		expect("/get", "ann")
		expect("/renew", "")
		expect("/get", "ann")
		if n, err := c.store.Count(t.Context(), ""); n != 1 || err != nil {
			t.Errorf("rule: a token that was renewed is no session any more; %s holds %d sessions, %v, want 1", name, n, err)
		}
		expect("/end", "")
		expect("/get", "")
		if n, err := c.store.Count(t.Context(), ""); n != 0 || err != nil {
			t.Errorf("rule: a session that ended is not stored; %s holds %d sessions, %v", name, n, err)
		}
		server.Close()
		if err := c.store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	m := manager(memkv.New()) // outside the bubble: scs.New starts a goroutine that never ends
	m.IdleTimeout = time.Minute
	m.Lifetime = 3 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		m.Store = scskv.New(memkv.New())
		ctx, err := m.Load(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		m.Put(ctx, "user", "ann")
		token, _, err := m.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			pause time.Duration
			want  string
		}{{time.Minute - time.Millisecond, "ann"}, {time.Minute - time.Millisecond, "ann"}, {time.Minute - time.Millisecond, "ann"}, {3 * time.Millisecond, ""}} {
			time.Sleep(c.pause)
			ctx, err := m.Load(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.GetString(ctx, "user"); got != c.want {
				t.Errorf("rule: a session lives until it was idle for a minute or is three minutes old; got %q, want %q", got, c.want)
			}
			if c.want == "" {
				break
			}
			if _, _, err := m.Commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	s := scskv.New(memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1))))
	for _, token := range []string{"", "a/b", "ä", "a b", "\x00", "../x", "a%2Fb", strings.Repeat("a", kv.MaxKeyLen+1)} {
		if data, found, err := s.Find(token); data != nil || found || err != nil {
			t.Errorf("rule: a token that scs did not make is not found; %q: %q, %t, %v", token, data, found, err)
		}
		if err := s.Delete(token); err != nil {
			t.Errorf("rule: deleting a session that does not exist is no error; %q: %v", token, err)
		}
		if err := s.Commit(token, nil, time.Now().Add(time.Hour)); !errors.Is(err, kv.ErrInvalidKey) {
			t.Errorf("rule: no session is stored under a token that cannot be found; %q: %v", token, err)
		}
	}
	if counts := in.Counts(); len(counts) > 0 {
		t.Errorf("rule: tokens that scs did not make ask nothing of the service; there were requests: %v", counts)
	}
	if data, found, err := s.Find(strings.Repeat("a", 43)); data != nil || found || err != nil {
		t.Errorf("rule: an unknown token is not found; %q, %t, %v", data, found, err)
	}
}

func TestCommit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store := memkv.New().With(kv.Clock(func() time.Time { return now }))
	s := scskv.New(store)
	for _, expiry := range []time.Time{now, now.Add(-time.Hour), {}, time.Unix(0, 0), time.Unix(-1, 0)} {
		if err := s.Commit("t", []byte("ann"), now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		entry, err := store.Get(t.Context(), "t")
		if err != nil || !entry.ExpiresAt.Equal(now.Add(time.Minute)) {
			t.Errorf("rule: a session expires when scs says; %v, %v", entry.ExpiresAt, err)
		}
		if err := s.Commit("t", []byte("bob"), expiry); err != nil {
			t.Errorf("rule: an expiry in the past is no error; %s: %v", expiry, err)
		}
		if data, found, err := s.Find("t"); data != nil || found || err != nil {
			t.Errorf("rule: an expiry in the past deletes the session; %s: %q, %t, %v", expiry, data, found, err)
		}
	}
	if err := s.Commit("t", nil, kv.MaxExpiry.Add(time.Hour)); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: an expiry that no store holds is an error, and deletes nothing; got %v", err)
	}
	if err := s.Commit("t", make([]byte, kv.MaxValueLen+1), now.Add(time.Hour)); !errors.Is(err, kv.ErrValueTooLarge) {
		t.Errorf("rule: a session that is too large is ErrValueTooLarge; got %v", err)
	}
	all, err := s.All()
	if all == nil || len(all) != 0 || err != nil {
		t.Errorf("rule: All without sessions is an empty map; %v, %v", all, err)
	}
	for _, token := range []string{"a", "b"} {
		if err := s.Commit(token, []byte(token), now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.All(); len(all) != 2 || !bytes.Equal(all["a"], []byte("a")) || err != nil {
		t.Errorf("rule: All has the data of each session by its token; %q, %v", all, err)
	}
	now = now.Add(time.Hour)
	if all, err := s.All(); len(all) != 0 || err != nil {
		t.Errorf("rule: All has no session that ended; %q, %v", all, err)
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	store := memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1)))
	m := manager(store)
	s := scskv.New(store)
	if err := s.Commit("t", []byte("ann"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	in.Use(faults.Always(faults.Drop))
	for call, err := range map[string]error{
		"Find":                  func() error { _, _, err := s.Find("t"); return err }(),
		"Commit":                s.Commit("t", nil, time.Now().Add(time.Hour)),
		"Commit of past expiry": s.Commit("t", nil, time.Now().Add(-time.Hour)),
		"Delete":                s.Delete("t"),
		"All":                   func() error { _, err := s.All(); return err }(),
	} {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: a store that is unavailable is an error; %s: %v", call, err)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/get", nil)
	r.AddCookie(&http.Cookie{Name: m.Cookie.Name, Value: "t"})
	site(m).ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError || len(w.Result().Cookies()) > 0 {
		t.Errorf("rule: nobody loses the session while the store is unavailable; got %d with cookies %v", w.Code, w.Result().Cookies())
	}
	in.Use(nil)
	if data, found, err := s.Find("t"); string(data) != "ann" || !found || err != nil {
		t.Errorf("rule: a session outlives failures of the store; %q, %t, %v", data, found, err)
	}
}
