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

// Records that nobody reads again must not pile up, but stay for the hour that
// clocks may differ by.
func TestExpiredRecordsAreDroppedInPassing(t *testing.T) {
	t.Parallel()
	now := time.Now()
	store := memkv.New().With(kv.Clock(func() time.Time { return now }))
	// By a clock at the beginning of time nothing has expired: it sees what is there.
	all := store.With(kv.Clock(func() time.Time { return time.UnixMilli(0) }))
	count := func() (n int) {
		for _, err := range all.Scan(t.Context(), "old:", kv.KeysOnly()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	for i := range 100 {
		if _, err := store.Put(t.Context(), fmt.Sprintf("old:%d", i), nil, kv.TTL(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	write := func() {
		for i := range 1000 {
			if _, err := store.Put(t.Context(), fmt.Sprintf("new:%d", i%10), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	now = now.Add(time.Hour)
	write()
	if n := count(); n != 100 {
		t.Errorf("rule: a record is kept for an hour after its expiry; %d of 100 are left", n)
	}
	now = now.Add(2 * time.Minute)
	write()
	if n := count(); n > 10 {
		t.Errorf("rule: records expired for an hour are dropped with later writes; %d of 100 are left", n)
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
