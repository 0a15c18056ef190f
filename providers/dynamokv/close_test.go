package dynamokv

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/kv"
)

// hanging has calls that hang if the service does not respond.
var hanging = map[string]struct {
	do    func(context.Context, *kv.Store) error
	write bool
}{
	"Get": {func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "key"); return err }, false},
	"GetMany": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.GetMany(ctx, names(2*batchParallel*maxBatchGet))
		return err
	}, false},
	"Scan": {func(ctx context.Context, s *kv.Store) error {
		var last error
		for _, err := range s.Scan(ctx, "key") {
			last = err
		}
		return last
	}, false},
	"Put":    {func(ctx context.Context, s *kv.Store) error { _, err := s.Put(ctx, "key", nil); return err }, true},
	"Delete": {func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, "key") }, true},
	"PutMany": {func(ctx context.Context, s *kv.Store) error {
		_, err := s.PutMany(ctx, items(names(2*maxBatchWrite)))
		return err
	}, true},
}

// The rule: Close ends calls that hang, and leaves no goroutine running.
func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	for name, test := range hanging {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := dynamodb.New((&fake{url: "http://dynamodb.invalid"}).client().Options(), func(o *dynamodb.Options) {
					o.HTTPClient = httpClientFunc(func(r *http.Request) (*http.Response, error) {
						<-r.Context().Done()
						return nil, r.Context().Err()
					})
				})
				d, err := newDriver("open", client, "table", nil)
				if err != nil {
					t.Fatal(err)
				}
				store := kv.New(d)
				ended := make(chan error)
				go func() { ended <- test.do(context.Background(), store) }()
				synctest.Wait()
				begun := time.Now()
				if err := store.Close(); err != nil {
					t.Error(err)
				}
				err = <-ended
				if took := time.Since(begun); took != 0 {
					t.Errorf("rule: Close ends calls at once; it took %s", took)
				}
				if !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrIndeterminate) != test.write || errors.Is(err, context.Canceled) {
					t.Errorf("rule: a call that Close ended is ErrClosed, and ErrIndeterminate if it is a write that was sent; got %v", err)
				}
			})
		})
	}
}

// The rule: Close ends the connection of a call that hangs.
func TestCloseEndsConnections(t *testing.T) {
	clearAWS(t, nil)
	for name, test := range hanging {
		t.Run(name, func(t *testing.T) {
			sent, gone := make(chan struct{}, 1000), make(chan struct{}, 1000)
			f := &fake{answers: []answer{ok(`{"Item":` + layout16 + `}`), func(_ http.ResponseWriter, r *http.Request, _ call) {
				sent <- struct{}{}
				<-r.Context().Done()
				gone <- struct{}{}
			}}}
			server := httptest.NewServer(f)
			defer server.Close()
			store, err := Open(t.Context(), "dynamodb://table?endpoint="+server.URL)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() { ended <- test.do(context.Background(), store) }()
			<-sent
			if err := store.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrIndeterminate) != test.write {
				t.Errorf("rule: a call that Close ended is ErrClosed, and ErrIndeterminate if it is a write that was sent; got %v", err)
			}
			<-gone // if the connection stays open, the test times out here
		})
	}
}

// The rule: the end of a loop over GetMany ends the requests that are still running.
func TestGetManyEndsWithTheLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{url: "http://dynamodb.invalid", answers: []answer{
			batch(func(string, int) bool { return false }),
			func(_ http.ResponseWriter, r *http.Request, _ call) { <-r.Context().Done() },
		}}
		client := dynamodb.New(f.client().Options(), func(o *dynamodb.Options) {
			o.HTTPClient = httpClientFunc(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				f.ServeHTTP(w, r)
				return w.Result(), r.Context().Err()
			})
		})
		d, err := newDriver("open", client, "table", nil)
		if err != nil {
			t.Fatal(err)
		}
		begun, n := time.Now(), 0
		for range d.GetMany(t.Context(), kv.GetManyRequest{Keys: names(20 * maxBatchGet)}) {
			if n++; n == 3 {
				break
			}
		}
		if took := time.Since(begun); n != 3 || took != 0 {
			t.Errorf("rule: an iterator whose loop ended early leaves nothing running; it took %s to end after %d keys", took, n)
		}
	})
}

// The rule: Close ends the connections of a client of Open, but not those of a client for
// New.
func TestCloseEndsWhatOpenOpened(t *testing.T) {
	clearAWS(t, nil)
	var mu sync.Mutex
	open := make(map[net.Conn]bool)
	closed := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(&fake{answers: []answer{ok(`{"Item":` + layout16 + `}`)}})
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if open[conn] = state != http.StateClosed; state == http.StateClosed {
			delete(open, conn)
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	store, err := Open(t.Context(), "dynamodb://table?endpoint="+server.URL)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if len(open) != 1 {
		t.Errorf("%d connections; want 1, kept for the next request", len(open))
	}
	mu.Unlock()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	<-closed // if the connection stays open, the test times out here

	given := &countingClient{HTTPClient: http.DefaultClient}
	fake := newFake(t, ok(`{"Item":`+layout16+`}`))
	client := dynamodb.New(fake.client().Options(), func(o *dynamodb.Options) { o.HTTPClient = given })
	store, err = New(t.Context(), client, "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if _, err := New(t.Context(), client, "table", nil); err != nil || given.closed {
		t.Errorf("rule: a client for New stays open; got %v", err)
	}
}

type countingClient struct {
	dynamodb.HTTPClient
	closed bool
}

func (c *countingClient) CloseIdleConnections() { c.closed = true }
