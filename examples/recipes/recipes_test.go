package recipes_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/examples/recipes"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/memkv"
)

func TestTransfers(t *testing.T) {
	t.Parallel()
	accounts := kv.JSON[int64](memkv.New())
	names := []string{"bank::ann", "bank::bob", "bank::cid"}
	for _, name := range names {
		if _, err := accounts.Put(t.Context(), name, 100); err != nil {
			t.Fatal(err)
		}
	}
	var moving sync.WaitGroup
	for i := range 12 {
		moving.Go(func() {
			for n := range 20 {
				err := recipes.Transfer(t.Context(), accounts, names[i%3], names[(i+1+n%2)%3], int64(1+n))
				if err != nil && !errors.Is(err, recipes.ErrFunds) {
					t.Error(err)
				}
			}
		})
	}
	moving.Wait()
	sum := int64(0)
	for _, name := range names {
		account, err := accounts.Get(t.Context(), name)
		if err != nil || account.Value < 0 {
			t.Errorf("rule: no account is overdrawn; %s has %d, %v", name, account.Value, err)
		}
		sum += account.Value
	}
	if sum != 300 {
		t.Errorf("rule: transfers keep the sum; it is %d, and was 300", sum)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sessions := memkv.New().With(kv.Clock(func() time.Time { return now }))
	if _, err := sessions.Put(t.Context(), "s1", []byte("ann"), kv.TTL(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		now = now.Add(50 * time.Second)
		if data, err := recipes.Session(t.Context(), sessions, "s1", time.Minute); string(data) != "ann" || err != nil {
			t.Fatalf("rule: a session that is used lives on; got %s, %v", data, err)
		}
	}
	now = now.Add(time.Minute)
	if _, err := recipes.Session(t.Context(), sessions, "s1", time.Minute); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("rule: a session that is not used ends; got %v", err)
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	limits := memkv.New().With(kv.Clock(func() time.Time { return now }))
	for _, window := range []string{"first", "second"} {
		allowed := 0
		for range 5 {
			now = now.Add(10 * time.Second)
			ok, err := recipes.Allow(t.Context(), limits, "ann@example.com", 3, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				allowed++
			}
		}
		if allowed != 3 {
			t.Errorf("rule: each window allows the limit; the %s allowed %d, want 3", window, allowed)
		}
		now = now.Add(time.Minute)
	}
}

func TestCron(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour-time.Second)
		defer cancel()
		var runs atomic.Int64
		var replicas sync.WaitGroup
		for range 3 {
			jobs, err := lease.New(store, nil)
			if err != nil {
				t.Fatal(err)
			}
			replicas.Go(func() {
				err := recipes.Cron(ctx, jobs, "report", time.Hour, func(context.Context) error { runs.Add(1); return nil })
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Cron ends with %v; want the error of its context", err)
				}
			})
		}
		replicas.Wait()
		if n := runs.Load(); n != 24 {
			t.Errorf("rule: one of the replicas runs the job, once per interval; it ran %d times in 24 intervals", n)
		}
	})
}

func TestFlags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memkv.New()
		ctx, cancel := context.WithCancel(t.Context())
		var flags recipes.Flags
		ended := make(chan error)
		go func() { ended <- flags.Follow(ctx, store, time.Minute) }()
		for _, value := range []string{"on", "off", ""} {
			var err error
			if value == "" {
				err = store.Delete(ctx, "flags::dark")
			} else {
				_, err = store.Put(ctx, "flags::dark", []byte(value))
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := flags.Get("dark"); got != value {
				t.Errorf("rule: the flags are as in the store after each poll; got %q, want %q", got, value)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow ends with %v; want the error of its context", err)
		}
	})
}

func ExampleAllow() {
	ctx, limits := context.Background(), memkv.New()
	for range 3 {
		fmt.Println(recipes.Allow(ctx, limits, "ann@example.com", 2, time.Minute))
	}
	// Output:
	// true <nil>
	// true <nil>
	// false <nil>
}
