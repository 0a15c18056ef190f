package aztableskv

import (
	"context"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

func TestConformance(t *testing.T) {
	conformance.Run(t, suite(t, &Options{}))
}

// suite returns the configuration of a run in which each case has its own table.
func suite(t *testing.T, opts *Options) conformance.Config {
	client := azurite(t)
	open := func(ctx context.Context, through *aztables.ServiceClient, opts *Options) (*kv.Store, error) {
		table := newTableName()
		if err := EnsureWith(ctx, client, table, opts); err != nil {
			return nil, err
		}
		t.Cleanup(func() { client.DeleteTable(context.Background(), table, nil) })
		return New(ctx, through, table, opts)
	}
	return conformance.Config{
		New: func(ctx context.Context) (*kv.Store, error) { return open(ctx, client, opts) },
		Faulty: func(ctx context.Context, decide func(bool) conformance.Fault) (*kv.Store, error) {
			proxy, err := faults.NewHTTP(emulator.AzureTables(t))
			if err != nil {
				return nil, err
			}
			t.Cleanup(proxy.Close)
			proxy.Use(faults.DecidedBy(decide))
			faulty := *opts
			faulty.Retry = policy.RetryOptions{RetryDelay: 2 * time.Millisecond, MaxRetryDelay: 20 * time.Millisecond}
			return open(ctx, azuriteAt(t, proxy.URL), &faulty)
		},
	}
}
