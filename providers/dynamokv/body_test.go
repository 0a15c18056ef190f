package dynamokv

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

// The answer may arrive, and the SDK close the body, before net/http is done with
// sending it: the connection must survive that.
func TestConnectionsOutliveEarlyAnswers(t *testing.T) {
	t.Parallel()
	const puts = 20
	f := newFake(t, ok("{}"))
	dials := func(wrap func(aws.HTTPClient) aws.HTTPClient) int64 {
		var dials atomic.Int64
		var current lateRequest
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &lateConn{conn, &current}, err
		}}
		defer transport.CloseIdleConnections()
		client := dynamodb.New(f.client().Options(), func(o *dynamodb.Options) {
			o.HTTPClient = lateClient{wrap(&http.Client{Transport: transport}), &current}
		})
		d, err := newDriver("open", client, "table", nil)
		if err != nil {
			t.Fatal(err)
		}
		store := kv.New(d)
		for range puts {
			if _, err := store.Put(t.Context(), "key", make([]byte, kv.MaxValueLen)); err != nil {
				t.Fatal(err)
			}
		}
		return dials.Load()
	}
	if n := dials(func(c aws.HTTPClient) aws.HTTPClient { return plainBody{c} }); n != 1 {
		t.Errorf("rule: a connection outlives answers that come before net/http is done with the body; %d puts took %d connections", puts, n)
	}
	t.Logf("without plainBody, %d puts took %d connections", puts, dials(func(c aws.HTTPClient) aws.HTTPClient { return c }))
}

// lateRequest is the request under way.
type lateRequest struct {
	unread atomic.Int64 // bytes of its body that net/http has not yet asked for
	closed atomic.Pointer[chan struct{}]
}

// lateClient keeps track of the request under way.
type lateClient struct {
	aws.HTTPClient
	current *lateRequest
}

func (c lateClient) Do(r *http.Request) (*http.Response, error) {
	closed := make(chan struct{})
	c.current.closed.Store(&closed)
	c.current.unread.Store(r.ContentLength)
	r.Body = &lateBody{r.Body, c.current, sync.OnceFunc(func() { close(closed) })}
	return c.HTTPClient.Do(r)
}

type lateBody struct {
	io.ReadCloser
	current *lateRequest
	closed  func()
}

func (b *lateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.current.unread.Add(-int64(n))
	return n, err
}

func (b *lateBody) WriteTo(w io.Writer) (int64, error) {
	return b.ReadCloser.(io.WriterTo).WriteTo(w)
}

func (b *lateBody) Close() error {
	err := b.ReadCloser.Close()
	b.closed()
	return err
}

// lateConn returns from writing the last of a body when the body was closed, as
// if the goroutine that writes were slow to go on.
type lateConn struct {
	net.Conn
	current *lateRequest
}

func (c *lateConn) Write(p []byte) (int, error) {
	last := c.current.unread.Load() == 0
	n, err := c.Conn.Write(p)
	if last {
		<-*c.current.closed.Load()
	}
	return n, err
}
