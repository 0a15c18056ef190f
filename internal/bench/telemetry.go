package main

import (
	"context"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/skykv/skykv/kv/kvotel"
	"github.com/skykv/skykv/providers/memkv"
)

var telemetryWorks = []work{
	{name: "Get-observed/service=memory", turns: 10, ops: 50_000, open: observedWithoutSDK},
	{name: "Get-observed/service=dynamodb", turns: 40, ops: 40, open: observedWithSDK},
}

// observedWithoutSDK reads through kvotel when no SDK of OpenTelemetry collects anything.
func observedWithoutSDK(b *bed) ([]contender, error) {
	store := memkv.New()
	b.onClose(store.Close)
	if _, err := store.Put(b.ctx, oneKey, oneValue); err != nil {
		return nil, err
	}
	return []contender{
		{store: "skykv", do: skykvGet(store)},
		{store: "skykv-otel", do: skykvGet(store.With(kvotel.Observe(nil)))},
	}, nil
}

// observedWithSDK reads through kvotel when an SDK collects a span and measurements for each
// call.
func observedWithSDK(b *bed) ([]contender, error) {
	s, err := b.start("dynamodb", 0)
	if err != nil {
		return nil, err
	}
	_, store, err := openDynamo(b, "http://"+s.addr)
	if err != nil {
		return nil, err
	}
	spans := tracetest.NewInMemoryExporter()
	get := skykvGet(store.With(kvotel.Observe(&kvotel.Options{
		Collection:     skykvTable,
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())),
	})))
	return []contender{
		{store: "skykv", do: skykvGet(store)},
		{store: "skykv-otel", do: func(ctx context.Context, n int) error {
			spans.Reset()
			return get(ctx, n)
		}},
	}, nil
}

// telemetryGoals limit what kvotel costs.
func telemetryGoals() []goal {
	const memory, dynamodb = "Get-observed/service=memory", "Get-observed/service=dynamodb"
	more := func(unit string, scale float64) func(measurements) float64 {
		return func(m measurements) float64 {
			return (m.median(memory, "skykv-otel", unit) - m.median(memory, "skykv", unit)) * scale
		}
	}
	return []goal{
		{name: "kvotel without an SDK: time", measure: more(timeUnit, 1e9), bound: 500, unit: " ns"},
		{name: "kvotel without an SDK: allocations", measure: more(allocsUnit, 1), bound: 4.01},
		{name: "kvotel with exporters into memory: time, of a dynamodb Get's", measure: func(m measurements) float64 {
			return m.ratio(dynamodb, "skykv-otel", "skykv", timeUnit)
		}, bound: 1.05},
	}
}
