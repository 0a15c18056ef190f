package fiber_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	fiber2 "github.com/gofiber/fiber/v2"
	limiter2 "github.com/gofiber/fiber/v2/middleware/limiter"
	session2 "github.com/gofiber/fiber/v2/middleware/session"
	fiber3 "github.com/gofiber/fiber/v3"
	session3 "github.com/gofiber/fiber/v3/middleware/session"

	fiberkv "github.com/skykv/skykv/adapters/fiber"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

var (
	_ fiber2.Storage = (*fiberkv.Storage)(nil)
	_ fiber3.Storage = (*fiberkv.Storage)(nil)
)

// storage returns a storage and its store. The injector can make their requests fail.
func storage(t *testing.T) (*fiberkv.Storage, *kv.Store, *faults.Injector) {
	t.Helper()
	in := new(faults.Injector)
	store, err := memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1))).Namespace("fiber:")
	if err != nil {
		t.Fatal(err)
	}
	return fiberkv.New(store, time.Second), store, in
}

func TestStorage(t *testing.T) {
	t.Parallel()
	s, _, in := storage(t)
	for _, key := range []string{"a", "a/b?c=d", "ä", "::", strings.Repeat("long", 1000)} {
		if value, err := s.Get(key); value != nil || err != nil {
			t.Errorf("rule: Get of a key that does not exist is nil, nil; %.20q: %q, %v", key, value, err)
		}
		if err := s.Set(key, []byte("value of "+key), 0); err != nil {
			t.Error(err)
		}
		if value, err := s.Get(key); string(value) != "value of "+key || err != nil {
			t.Errorf("rule: any key holds what was set; %.20q: %q, %v", key, value, err)
		}
		if err := s.Delete(key); err != nil {
			t.Error(err)
		}
		if value, err := s.Get(key); value != nil || err != nil {
			t.Errorf("rule: Get of a key that was deleted is nil, nil; %.20q: %q, %v", key, value, err)
		}
		if err := s.Delete(key); err != nil {
			t.Errorf("rule: deleting a key that does not exist is no error; got %v", err)
		}
	}
	if err := s.Set("a", []byte("1"), 0); err != nil {
		t.Error(err)
	}
	before := len(in.Take())
	for _, err := range []error{s.Set("", []byte("value"), 0), s.Set("a", nil, 0), s.Set("a", []byte{}, 0)} {
		if err != nil {
			t.Errorf("rule: an empty key or value is ignored without an error; got %v", err)
		}
	}
	if n := len(in.Take()); n > 0 || before == 0 {
		t.Errorf("rule: an empty key or value is ignored; there were %d requests, and %d before", n, before)
	}
	if value, err := s.Get("a"); string(value) != "1" || err != nil {
		t.Errorf("rule: an empty value is ignored; got %q, %v", value, err)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := storage(t)
		if err := s.Set("a", []byte("1"), 1500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500*time.Millisecond - time.Nanosecond)
		if value, err := s.Get("a"); string(value) != "1" || err != nil {
			t.Errorf("rule: a value lives until its expiry; got %q, %v", value, err)
		}
		time.Sleep(time.Nanosecond)
		if value, err := s.Get("a"); value != nil || err != nil {
			t.Errorf("rule: a value ends at its expiry, not a second or two days later; got %q, %v", value, err)
		}
		for _, expiry := range []time.Duration{-1, -time.Hour} {
			if err := s.Set("a", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			if err := s.Set("a", []byte("2"), expiry); err != nil {
				t.Errorf("rule: an expiry in the past is no error; got %v", err)
			}
			if value, err := s.Get("a"); value != nil || err != nil {
				t.Errorf("rule: an expiry in the past deletes; got %q, %v", value, err)
			}
		}
		if err := s.Set("a", []byte("1"), 30); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: an expiry of 30 ns is a forgotten unit; got %v", err)
		}
	})
}

func TestReset(t *testing.T) {
	t.Parallel()
	whole := memkv.New()
	mine, err := whole.Namespace("mine:")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := whole.Put(t.Context(), "other", []byte("1")); err != nil {
		t.Fatal(err)
	}
	s := fiberkv.New(mine, time.Second)
	for _, key := range []string{"a", "b"} {
		if err := s.Set(key, []byte("1"), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Reset(); err != nil {
		t.Errorf("Reset: %v", err)
	}
	if n, err := whole.Count(t.Context(), ""); n != 1 || err != nil {
		t.Errorf("rule: Reset removes all keys of the namespace, and none beside it; %d are left, %v, want 1", n, err)
	}
	if err := fiberkv.New(whole, time.Second).Reset(); !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("rule: Reset of a whole store is refused; got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := s.Set("a", []byte("1"), 0); err != nil {
		t.Errorf("rule: Close leaves the store open; got %v", err)
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	s, _, in := storage(t)
	in.Use(faults.Always(faults.Drop))
	value, err := s.Get("a")
	if value != nil || !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: a store that is unavailable is an error, and no missing key; got %q, %v", value, err)
	}
	for call, err := range map[string]error{"Set": s.Set("a", []byte("1"), 0), "Delete": s.Delete("a"), "Reset": s.Reset()} {
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: a store that is unavailable is an error; %s: %v", call, err)
		}
	}
	in.Use(faults.Always(faults.Hang))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.GetWithContext(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("rule: a call ends with its context; got %v", err)
	}
	hasty := fiberkv.New(memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1))), time.Millisecond)
	if _, err := hasty.Get("a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("rule: a call without a context ends after the timeout; got %v", err)
	}
}

// tester sends a request to a fiber app of either version.
type tester func(*http.Request) (*http.Response, error)

// visit sends a client's request. cookies holds the cookies that the client has received so far.
func (test tester) visit(t *testing.T, cookies *[]*http.Cookie) (status int, body string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, c := range *cookies {
		r.AddCookie(c)
	}
	response, err := test(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Cookies(); len(got) > 0 {
		*cookies = got
	}
	return response.StatusCode, string(text)
}

func app2(s *fiberkv.Storage) tester {
	sessions := session2.New(session2.Config{Storage: s, Expiration: time.Hour})
	app := fiber2.New()
	app.Get("/", func(c *fiber2.Ctx) error {
		session, err := sessions.Get(c)
		if err != nil {
			return err
		}
		n, _ := session.Get("visits").(int)
		session.Set("visits", n+1)
		if err := session.Save(); err != nil {
			return err
		}
		return c.SendString(strings.Repeat("I", n+1))
	})
	return func(r *http.Request) (*http.Response, error) { return app.Test(r, -1) }
}

func app3(s *fiberkv.Storage) tester {
	sessions := session3.NewStore(session3.Config{Storage: s, IdleTimeout: time.Hour})
	app := fiber3.New()
	app.Get("/", func(c fiber3.Ctx) error {
		session, err := sessions.Get(c)
		if err != nil {
			return err
		}
		defer session.Release()
		n, _ := session.Get("visits").(int)
		session.Set("visits", n+1)
		if err := session.Save(); err != nil {
			return err
		}
		return c.SendString(strings.Repeat("I", n+1))
	})
	return func(r *http.Request) (*http.Response, error) { return app.Test(r, fiber3.TestConfig{Timeout: 0}) }
}

func TestSessions(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*fiberkv.Storage) tester{"version 2": app2, "version 3": app3} {
		s, store, in := storage(t)
		replicas := []tester{open(s), open(fiberkv.New(store, time.Second))}
		var cookies []*http.Cookie
		for i, want := range []string{"I", "II", "III"} {
			if status, got := replicas[i%2].visit(t, &cookies); status != http.StatusOK || got != want {
				t.Errorf("rule: replicas of %s share sessions; visit %d returns %d %q, want %q", name, i+1, status, got, want)
			}
		}
		in.Use(faults.Always(faults.Drop))
		if status, _ := replicas[0].visit(t, &cookies); status != http.StatusInternalServerError {
			t.Errorf("rule: nobody gets a new session while the store is unavailable; %s returns %d", name, status)
		}
		in.Use(nil)
		if _, got := replicas[1].visit(t, &cookies); got != "IIII" {
			t.Errorf("rule: a session outlives failures of the store; %s returns %q", name, got)
		}
		if err := s.Reset(); err != nil {
			t.Error(err)
		}
		if _, got := replicas[1].visit(t, &cookies); got != "I" {
			t.Errorf("rule: Reset ends the sessions; %s returns %q", name, got)
		}
	}
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	s, store, in := storage(t)
	app := func(s *fiberkv.Storage) tester {
		app := fiber2.New()
		app.Use(limiter2.New(limiter2.Config{Storage: s, Max: 2, Expiration: time.Hour}))
		app.Get("/", func(c *fiber2.Ctx) error { return nil })
		return func(r *http.Request) (*http.Response, error) { return app.Test(r, -1) }
	}
	replicas := []tester{app(s), app(fiberkv.New(store, time.Second))}
	var none []*http.Cookie
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		if got, _ := replicas[i%2].visit(t, &none); got != want {
			t.Errorf("rule: replicas share a limit of 2; request %d returns %d, want %d", i+1, got, want)
		}
	}
	in.Use(faults.Always(faults.Drop))
	if got, _ := replicas[0].visit(t, &none); got != http.StatusOK {
		t.Errorf("the caveat of the package is out of date: the limiter returns %d while the store is unavailable", got)
	}
}
