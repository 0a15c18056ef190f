package localkv_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Config{New: func(ctx context.Context) (*kv.Store, error) {
		return localkv.New(filepath.Join(t.TempDir(), "app.db"), nil)
	}})
}
