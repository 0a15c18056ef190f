package aztableskv

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/internal/pages"
	"github.com/skykv/skykv/kv"
)

// shapeless are bodies of responses that have neither a valid entity nor a list of valid
// entities. They are also seeds of two fuzz targets.
var shapeless = []string{
	"", " ", "null", "{}", "[]", `"x"`, "7", "<html>", "{", `{"value":`,
	`{"value":null}`, `{"value":{}}`, `{"value":"x"}`, `{"Value":[]}`, `{"odata.metadata":"m"}`,
	`{"value":[null]}`, `{"value":[{}]}`, `{"value":[7]}`, `{"value":[[]]}`,
	`{"PartitionKey":null,"RowKey":null}`, `{"value":[{"odata.etag":"W/\"1\"","PartitionKey":null,"RowKey":null}]}`,
	`{"value":[{"odata.etag":null,"PartitionKey":"00","RowKey":"a","x":null,"t":null,"p":null}]}`,
	"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}

// success returns the status that the SDK expects if a request succeeds.
func success(r *http.Request) int {
	switch {
	case r.Method == http.MethodGet:
		return http.StatusOK
	case strings.HasSuffix(r.URL.Path, "/$batch"):
		return http.StatusAccepted
	}
	return http.StatusNoContent
}

// hostile opens a store with the client of Open. The service responds with the function that
// the test stores in the returned pointer, or like f if there is none.
func hostile(t testing.TB, f *fake, opts *Options) (*kv.Store, *atomic.Pointer[http.HandlerFunc]) {
	t.Helper()
	var answers atomic.Pointer[http.HandlerFunc]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if encodings := r.Header.Get("Accept-Encoding"); encodings != "" {
			t.Errorf("rule: the client does not request compression; %s requests %s", r.Method, encodings)
		}
		if answer := answers.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	transport := newTransport()
	t.Cleanup(transport.CloseIdleConnections)
	client, err := account{name: "account", endpoint: server.URL, key: someKey}.client(transport)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), client, "kv1", claiming(opts))
	if err != nil {
		t.Fatal(err)
	}
	return s, &answers
}

// These are names of calls that the function operations returns: the calls that read by key,
// that make a query, that begin with a read, that need an entity or an ETag in the response,
// and all calls.
var (
	byKey     = []string{"get", "get many", "exists"}
	byQuery   = []string{"exists", "scan", "delete prefix", "touch"}
	reading   = []string{"get", "get many", "exists", "scan", "delete prefix", "touch"}
	returning = append([]string{"put", "put if absent", "put by version", "put many", "touch by version", "atomic write"}, reading...)
	all       = append([]string{"delete", "delete by version", "delete many"}, returning...)
)

// The rule: if the service cannot have sent a response, reads return ErrUnavailable. Writes
// return ErrUnavailable and ErrIndeterminate.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	type service struct {
		name   string
		ops    []string
		answer func(w http.ResponseWriter, r *http.Request, f *fake)
	}
	edited := func(edit func(body string) string) func(http.ResponseWriter, *http.Request, *fake) {
		return func(w http.ResponseWriter, r *http.Request, f *fake) {
			answer := httptest.NewRecorder()
			f.ServeHTTP(answer, r)
			w.Header().Set("ETag", answer.Header().Get("ETag"))
			w.WriteHeader(answer.Code)
			io.WriteString(w, edit(answer.Body.String()))
		}
	}
	replaced := func(old, new string) func(http.ResponseWriter, *http.Request, *fake) {
		return edited(func(body string) string { return strings.ReplaceAll(body, old, new) })
	}
	services := []service{
		{"another status", all, func(w http.ResponseWriter, r *http.Request, _ *fake) { w.WriteHeader(http.StatusResetContent) }},
		{"less than announced", all, func(w http.ResponseWriter, r *http.Request, _ *fake) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusOK)
		}},
		{"a truncated response", all, func(w http.ResponseWriter, r *http.Request, _ *fake) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"value":[`)
		}},
		{"a date that is none", append([]string{"put", "put by version", "delete", "delete by version"}, reading...), func(w http.ResponseWriter, r *http.Request, f *fake) {
			w.Header().Set("Date", "tomorrow")
			f.ServeHTTP(w, r)
		}},
		{"accepted", []string{"put", "put if absent", "put by version", "delete", "delete by version"}, func(w http.ResponseWriter, r *http.Request, _ *fake) {
			w.WriteHeader(http.StatusAccepted)
			io.WriteString(w, `{"odata.error":{"code":"InvalidInput"}}`)
		}},
		{"another key", byKey, replaced(`"RowKey":"a"`, `"RowKey":"A"`)},
		{"a key that is none", byKey, replaced(`"RowKey":"a"`, `"RowKey":"a/\u001b[2J"`)},
		{"no key", reading, replaced(`"RowKey"`, `"rowkey"`)},
		{"a key that is null", reading, replaced(`"RowKey":"a"`, `"RowKey":null`)},
		{"another partition", reading, replaced(`"PartitionKey":"0`, `"PartitionKey":"7`)},
		{"no partition", reading, replaced(`"PartitionKey"`, `"partitionkey"`)},
		{"listings without ETags", byQuery, replaced(`"odata.etag"`, `"etag"`)},
		{"listings with malformed ETags", byQuery, replaced(`"odata.etag":"W/\"`, `"odata.etag":"W/`)},
		{"a malformed ETag", []string{"get", "get many", "put", "put by version", "touch by version"}, func(w http.ResponseWriter, r *http.Request, f *fake) {
			answer := httptest.NewRecorder()
			f.ServeHTTP(answer, r)
			w.Header().Set("ETag", "*")
			w.WriteHeader(answer.Code)
			io.Copy(w, answer.Body)
		}},
		{"keys below the range", []string{"delete prefix"}, replaced(`"RowKey":"a"`, `"RowKey":"A"`)},
		{"keys beyond the range", []string{"delete prefix"}, replaced(`"RowKey":"a"`, `"RowKey":"b"`)},
	}
	for _, body := range shapeless {
		services = append(services, service{fmt.Sprintf("200 and %q", body), all, func(w http.ResponseWriter, r *http.Request, _ *fake) {
			w.Header().Set("ETag", noSuchTag)
			io.WriteString(w, body)
		}}, service{fmt.Sprintf("no ETag and %q", body), returning, func(w http.ResponseWriter, r *http.Request, _ *fake) {
			if w.WriteHeader(success(r)); success(r) != http.StatusNoContent {
				io.WriteString(w, body)
			}
		}})
	}
	for _, service := range services {
		t.Run(service.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "kv1")
			s, answers := hostile(t, f, &Options{Shards: 2, Retry: quick})
			for _, op := range service.ops {
				version, err := s.Put(t.Context(), "a", []byte(secretValue))
				if err != nil {
					t.Fatal(err)
				}
				answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { service.answer(w, r, f) })
				answers.Store(&answer)
				err = operations(t.Context(), s, version)[op]()
				answers.Store(nil)
				write := writes(op) && op != "delete prefix"
				if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) != write {
					t.Errorf("%s: %v; want ErrUnavailable, and ErrIndeterminate: %t", op, err, write)
				}
			}
		})
	}
}

// The rule: New, EnsureWith and SweepWith also refuse responses that the service cannot have
// sent, and do not panic.
func TestHostileOpening(t *testing.T) {
	t.Parallel()
	for _, body := range shapeless {
		for _, table := range []string{"", "kv1"} {
			f := newFake(t, table)
			for _, method := range []string{"GET", "POST"} {
				client := fakeClient(t, "http://account.example", transport(func(r *http.Request) (*http.Response, error) {
					if r.Method == method {
						w := httptest.NewRecorder()
						w.WriteHeader(http.StatusOK)
						io.WriteString(w, body)
						return w.Result(), nil
					}
					return f.Do(r)
				}))
				_, opened := New(t.Context(), client, "kv1", claiming(&Options{Retry: quick}))
				_, swept := SweepWith(t.Context(), client, "kv1", nil)
				for what, err := range map[string]error{"New": opened, "EnsureWith": EnsureWith(t.Context(), client, "kv1", &Options{Retry: quick}), "SweepWith": swept} {
					notThere := table == "" && method == "POST" && what != "EnsureWith" || method == "POST" && what == "SweepWith"
					if !notThere && (!errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrNotProvisioned) || errors.Is(err, kv.ErrIncompatible)) {
						t.Errorf("%s, with 200 and %q for every %s: %v; want ErrUnavailable", what, body, method, err)
					}
				}
			}
		}
	}
}

// listed returns an entity of skykv as the response to a query contains it, with this
// PartitionKey and this RowKey.
func listed(t *testing.T, partition, row string) map[string]json.RawMessage {
	t.Helper()
	var properties map[string]json.RawMessage
	if err := json.Unmarshal(newLayout(2).encode(putting("a", kv.Condition{}).Record, 0), &properties); err != nil {
		t.Fatal(err)
	}
	properties["PartitionKey"], properties["RowKey"], properties["odata.etag"] = quoted(partition), quoted(row), quoted(noSuchTag)
	return properties
}

// The rule: a scan yields the entries whose keys are in its own shard, in order. It skips
// entities whose RowKey is not a key. It yields ErrIncompatible for a key in the wrong
// shard. After a key out of order, it ends with ErrUnavailable.
func TestHostileListings(t *testing.T) {
	t.Parallel()
	var own, other []string // keys of the shards 0 and 1
	for i := range 20 {
		key := fmt.Sprintf("k%02d", i)
		if kv.Shard(key, 2) == 0 {
			own = append(own, key)
		} else {
			other = append(other, key)
		}
	}
	for _, test := range []struct {
		name string
		rows []string
		want string // the keys, with ! after a key that has an error
		ends bool   // whether the scan ends with ErrUnavailable
	}{
		{"in order", []string{own[0], own[1]}, own[0] + " " + own[1], false},
		{"no keys", []string{"a/b", "k\x1b[2J", "k\nk", "k\u00e9"}, "", false},
		{"no keys in the order of UTF-16", []string{"k\U0001f600", "k\ufffd"}, "", false},
		{"no key among keys", []string{own[0], own[0] + "/", own[1]}, own[0] + " " + own[1], false},
		{"another shard's", []string{other[0]}, other[0] + "!", false},
		{"another shard's among its own", []string{own[0], other[len(other)-1]}, own[0] + " " + other[len(other)-1] + "!", false},
		{"out of order", []string{own[1], own[0]}, own[1], true},
		{"twice", []string{own[0], own[0]}, own[0], true},
		{"as Azure Cosmos DB orders them", []string{own[2], own[0], own[1]}, own[2], true},
	} {
		f := newFake(t, "kv1")
		s, answers := hostile(t, f, &Options{Shards: 2, Retry: quick})
		answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page := []map[string]json.RawMessage{}
			if strings.Contains(r.URL.Query().Get("$filter"), "'00'") {
				for _, row := range test.rows {
					page = append(page, listed(t, "00", row))
				}
			}
			json.NewEncoder(w).Encode(map[string]any{"value": page})
		})
		answers.Store(&answer)
		var got []string
		var end error
		for e, err := range s.Scan(t.Context(), "") {
			switch {
			case err == nil:
				got = append(got, e.Key)
			case e.Key == "":
				end = err
			case !errors.Is(err, kv.ErrIncompatible):
				t.Errorf("%s: beside %s is %v; want ErrIncompatible", test.name, e.Key, err)
			default:
				got = append(got, e.Key+"!")
			}
		}
		if (end != nil) != test.ends || test.ends && !errors.Is(end, kv.ErrUnavailable) {
			t.Errorf("%s: the scan ends with %v; want ErrUnavailable: %t", test.name, end, test.ends)
		}
		if text := strings.Join(got, " "); !test.ends && text != test.want {
			t.Errorf("%s: the scan yields %q, want %q", test.name, text, test.want)
		}
	}
}

// The rule: if the service sends the same continuation again, the scan ends with an error.
// After several empty pages, the scan requests at most ten pages a second.
func TestHostileContinuations(t *testing.T) {
	t.Parallel()
	for _, withValue := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			requests, around := 0, 3
			f := newFake(t, "kv1")
			client := fakeClient(t, "http://account.example", transport(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				requests++
				w.Header().Set("x-ms-continuation-NextPartitionKey", fmt.Sprint(requests%around))
				io.WriteString(w, `{"value":[]}`)
				return w.Result(), nil
			}))
			d, err := newDriver("open", client, f.table, nil)
			if err != nil {
				t.Fatal(err)
			}
			scan := func(ctx context.Context) error {
				for _, err := range d.Scan(ctx, kv.ScanRequest{From: "-", To: "~", Limit: 10, WithValue: withValue}) {
					return err
				}
				return nil
			}
			if err := scan(t.Context()); !errors.Is(err, pages.ErrRepeated) || !errors.Is(err, kv.ErrUnavailable) || requests > 3*around {
				t.Errorf("around a circle of %d pages: %v after %d requests; want ErrUnavailable", around, err, requests)
			}
			requests, around = 0, 1<<30
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := scan(ctx); !errors.Is(err, context.DeadlineExceeded) || requests > 610 || requests < 500 {
				t.Errorf("empty pages for a minute: %v after %d requests; want the context's error after some 600", err, requests)
			}
		})
	}
}

// The rule: the client stops reading a response that is larger than any that the service can
// send, and does not retry. There is one exception: a page is requested again, with fewer
// entities, down to one.
func TestHostileSizes(t *testing.T) {
	t.Parallel()
	const slack = 8 << 20 // for the buffers of the sockets
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	zip.Write(make([]byte, 2*attempt.MaxBytes(attempt.One)))
	zip.Close()
	for _, test := range []struct {
		op       string
		limit    int64
		requests int64
	}{
		{"get", attempt.MaxBytes(attempt.One), 1},
		{"exists", attempt.MaxBytes(attempt.One), 1},
		{"put", attempt.MaxBytes(attempt.One), 1},
		{"put if absent", attempt.MaxBytes(attempt.One), 1},
		{"scan", attempt.MaxBytes(attempt.Page), 2}, // one for 11 entities and one for 1
	} {
		f := newFake(t, "kv1")
		s, answers := hostile(t, f, &Options{Shards: 1, Retry: quick})
		var sent, requests atomic.Int64
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			for {
				n, err := w.Write(chunk)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		})
		answers.Store(&endless)
		err := operations(t.Context(), s, kv.Version{})[test.op]()
		if !errors.Is(err, attempt.ErrTooLarge) || !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) != writes(test.op) {
			t.Errorf("%s, with an endless response: %v; want ErrUnavailable, and ErrIndeterminate: %t", test.op, err, writes(test.op))
		}
		if n := requests.Load(); n != test.requests {
			t.Errorf("%s, with an endless response, makes %d requests; want %d", test.op, n, test.requests)
		}
		if n, most := sent.Load(), test.requests*test.limit; n > most+test.requests*slack {
			t.Errorf("%s, with an endless response, takes %d bytes of it; want at most %d", test.op, n, most)
		}
		zipped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("ETag", noSuchTag)
			w.WriteHeader(http.StatusOK)
			w.Write(bomb.Bytes())
		})
		answers.Store(&zipped)
		err = operations(t.Context(), s, kv.Version{})[test.op]()
		if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, attempt.ErrTooLarge) || errors.Is(err, kv.ErrIndeterminate) != writes(test.op) {
			t.Errorf("%s, with a compressed response: %v; want ErrUnavailable, without unpacking it, and ErrIndeterminate: %t", test.op, err, writes(test.op))
		}
	}
}

// The rule: Open's client follows no redirects, so no other host receives a value. With a
// client that follows them, a response after a redirect is refused.
func TestHostileRedirects(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, follows := range []bool{false, true} {
			t.Run(fmt.Sprint(status, follows), func(t *testing.T) {
				t.Parallel()
				var elsewhere atomic.Int64
				host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					elsewhere.Add(1)
					w.Header().Set("ETag", noSuchTag)
					if strings.HasSuffix(r.URL.Path, "()") {
						io.WriteString(w, `{"value":[]}`)
						return
					}
					w.WriteHeader(http.StatusNoContent) // this is a success for any write
				}))
				t.Cleanup(host.Close)
				f := newFake(t, "kv1")
				s, answers := hostile(t, f, &Options{Shards: 2, Retry: quick})
				redirects := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, host.URL+r.URL.RequestURI(), status)
				})
				answers.Store(&redirects)
				if follows {
					server := httptest.NewServer(redirects)
					t.Cleanup(server.Close)
					d, err := newDriver("open", fakeClient(t, server.URL, server.Client()), "kv1", &Options{Shards: 2, Retry: quick})
					if err != nil {
						t.Fatal(err)
					}
					s = kv.New(d)
				}
				for _, op := range all {
					if strings.Contains(op, "version") {
						continue
					}
					err := operations(t.Context(), s, kv.Version{})[op]()
					write := writes(op) && op != "delete prefix"
					if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, kv.ErrIndeterminate) != write {
						t.Errorf("%s: %v; want ErrUnavailable, and ErrIndeterminate: %t", op, err, write)
					}
				}
				if n := elsewhere.Load(); (n > 0) != follows {
					t.Errorf("%d requests go to the other host; want some: %t", n, follows)
				}
			})
		}
	}
}

// The rule: an attempt whose response is late is cut off, and the call makes another
// attempt. The first attempt may have been applied. Options.Timeout ends a call without a
// deadline.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	for _, op := range all {
		for _, served := range []bool{true, false} { // whether the late attempt was carried out
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, "kv1")
				var late atomic.Int32 // number of late attempts to come
				sender := transport(func(r *http.Request) (*http.Response, error) {
					if late.Add(-1) < 0 {
						return f.Do(r)
					}
					if served {
						f.Do(r)
					}
					<-r.Context().Done()
					return nil, context.Cause(r.Context())
				})
				client := fakeClient(t, "http://account.example", tracer{attempt.Client{HTTP: sender}})
				s, err := New(t.Context(), client, "kv1", claiming(&Options{Shards: 2, Timeout: 45 * time.Second, Retry: policy.RetryOptions{MaxRetries: 100}}))
				if err != nil {
					t.Fatal(err)
				}
				version, err := s.Put(t.Context(), "a", []byte(secretValue))
				if err != nil {
					t.Fatal(err)
				}
				size := attempt.One
				if strings.HasSuffix(op, "t many") && op != "get many" || op == "delete many" || op == "scan" || op == "delete prefix" || op == "atomic write" {
					size = attempt.Many
				}
				begun := time.Now()
				late.Store(1)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err = operations(ctx, s, version)[op]()
				switch {
				case op == "put if absent", op == "delete by version" && served: // the store finds another write's entry, or none, which proves nothing
					if !errors.Is(err, kv.ErrIndeterminate) || errors.Is(err, kv.ErrConditionFailed) {
						t.Errorf("%s, whose first attempt is late, served: %t: %v; want ErrIndeterminate", op, served, err)
					}
				case err != nil:
					t.Errorf("%s, whose first attempt is late, served: %t: %v", op, served, err)
				}
				if took, limit := time.Since(begun), attempt.Timeout(time.Minute, size); took < limit || took > limit+2*time.Second {
					t.Errorf("%s, whose first attempt is late, takes %s; want %s and a pause", op, took, limit)
				}
				late.Store(1)
				if _, err := s.Put(ctx, "new", nil, kv.IfNotExists()); err != nil {
					t.Errorf("a put-if-absent whose first attempt is late, served: %t: %v", served, err)
				}

				late.Store(1 << 30)
				begun = time.Now()
				err = operations(context.Background(), s, version)[op]()
				write := writes(op) && op != "delete prefix"
				if !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrIndeterminate) != write {
					t.Errorf("%s, without a response: %v; want ErrUnavailable and DeadlineExceeded, and ErrIndeterminate: %t", op, err, write)
				}
				timeout := 45 * time.Second
				if op == "atomic write" { // it also reads, to find out what it has written
					timeout *= 2
				}
				if took := time.Since(begun); took != timeout {
					t.Errorf("%s, without a response, ends after %s; want the timeout of 45s for each request", op, took)
				}
				begun = time.Now()
				ctx, cancel = context.WithTimeout(t.Context(), 700*time.Millisecond)
				defer cancel()
				err = operations(ctx, s, version)[op]()
				if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrUnavailable) || took != 700*time.Millisecond {
					t.Errorf("%s, without a response, ends after %s with %v; want the caller's deadline after 700ms", op, took, err)
				}
			})
		}
	}
}

// The rule: no response makes the driver panic, or report anything that the response does
// not say.
func FuzzAnswers(f *testing.F) {
	const parts = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" +
		"--c\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\nETag: \"1\"\r\n\r\n\r\n--c\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\nETag: \"2\"\r\n\r\n\r\n--c--\r\n--b--\r\n"
	for _, body := range append(shapeless, parts, parts[:200],
		`{"odata.error":{"code":"ResourceNotFound","message":{"value":"1:x"}}}`,
		`{"PartitionKey":"00","RowKey":"a","v":"dg==","v@odata.type":"Edm.Binary","x":"0","x@odata.type":"Edm.Int64","t":"tttttttttttttttttttttt","p":""}`,
		`{"value":[{"odata.etag":"\"1\"","PartitionKey":"00","RowKey":"a","x":"0","x@odata.type":"Edm.Int64","t":"tttttttttttttttttttttt","p":""}]}`,
		`{"value":[{"odata.etag":"\"1\"","PartitionKey":"skykv","RowKey":"layout","format":2,"shards":1}]}`) {
		for _, status := range []uint16{200, 202, 204, 302, 404} {
			f.Add(status, "multipart/mixed; boundary=b", `"1"`, []byte(body))
			f.Add(status, "application/json", "", []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, contentType, etag string, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		client := fakeClient(t, "http://account.example", transport(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: int(status), Request: r, Body: io.NopCloser(bytes.NewReader(body)),
				Header: http.Header{"Content-Type": {contentType}, "Etag": {etag}},
			}, nil
		}))
		d, err := newDriver("open", client, "kv1", &Options{Shards: 1, Retry: policy.RetryOptions{MaxRetries: -1}})
		if err != nil {
			t.Fatal(err)
		}
		check := func(what string, err error, succeeds bool) {
			t.Helper()
			if own, ok := err.(*kv.Error); err != nil && (!ok || own.Kind == nil && status < 400) {
				t.Fatalf("%s: the error is a %T, %v; want a kv.Error with a kind", what, err, err)
			}
			if err == nil && !succeeds {
				t.Fatalf("%s: status %d and %q are taken for a success", what, status, body)
			}
		}
		missing := status >= 400 && (bytes.Contains(body, []byte("NotFound")))
		for _, withValue := range []bool{true, false} {
			found, err := d.Get(t.Context(), kv.GetRequest{Key: "a", WithValue: withValue})
			check("Get", err, status == 200 || missing)
			if err == nil && found.Exists && (found.Version == "" || len(found.Token) != kv.TokenLen || found.Expires < 0 || (found.Value != nil) != withValue || !bytes.Contains(body, []byte(found.Token))) {
				t.Fatalf("the record is %+v", found)
			}
		}
		for rec, err := range d.Scan(t.Context(), kv.ScanRequest{From: "-", To: "~", Limit: 10, WithValue: true}) {
			if check("Scan", err, status == 200); err == nil && (rec.Version == "" || len(rec.Token) != kv.TokenLen || rec.Value == nil) {
				t.Fatalf("the record is %+v", rec)
			}
		}
		layout, err := d.readLayout(t.Context())
		if check("readLayout", err, status == 200); layout != nil && (layout.shards() < 1 || layout.shards() > MaxShards) {
			t.Fatalf("the layout is %+v", layout)
		}
		writes := []kv.Write{putting("a", kv.Condition{}), putting("b", kv.Condition{})}
		for _, w := range append(slices.Clone(writes), putting("a", ifAbsent), deleting("a", kv.Condition{})) {
			out, err := d.Write(t.Context(), kv.WriteRequest{Write: w})
			check("Write", err, status == 201 || status == 204 || missing)
			if own, ok := err.(*kv.Error); ok && status < 400 && !own.MayHaveApplied {
				t.Fatalf("%s under %s, with status %d and %q: %v; want it to be unknown whether it was applied", w.Kind, w.Condition.Kind, status, body, err)
			}
			if out.Done && status != 201 && status != 204 && !missing || out.Done && w.Kind == kv.KindPut && out.Version == "" {
				t.Fatalf("%s under %s: %+v", w.Kind, w.Condition.Kind, out)
			}
		}
		for i, r := range d.WriteMany(t.Context(), kv.WriteManyRequest{Writes: writes}) {
			if r.Done && (status != 202 && status != 204 || r.Version == "" || !bytes.Contains(body, []byte(r.Version)) && status == 202) {
				t.Fatalf("write %d of a transaction: %+v", i, r)
			}
		}
	})
}
