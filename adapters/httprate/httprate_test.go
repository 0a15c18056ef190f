package httprate_test

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-chi/httprate"

	httpratekv "github.com/skykv/skykv/adapters/httprate"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

var _ httprate.LimitCounter = (*httpratekv.Counter)(nil)

const window = time.Minute

// replica returns a server. All replicas with the same store together allow three requests a
// minute.
func replica(store *kv.Store) http.Handler {
	limit := httprate.LimitBy(3, window, client, httprate.WithLimitCounter(httpratekv.New(store, time.Second)))
	return limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// client returns the key by which a request is limited.
func client(r *http.Request) (string, error) { return r.RemoteAddr, nil }

// ask sends a request and returns the status of the response.
func ask(handler http.Handler, ip string) int {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = ip
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Now().Truncate(window).Add(window)))
		store := memkv.New()
		replicas := []http.Handler{replica(store), replica(store)}
		for i := range 6 {
			want := http.StatusOK
			if i >= 3 {
				want = http.StatusTooManyRequests
			}
			if got := ask(replicas[i%2], "192.0.2.1"); got != want {
				t.Errorf("rule: replicas share a limit of 3; request %d is answered by %d, want %d", i+1, got, want)
			}
		}
		if got := ask(replicas[0], "192.0.2.2"); got != http.StatusOK {
			t.Errorf("rule: each key has its own limit; another client is answered by %d", got)
		}
		time.Sleep(window)
		if got := ask(replicas[1], "192.0.2.1"); got != http.StatusTooManyRequests {
			t.Errorf("rule: the window before counts by the part of it that is in the last minute; got %d at the start of the next one", got)
		}
		time.Sleep(window / 2) // half of the previous window's 3 is 1.5, which counts as 2
		for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
			if got := ask(replicas[1], "192.0.2.1"); got != want {
				t.Errorf("rule: the window before counts by the part of it that is in the last minute; got %d in the middle of the next one, want %d", got, want)
			}
		}
		time.Sleep(3 * window)
		if n, err := store.Count(t.Context(), ""); n != 0 || err != nil {
			t.Errorf("rule: counters end by themselves; %d are left, %v", n, err)
		}
	})
}

func TestCounter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		counter := httpratekv.New(store, time.Second)
		counter.Config(100, window)
		now := time.Now().Truncate(window)
		keys := []string{"", "192.0.2.1", "2001:db8::1", "/a/b?c=d", strings.Repeat("long", 1000)}
		for n, key := range keys {
			var calls sync.WaitGroup
			for range 8 {
				calls.Go(func() {
					if err := counter.IncrementBy(key, now, n+1); err != nil {
						t.Error(err)
					}
				})
			}
			calls.Wait()
			if err := counter.Increment(key, now.Add(window)); err != nil {
				t.Error(err)
			}
		}
		for n, key := range keys {
			current, previous, err := counter.Get(key, now.Add(window), now)
			if current != 1 || previous != 8*(n+1) || err != nil {
				t.Errorf("rule: each key and window has its own count; %.20q: %d, %d, %v, want 1 and %d", key, current, previous, err, 8*(n+1))
			}
		}
		other := httpratekv.New(store, time.Second)
		other.Config(100, 2*window)
		if current, previous, err := other.Get("", now, now.Add(-window)); current != 0 || previous != 0 || err != nil {
			t.Errorf("rule: windows of another length have counts of their own; got %d, %d, %v", current, previous, err)
		}
		time.Sleep(2*window - time.Millisecond) // the last moment of the next window
		if _, previous, err := counter.Get("", now.Add(window), now); previous != 8 || err != nil {
			t.Errorf("rule: a count lasts as long as the next window; got %d, %v", previous, err)
		}
	})
}

// The rule: a window may have any length.
func TestLongWindow(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{math.MaxInt64/2 + 1, math.MaxInt64} {
		counter := httpratekv.New(memkv.New(), time.Minute)
		counter.Config(100, window)
		if err := counter.Increment("a", time.Now()); err != nil {
			t.Errorf("rule: a window may have any length; one of %s: %v", window, err)
		}
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	store := memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1)))
	counter := httpratekv.New(store, time.Second)
	counter.Config(3, window)
	now := time.Now().Truncate(window)
	in.Use(faults.Always(faults.Drop))
	if _, _, err := counter.Get("a", now, now.Add(-window)); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: a store that is unavailable is an error, and no count of 0; got %v", err)
	}
	if err := counter.Increment("a", now); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: what could not be counted is an error; got %v", err)
	}
	if got := ask(replica(store), "192.0.2.1"); got != http.StatusPreconditionRequired {
		t.Errorf("rule: a request that could not be counted is refused; got %d", got)
	}
	in.Use(faults.Writes(faults.Lose))
	if err := counter.Increment("a", now); err != nil {
		t.Errorf("rule: a lost response is no error where the store can tell; got %v", err)
	}
	if n, _, err := counter.Get("a", now, now.Add(-window)); n != 1 || err != nil {
		t.Errorf("rule: a lost response counts once; got %d, %v", n, err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	counter := httpratekv.New(memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1))), time.Millisecond)
	counter.Config(3, window)
	in.Use(faults.Always(faults.Hang))
	now := time.Now().Truncate(window)
	if _, _, err := counter.Get("a", now, now.Add(-window)); err == nil {
		t.Error("rule: a store that hangs does not hold up the limiter; Get returns no error")
	}
	if err := counter.Increment("a", now); err == nil {
		t.Error("rule: a store that hangs does not hold up the limiter; Increment returns no error")
	}
}

func TestValueOfOthers(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	counter := httpratekv.New(store, time.Second)
	counter.Config(3, window)
	now := time.Now().Truncate(window)
	if err := counter.Increment("a", now); err != nil {
		t.Fatal(err)
	}
	for entry, err := range store.Scan(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Put(t.Context(), entry.Key, []byte("secret")); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := counter.Get("a", now, now.Add(-window)); !errors.Is(err, kv.ErrInvalidValue) || strings.Contains(err.Error(), "secret") {
		t.Errorf("rule: what is no count is ErrInvalidValue, without its value; got %v", err)
	}
}
