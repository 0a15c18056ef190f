package memkv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
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
			return memkv.New().With(kv.Wrap(faults.Driver(in, 4))), nil
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

// Records that nobody reads again must not pile up, but stay while they are live, or
// expired for less than an hour, by the clock of the host or of a call.
func TestExpiredRecordsAreDroppedInPassing(t *testing.T) {
	t.Parallel()
	begun := time.Now().Truncate(time.Millisecond)
	for _, c := range []struct {
		name    string
		expired time.Duration // for how long by the host's clock
		ahead   time.Duration // by how much the clock of the later writes is ahead of the host's
		dropped bool
	}{
		{"expired for an hour", time.Hour, 0, true},
		{"expired for almost an hour", 59 * time.Minute, 0, false},
		{"expired for almost an hour, and for longer by the clock of the writes", 59 * time.Minute, 24 * time.Hour, false},
		{"expired for two hours, and for almost one by the clock of the writes", 2 * time.Hour, -61 * time.Minute, false},
		{"expired for two hours, and for longer than one by the clock of the writes", 2 * time.Hour, -time.Hour, true},
		{"expired for two hours, and live by the clock of the writes", 2 * time.Hour, -24 * time.Hour, false},
	} {
		store := memkv.New()
		at := func(d time.Duration) *kv.Store {
			return store.With(kv.Clock(func() time.Time { return begun.Add(d) }))
		}
		old := at(-c.expired - time.Minute)
		for i := range 100 {
			if _, err := old.Put(t.Context(), fmt.Sprintf("old:%d", i), nil, kv.TTL(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		later := at(c.ahead)
		for i := range 1000 {
			if _, err := later.Put(t.Context(), fmt.Sprintf("new:%d", i%10), nil); err != nil {
				t.Fatal(err)
			}
		}
		left := 0
		for _, err := range old.Scan(t.Context(), "old:", kv.KeysOnly()) {
			if err != nil {
				t.Fatal(err)
			}
			left++
		}
		if !c.dropped && left != 100 || c.dropped && left > 10 {
			t.Errorf("rule: writes drop what has been expired for an hour by the clocks of the host and of the call, and nothing else; %s: %d of 100 are left", c.name, left)
		}
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
