package console

import (
	"context"
	"fmt"
	"html"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skykv/skykv/cmd/skykv/command/internal/shell"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/memkv"
)

const storeURL = "file:it's.db"

func noChecks(context.Context, string) iter.Seq[provider.Check] {
	return func(yield func(provider.Check) bool) {
		yield(provider.Check{Status: provider.Fail, Name: "table", Detail: "<b>none</b>", Fix: "run: skykv provision"})
	}
}

func open(t *testing.T, store *kv.Store) *Console {
	t.Helper()
	return New(store, storeURL, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8600}, noChecks)
}

// get requests a page with the cookie that the browser has after the first page.
func (c *Console) get(t *testing.T, target string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8600"+target, nil)
	r.AddCookie(&http.Cookie{Name: c.cookie(), Value: c.token})
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Result().Body)
	if w.Code != http.StatusOK {
		t.Errorf("GET %s: %d, %s", target, w.Code, body)
	}
	return string(body)
}

// The rule: a browser gets pages only with the token, only at the console's own address, and
// only by requests that read.
func TestWhoIsLetIn(t *testing.T) {
	t.Parallel()
	c := open(t, memkv.New())
	for name, test := range map[string]struct {
		method, url, cookie string
		want                int
	}{
		"the address":                     {"GET", c.Address(), "", http.StatusOK},
		"the cookie":                      {"GET", "http://localhost:8600/", c.token, http.StatusOK},
		"no cookie":                       {"GET", "http://127.0.0.1:8600/", "", http.StatusForbidden},
		"no cookie, doctor":               {"GET", "http://127.0.0.1:8600/doctor", "", http.StatusForbidden},
		"no cookie, script":               {"GET", "http://127.0.0.1:8600/console.js", "", http.StatusForbidden},
		"another token":                   {"GET", "http://127.0.0.1:8600/?token=" + strings.ToLower(c.token), "", http.StatusForbidden},
		"an empty token":                  {"GET", "http://127.0.0.1:8600/?token=", "", http.StatusForbidden},
		"another cookie":                  {"GET", "http://127.0.0.1:8600/", "x", http.StatusForbidden},
		"a name that points to this host": {"GET", "http://evil.example:8600/?token=" + c.token, c.token, http.StatusMisdirectedRequest},
		"another port":                    {"GET", "http://127.0.0.1:8601/", c.token, http.StatusMisdirectedRequest},
		"a post":                          {"POST", "http://127.0.0.1:8600/", c.token, http.StatusMethodNotAllowed},
		"a page that does not exist":      {"GET", "http://127.0.0.1:8600/page.tmpl", c.token, http.StatusNotFound},
	} {
		r := httptest.NewRequest(test.method, test.url, nil)
		if test.cookie != "" {
			r.AddCookie(&http.Cookie{Name: c.cookie(), Value: test.cookie})
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		if w.Code != test.want {
			t.Errorf("rule: the console is only for the person who started it; %s: %d, want %d", name, w.Code, test.want)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("rule: a page runs only its own scripts, and is not cached; %s: %v", name, w.Header())
		}
		for _, cookie := range w.Result().Cookies() {
			if name != "the address" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
				t.Errorf("rule: the cookie is for the console's own pages; %s: %v", name, cookie)
			}
		}
		if got := w.Body.String(); strings.Contains(got, c.token) {
			t.Errorf("rule: no page contains the token; %s: %s", name, got)
		}
	}
}

// The rule: the console works at every port, and only at its own address. A host without a port
// means port 80.
func TestPorts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		port int
		host string
		want int
	}{
		{80, "127.0.0.1", http.StatusOK},
		{80, "localhost", http.StatusOK},
		{80, "127.0.0.1:80", http.StatusOK},
		{80, "127.0.0.1:8600", http.StatusMisdirectedRequest},
		{80, "evil.example", http.StatusMisdirectedRequest},
		{80, "", http.StatusMisdirectedRequest},
		{8600, "127.0.0.1:8600", http.StatusOK},
		{8600, "127.0.0.1", http.StatusMisdirectedRequest},
	} {
		console := New(memkv.New(), storeURL, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: c.port}, noChecks)
		r := httptest.NewRequest(http.MethodGet, "/?token="+console.token, nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		if console.ServeHTTP(w, r); w.Code != c.want {
			t.Errorf("rule: the console works at every port, and only at its own address; at port %d a request for %q returns %d, want %d", c.port, c.host, w.Code, c.want)
		}
	}
}

// The rule: the pages show the content of a store as text. A browser never runs it.
func TestHostileContent(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	for key, value := range map[string]string{
		"page": `<script>alert(1)</script><img src=x onerror=alert(1)>`,
		"json": `{"a":"</pre><script>alert(1)</script>","b":[1,2]}`,
		"turn": "abc\u202edef\x1b[2J",
		"byte": "\xff\x00</pre>",
		"none": "",
	} {
		if _, err := store.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	c := open(t, store)
	for key, want := range map[string]string{
		"page": "&lt;script&gt;alert(1)&lt;/script&gt;",
		"json": "{\n  &#34;a&#34;: &#34;&lt;/pre&gt;",
		"turn": "66 1b 5b 32 4a",
		"byte": "ff 00 3c 2f 70 72 65 3e",
		"none": "<dd>0 bytes</dd>",
	} {
		for _, as := range []string{"", "&as=text", "&as=JSON", "&as=hex", "&as=<script>"} {
			page := c.get(t, "/?key="+key+strings.ReplaceAll(as, "<script>", "%3Cscript%3E"))
			if strings.Contains(page, "alert(1)<") || strings.Contains(page, "<script>") || strings.Contains(page, "onerror=alert(1)>") || strings.ContainsAny(page, "\u202e\x1b\x00") {
				t.Errorf("rule: values do not become markup; %s%s is shown as %s", key, as, page)
			}
			if as == "" && !strings.Contains(page, want) {
				t.Errorf("%s does not contain %q: %s", key, want, page)
			}
		}
	}
	if page := c.get(t, "/?key=turn&as=text"); !strings.Contains(page, `abc\u202edef\u001b[2J`) {
		t.Errorf("rule: a text is shown with escaped control characters; it is shown as %s", page)
	}
	for _, query := range []string{"prefix=%3Cscript%3E", "key=%22%3E%3Cscript%3E", "delimiter=%3Cscript%3E", "after=%3Cscript%3E"} {
		if page := c.get(t, "/?"+query); strings.Contains(page, "<script>") || !strings.Contains(page, `role="alert"`) {
			t.Errorf("rule: a text that is not a key is refused with a message; %s shows %s", query, page)
		}
	}
	// The pages of other servers on this machine can link to these pages with any query. Users
	// copy the commands into a shell, so no command may contain a key or prefix that is not legal.
	for _, query := range []string{"key=%3Btouch+x", "key=%24(touch+x)", "prefix=%3Btouch+x", "prefix=%0Atouch+x", "delimiter=%3Btouch+x"} {
		page := c.get(t, "/?"+query)
		for _, part := range strings.Split(page, `data-copy="`)[1:] {
			if command, _, _ := strings.Cut(part, `"`); strings.Contains(command, "touch") {
				t.Errorf("rule: a text that is not a key is in no command; %s: %s", query, command)
			}
		}
	}
	if page := c.get(t, "/?prefix="+strings.Repeat("a:", 4000)); len(page) > 100_000 {
		t.Errorf("rule: a page is not far longer than what it shows; a prefix of 8,000 bytes, which is too long, makes one of %d bytes", len(page))
	}
	// The indentation of each of these values would have 200 MB.
	for _, first := range []string{"", "1e999,"} {
		deep := "[" + first + strings.Repeat("[", 9_999) + strings.Repeat("]", 10_000)
		if _, err := store.Put(t.Context(), "deep", []byte(deep)); err != nil {
			t.Fatal(err)
		}
		for _, as := range []string{"", "&as=JSON"} {
			if page := c.get(t, "/?key=deep"+as); len(page) > 100_000 || !strings.Contains(page, deep) {
				t.Errorf("rule: a page is not far longer than what it shows; a value of 20,000 brackets makes one of %d bytes", len(page))
			}
		}
	}
	if page := c.get(t, "/doctor"); !strings.Contains(page, `data-copy="skykv doctor &#39;file:it&#39;\&#39;&#39;s.db&#39;"`) {
		t.Errorf("rule: the store's URL is one argument of the commands; doctor shows %s", page)
	}
	if page := c.get(t, "/doctor"); strings.Contains(page, "<b>none") || !strings.Contains(page, "run: skykv provision") {
		t.Errorf("doctor shows %s", page)
	}
}

// The rule: whoever follows the links to the next pages sees all keys, each once. Each page
// says how many requests it made.
func TestPages(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	var want []string
	for i := range 2*pageSize + 50 {
		key := fmt.Sprintf("key.%04d", i)
		if i%50 == 10 {
			key = fmt.Sprintf("key.%04d:x:%d", i, i)
		}
		if _, err := store.Put(t.Context(), key, []byte("v"), kv.TTL(time.Hour)); err != nil {
			t.Fatal(err)
		}
		want = append(want, key)
	}
	c := open(t, store)
	target, seen := "/?prefix=key.", 0
	for target != "" {
		v := c.view("")
		at, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		v.Prefix, v.Delimiter = "key.", ":"
		link := func(prefix, after, key string) string { return "/?prefix=" + prefix + "&after=" + after }
		if err := c.list(t.Context(), v, at.Query().Get("after"), "", link); err != nil || len(v.Lines) > pageSize {
			t.Fatalf("%d lines, %v", len(v.Lines), err)
		}
		for _, line := range v.Lines {
			if name, _, folder := strings.Cut(want[seen], ":"); folder != line.Folder || strings.TrimSuffix(line.Name, ":") != name {
				t.Fatalf("rule: keys come in order, each once; %q is number %d, want %q", line.Name, seen, want[seen])
			}
			seen++
		}
		target = v.Next
	}
	if seen != len(want) {
		t.Errorf("rule: no key is left out; %d of %d were shown", seen, len(want))
	}
	if page := c.get(t, "/?prefix=key.&key=key.0000"); !strings.Contains(page, "This page made") || !strings.Contains(page, "59 min") ||
		!strings.Contains(page, `skykv get &#39;file:it&#39;\&#39;&#39;s.db&#39; key.0000`) || !strings.Contains(page, "Next page") {
		t.Errorf("the page of an entry is %s", page)
	}
	if page := c.get(t, "/?key=absent"); !strings.Contains(page, "no such entry") {
		t.Errorf("the page of an absent entry is %s", page)
	}
}

// The rule: the command of a list lists the same as the page.
func TestCommandOfAList(t *testing.T) {
	t.Parallel()
	c := open(t, memkv.New())
	for query, want := range map[string]string{
		"":                       "skykv ls URL",
		"prefix=user:":           "skykv ls URL user:",
		"prefix=-x":              "skykv ls -- URL -x",
		"delimiter=::":           "skykv ls --delimiter :: URL",
		"delimiter=-&prefix=-a-": "skykv ls --delimiter - -- URL -a-",
	} {
		want = `data-copy="` + strings.Replace(want, "URL", shell.Quote(storeURL), 1) + `"`
		if page := html.UnescapeString(c.get(t, "/?"+query)); !strings.Contains(page, want) {
			t.Errorf("rule: the command of a list lists the same as the page; with %q the page does not contain %s:\n%s", query, want, page)
		}
	}
}

// nested counts one request for each read, and calls during in its first scan.
type nested struct {
	kv.Driver
	begun  *atomic.Bool
	during func()
}

func (d nested) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	req.Meter.Add(1, 1)
	return d.Driver.Get(ctx, req)
}

func (d nested) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	if d.begun.CompareAndSwap(false, true) {
		d.during()
	}
	req.Meter.Add(1, 1)
	return d.Driver.Scan(ctx, req)
}

// The rule: a page says how many requests it made itself, even if other pages are made at the same
// time.
func TestRequestsOfAPage(t *testing.T) {
	t.Parallel()
	var c *Console
	inner := ""
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
		return nested{d, new(atomic.Bool), func() { inner = c.get(t, "/?key=a") }}
	}))
	c = open(t, store)
	outer := c.get(t, "/")
	if !strings.Contains(outer, "This page made 1 request to") || !strings.Contains(inner, "This page made 2 requests to") {
		t.Errorf("rule: a page says how many requests it made itself; a list says %s\nand an entry with its list, made meanwhile, says %s", outer, inner)
	}
}
