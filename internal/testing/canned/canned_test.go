package canned

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	const delay = 2 * time.Millisecond
	s := &Server{Delay: delay, Answer: func(r *Request, answer []byte) []byte {
		body := fmt.Sprintf("%s %s %s%s %s", r.Method, r.Path, r.Operation, r.IfMatch, r.Body)
		return fmt.Appendf(answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}}
	go s.Serve(listener)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	send := func(method, header, value, body string) string {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+listener.Addr().String()+"/a/b?c=d", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set(header, value)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	begun := time.Now()
	large := strings.Repeat("x", 100_000)
	tests := []struct{ method, header, value, body, want string }{
		{"POST", "X-Amz-Target", "DynamoDB_20120810.GetItem", "{}", "POST /a/b?c=d GetItem {}"},
		{"PUT", "If-Match", `W/"1"`, large, `PUT /a/b?c=d W/"1" ` + large},
		{"GET", "", "", "", "GET /a/b?c=d  "},
	}
	for _, test := range tests {
		if got := send(test.method, test.header, test.value, test.body); got != test.want {
			t.Errorf("the answer is %.100q, want %.100q", got, test.want)
		}
	}
	if took := time.Since(begun); took < time.Duration(len(tests))*delay {
		t.Errorf("%d answers came after %s, each delayed by %s", len(tests), took, delay)
	}
	if n := s.Bytes.Load(); n < 2*int64(len(large)) || n > 2*int64(len(large))+2000 {
		t.Errorf("%d bytes were counted, want those of %d back and forth and little more", n, len(large))
	}
	s.Slow, s.SlowEvery = 10*delay, 1
	if begun = time.Now(); send("GET", "", "", "") == "" || time.Since(begun) < s.Slow {
		t.Errorf("the slow answer came after %s, want %s", time.Since(begun), s.Slow)
	}
	if n := s.Accepted.Load(); n != 1 {
		t.Errorf("%d connections were counted, want 1", n)
	}
}
