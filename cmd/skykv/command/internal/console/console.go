// Package console serves web pages that show a store. Only the user who started the console can
// open the pages. The pages change nothing.
package console

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/cmd/skykv/command/internal/folders"
	"github.com/skykv/skykv/cmd/skykv/command/internal/shell"
	"github.com/skykv/skykv/cmd/skykv/command/internal/timeleft"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

//go:embed page.tmpl console.css console.js
var files embed.FS

var page = template.Must(template.New("page.tmpl").Funcs(template.FuncMap{
	"left":  func(expires time.Time) string { return timeleft.String(time.Now(), expires) }, // later, the page's script updates the text in the same way
	"quote": shell.Quote,
}).ParseFS(files, "page.tmpl"))

// pageSize is the greatest number of keys and folders on a page.
const pageSize = 100

// slowest is the time limit for making a page.
const slowest = 30 * time.Second

// Console is the handler of a store's pages.
type Console struct {
	store   *kv.Store
	url     string
	inspect func(ctx context.Context, url string) iter.Seq[provider.Check]
	token   string
	port    string
}

// New returns the handler of a store's pages. A listener on a loopback address must serve the
// handler; the parameter listener is that address. The pages show the store's URL and the
// results of inspect unchanged.
func New(store *kv.Store, storeURL string, listener net.Addr, inspect func(context.Context, string) iter.Seq[provider.Check]) *Console {
	_, port, _ := net.SplitHostPort(listener.String())
	return &Console{
		store: store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return counted{d} })),
		url:   storeURL, inspect: inspect, token: rand.Text(), port: port,
	}
}

// Address returns the address to open. It contains a secret, which the browser
// exchanges for a cookie.
func (c *Console) Address() string { return "http://127.0.0.1:" + c.port + "/?token=" + c.token }

// cookie returns the name of the cookie. The name contains the port, because browsers send
// a cookie to all ports of its host.
func (c *Console) cookie() string { return "skykv-" + c.port }

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	switch {
	case !c.own(r.Host):
		// Another site may let its host name resolve to this address. Requests for that name are
		// refused.
		http.Error(w, "This is the console of skykv. Open it at 127.0.0.1.", http.StatusMisdirectedRequest)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "The console only reads.", http.StatusMethodNotAllowed)
	case r.URL.Path == "/" && c.same(r.URL.Query().Get("token")):
		http.SetCookie(w, &http.Cookie{Name: c.cookie(), Value: c.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		// This is a page, not a redirect. If the user follows a link of another site, the
		// browser sends no SameSite=Strict cookie with a redirected request.
		_, _ = fmt.Fprint(w, `<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>skykv</title><a href="/">Open the console</a>`)
	case !c.known(r):
		http.Error(w, "Open the address that skykv ui printed, with its token.", http.StatusForbidden)
	default:
		c.serve(w, r)
	}
}

// own reports whether a request is for the console's own address. Browsers leave out port 80,
// which is the default.
func (c *Console) own(host string) bool {
	if c.port == "80" && !strings.Contains(host, ":") {
		host += ":80"
	}
	return host == "127.0.0.1:"+c.port || host == "localhost:"+c.port
}

func (c *Console) same(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(c.token)) == 1
}

func (c *Console) known(r *http.Request) bool {
	cookie, err := r.Cookie(c.cookie())
	return err == nil && c.same(cookie.Value)
}

func (c *Console) serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), slowest)
	defer cancel()
	switch r.URL.Path {
	case "/":
		c.browse(ctx, w, r.URL.Query())
	case "/doctor":
		view := c.view("Doctor")
		for check := range c.inspect(ctx, c.url) {
			view.Checks = append(view.Checks, check)
		}
		view.Doctor = true
		c.render(w, view)
	case "/console.css", "/console.js":
		w.Header().Del("Content-Type") // so that ServeFileFS sets the type by the file's name
		http.ServeFileFS(w, r, files, strings.TrimPrefix(r.URL.Path, "/"))
	default:
		http.Error(w, "There is no such page.", http.StatusNotFound)
	}
}

// view is the content of a page.
type view struct {
	Title, URL, Provider string

	Prefix, Delimiter string
	Parts             []part // the folders of the prefix
	Lines             []line
	Next, First       string // links, empty if there is no such page
	Requests          int64
	Shards            int
	Error             string

	Entry    *entry
	Commands []string

	Doctor bool
	Checks []provider.Check
}

// part is a folder of the prefix.
type part struct{ Name, Link string }

// line is a key or a folder.
type line struct {
	Name, Link string
	Folder     bool
	Selected   bool
	Expires    time.Time
	Error      string
}

func (c *Console) view(title string) *view {
	info := c.store.Info()
	return &view{Title: title, URL: c.url, Provider: info.Name, Shards: info.Shards}
}

func (c *Console) render(w http.ResponseWriter, v *view) {
	if err := page.Execute(w, v); err != nil {
		_, _ = fmt.Fprintf(w, "\n<p>The page ends here: the connection broke.</p>")
	}
}

// browse shows the keys that begin with a prefix, and the selected entry, if there is one.
func (c *Console) browse(ctx context.Context, w http.ResponseWriter, query url.Values) {
	prefix, after, key := query.Get("prefix"), query.Get("after"), query.Get("key")
	delimiter := query.Get("delimiter")
	if delimiter == "" {
		delimiter = ":"
	}
	title := key
	if title == "" {
		title = prefix
	}
	v := c.view(title)
	v.Prefix, v.Delimiter = prefix, delimiter
	link := func(prefix, after, key string) string {
		q := url.Values{}
		for name, value := range map[string]string{"prefix": prefix, "after": after, "key": key} {
			if value != "" {
				q.Set(name, value)
			}
		}
		if delimiter != ":" {
			q.Set("delimiter", delimiter)
		}
		return "/?" + q.Encode()
	}
	legal := kv.ValidatePrefix(prefix) == nil // a link to this page may have any prefix, of any length
	for rest, at := prefix, 0; legal; {
		name, next, found := strings.Cut(rest, delimiter)
		if !found {
			break
		}
		at += len(name) + len(delimiter)
		v.Parts = append(v.Parts, part{name + delimiter, link(prefix[:at], "", "")})
		rest = next
	}
	if after != "" {
		v.First = link(prefix, "", "")
	}
	requests := new(atomic.Int64)
	ctx = context.WithValue(ctx, requestsKey{}, requests)
	badDelimiter := kv.ValidateKey(delimiter) != nil
	if badDelimiter {
		v.Error = "The delimiter must be characters of keys, such as : or ::."
	} else if err := c.list(ctx, v, after, key, link); err != nil {
		v.Error = err.Error()
	}
	quoted := shell.Quote(c.url)
	if legal && !badDelimiter {
		list := "skykv ls "
		if delimiter != ":" {
			list += "--delimiter " + delimiter + " "
		}
		v.Commands = []string{list + arguments(quoted, prefix)}
	}
	if key != "" {
		v.Entry = c.read(ctx, key, query.Get("as"), link(prefix, after, key))
		v.Commands = commands(quoted, v.Entry)
	}
	v.Requests = requests.Load()
	c.render(w, v)
}

// list adds the lines of a page to v: keys and folders greater than the argument after. It
// sets v.Next if more lines follow.
func (c *Console) list(ctx context.Context, v *view, after, key string, link func(prefix, after, key string) string) error {
	last := after
	for e, err := range folders.List(ctx, c.store, v.Prefix, v.Delimiter, after) {
		if len(v.Lines) == pageSize {
			v.Next = link(v.Prefix, last, "")
			return nil
		}
		switch {
		case err != nil && e.Key == "":
			return err
		case err != nil:
			v.Lines = append(v.Lines, line{Name: e.Key, Error: err.Error()})
			last = e.Key
		case folders.Is(e):
			v.Lines = append(v.Lines, line{Name: e.Key, Link: link(e.Key, "", ""), Folder: true})
			last = folders.Last(c.store, e.Key)
		default:
			v.Lines = append(v.Lines, line{Name: e.Key, Link: link(v.Prefix, after, e.Key), Selected: e.Key == key, Expires: e.ExpiresAt})
			last = e.Key
		}
	}
	return nil
}

// read returns the entry under a key, or why it cannot be shown.
func (c *Console) read(ctx context.Context, key, as, link string) *entry {
	found, err := c.store.Get(ctx, key)
	shown := &entry{Key: key}
	switch {
	case errors.Is(err, kv.ErrNotFound):
		shown.Error = "There is no such entry. It may have expired, or been deleted."
	case err != nil:
		shown.Error = err.Error()
	default:
		shown.show(found, as, link)
	}
	return shown
}

// arguments returns the arguments of a command: a URL, and a key or prefix that is not empty. A key
// that begins with - comes after --.
func arguments(url, key string) string {
	of := strings.TrimSpace(url + " " + key)
	if strings.HasPrefix(key, "-") {
		of = "-- " + of
	}
	return of
}

// commands returns shell commands that show and change an entry. It returns none if the key is
// not legal, and only the command that shows the entry if the console could not read it.
func commands(url string, e *entry) []string {
	of := arguments(url, e.Key)
	switch {
	case kv.ValidateKey(e.Key) != nil:
		return nil
	case e.Error != "":
		return []string{"skykv get " + of}
	}
	return []string{
		"skykv get " + of,
		"skykv put --file FILE --if-version " + e.Version + " " + of,
		"skykv touch --ttl 1h --if-version " + e.Version + " " + of,
		"skykv delete --if-version " + e.Version + " " + of,
	}
}
