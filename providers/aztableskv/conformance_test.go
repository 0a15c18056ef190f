package aztableskv

import (
	"context"
	"testing"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
)

func TestConformance(t *testing.T) {
	client := azurite(t)
	conformance.Run(t, conformance.Config{New: func(ctx context.Context) (*kv.Store, error) {
		table := newTableName()
		if err := EnsureTable(ctx, client, table); err != nil {
			return nil, err
		}
		t.Cleanup(func() { client.DeleteTable(context.Background(), table, nil) })
		return New(ctx, client, table, nil)
	}})
}
