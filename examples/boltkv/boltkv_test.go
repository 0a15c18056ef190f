package boltkv_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/examples/boltkv"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	var stores atomic.Int64
	conformance.Run(t, conformance.Config{New: func(ctx context.Context) (*kv.Store, error) {
		return boltkv.Open(ctx, fmt.Sprintf("bolt:%s/%d.bolt", dir, stores.Add(1)))
	}})
}

func TestOpenByURL(t *testing.T) {
	t.Parallel()
	set := provider.Set{boltkv.Provider()}
	url := "bolt:" + filepath.Join(t.TempDir(), "app.bolt")
	steps, err := set.Plan(t.Context(), url)
	if err != nil || len(steps) != 1 {
		t.Errorf("rule: Plan says what Ensure would do; got %q, %v", steps, err)
	}
	if err := set.Ensure(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	for check := range set.Inspect(t.Context(), url) {
		if check.Status != provider.OK {
			t.Errorf("rule: Inspect finds nothing wrong with what Ensure set up; got %+v", check)
		}
	}
	for _, url := range []string{"bolt:", "bolt://host/path", "bolt:a?x=1"} {
		if _, err := set.Open(t.Context(), url); !errors.Is(err, kv.ErrInvalidOption) {
			t.Errorf("rule: an unknown parameter is ErrInvalidOption; Open(%q) returns %v", url, err)
		}
	}
	if _, err := set.Open(t.Context(), "bolt:/nowhere/app.bolt"); !errors.Is(err, kv.ErrNotProvisioned) {
		t.Errorf("rule: a folder that does not exist is ErrNotProvisioned; Open returns %v", err)
	}
}

// The rule: Open refuses the file of another program, and closes it. Otherwise the file would stay
// locked, and the next Open would wait for the lock.
func TestForeignFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "foreign.bolt")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The other program has a value where boltkv has its bucket.
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Cursor().Bucket().Put([]byte("kv"), []byte("value")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := boltkv.Open(t.Context(), "bolt:"+path); !errors.Is(err, kv.ErrIncompatible) {
			t.Errorf("rule: the file of another program is ErrIncompatible, each time; Open returns %v", err)
		}
	}
}
