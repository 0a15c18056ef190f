package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/examples/internal/stores"
	"github.com/skykv/skykv/kv"
)

// asService is an environment variable. If it is set, the test binary runs the service instead of
// the tests.
const asService = "URLSHORTENER_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(asService) != "" {
		flag.CommandLine = flag.NewFlagSet("urlshortener", flag.ExitOnError)
		main()
		return
	}
	emulator.Main(m)
}

// TestProcess tests the program as users run it, on the store that KV_URL names.
func TestProcess(t *testing.T) {
	t.Parallel()
	stores.OnEachURL(t, func(t *testing.T, url string) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-addr", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), asService+"=1", "KV_URL="+url)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(stderr)
		line, err := lines.ReadString('\n')
		_, rest, _ := strings.Cut(line, "listening on ")
		addr, _, found := strings.Cut(rest, ",")
		if err != nil || !found {
			t.Fatalf("the service prints %q, %v", line, err)
		}
		resp, body := post(t, "http://"+addr, `{"url":"https://example.com/process","ttl":"1h"}`)
		var made struct{ Code string }
		if err := json.Unmarshal([]byte(body), &made); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("making a link returns %s: %s", resp.Status, body)
		}
		if resp := get(t, "http://"+addr+"/"+made.Code); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "https://example.com/process" {
			t.Errorf("the link returns %s to %q", resp.Status, resp.Header.Get("Location"))
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(lines)
		if err := errors.Join(err, cmd.Wait()); err != nil || len(said) > 0 {
			t.Errorf("after SIGTERM the service ends with %v and %q", err, said)
		}
	})
}

// clock is the service's clock, which tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// serve starts two replicas of the service on one store.
func serve(t *testing.T, store *kv.Store) (urls [2]string, c *clock) {
	c = new(clock)
	for i := range urls {
		server := httptest.NewServer(newService(store, c.now))
		t.Cleanup(server.Close)
		urls[i] = server.URL
	}
	return urls, c
}

var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func post(t *testing.T, url, body string) (*http.Response, string) {
	t.Helper()
	resp, err := client.Post(url+"/links", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func TestLinks(t *testing.T) {
	t.Parallel()
	stores.OnEach(t, func(t *testing.T, store *kv.Store) {
		urls, clock := serve(t, store)
		resp, body := post(t, urls[0], `{"url":"https://example.com/long?a=b","ttl":"1h"}`)
		var made struct{ Code string }
		if err := json.Unmarshal([]byte(body), &made); err != nil || resp.StatusCode != http.StatusCreated || len(made.Code) != codeLen {
			t.Fatalf("making a link returns %s: %s", resp.Status, body)
		}
		for _, url := range urls { // the other replica knows the link, too
			resp := get(t, url+"/"+made.Code)
			if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "https://example.com/long?a=b" {
				t.Errorf("the link returns %s to %q", resp.Status, resp.Header.Get("Location"))
			}
		}
		for _, path := range []string{"/absent1", "/with%20space", "/" + strings.Repeat("x", 600)} {
			if resp := get(t, urls[0]+path); resp.StatusCode != http.StatusNotFound {
				t.Errorf("%.20s returns %s; want 404", path, resp.Status)
			}
		}
		for _, body := range []string{``, `{}`, `{"url":"javascript:alert(1)","ttl":"1h"}`, `{"url":"https://x"}`, `{"url":"https://x","ttl":"-1h"}`, `{"url":"https://x","ttl":"1us"}`, `{"url":"https://x","ttl":"9000h"}`} {
			if resp, _ := post(t, urls[0], body); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s returns %s; want 400", body, resp.Status)
			}
		}
		clock.ahead.Store(int64(time.Hour) + int64(time.Millisecond))
		if resp := get(t, urls[1]+"/"+made.Code); resp.StatusCode != http.StatusNotFound {
			t.Errorf("an expired link returns %s; want 404", resp.Status)
		}
	})
}

// The rule: of many simultaneous requests to two replicas, exactly the allowed number succeeds.
func TestLimit(t *testing.T) {
	t.Parallel()
	stores.OnEach(t, func(t *testing.T, store *kv.Store) {
		urls, clock := serve(t, store)
		burst := func() (made, refused int64) {
			var all sync.WaitGroup
			var counts sync.Map
			for i := range 24 {
				all.Go(func() {
					resp, err := client.Post(urls[i%2]+"/links", "application/json", strings.NewReader(fmt.Sprintf(`{"url":"https://example.com/%d","ttl":"1h"}`, i)))
					if err != nil {
						t.Error(err)
						return
					}
					resp.Body.Close()
					if resp.StatusCode == http.StatusTooManyRequests {
						// The service computes the wait by its own clock. So the wait is at most the
						// window of a minute, even if that clock is far ahead.
						wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
						if err != nil || wait < 1 || wait > 61 {
							t.Errorf("rule: a refusal says after how many seconds its window ends; Retry-After is %q, %v", resp.Header.Get("Retry-After"), err)
						}
					}
					n, _ := counts.LoadOrStore(resp.StatusCode, new(atomic.Int64))
					n.(*atomic.Int64).Add(1)
				})
			}
			all.Wait()
			counts.Range(func(status, n any) bool {
				switch status {
				case http.StatusCreated:
					made = n.(*atomic.Int64).Load()
				case http.StatusTooManyRequests:
					refused = n.(*atomic.Int64).Load()
				default:
					t.Errorf("%d requests return %d", n.(*atomic.Int64).Load(), status)
				}
				return true
			})
			return made, refused
		}
		for range 2 {
			if made, refused := burst(); made != 10 || refused != 14 {
				t.Errorf("of 24 requests at once %d made a link and %d were refused; want 10 and 14", made, refused)
			}
			clock.ahead.Add(int64(2 * time.Minute)) // the next window
		}
	})
}
