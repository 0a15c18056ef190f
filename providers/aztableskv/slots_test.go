package aztableskv

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
)

// The rule: calls that follow one another use one slot. A slot is not used again if its
// context has ended, or if the timer or the context of its last call may still end it. Such a
// slot would end a later call.
func TestSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, "kv1")
		hangs := false
		client := fakeClient(t, "http://account.example", transport(func(r *http.Request) (*http.Response, error) {
			if !hangs {
				return f.Do(r)
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		d, err := newDriver("open", client, "kv1", &Options{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		get := func(ctx context.Context) error {
			_, err := d.Get(ctx, kv.GetRequest{Key: "a", WithValue: true})
			return err
		}
		idle := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if n := len(d.slots.idle); n != want {
				t.Errorf("%s, %d slots are idle; want %d", when, n, want)
			}
		}
		later := func(after string) {
			t.Helper()
			hangs = false
			time.Sleep(time.Hour) // by then all timers and contexts of earlier calls have ended
			for range 3 {
				if err := get(t.Context()); err != nil {
					t.Errorf("after %s: %v", after, err)
				}
			}
			idle("after calls that follow "+after, 1)
		}
		later("nothing")

		hangs = true
		if err := get(context.Background()); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("a call that hangs ends with %v; want the timeout", err)
		}
		idle("after a timeout", 0)
		later("a timeout")

		for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
			"a deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			},
			"a cancellation": func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Second, cancel)
				return ctx, cancel
			},
		} {
			hangs = true
			ctx, cancel := end(t.Context())
			if err := get(ctx); !errors.Is(err, ctx.Err()) || ctx.Err() == nil || errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("a call ended by %s ends with %v; want the context's error", name, err)
			}
			cancel()
			idle("after "+name, 0)
			later(name)
		}

		ctx, cancel := context.WithCancel(t.Context())
		if err := get(ctx); err != nil {
			t.Error(err)
		}
		cancel() // after the call
		later("the end of a context whose call was over")

		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := get(context.Background()); !errors.Is(err, context.Canceled) {
			t.Errorf("after Close: %v; want it to be cancelled", err)
		}
	})
}
