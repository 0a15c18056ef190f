package idempotency_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/adapters/idempotency"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

// user returns the scope of a request in these tests.
func user(r *http.Request) string { return r.Header.Get("User") }

// bank is a service whose payments must not be made twice.
type bank struct {
	store    *kv.Store
	in       *faults.Injector
	log      bytes.Buffer
	payments atomic.Int64
	pay      http.HandlerFunc // called after the payment was counted
	http.Handler
}

func newBank(t *testing.T, change func(*idempotency.Options)) *bank {
	t.Helper()
	b := &bank{in: new(faults.Injector)}
	b.store = memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(b.in, 1)))
	options := idempotency.Options{Scope: user, Log: slog.New(slog.NewTextHandler(&b.log, nil))}
	if change != nil {
		change(&options)
	}
	once, err := idempotency.New(b.store, options)
	if err != nil {
		t.Fatal(err)
	}
	b.pay = func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "/payments/1")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%s paid", body)
	}
	b.Handler = once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.payments.Add(1)
		b.pay(w, r)
	}))
	return b
}

func request(key, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
	r.Header.Set("Idempotency-Key", key)
	r.Header.Set("User", "ann")
	return r
}

// send returns the response to a request.
func (b *bank) send(r *http.Request) *httptest.ResponseRecorder {
	w := &once{ResponseRecorder: httptest.NewRecorder()}
	b.ServeHTTP(w, r)
	if w.headers > 1 {
		panic("rule: the header of a response is written once")
	}
	return w.ResponseRecorder
}

// The type once counts how often the header of a response is written.
type once struct {
	*httptest.ResponseRecorder
	headers int
}

func (w *once) WriteHeader(status int) {
	w.headers++
	w.ResponseRecorder.WriteHeader(status)
}

// expect checks the status of a response, and the number of payments so far.
func (b *bank) expect(t *testing.T, rule string, w *httptest.ResponseRecorder, status int, payments int64) {
	t.Helper()
	if w.Code != status || b.payments.Load() != payments {
		t.Errorf("rule: %s; got %d %q after %d payments, want %d after %d", rule, w.Code, w.Body, b.payments.Load(), status, payments)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	first := b.send(request("k1", "10 EUR"))
	b.expect(t, "a new key is carried out", first, http.StatusCreated, 1)
	if first.Body.String() != "10 EUR paid" || first.Header().Get("Idempotency-Replayed") != "" {
		t.Errorf("rule: the first response is the handler's; got %q, %v", first.Body, first.Header())
	}
	for _, key := range []string{"k1", `"k1"`} {
		again := b.send(request(key, "10 EUR"))
		b.expect(t, "a repetition is not carried out", again, http.StatusCreated, 1)
		if again.Body.String() != "10 EUR paid" || again.Header().Get("Location") != "/payments/1" || again.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("rule: a repetition gets status, headers and body of the first response; got %q, %v", again.Body, again.Header())
		}
	}
	b.expect(t, "another key is another request", b.send(request("k2", "10 EUR")), http.StatusCreated, 2)
	other := request("k1", "10 EUR")
	other.Header.Set("User", "bob")
	b.expect(t, "another scope is another request", b.send(other), http.StatusCreated, 3)
}

// The rule: the client gets the same headers from the handler and from the outer middleware as it
// would without this middleware. This holds for stored responses, too.
func TestHeadersOfOthers(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	around := func(next http.Handler, requests string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Vary", "Origin")
			h.Add("Set-Cookie", "session="+requests)
			h.Set("Request-Id", requests)
			h.Set("Server", "around")
			h.Set("Cache-Control", "private")
			next.ServeHTTP(w, r)
		})
	}
	b.pay = func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h.Add("Vary", "Accept")
		h.Add("Set-Cookie", "seen=1")
		h.Del("Server")
		h.Set("Cache-Control", "no-store")
		h["Date"] = nil
		w.WriteHeader(http.StatusCreated)
		h.Set("Late", "1")
	}
	for _, requests := range []string{"1", "2"} {
		server := httptest.NewServer(around(b.Handler, requests)) // a ResponseRecorder takes early hints for the response
		defer server.Close()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", "k1")
		w, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		w.Body.Close()
		got := w.Header
		got.Del("Idempotency-Replayed")
		want := http.Header{
			"Vary": {"Origin", "Accept"}, "Set-Cookie": {"session=" + requests, "seen=1"}, "Request-Id": {requests},
			"Cache-Control": {"no-store"}, "Link": {"</style.css>; rel=preload"}, "Content-Length": {"0"},
		}
		if !maps.EqualFunc(got, want, slices.Equal) || b.payments.Load() != 1 {
			t.Errorf("response %s has the headers %v; want %v", requests, got, want)
		}
	}
}

// A header may have bytes that are not UTF-8, such as the name of a file in Latin-1.
func TestHeadersOfAnyBytes(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	want := http.Header{"Content-Disposition": {"attachment; filename=caf\xe9.pdf", "\xff\x80\xc3", "ü \"<&>\" \t"}, "Date": nil}
	b.pay = func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), want)
		w.Header().Add("Vary", "caf\xe9")
	}
	for range 2 {
		w := httptest.NewRecorder()
		w.Header().Set("Vary", "Origin")
		b.ServeHTTP(w, request("k1", "10 EUR"))
		b.expect(t, "a repetition is not carried out", w, http.StatusOK, 1)
		got := w.Header()
		got.Del("Idempotency-Replayed")
		all := maps.Clone(want)
		all["Vary"] = []string{"Origin", "caf\xe9"}
		if !maps.EqualFunc(got, all, slices.Equal) {
			t.Errorf("rule: a repetition gets the headers of the first response; got %q, want %q", got, all)
		}
	}
}

func TestMismatch(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	b.expect(t, "a new key is carried out", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
	for name, change := range map[string]func(*http.Request){
		"body":         func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("20 EUR")) },
		"no body":      func(r *http.Request) { r.Body = http.NoBody },
		"path":         func(r *http.Request) { r.URL.Path = "/refunds" },
		"query":        func(r *http.Request) { r.URL.RawQuery = "urgent=1" },
		"method":       func(r *http.Request) { r.Method = http.MethodPatch },
		"path of body": func(r *http.Request) { r.URL.Path = "/payments\n10"; r.Body = io.NopCloser(strings.NewReader(" EUR")) },
	} {
		r := request("k1", "10 EUR")
		change(r)
		w := b.send(r)
		b.expect(t, "a key with another "+name+" is refused", w, http.StatusUnprocessableEntity, 1)
		if w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("rule: errors are problem details; got %v", w.Header())
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	without := func() *http.Request { r := request("", "10 EUR"); r.Header.Del("Idempotency-Key"); return r }
	twice := request("k1", "10 EUR")
	twice.Header.Add("Idempotency-Key", "k2")
	get := request("k1", "")
	get.Method = http.MethodGet

	b := newBank(t, nil)
	b.expect(t, "a request without a key passes", b.send(without()), http.StatusCreated, 1)
	b.expect(t, "a request without a key passes each time", b.send(without()), http.StatusCreated, 2)
	b.expect(t, "a GET passes", b.send(get), http.StatusCreated, 3)
	b.expect(t, "two keys are refused", b.send(twice), http.StatusBadRequest, 3)
	b.expect(t, "an empty key is refused", b.send(request("", "")), http.StatusBadRequest, 3)
	b.expect(t, "an empty key in quotes is refused", b.send(request(`""`, "")), http.StatusBadRequest, 3)
	b.expect(t, "a key of any text is carried out", b.send(request(strings.Repeat("ä/", 2000), "")), http.StatusCreated, 4)
	required := newBank(t, func(o *idempotency.Options) { o.Required = true })
	required.expect(t, "with Required a request without a key is refused", required.send(without()), http.StatusBadRequest, 0)
	get.Header.Del("Idempotency-Key")
	required.expect(t, "with Required a GET passes", required.send(get), http.StatusCreated, 1)
}

func TestScopesDoNotRunTogether(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	for i, c := range []struct{ user, key string }{{"ann", "1k"}, {"ann1", "k"}, {`ann"1`, "k"}, {"", "ann1k"}} {
		r := request(c.key, "10 EUR")
		r.Header.Set("User", c.user)
		b.expect(t, "scope and key do not run together", b.send(r), http.StatusCreated, int64(i+1))
	}
}

// The handler gets the whole request, even if Scope reads it too.
func TestScopeReadsTheBody(t *testing.T) {
	t.Parallel()
	for name, scope := range map[string]func(r *http.Request) string{
		"a form": func(r *http.Request) string { return r.FormValue("user") },
		"bytes":  func(r *http.Request) string { body, _ := io.ReadAll(r.Body); return string(body) },
	} {
		b := newBank(t, func(o *idempotency.Options) { o.Scope = scope })
		b.pay = func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.FormValue("user")+" pays "+r.FormValue("amount"))
		}
		for i, user := range []string{"ann", "bob"} {
			r := request("k1", "user="+user+"&amount=10")
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := b.send(r)
			b.expect(t, "Scope may read "+name, w, http.StatusOK, int64(i+1))
			if got, want := w.Body.String(), user+" pays 10"; got != want {
				t.Errorf("rule: the handler gets the whole request, even if Scope reads %s; got %q, want %q", name, got, want)
			}
		}
	}
}

func TestInProgress(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	started, finish := make(chan bool), make(chan bool)
	pay := b.pay
	b.pay = func(w http.ResponseWriter, r *http.Request) { close(started); <-finish; pay(w, r) }
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- b.send(request("k1", "10 EUR")) }()
	<-started
	w := b.send(request("k1", "10 EUR"))
	b.expect(t, "a repetition of a request under way is refused", w, http.StatusConflict, 1)
	if w.Header().Get("Retry-After") == "" {
		t.Errorf("rule: a repetition of a request under way may come again; got %v", w.Header())
	}
	b.expect(t, "another request under a key that is under way is refused", b.send(request("k1", "20 EUR")), http.StatusUnprocessableEntity, 1)
	close(finish)
	b.expect(t, "the first request gets its response", <-first, http.StatusCreated, 1)
	b.expect(t, "a repetition gets the response from then on", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			if w := b.send(request("k1", "10 EUR")); w.Code != http.StatusCreated && w.Code != http.StatusConflict {
				t.Errorf("rule: a repetition gets the response or 409; got %d", w.Code)
			}
		})
	}
	clients.Wait()
	b.expect(t, "of many requests with one key one is carried out", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
}

func TestPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, nil)
		pay := b.pay
		b.pay = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(1000) }
		func() {
			defer func() {
				if recover() == nil {
					t.Error("rule: a status that net/http refuses is a panic of the handler; there was none")
				}
			}()
			b.send(request("k0", "10 EUR"))
		}()
		b.expect(t, "a status that net/http refuses is not stored", b.send(request("k0", "10 EUR")), http.StatusConflict, 1)
		b.payments.Store(0)
		b.pay = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler {
					t.Errorf("rule: a panic of the handler passes by; recovered %v", got)
				}
			}()
			b.send(request("k1", "10 EUR"))
		}()
		b.pay = pay
		time.Sleep(3*idempotency.DefaultTimeout - time.Millisecond)
		b.expect(t, "a handler that panicked may have done something: its key is not free at once", b.send(request("k1", "10 EUR")), http.StatusConflict, 1)
		time.Sleep(time.Millisecond)
		b.expect(t, "the key of a handler that panicked is free after three times the Timeout", b.send(request("k1", "10 EUR")), http.StatusCreated, 2)
		b.expect(t, "and its response is stored then", b.send(request("k1", "10 EUR")), http.StatusCreated, 2)
	})
}

func TestTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, func(o *idempotency.Options) { o.TTL = time.Hour })
		pay := b.pay
		b.pay = func(w http.ResponseWriter, r *http.Request) { time.Sleep(20 * time.Second); pay(w, r) }
		b.expect(t, "a new key is carried out", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
		time.Sleep(time.Hour - time.Millisecond)
		b.expect(t, "a response is kept for the TTL", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
		time.Sleep(time.Millisecond)
		b.expect(t, "a response ends after the TTL", b.send(request("k1", "10 EUR")), http.StatusCreated, 2)
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBank(t, nil)
		b.pay = func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusGatewayTimeout)
		}
		begun := time.Now()
		b.expect(t, "the context of a handler ends after the Timeout", b.send(request("k1", "10 EUR")), http.StatusGatewayTimeout, 1)
		if took := time.Since(begun); took != idempotency.DefaultTimeout {
			t.Errorf("rule: a handler has the Timeout; it had %s", took)
		}
		b.expect(t, "a failure is stored as any response", b.send(request("k1", "10 EUR")), http.StatusGatewayTimeout, 1)

		// A handler that ignores its context may run longer than its claim lasts.
		b.pay = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(4 * idempotency.DefaultTimeout)
			w.WriteHeader(http.StatusCreated)
		}
		b.expect(t, "a late response is sent", b.send(request("k2", "10 EUR")), http.StatusCreated, 2)
		b.expect(t, "a late response is stored when nobody else has the key", b.send(request("k2", "10 EUR")), http.StatusCreated, 2)

		late := make(chan *httptest.ResponseRecorder)
		go func() { late <- b.send(request("k3", "10 EUR")) }()
		time.Sleep(3 * idempotency.DefaultTimeout)
		synctest.Wait()
		b.pay = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }
		b.expect(t, "a key whose claim has ended is carried out again", b.send(request("k3", "10 EUR")), http.StatusAccepted, 4)
		b.expect(t, "a late response is sent", <-late, http.StatusCreated, 4)
		b.expect(t, "a late response does not replace that of another request", b.send(request("k3", "10 EUR")), http.StatusAccepted, 4)

		pay := func(status int, takes time.Duration) {
			b.pay = func(w http.ResponseWriter, _ *http.Request) { time.Sleep(takes); w.WriteHeader(status) }
			go func() { late <- b.send(request("k4", "10 EUR")) }()
			synctest.Wait()
		}
		pay(http.StatusCreated, 4*idempotency.DefaultTimeout)
		time.Sleep(3 * idempotency.DefaultTimeout)
		pay(http.StatusAccepted, 2*idempotency.DefaultTimeout)
		b.expect(t, "a late response is sent", <-late, http.StatusCreated, 6)
		b.expect(t, "a late response does not replace the claim of another request", <-late, http.StatusAccepted, 6)
		b.expect(t, "a late response does not replace the claim of another request", b.send(request("k4", "10 EUR")), http.StatusAccepted, 6)
	})
}

// stopped is a driver that waits after its first write, as if the process had been stopped.
type stopped struct {
	kv.Driver
	once *sync.Once
}

func (s stopped) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	out, err := s.Driver.Write(ctx, req)
	s.once.Do(func() { time.Sleep(4 * idempotency.DefaultTimeout) })
	return out, err
}

func TestStoppedWhileItClaims(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, payments := memkv.New(), 0
		replica := func(store *kv.Store) http.Handler {
			once, err := idempotency.New(store, idempotency.Options{Scope: user, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { payments++ }))
		}
		one := replica(data.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return stopped{d, new(sync.Once)} })))
		answer := make(chan *httptest.ResponseRecorder)
		go func() {
			w := httptest.NewRecorder()
			one.ServeHTTP(w, request("k1", "10 EUR"))
			answer <- w
		}()
		time.Sleep(3 * idempotency.DefaultTimeout)
		replica(data).ServeHTTP(httptest.NewRecorder(), request("k1", "10 EUR"))
		if w := <-answer; w.Code != http.StatusServiceUnavailable || payments != 1 {
			t.Errorf("rule: a process that was stopped while it claimed a key does not run the handler; got %d after %d payments, want 503 after 1", w.Code, payments)
		}
	})
}

func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	pay := b.pay
	b.pay = func(w http.ResponseWriter, r *http.Request) {
		cancel()
		if err := r.Context().Err(); err != nil {
			t.Errorf("rule: a handler runs on when the client goes away; its context ended: %v", err)
		}
		pay(w, r)
	}
	b.send(request("k1", "10 EUR").WithContext(ctx))
	b.expect(t, "the response is stored though the client went away", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
}

func TestTryAgainResponses(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	pay := b.pay
	payments := int64(0)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		b.pay = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
		key := fmt.Sprint(status)
		payments++
		b.expect(t, "the client gets what the handler says", b.send(request(key, "")), status, payments)
		b.pay = pay
		payments++
		b.expect(t, "a response that says that nothing was done frees the key", b.send(request(key, "")), http.StatusCreated, payments)
	}
	for _, status := range []int{http.StatusOK, http.StatusNoContent, http.StatusBadRequest, http.StatusConflict, http.StatusInternalServerError} {
		b.pay = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
		payments++
		for range 2 {
			b.expect(t, "any other response is stored", b.send(request(fmt.Sprint(status), "")), status, payments)
		}
	}
	b.pay = func(http.ResponseWriter, *http.Request) {}
	payments++
	for range 2 {
		b.expect(t, "a handler that writes nothing has answered 200", b.send(request("nothing", "")), http.StatusOK, payments)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	b := newBank(t, func(o *idempotency.Options) { o.MaxBody = 100 })
	b.expect(t, "a body of MaxBody is read", b.send(request("k1", strings.Repeat("a", 100))), http.StatusCreated, 1)
	b.expect(t, "a larger body is refused", b.send(request("k2", strings.Repeat("a", 101))), http.StatusRequestEntityTooLarge, 1)
	broken := request("k3", "")
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader("10"), brokenReader{}))
	b.expect(t, "a body that does not arrive is refused", b.send(broken), http.StatusBadRequest, 1)
	b.expect(t, "a request that was refused leaves its key free", b.send(request("k3", "10 EUR")), http.StatusCreated, 2)

	binary := string([]byte{0, '\n', 255, '"', '{'})
	b.pay = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, binary) }
	for range 2 {
		if w := b.send(request("binary", "")); w.Body.String() != binary {
			t.Errorf("rule: a response may hold any bytes; got %q, want %q", w.Body, binary)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func TestLongResponses(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	payments := int64(0)
	for _, size := range []int{kv.MaxValueLen - 1000, kv.MaxValueLen - 10, kv.MaxValueLen, kv.MaxValueLen + 1, 10 * kv.MaxValueLen} {
		want := strings.Repeat("a", size)
		b.pay = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			for part := want; part != ""; {
				n := min(len(part), 1000)
				io.WriteString(w, part[:n])
				part = part[n:]
			}
		}
		key := fmt.Sprint(size)
		w := b.send(request(key, ""))
		payments++
		b.expect(t, "a response of any length is sent", w, http.StatusCreated, payments)
		if w.Body.String() != want {
			t.Errorf("rule: a response of any length is sent; got %d bytes, want %d", w.Body.Len(), size)
		}
		w = b.send(request(key, ""))
		if size <= kv.MaxValueLen-1000 {
			b.expect(t, "a response that fits is stored", w, http.StatusCreated, payments)
			continue
		}
		b.expect(t, "a request whose response does not fit is not carried out again", w, http.StatusConflict, payments)
		if w.Header().Get("Retry-After") != "" {
			t.Errorf("rule: it is no use to ask again for a response that does not fit; got %v", w.Header())
		}
	}
}

// broken is a connection whose client has gone.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func TestClientGoesAwayFromALongResponse(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	b.pay = func(w http.ResponseWriter, _ *http.Request) {
		for range 4 {
			_, _ = w.Write(bytes.Repeat([]byte("x"), 10<<10)) // the client has gone
		}
	}
	b.Handler.ServeHTTP(broken{httptest.NewRecorder()}, request("a", "1"))
	w := b.send(request("a", "1"))
	b.expect(t, "a repetition never gets a part of a response as if it were all", w, http.StatusConflict, 1)
	if w.Header().Get("Idempotency-Replayed") != "" || w.Body.Len() > 1000 {
		t.Errorf("the repetition got %d bytes, %v", w.Body.Len(), w.Header())
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	b := newBank(t, nil)
	b.in.Use(faults.Always(faults.Drop))
	w := b.send(request("k1", "10 EUR"))
	b.expect(t, "without the store nothing is carried out", w, http.StatusServiceUnavailable, 0)
	if w.Header().Get("Retry-After") == "" || !strings.Contains(b.log.String(), "unavailable") || strings.Contains(w.Body.String(), "connection") {
		t.Errorf("rule: a failure of the store is logged, and the client may come again; got %v %q, log %q", w.Header(), w.Body, b.log.String())
	}
	b.in.Use(nil)
	b.expect(t, "a request that was refused leaves its key free", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
	b.in.Use(faults.Reads(faults.Drop))
	b.expect(t, "a stored response that cannot be read is not taken for none", b.send(request("k1", "10 EUR")), http.StatusServiceUnavailable, 1)

	b.log.Reset()
	b.in.Use(faults.Writes(faults.Pass, faults.Drop, faults.Drop, faults.Drop, faults.Drop, faults.Drop))
	b.expect(t, "a request that was carried out gets its response, though it was not stored", b.send(request("k2", "10 EUR")), http.StatusCreated, 2)
	if !strings.Contains(b.log.String(), "carried out again") {
		t.Errorf("rule: a response that was not stored is logged; got %q", b.log.String())
	}
	b.in.Use(nil)
	b.expect(t, "until the claim ends the request is not carried out again", b.send(request("k2", "10 EUR")), http.StatusConflict, 2)
}

func TestLostResponsesOfTheStore(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]faults.Plan{
		"the claim":                   faults.Writes(faults.Lose),
		"the claim, which is late":    faults.Writes(faults.Late),
		"the response":                faults.Writes(faults.Pass, faults.Lose),
		"the response, which is late": faults.Writes(faults.Pass, faults.Late),
		"both":                        faults.Writes(faults.Lose, faults.Lose),
		"the response, each time":     faults.Writes(faults.Pass, faults.Lose, faults.Lose, faults.Lose, faults.Lose),
		"a response that was dropped": faults.Writes(faults.Pass, faults.Drop, faults.Lose),
	} {
		b := newBank(t, nil)
		b.in.Use(plan)
		b.expect(t, "a lost answer to "+name+" changes nothing", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
		b.in.Use(nil)
		b.expect(t, "after a lost answer to "+name+" a repetition gets the response", b.send(request("k1", "10 EUR")), http.StatusCreated, 1)
		if b.in.Faults() == 0 {
			t.Errorf("no answer to %s was lost", name)
		}
		if b.log.Len() > 0 {
			t.Errorf("rule: a lost answer that could be settled is no failure; of %s the log says %q", name, b.log.String())
		}
	}
}

func TestRecordsOfOthers(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "secret", "{}\n", `{"format":2,"holder":"a","fingerprint":"b"}` + "\n", `{"format":1,"holder":"secret","fingerprint":"b"}`,
		`{"format":1,"holder":"a","fingerprint":"b","status":1000}` + "\n", `{"format":1,"holder":"a","fingerprint":"b","status":-1}` + "\n"} {
		b := newBank(t, nil)
		b.send(request("k1", "10 EUR"))
		for entry, err := range b.store.Scan(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.store.Put(t.Context(), entry.Key, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		b.expect(t, "what is no record is an error", b.send(request("k1", "10 EUR")), http.StatusServiceUnavailable, 1)
		if !strings.Contains(b.log.String(), "incompatible") || strings.Contains(b.log.String(), "secret") {
			t.Errorf("rule: what is no record is ErrIncompatible, without its value; log %q", b.log.String())
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []idempotency.Options{
		{}, {Scope: user, TTL: -1}, {Scope: user, TTL: 30}, {Scope: user, Timeout: -1}, {Scope: user, Timeout: 30}, {Scope: user, Timeout: 100 * 365 * 24 * time.Hour},
		{Scope: user, MaxBody: -1},
	} {
		if once, err := idempotency.New(memkv.New(), o); once != nil || !errors.Is(err, kv.ErrInvalidOption) || !strings.Contains(err.Error(), "want") {
			t.Errorf("rule: options out of their bounds are ErrInvalidOption and say what is wanted; %+v: %v", o, err)
		}
	}
}

// TestServers repeats a request that got no response, after the server has restarted.
func TestServers(t *testing.T) {
	t.Parallel()
	url := "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "store.db"))
	var payments atomic.Int64
	key := "8e03978e-40d5-43e8-bc93-6894a57f9324"
	for _, outcome := range []string{"aborted", "replayed"} {
		store, err := localkv.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		once, err := idempotency.New(store, idempotency.Options{Scope: user})
		if err != nil {
			t.Fatal(err)
		}
		handler := once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			payments.Add(1)
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
			io.WriteString(w, "<html>paid")
		}))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if outcome == "aborted" {
				handler.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			handler.ServeHTTP(w, r)
		}))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("10 EUR"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", `"`+key+`"`)
		response, err := server.Client().Do(r)
		switch outcome {
		case "aborted":
			if err == nil {
				t.Error("the connection was to be aborted")
			}
		case "replayed":
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if string(body) != "<html>paid" || err != nil || len(response.Cookies()) != 2 || response.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("rule: a repetition gets the response of the first request; got %q, %v, %v", body, response.Header, err)
			}
		}
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := payments.Load(); n != 1 {
		t.Errorf("rule: a repetition is not carried out; there were %d payments", n)
	}
}
