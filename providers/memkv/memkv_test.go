package memkv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Config{
		New: func(context.Context) (*kv.Store, error) { return memkv.New(), nil },
		Faulty: func(_ context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			// There is no network: one is played.
			in := new(faults.Injector)
			in.Use(faults.DecidedBy(decide))
			return memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 4))), nil
		},
	})
}

func TestOpen(t *testing.T) {
	t.Parallel()
	store, err := memkv.Open(t.Context(), "mem:")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"", "mem", "mem:name", "mem://name", "mem:?x=1", "file:a.db"} {
		if _, err := memkv.Open(t.Context(), url); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: what is not known is ErrInvalidOption; Open(%q) gave %v", url, err)
		}
	}
}

// Records that nobody reads again must not pile up, but stay for the grace that
// clocks may differ by, and no clock decides for the others.
func TestExpiredRecordsAreDroppedInPassing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		host, caller time.Duration // since the expiry, by the clock of each
		kept         bool
	}{
		{"within the grace", kv.ExpiryGrace - time.Second, kv.ExpiryGrace - time.Second, true},
		{"after the grace", kv.ExpiryGrace + time.Minute, kv.ExpiryGrace + time.Minute, false},
		{"after the grace, by a caller whose clock is ahead", 0, 24 * time.Hour, true},
		{"after the grace, by the host's clock, with a caller whose clock is behind", 24 * time.Hour, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memkv.New()
				for i := range 100 {
					if _, err := store.Put(t.Context(), fmt.Sprintf("old:%d", i), nil, kv.TTL(time.Minute)); err != nil {
						t.Fatal(err)
					}
				}
				expiry := time.Now().Add(time.Minute)
				time.Sleep(time.Minute + c.host)
				caller := store.With(kv.Clock(func() time.Time { return expiry.Add(c.caller) }))
				for i := range 1000 {
					if _, err := caller.Put(t.Context(), fmt.Sprintf("new:%d", i%10), nil); err != nil {
						t.Fatal(err)
					}
				}
				// By a clock at the beginning of time nothing has expired: it sees what is there.
				all := store.With(kv.Clock(func() time.Time { return time.UnixMilli(0) }))
				left := 0
				for _, err := range all.Scan(t.Context(), "old:", kv.KeysOnly()) {
					if err != nil {
						t.Fatal(err)
					}
					left++
				}
				if c.kept && left != 100 || !c.kept && left > 10 {
					t.Errorf("rule: writes drop the records whose grace is over by their own clock and the host's; %d of 100 are left, kept: %t", left, c.kept)
				}
			})
		})
	}
}

// A Get costs its copy of the value, and nothing else.
func TestGetAllocatesTheValueAlone(t *testing.T) {
	store := memkv.New()
	if _, err := store.Put(t.Context(), "key", make([]byte, 1024)); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := store.Get(ctx, "key"); err != nil {
			t.Error(err)
		}
	}); n != 1 {
		t.Errorf("rule: a Get allocates the copy of the value alone; it made %v allocations", n)
	}
}
