// Package canned is an HTTP server for benchmarks. It does almost no work and allocates
// almost nothing. A benchmark over loopback thus measures little but the client.
package canned

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

// Request has the parts of a request on which a response may depend. It is valid until the
// response is sent.
type Request struct {
	Method, Path []byte
	Operation    []byte // the part of the header X-Amz-Target after the dot
	IfMatch      []byte // the header If-Match
	Body         []byte
}

// Server responds to HTTP/1.1 requests. A request with a body must have a Content-Length.
type Server struct {
	// Answer responds to a request. It appends the whole response, from the status line on, to the
	// argument answer, and returns the result.
	Answer func(r *Request, answer []byte) []byte

	// Delay passes before each response that is not slow. It simulates the distance to the service.
	Delay time.Duration

	// On average, one in SlowEvery responses comes after Slow instead of Delay.
	// If SlowEvery is 0, no response is slow.
	Slow      time.Duration
	SlowEvery int

	// Accepted counts the connections from clients. Bytes counts the bytes that were read
	// from them and written to them.
	Accepted, Bytes atomic.Int64
}

// Serve accepts connections from listener until an Accept fails, for example because the
// listener was closed.
func (s *Server) Serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		s.Accepted.Add(1)
		go s.serve(conn)
	}
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	conn = &counted{conn, &s.Bytes}
	reader := bufio.NewReaderSize(conn, 64<<10)
	var r Request
	var answer []byte
	for r.read(reader) == nil {
		answer = s.Answer(&r, answer[:0])
		if s.SlowEvery > 0 && rand.N(s.SlowEvery) == 0 {
			time.Sleep(s.Slow)
		} else {
			time.Sleep(s.Delay)
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// counted is a connection that counts the bytes that are read from it and written to it.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (r *Request) read(from *bufio.Reader) error {
	line, err := from.ReadSlice('\n')
	if err != nil {
		return err
	}
	method, rest, _ := bytes.Cut(line, []byte(" "))
	path, _, _ := bytes.Cut(rest, []byte(" "))
	r.Method, r.Path = append(r.Method[:0], method...), append(r.Path[:0], path...)
	r.Operation, r.IfMatch = r.Operation[:0], r.IfMatch[:0]
	length := 0
	for {
		if line, err = from.ReadSlice('\n'); err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(v)); err != nil {
				return err
			}
		} else if v, ok := bytes.CutPrefix(line, []byte("X-Amz-Target: ")); ok {
			_, operation, _ := bytes.Cut(v, []byte("."))
			r.Operation = append(r.Operation, operation...)
		} else if v, ok := bytes.CutPrefix(line, []byte("If-Match: ")); ok {
			r.IfMatch = append(r.IfMatch, v...)
		}
	}
	if cap(r.Body) < length {
		r.Body = make([]byte, length)
	}
	r.Body = r.Body[:length]
	_, err = io.ReadFull(from, r.Body)
	return err
}
