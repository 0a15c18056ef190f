package faults

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// HTTP is a proxy in front of DynamoDB Local or Azurite.
type HTTP struct {
	*Injector
	URL string // the URL of the target, with the proxy's host

	addr   string
	server *http.Server
	target *url.URL
	client *http.Transport
	done   chan struct{}
	close  func()
}

// NewHTTP starts a proxy in front of target, the URL of an emulator. It forwards the path
// and the headers of a request as they are, including Host, so that signatures stay valid.
// It removes only the header Connection and the header that carries the operation.
func NewHTTP(target string) (*HTTP, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &HTTP{
		Injector: new(Injector), target: u, done: make(chan struct{}),
		client: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	if err := p.Up(); err != nil {
		return nil, err
	}
	p.URL = "http://" + p.addr + u.Path
	p.close = sync.OnceFunc(func() {
		close(p.done)
		p.Down()
		p.wait()
		p.client.CloseIdleConnections()
	})
	return p, nil
}

// Close ends the proxy, and all requests that hang in it.
func (p *HTTP) Close() { p.close() }

// Down begins an outage: connections break, and new ones are refused until Up is called.
func (p *HTTP) Down() { p.server.Close() }

// Up ends an outage. The proxy has the same address as before.
func (p *HTTP) Up() error {
	listener, err := listen(p.addr)
	if err != nil {
		return err
	}
	p.addr = listener.Addr().String()
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve)}
	go p.server.Serve(listener)
	return nil
}

func (p *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client did not send the whole request
	}
	req := describe(r)
	a := p.begin(req)
	if a.Kind == Late {
		reset(w)
		go func() {
			defer p.end()
			p.forward(a, func() error { _, err := p.send(r, body); return err })
		}()
		return
	}
	defer p.end()
	switch a.Kind {
	case Drop:
		reset(w)
		return
	case Hang:
		// The context ends with the client's connection, because the body was read
		// completely.
		select {
		case <-r.Context().Done():
		case <-p.done:
		}
		reset(w)
		return
	case Refuse:
		http.Error(w, "<html>a proxy on the way has no upstream</html>", http.StatusServiceUnavailable)
		return
	case Throttle:
		throttle(w, r)
		return
	}
	var resp *response
	err = p.forward(a, func() (err error) { resp, err = p.send(r, body); return err })
	switch {
	case err != nil: // for example, the emulator has ended
		reset(w)
	case a.Kind == Lose, a.Kind == Garbage && resp.status >= 300: // a refusal with a garbage body would still show its true status
		reset(w)
	case a.Kind == Fail:
		status := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
		http.Error(w, "<html>a proxy on the way lost the response</html>", status[a.rand().IntN(len(status))])
	case a.Kind == Garbage:
		resp.header.Del("X-Amz-Crc32")
		resp.header.Del("Content-Length")
		resp.body = []byte("\x00<html>this is not from the service")
		resp.write(w)
	case a.Kind == Truncate:
		resp.truncate(w)
	default:
		resp.write(w)
	}
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// send forwards a request, even after its client has given up, and reads the whole
// response.
func (p *HTTP) send(r *http.Request, body []byte) (*response, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 30*time.Second)
	defer cancel()
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host = p.target.Scheme, p.target.Host
	out.RequestURI = ""
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		out.Body = http.NoBody
	}
	out.GetBody = nil // so that the transport does not send the request twice
	out.Header.Del("Connection")
	out.Header.Del(opHeader)
	in, err := p.client.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer in.Body.Close()
	got, err := io.ReadAll(in.Body)
	if err != nil {
		return nil, err
	}
	in.Header.Del("Connection")
	in.Header.Del("Transfer-Encoding")
	return &response{in.StatusCode, in.Header, got}, nil
}

func (r *response) write(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	w.Write(r.body)
}

// truncate sends the headers and half of the body, and closes the connection. If the body
// has fewer than two bytes, truncate sends half of the whole response.
func (r *response) truncate(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	resp := &http.Response{
		StatusCode: r.status, ProtoMajor: 1, ProtoMinor: 1, Header: r.header,
		ContentLength: int64(len(r.body)), Body: io.NopCloser(bytes.NewReader(r.body)),
	}
	var wire bytes.Buffer
	resp.Write(&wire)
	keep := wire.Len() - len(r.body) + len(r.body)/2
	if len(r.body) < 2 {
		keep = wire.Len() / 2
	}
	conn.Write(wire.Bytes()[:keep])
}

// reset ends the connection as if this side had crashed.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// describe returns the description of a request of DynamoDB or Azure Tables.
func describe(r *http.Request) Request {
	req := Request{Op: r.Header.Get(opHeader)}
	if target := r.Header.Get("X-Amz-Target"); target != "" { // DynamoDB_20120810.PutItem
		_, req.Method, _ = strings.Cut(target, ".")
		switch req.Method {
		case "PutItem", "DeleteItem", "UpdateItem", "BatchWriteItem", "TransactWriteItems":
			req.Write = true
		}
		return req
	}
	req.Method = r.Method
	if strings.HasSuffix(r.URL.Path, "/$batch") {
		req.Method = "BATCH"
	}
	req.Write = r.Method != http.MethodGet && r.Method != http.MethodHead
	return req
}

// throttle responds as DynamoDB or Azure Tables does when it throttles a request.
func throttle(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Amz-Target") != "" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The level of configured provisioned throughput for the table was exceeded."}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Ms-Error-Code", "ServerBusy")
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, `{"odata.error":{"code":"ServerBusy","message":{"lang":"en-US","value":"The server is busy."}}}`)
}

// Transport returns a transport whose requests carry the operation that [WithOp] named. If
// base is nil, it uses a new http.Transport.
func Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = &http.Transport{MaxIdleConnsPerHost: 256}
	}
	return transport{base}
}

type transport struct{ base http.RoundTripper }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if op := opOf(r.Context()); op != "" {
		r = r.Clone(r.Context())
		r.Header.Set(opHeader, op)
	}
	return t.base.RoundTrip(r)
}
