package reference

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// Tables are those of a service whose layout record names the layout.
type Tables struct {
	// New makes an empty table, without a layout record. Count counts what is in one, and
	// PlantForeign stores what is no entry of either layout.
	New          func(t *testing.T) (table string)
	Count        func(t *testing.T, table string) int
	PlantForeign func(t *testing.T, table string)

	// Open opens a table, and Ensure sets one up, in a layout.
	Open   func(ctx context.Context, table string, layout provider.Layout) (*kv.Store, error)
	Ensure func(ctx context.Context, table string, layout provider.Layout) error

	// Theirs is the other side of a table.
	Theirs func(t *testing.T, table string) Store
}

// NeverMixed checks that two openers of an empty table, one for each layout, never both
// succeed, and that what a table holds in one layout is not opened in the other.
func (tables Tables) NeverMixed(t *testing.T) {
	ctx := t.Context()
	layouts := []provider.Layout{provider.LayoutSkykv, provider.LayoutAlien}
	for range 5 {
		table := tables.New(t)
		if _, err := tables.Open(ctx, table, ""); !errors.Is(err, kv.ErrNotProvisioned) || tables.Count(t, table) != 0 {
			t.Fatalf("rule: opening without a layout claims nothing; got %v and %d items", err, tables.Count(t, table))
		}
		errs := make([]error, len(layouts))
		var opening sync.WaitGroup
		for i, layout := range layouts {
			opening.Go(func() { _, errs[i] = tables.Open(ctx, table, layout) })
		}
		opening.Wait()
		winner := 0
		if errs[0] != nil {
			winner = 1
		}
		if errs[winner] != nil || !errors.Is(errs[1-winner], kv.ErrIncompatible) || tables.Count(t, table) != 1 {
			t.Errorf("rule: of two openers one fails with ErrIncompatible; got %v, and %d items", errs, tables.Count(t, table))
		}
		for i, layout := range layouts {
			_, err := tables.Open(ctx, table, layout)
			if i == winner && err != nil || i != winner && (!errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "want layout=")) {
				t.Errorf("rule: a table of layout %s opens in that alone; in %s Open says %v", layouts[winner], layout, err)
			}
			if err := tables.Ensure(ctx, table, layout); (err == nil) != (i == winner) {
				t.Errorf("rule: a table of layout %s is provisioned in that alone; in %s Ensure says %v", layouts[winner], layout, err)
			}
		}
		if n := tables.Count(t, table); n != 1 {
			t.Errorf("rule: who is refused has written nothing; there are %d items", n)
		}
	}

	table := tables.New(t)
	if err := tables.Theirs(t, table).Put(ctx, "key", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	for _, layout := range []provider.Layout{"", provider.LayoutSkykv} {
		_, err := tables.Open(ctx, table, layout)
		for _, err := range []error{err, tables.Ensure(ctx, table, layout)} {
			if !errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "want layout=alien") {
				t.Errorf("rule: a table that they have in use is not opened in skykv's layout; got %v", err)
			}
		}
	}
	if n := tables.Count(t, table); n != 1 {
		t.Errorf("rule: who is refused has written nothing; there are %d items", n)
	}
	store, err := tables.Open(ctx, table, provider.LayoutAlien)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := store.Get(ctx, "key"); err != nil || string(e.Value) != "v" {
		t.Errorf("our get of what they had stored before: %q, %v", e.Value, err)
	}

	foreign := tables.New(t)
	tables.PlantForeign(t, foreign)
	for _, layout := range append(layouts, "") {
		if _, err := tables.Open(ctx, foreign, layout); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("rule: what is not where it would be in layout %q is somebody else's; got %v", layout, err)
		}
	}
	if n := tables.Count(t, foreign); n != 1 {
		t.Errorf("rule: who is refused has written nothing; there are %d items", n)
	}
}
