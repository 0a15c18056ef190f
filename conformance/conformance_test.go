package conformance

import (
	"context"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func newMem(context.Context) (*kv.Store, error) { return memkv.New(), nil }

func TestConformance(t *testing.T) {
	Run(t, Config{New: newMem})
}
