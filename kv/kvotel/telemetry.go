package kvotel

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name under which spans and instruments are made.
const scope = "github.com/skykv/skykv/kv/kvotel"

// buckets are the bounds that the conventions require for db.client.operation.duration, in
// seconds.
var buckets = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}

// telemetry makes spans and measurements of operations.
type telemetry struct {
	attributes []attribute.KeyValue // the attributes of all operations
	collection string
	keys       bool

	tracer                 trace.Tracer
	duration               metric.Float64Histogram
	requests, attempts, io metric.Int64Counter

	mu    sync.RWMutex
	spans map[string]spanStart // by operation
	sets  map[labels]*recordings
}

// spanStart has the name of the spans of an operation, and the options with which they begin.
type spanStart struct {
	name    string
	options []trace.SpanStartOption
}

// labels are the attributes that differ between measurements.
type labels struct{ operation, outcome, errorType string }

// recordings are the options for all measurements with the same labels.
type recordings struct {
	duration              []metric.RecordOption
	count, sent, received []metric.AddOption
}

func newTelemetry(o Options, attributes []attribute.KeyValue) *telemetry {
	tracers, meters := o.TracerProvider, o.MeterProvider
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	t := &telemetry{
		attributes: attributes, collection: o.Collection, keys: o.Keys,
		tracer: tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		spans:  make(map[string]spanStart), sets: make(map[labels]*recordings),
	}
	meter := meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	duration, err := dbconv.NewClientOperationDuration(meter, metric.WithExplicitBucketBoundaries(buckets...))
	report(err)
	t.duration = duration.Inst()
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		report(err)
		return c
	}
	t.requests = counter("skykv.client.requests", "{request}", "Requests to the service.")
	t.attempts = counter("skykv.client.attempts", "{attempt}", "Attempts at requests to the service, the repetitions included.")
	t.io = counter("skykv.client.io", "By", "Bytes of the values that were sent and received.")
	return t
}

func report(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

func (t *telemetry) begin(ctx context.Context, name string) (context.Context, *operation) {
	start := t.start(name)
	ctx, span := t.tracer.Start(ctx, start.name, start.options...)
	measured := t.duration.Enabled(ctx) || t.requests.Enabled(ctx) || t.attempts.Enabled(ctx) || t.io.Enabled(ctx)
	if !measured && !span.IsRecording() {
		return ctx, nil
	}
	op := &operation{name: name, span: span}
	if measured {
		op.began = time.Now()
	}
	return ctx, op
}

// start returns the spanStart of an operation.
func (t *telemetry) start(operation string) spanStart {
	t.mu.RLock()
	start, ok := t.spans[operation]
	t.mu.RUnlock()
	if ok {
		return start
	}
	start.name = operation
	if t.collection != "" {
		start.name += " " + t.collection
	}
	attributes := append([]attribute.KeyValue{semconv.DBOperationName(operation)}, t.attributes...)
	start.options = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[operation] = start
	return start
}

func (t *telemetry) end(ctx context.Context, op *operation) {
	defer op.span.End()
	if op.span.IsRecording() {
		if op.err != nil {
			op.span.SetStatus(codes.Error, op.description(t.keys))
		}
		op.span.SetAttributes(op.attributes(t.keys)...)
	}
	if op.began.IsZero() {
		return
	}
	r := t.recordings(labels{op.name, op.result(), op.errorType()})
	t.duration.Record(ctx, time.Since(op.began).Seconds(), r.duration...)
	add := func(c metric.Int64Counter, n int, options []metric.AddOption) {
		if n > 0 {
			c.Add(ctx, int64(n), options...)
		}
	}
	add(t.requests, op.meter.Requests(), r.count)
	add(t.attempts, op.meter.Attempts(), r.count)
	add(t.io, op.sent, r.sent)
	add(t.io, op.received, r.received)
}

// recordings returns the options for measurements with the labels l.
func (t *telemetry) recordings(l labels) *recordings {
	t.mu.RLock()
	r := t.sets[l]
	t.mu.RUnlock()
	if r != nil {
		return r
	}
	with := func(more ...attribute.KeyValue) metric.MeasurementOption {
		all := append([]attribute.KeyValue{semconv.DBOperationName(l.operation)}, t.attributes...)
		return metric.WithAttributeSet(attribute.NewSet(append(all, more...)...))
	}
	result := []attribute.KeyValue{keyOutcome.String(l.outcome)}
	if l.errorType != "" {
		result = append(result, semconv.ErrorTypeKey.String(l.errorType))
	}
	r = &recordings{
		duration: []metric.RecordOption{with(result...)},
		count:    []metric.AddOption{with()},
		sent:     []metric.AddOption{with(semconv.NetworkIODirectionTransmit)},
		received: []metric.AddOption{with(semconv.NetworkIODirectionReceive)},
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sets[l] = r
	return r
}
