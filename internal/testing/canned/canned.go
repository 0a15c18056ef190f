// Package canned responds to HTTP requests over loopback with almost no work and
// without allocating, so that a benchmark measures only the client.
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

// Request is the part of a request on which responses may depend. It is valid until
// the response is sent.
type Request struct {
	Method, Path []byte
	Operation    []byte // the part after the dot in the header X-Amz-Target
	IfMatch      []byte // the header of this name
	Body         []byte
}

// Server responds to HTTP/1.1 requests with a Content-Length.
type Server struct {
	// Answer appends the whole response to a request, from its status line on.
	Answer func(r *Request, answer []byte) []byte

	// Delay passes before each response, to simulate the distance to the service.
	Delay time.Duration

	// Slow passes instead before one of SlowEvery answers, at random; none where that is 0.
	Slow      time.Duration
	SlowEvery int

	// Accepted counts the connections from clients, and Bytes the bytes read from
	// them and written to them.
	Accepted, Bytes atomic.Int64
}

// Serve serves the connections that listener accepts until it is closed.
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

// counted counts the bytes that pass a connection.
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
