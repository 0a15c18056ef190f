package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
)

// TestLeases checks that under faults a lease has one holder at a time, and that each holder
// has a different token.
func TestLeases(t *testing.T) {
	t.Parallel()
	seed := Seed(t)
	inAllWorlds(t, func(t *testing.T, w *world) {
		lasts := 6 * time.Second
		if long() {
			lasts = time.Minute
		}
		// Acquire has no deadline, so no request may hang.
		rates := maps.Clone(Rates)
		delete(rates, faults.Hang)
		w.Use(faults.Seeded(seed, rates, math.MaxInt))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var holders Holders
		time.AfterFunc(lasts, func() {
			for holders.Tokens() < 5 && ctx.Err() == nil { // a busy machine needs longer
				time.Sleep(100 * time.Millisecond)
			}
			cancel()
		})
		var contending sync.WaitGroup
		var losses atomic.Int64
		begun := time.Now()
		for i := range 2 * clients {
			// The clocks of the stores are hours apart.
			store := w.stores[i%clients].With(kv.Clock(func() time.Time { return time.Now().Add(time.Duration(i) * time.Hour) }))
			leases, err := lease.New(store, &lease.Options{TTL: lease.MinTTL, Poll: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			contending.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					l, err := leases.Acquire(ctx, "one")
					if err != nil {
						if ctx.Err() == nil {
							t.Errorf("Acquire ended with %v; want it to continue until its context ends", err)
						}
						return
					}
					for end := time.Now().Add(time.Duration(i*n%7) * 40 * time.Millisecond); ; time.Sleep(5 * time.Millisecond) {
						before := time.Since(begun).Nanoseconds()
						if l.Held() {
							holders.Claim(Claim{Holder: fmt.Sprintf("contender %d for the %d. time", i, n), Token: l.Token(), Begin: before, End: time.Since(begun).Nanoseconds()})
						}
						if time.Now().After(end) {
							break
						}
					}
					release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
					if err := l.Release(release); err != nil {
						losses.Add(1) // the others have to wait for the TTL
					}
					cancel()
					if l.Held() {
						t.Error("rule: a lease is not held after Release")
					}
				}
			})
		}
		contending.Wait()
		w.Use(nil)
		if bad := holders.Violations(); len(bad) > 0 {
			t.Errorf("%s", strings.Join(bad, "\n"))
		}
		if holders.Tokens() < 5 || w.Faults() == 0 {
			t.Errorf("too little happened for a result: %d acquisitions, %d faults", holders.Tokens(), w.Faults())
		}
		entry, err := w.direct.Get(t.Context(), "one")
		if err != nil || !entry.ExpiresAt.IsZero() {
			t.Errorf("rule: the record of a lease stays, and has no TTL; got %v, %v", entry.ExpiresAt, err)
		}
		t.Logf("%d acquisitions, %d releases that failed or came late, %d faults", holders.Tokens(), losses.Load(), w.Faults())
	})
}

// TestLeaseAfterAKill checks how soon the next holder has the lease after the holder was
// killed: within a TTL and one poll, plus the time of the requests. Requests are slow on a busy
// machine, so only one of several trials has to succeed. If the lease itself takes longer, every
// trial fails.
func TestLeaseAfterAKill(t *testing.T) {
	t.Parallel()
	inAllWorlds(t, func(t *testing.T, w *world) {
		options := &lease.Options{TTL: 2 * time.Second, Poll: 100 * time.Millisecond}
		goal := options.TTL + options.Poll
		var took []time.Duration
		for trial := range 10 {
			took = append(took, takenAfterAKill(t, w, options, fmt.Sprint("lease:", trial)))
			if took[trial] <= goal+100*time.Millisecond {
				t.Logf("taken %v after the kill", took)
				return
			}
		}
		t.Errorf("rule: a lease is taken within a TTL and a poll, %s; it took %v", goal, took)
	})
}

// takenAfterAKill kills a holder, and returns how long it takes until a waiting process has the
// lease. Here killing means that no request of the holder arrives any more.
func takenAfterAKill(t *testing.T, w *world, options *lease.Options, name string) time.Duration {
	t.Helper()
	holding, err := lease.New(w.stores[0], options)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := lease.New(w.direct, options)
	if err != nil {
		t.Fatal(err)
	}
	held, err := holding.Acquire(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan error, 1)
	var last *lease.Lease
	go func() {
		var err error
		last, err = waiting.Acquire(t.Context(), name)
		next <- err
	}()
	time.Sleep(options.TTL/3 + options.TTL/10) // now the other process waits, and the lease was renewed a moment ago
	killed := time.Now()
	w.Use(faults.Always(faults.Drop))
	if err := <-next; err != nil {
		t.Fatal(err)
	}
	took := time.Since(killed)
	if held.Held() || last.Token() <= held.Token() {
		t.Errorf("rule: the former holder does not hold the lease, and tokens grow; held %t, tokens %d and %d", held.Held(), held.Token(), last.Token())
	}
	w.Use(nil)
	if err := held.Release(t.Context()); !errors.Is(err, lease.ErrLost) {
		t.Errorf("Release of the former holder: %v; want ErrLost", err)
	}
	// The test does not call last.Held, because on a busy machine the next holder may have lost
	// the lease, too.
	record, err := kv.JSON[struct {
		Token  int64
		Holder string
	}](w.direct).Get(t.Context(), name)
	if err != nil || record.Value.Token != last.Token() || record.Value.Holder == "" {
		t.Errorf("rule: Release of a former holder does not release the lease of the next one; the record is %+v, %v", record.Value, err)
	}
	if err := last.Release(t.Context()); err != nil && !errors.Is(err, lease.ErrLost) {
		t.Error(err)
	}
	return took
}
