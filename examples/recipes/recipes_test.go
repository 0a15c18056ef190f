package recipes_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/examples/recipes"
	"github.com/skykv/skykv/internal/testing/faults"
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
	if err := recipes.Transfer(t.Context(), accounts, names[0], names[1], -500); !errors.Is(err, recipes.ErrAmount) {
		t.Errorf("rule: a transfer takes nothing from the one who is paid; got %v", err)
	}
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
		var runs, failures atomic.Int64
		refuse := errors.New("refused")
		var replicas sync.WaitGroup
		for range 3 {
			jobs, err := lease.New(store, nil)
			if err != nil {
				t.Fatal(err)
			}
			replicas.Go(func() {
				err := recipes.Cron(ctx, jobs, "report", time.Hour, func(context.Context) error {
					if time.Now().Minute() < 20 { // the first attempts of each interval fail
						return refuse
					}
					runs.Add(1)
					return nil
				}, func(err error) {
					if !errors.Is(err, refuse) {
						t.Errorf("Cron reports %v; want the error of the job", err)
					}
					failures.Add(1)
				})
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Cron ends with %v; want the error of its context", err)
				}
			})
		}
		replicas.Wait()
		if n := runs.Load(); n != 24 || failures.Load() == 0 {
			t.Errorf("rule: one of the replicas runs the job once per interval, and again if it failed; it ran %d times in 24 intervals, and %d attempts failed", n, failures.Load())
		}
	})
}

func TestCronOfAForgottenUnit(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{60, 0, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			jobs, err := lease.New(memkv.New(), nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			began, failures := time.Now(), 0
			_ = recipes.Cron(ctx, jobs, "report", every, nil, func(err error) {
				if !errors.Is(err, kv.ErrInvalidOption) {
					t.Errorf("Cron reports %v; want the error of Once", err)
				}
				if failures++; failures == 101 {
					cancel()
				}
			})
			if took := time.Since(began); took < 10*time.Second {
				t.Errorf("rule: Cron pauses also if the interval of %s is not valid; it reported 101 errors in %s", every, took)
			}
		})
	}
}

func TestCronAfterADeath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := new(faults.Injector)
		store := memkv.New()
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour-time.Second) // one interval
		defer cancel()
		var runs atomic.Int64
		var replicas sync.WaitGroup
		replica := func(store *kv.Store, job func(context.Context) error) {
			jobs, err := lease.New(store, nil)
			if err != nil {
				t.Fatal(err)
			}
			replicas.Go(func() { _ = recipes.Cron(ctx, jobs, "report", 24*time.Hour, job, func(error) {}) })
			synctest.Wait()
		}
		replica(store.With(kv.Wrap(kv.Level1, faults.Driver(in, 1))), func(ctx context.Context) error {
			time.Sleep(time.Minute)
			in.Use(faults.Always(faults.Drop)) // to the other replica, this one now looks dead
			<-ctx.Done()
			return ctx.Err()
		})
		replica(store, func(context.Context) error { runs.Add(1); return nil })
		replicas.Wait()
		if n := runs.Load(); n != 1 {
			t.Errorf("rule: when the replica dies that runs the job, another one runs it in the same interval; it ran %d times", n)
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

func TestSequence(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	store := memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1)))
	var mu sync.Mutex
	seen := make(map[int64]bool)
	var processes sync.WaitGroup
	for range 4 {
		orders := recipes.NewSequence(store, "orders", 10)
		processes.Go(func() {
			last := int64(0)
			for range 95 {
				n, err := orders.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if n <= last || seen[n] {
					t.Errorf("rule: each number is handed out once, and numbers grow in a process; got %d after %d", n, last)
				}
				seen[n], last = true, n
				mu.Unlock()
			}
		})
	}
	processes.Wait()
	if entry, err := store.Get(t.Context(), "orders"); string(entry.Value) != "400" || err != nil {
		t.Errorf("rule: 95 numbers are ten blocks of 10; four processes took %s numbers, %v", entry.Value, err)
	}
	in.Use(faults.Always(faults.Drop))
	orders := recipes.NewSequence(store, "orders", 10)
	if n, err := orders.Next(t.Context()); n != 0 || !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("rule: no number is handed out that the store did not give; got %d, %v", n, err)
	}
	in.Use(nil)
	if n, err := orders.Next(t.Context()); n != 401 || err != nil {
		t.Errorf("rule: after an error the sequence goes on; got %d, %v", n, err)
	}
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	store := memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1)))
	for _, id := range []string{"1", "2", "3"} {
		if err := recipes.PlaceOrder(t.Context(), store, "shop7", id, []byte("order"), []byte("event "+id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := recipes.PlaceOrder(t.Context(), store, "shop7", "1", nil, nil); !errors.Is(err, kv.ErrConditionFailed) {
		t.Errorf("rule: an order that exists is ErrConditionFailed; got %v", err)
	}
	var sent []string
	refuse := errors.New("the receiver is busy")
	send := func(_ context.Context, _ string, event []byte) error {
		if len(sent) == 1 {
			sent = append(sent, "refused")
			return refuse
		}
		sent = append(sent, string(event))
		return nil
	}
	if err := recipes.Relay(t.Context(), store, "shop7", send); !errors.Is(err, refuse) {
		t.Errorf("Relay returns %v; want the error of send", err)
	}
	in.Use(faults.Writes(faults.Drop))
	if err := recipes.Relay(t.Context(), store, "shop7", send); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Relay returns %v; want the error of the store", err)
	}
	in.Use(nil)
	if err := recipes.Relay(t.Context(), store, "shop7", send); err != nil {
		t.Error(err)
	}
	if want := []string{"event 1", "refused", "event 2", "event 2", "event 3"}; !slices.Equal(sent, want) {
		t.Errorf("rule: every event is sent, and again when it could not be deleted; got %q, want %q", sent, want)
	}
	if err := recipes.Relay(t.Context(), store, "shop7", func(context.Context, string, []byte) error { return refuse }); err != nil {
		t.Errorf("rule: an event that was sent is not sent again; got %v", err)
	}
	if n, err := store.Count(t.Context(), ""); n != 3 || err != nil {
		t.Errorf("rule: the orders stay, and the events do not; there are %d entries, %v, want 3", n, err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tokens := memkv.New().With(kv.Clock(func() time.Time { return now }))
	issue := func() string {
		token, err := recipes.Issue(t.Context(), tokens, "ann", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	token := issue()
	for entry, err := range tokens.Scan(t.Context(), "") {
		if err != nil || strings.Contains(entry.Key, token) {
			t.Errorf("rule: the store does not have the token; it has %s, %v", entry.Key, err)
		}
	}
	var users atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			switch user, err := recipes.Redeem(t.Context(), tokens, token); {
			case err == nil && user == "ann":
				users.Add(1)
			case !errors.Is(err, kv.ErrNotFound):
				t.Errorf("Redeem returns %q, %v; want ann or ErrNotFound", user, err)
			}
		})
	}
	callers.Wait()
	if n := users.Load(); n != 1 {
		t.Errorf("rule: a token works once; it worked for %d callers", n)
	}
	token = issue()
	now = now.Add(time.Hour)
	for name, token := range map[string]string{"an old": token, "a forged": "../x", "an empty": ""} {
		if user, err := recipes.Redeem(t.Context(), tokens, token); user != "" || !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("rule: %s token is ErrNotFound; got %q, %v", name, user, err)
		}
	}
}
