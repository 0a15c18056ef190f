package aztableskv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/skykv/skykv/kv"
)

// transport is a function that carries out requests, in place of an HTTP client.
type transport func(*http.Request) (*http.Response, error)

func (t transport) Do(r *http.Request) (*http.Response, error) { return t(r) }

// The rule: a driver has the shards of its options. A key is in the shard of its group, and a
// scan within a group makes requests only to this shard.
func TestShards(t *testing.T) {
	t.Parallel()
	f := newFake(t, "kv1")
	s := f.store(&Options{Shards: 8, Retry: quick})
	info := s.Info()
	if info.Name != "aztables" || info.Shards != 8 || info.MaxAtomicWrites != 100 {
		t.Errorf("Info is %+v", info)
	}
	for i := range 50 {
		key := fmt.Sprintf("user%d::profile", i)
		if _, err := s.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
		shard := kv.Shard(key, 8)
		if got := info.Shard(key); got != shard || !f.has(fmt.Sprintf("%02x", shard), key) {
			t.Errorf("%s is in shard %d by Info, and in partition %02x: %t", key, got, shard, f.has(fmt.Sprintf("%02x", shard), key))
		}
		if got, one := info.ShardOfPrefix(fmt.Sprintf("user%d::", i)); !one || got != shard {
			t.Errorf("the group of %s is in shard %d, %t by Info; want %d", key, got, one, shard)
		}
	}
	if _, one := info.ShardOfPrefix("user4"); one {
		t.Error("a prefix that ends no group is in one shard by Info")
	}
	f.take()
	n := 0
	for e, err := range s.Scan(t.Context(), "user7::") {
		if n++; err != nil || e.Key != "user7::profile" {
			t.Errorf("the scan of a group yields %q, %v", e.Key, err)
		}
	}
	if got := f.take(); n != 1 || len(got) != 1 {
		t.Errorf("the scan of a group yields %d entries and makes the requests %q; want one of each", n, got)
	}
}

// The rule: GetMany yields each key once, as soon as its response arrives. Requests that
// hang, are throttled or fail do not delay the other keys.
func TestGetManyDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // synctest fails the test if all goroutines wait for each other
		f := newFake(t, "kv1")
		release := make(chan struct{})
		client := fakeClient(t, "http://account.example", transport(func(r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "hot") {
				select {
				case <-release:
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}
			return f.Do(r)
		}))
		f.setFault(func(r *http.Request) fault {
			switch {
			case strings.Contains(r.URL.Path, "busy"):
				return fault{status: 503, code: "ServerBusy"}
			case strings.Contains(r.URL.Path, "denied"):
				return fault{status: 403, code: "AuthorizationPermissionMismatch"}
			}
			return fault{}
		})
		// With these options, throttled requests wait until the test is over.
		d, err := newDriver("open", client, "kv1", &Options{Retry: policy.RetryOptions{RetryDelay: time.Hour, MaxRetryDelay: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		want := make(map[string]bool)
		for i := range 100 {
			key := fmt.Sprintf("k%d", i)
			if i%2 == 0 {
				d.Write(t.Context(), kv.WriteRequest{Write: putting(key, kv.Condition{})})
			}
			keys = append(keys, key)
			want[key] = i%2 == 0
		}
		keys = append([]string{"hot1", "hot2", "busy1", "busy2", "denied"}, keys...)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		got := make(map[string]bool)
		failed := make(map[string]error)
		for found, err := range d.GetMany(ctx, kv.GetManyRequest{Keys: keys, WithValue: true}) {
			if _, twice := got[found.Key]; twice {
				t.Errorf("%s is yielded twice", found.Key)
			}
			got[found.Key], failed[found.Key] = found.Exists, err
			switch len(got) {
			case len(keys) - 4: // all except the two that hang and the two that are throttled
				for key, exists := range want {
					if is, ok := got[key]; !ok || is != exists || failed[key] != nil {
						t.Errorf("%s is yielded: %t, exists: %t, %v; want it before the slow ones, exists: %t", key, ok, is, failed[key], exists)
					}
				}
				close(release)
			case len(keys) - 2: // all except the throttled ones
				cancel()
			}
		}
		for key, want := range map[string]error{"hot1": nil, "hot2": nil, "denied": kv.ErrPermission, "busy1": context.Canceled, "busy2": context.Canceled} {
			if err, ok := failed[key]; !ok || !errors.Is(err, want) {
				t.Errorf("%s is yielded: %t, %v; want %v", key, ok, err, want)
			}
		}
		if len(got) != len(keys) {
			t.Errorf("%d keys are yielded, want %d", len(got), len(keys))
		}
	})
}

// The rule: if calls without a deadline hang in the service, Close ends them at once. They
// return ErrClosed. If the request that hangs is a write, they also return ErrIndeterminate. No
// goroutine is left.
func TestCloseEndsHangingCalls(t *testing.T) {
	t.Parallel()
	for op := range operations(context.Background(), nil, kv.Version{}) {
		if strings.Contains(op, "version") {
			continue
		}
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // synctest fails the test if a goroutine is left
				f := newFake(t, "kv1")
				var hanging atomic.Bool
				var requests atomic.Int32
				s, err := New(t.Context(), fakeClient(t, "http://account.example", transport(func(r *http.Request) (*http.Response, error) {
					if !hanging.Load() {
						return f.Do(r)
					}
					requests.Add(1)
					<-r.Context().Done()
					return nil, r.Context().Err()
				})), "kv1", claiming(nil))
				if err != nil {
					t.Fatal(err)
				}
				hanging.Store(true)
				done := make(chan error)
				go func() { done <- operations(context.Background(), s, kv.Version{})[op]() }()
				synctest.Wait()
				if requests.Load() == 0 {
					t.Fatal("no request hangs")
				}
				begun := time.Now()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				err = <-done
				if took := time.Since(begun); took != 0 {
					t.Errorf("the call ends %s after Close", took)
				}
				if want := writes(op) && op != "delete prefix"; !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrIndeterminate) != want {
					t.Errorf("%v; want ErrClosed, and ErrIndeterminate: %t", err, want)
				}
			})
		})
	}
}

// The rule: Close closes the connection of a call that hangs, if Open made the client.
func TestCloseHangsUp(t *testing.T) {
	f := newFake(t, "kv1")
	arrived, left := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "PUT" {
			f.ServeHTTP(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
		close(left)
	}))
	t.Cleanup(server.Close)
	trusting(t, server.URL)
	s, err := Open(context.Background(), "aztables://account/kv1?layout=skykv&endpoint="+url.QueryEscape(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Put(context.Background(), "a", nil)
		done <- err
	}()
	<-arrived
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, kv.ErrClosed) || !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("a put that hangs: %v; want ErrClosed and ErrIndeterminate", err)
	}
	<-left
}
