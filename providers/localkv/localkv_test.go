package localkv_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

func TestConformance(t *testing.T) {
	open := func() (*kv.Store, error) { return localkv.New(filepath.Join(t.TempDir(), "app.db"), nil) }
	conformance.Run(t, conformance.Config{
		New: func(context.Context) (*kv.Store, error) { return open() },
		Faulty: func(_ context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			store, err := open()
			if err != nil {
				return nil, err
			}
			// A local file has no network, so the test simulates one.
			in := new(faults.Injector)
			in.Use(faults.DecidedBy(decide))
			return store.With(kv.Wrap(kv.Level1, faults.Driver(in, 4))), nil
		},
	})
}
