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

// Tables has functions for the tables of a service that records the layout of a table in the table.
type Tables struct {
	// New creates an empty table without a layout record. Count returns how many items a
	// table has. PlantForeign stores an item that is not an entry of either layout.
	New          func(t *testing.T) (table string)
	Count        func(t *testing.T, table string) int
	PlantForeign func(t *testing.T, table string)

	// Open opens a table with a layout. Ensure sets it up with a layout.
	Open   func(ctx context.Context, table string, layout provider.Layout) (*kv.Store, error)
	Ensure func(ctx context.Context, table string, layout provider.Layout) error

	// Theirs returns a table as the programs of the Alien platform use it.
	Theirs func(t *testing.T, table string) Store
}

// NeverMixed checks that a table has only one layout. If two programs open an empty table with
// different layouts, one of them fails. A table with entries in one layout does not open with
// the other.
func (tables Tables) NeverMixed(t *testing.T) {
	ctx := t.Context()
	layouts := []provider.Layout{provider.LayoutSkykv, provider.LayoutAlien}
	for range 5 {
		table := tables.New(t)
		if _, err := tables.Open(ctx, table, ""); !errors.Is(err, kv.ErrNotProvisioned) || tables.Count(t, table) != 0 {
			t.Fatalf("rule: Open without a layout writes nothing; got %v and %d items", err, tables.Count(t, table))
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
			t.Errorf("rule: one of the two programs fails with ErrIncompatible; got %v, and %d items", errs, tables.Count(t, table))
		}
		for i, layout := range layouts {
			_, err := tables.Open(ctx, table, layout)
			if i == winner && err != nil || i != winner && (!errors.Is(err, kv.ErrIncompatible) || !strings.Contains(err.Error(), "want layout=")) {
				t.Errorf("rule: a table with layout %s opens only with that layout; with %s Open returns %v", layouts[winner], layout, err)
			}
			if err := tables.Ensure(ctx, table, layout); (err == nil) != (i == winner) {
				t.Errorf("rule: a table with layout %s is set up only with that layout; with %s Ensure returns %v", layouts[winner], layout, err)
			}
		}
		if n := tables.Count(t, table); n != 1 {
			t.Errorf("rule: a refused program has written nothing; there are %d items", n)
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
				t.Errorf("rule: a table with their entries does not open with skykv's layout; got %v", err)
			}
		}
	}
	if n := tables.Count(t, table); n != 1 {
		t.Errorf("rule: a refused program has written nothing; there are %d items", n)
	}
	store, err := tables.Open(ctx, table, provider.LayoutAlien)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := store.Get(ctx, "key"); err != nil || string(e.Value) != "v" {
		t.Errorf("our get of their earlier entry: %q, %v", e.Value, err)
	}

	foreign := tables.New(t)
	tables.PlantForeign(t, foreign)
	for _, layout := range append(layouts, "") {
		if _, err := tables.Open(ctx, foreign, layout); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("rule: an item that is not in its place in layout %q belongs to another program; got %v", layout, err)
		}
	}
	if n := tables.Count(t, foreign); n != 1 {
		t.Errorf("rule: a refused program has written nothing; there are %d items", n)
	}
}
