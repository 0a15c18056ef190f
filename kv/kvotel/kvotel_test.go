package kvotel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// sdk is an SDK that exports into memory.
type sdk struct {
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
}

func newSDK(options Options) (*sdk, Options) {
	s := &sdk{tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()}
	options.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSyncer(s.spans))
	options.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader))
	return s, options
}

// metrics returns all measurements, by the names of their instruments.
func (s *sdk) metrics(t *testing.T) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := s.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]metricdata.Metrics)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// text returns attributes as text, in the order of their keys.
func text(attributes []attribute.KeyValue) string {
	var all []string
	for _, a := range attributes {
		all = append(all, string(a.Key)+"="+a.Value.String())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// service is a driver that reports two requests, one of them with a retry, for each call.
type service struct {
	kv.Driver
	err error // if not nil, every Get and Write returns it
}

func (d *service) wrap(store *kv.Store) *kv.Store {
	return store.With(kv.Wrap(kv.Level1, func(below kv.Driver) kv.Driver { d.Driver = below; return d }))
}

func (d *service) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if req.Meter.Add(2, 3); d.err != nil {
		return kv.Found{}, d.err
	}
	return d.Driver.Get(ctx, req)
}

func (d *service) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	req.Meter.Add(2, 3)
	return d.Driver.GetMany(ctx, req)
}

func (d *service) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	req.Meter.Add(2, 3)
	return d.Driver.Scan(ctx, req)
}

func (d *service) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if req.Meter.Add(2, 3); d.err != nil {
		return kv.Outcome{}, d.err
	}
	return d.Driver.Write(ctx, req)
}

func (d *service) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	req.Meter.Add(2, 3)
	return d.Driver.WriteMany(ctx, req)
}

func (d *service) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	req.Meter.Add(2, 3)
	return d.Driver.WriteAtomic(ctx, req)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	var ignored slog.Handler = slog.NewTextHandler(new(bytes.Buffer), &slog.HandlerOptions{Level: slog.LevelDebug})
	for name, opts := range map[string]func() []kv.StoreOption{
		"without an SDK": func() []kv.StoreOption { return []kv.StoreOption{Observe(nil)} },
		"with an SDK": func() []kv.StoreOption {
			_, o := newSDK(Options{Keys: true})
			return []kv.StoreOption{Observe(&o)}
		},
		"a log": func() []kv.StoreOption { return []kv.StoreOption{Log(slog.New(ignored), nil)} },
		"both": func() []kv.StoreOption {
			return []kv.StoreOption{Observe(nil), Log(slog.New(slog.DiscardHandler), nil)}
		},
		"counts": func() []kv.StoreOption {
			return []kv.StoreOption{kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &service{Driver: d} }), Observe(nil)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
				return memkv.New().With(opts()...), nil
			}})
		})
	}
	t.Run("within a namespace", func(t *testing.T) {
		t.Parallel()
		conformance.Run(t, conformance.Config{New: func(context.Context) (*kv.Store, error) {
			return memkv.New().With(Observe(nil)).Namespace("n::")
		}})
	})
}

// calls has calls of the store, and the name of the operation of each. attributes are the
// attributes of the call's span, without the attributes that all spans have.
var calls = []struct {
	call       func(ctx context.Context, s *kv.Store) error
	operation  string
	attributes string
}{
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.Put(ctx, "g::a", []byte("value"), kv.IfNotExists())
		return err
	},
		"put", "skykv.outcome=done skykv.sent=5"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.Put(ctx, "g::a", []byte("other"), kv.IfNotExists())
		return err
	},
		"put", "skykv.outcome=condition_failed skykv.sent=5"},
	{func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "g::a"); return err },
		"get", "skykv.outcome=found skykv.received=5 skykv.records=1"},
	{func(ctx context.Context, s *kv.Store) error { _, err := s.Get(ctx, "g::absent"); return err },
		"get", "skykv.outcome=absent skykv.received=0 skykv.records=0"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.Touch(ctx, "g::a", kv.TTL(time.Hour))
		return err
	},
		"touch", "skykv.outcome=done skykv.sent=0"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.PutMany(ctx, []kv.Item{{Key: "g::b", Value: []byte("1")}, {Key: "g::c", Value: []byte("2")}})
		return err
	}, "BATCH put", "db.operation.batch.size=2 skykv.outcome=done skykv.sent=2"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.PutMany(ctx, []kv.Item{{Key: "g::b", Value: []byte("1"), IfNotExists: true}, {Key: "g::c", Value: []byte("2")}})
		return err
	}, "BATCH put", "db.operation.batch.size=2 skykv.outcome=condition_failed skykv.sent=2"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.PutMany(ctx, []kv.Item{{Key: "g::b", Value: []byte("1")}})
		return err
	},
		"put", "skykv.outcome=done skykv.sent=1"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.GetMany(ctx, []string{"g::a", "g::b", "g::absent"})
		return err
	},
		"BATCH get", "db.operation.batch.size=3 skykv.outcome=done skykv.received=6 skykv.records=2"},
	{func(ctx context.Context, s *kv.Store) error { _, err := s.GetMany(ctx, []string{"g::a"}); return err },
		"get", "skykv.outcome=done skykv.received=5 skykv.records=1"},
	{func(ctx context.Context, s *kv.Store) error { _, err := s.ScanPage(ctx, "g::", 10, ""); return err },
		"scan", "skykv.outcome=done skykv.received=7 skykv.records=3"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.AtomicWrite(ctx, kv.PutOp("g::a", []byte("12")), kv.DeleteOp("g::b"), kv.CheckOp("g::c", kv.IfVersion(versionOf(s, "g::c"))))
		return err
	}, "atomic_write", "db.operation.batch.size=3 skykv.outcome=done skykv.sent=2"},
	{func(ctx context.Context, s *kv.Store) error {
		_, err := s.AtomicWrite(ctx, kv.PutOp("g::a", nil, kv.IfNotExists()))
		return err
	},
		"atomic_write", "skykv.outcome=condition_failed skykv.sent=0"},
	{func(ctx context.Context, s *kv.Store) error { return s.DeleteMany(ctx, []string{"g::b", "g::c"}) },
		"BATCH delete", "db.operation.batch.size=2 skykv.outcome=done skykv.sent=0"},
	{func(ctx context.Context, s *kv.Store) error { return s.Delete(ctx, "g::a") },
		"delete", "skykv.outcome=done skykv.sent=0"},
}

func versionOf(s *kv.Store, key string) kv.Version {
	entry, _ := s.Get(context.Background(), key)
	return entry.Version
}

func TestSpans(t *testing.T) {
	t.Parallel()
	s, options := newSDK(Options{Collection: "users", Namespace: "main", ServerAddress: "db.example.com", ServerPort: 8000})
	store := new(service).wrap(memkv.New()).With(Observe(&options))
	for _, c := range calls {
		s.spans.Reset()
		if err := c.call(t.Context(), store); err != nil && !errors.Is(err, kv.ErrNotFound) && !errors.Is(err, kv.ErrConditionFailed) {
			t.Fatal(err)
		}
		spans := s.spans.GetSpans()
		if len(spans) == 0 {
			t.Fatalf("%s makes no span", c.operation)
		}
		span := spans[len(spans)-1]
		want := strings.Split("db.collection.name=users db.namespace=main db.operation.name="+strings.ReplaceAll(c.operation, " ", "_")+
			" db.system.name=mem server.address=db.example.com server.port=8000 skykv.attempts=3 skykv.requests=2 "+c.attributes, " ")
		slices.Sort(want)
		got := strings.ReplaceAll(text(span.Attributes), "BATCH ", "BATCH_")
		if span.Name != c.operation+" users" || got != strings.Join(want, " ") {
			t.Errorf("the span of %s is %q with\n%s\nwant\n%s", c.operation, span.Name, got, strings.Join(want, " "))
		}
		if span.SpanKind != trace.SpanKindClient || span.Status.Code != codes.Unset {
			t.Errorf("the span of %s has the kind %s and the status %v; want a client's, and none", c.operation, span.SpanKind, span.Status)
		}
	}
}

func TestNamesOfBatches(t *testing.T) {
	t.Parallel()
	for want, kinds := range map[string][]kv.WriteKind{
		"BATCH":        {},
		"put":          {kv.KindPut},
		"BATCH touch":  {kv.KindTouch, kv.KindTouch},
		"BATCH delete": {kv.KindDelete, kv.KindDelete, kv.KindDelete},
		"unknown":      {200},
	} {
		var writes []kv.Write
		for _, kind := range kinds {
			writes = append(writes, kv.Write{Kind: kind})
		}
		if got := nameOfAll(writes); got != want {
			t.Errorf("the batch of %v is %q; want %q", kinds, got, want)
		}
	}
	if got := nameOfAll([]kv.Write{{Kind: kv.KindPut}, {Kind: kv.KindDelete}}); got != "BATCH" {
		t.Errorf("a batch of several kinds is %q; want BATCH", got)
	}
}

// The values of db.system.name must not change, because other tools look for them.
func TestSystemNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"dynamodb": "aws.dynamodb", "dynamodb-alien": "aws.dynamodb", "firestore": "gcp.firestore", "aztables": "azure.tables",
		"file": "sqlite", "mem": "mem", "dynamodb/tenant-7:": "aws.dynamodb", "other": "other",
	} {
		if got := text(Options{}.attributes(kv.Info{Name: name})); got != "db.system.name="+want {
			t.Errorf("a store on %q has %s; want db.system.name=%s alone", name, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       error
		errorType string
		unknown   bool // it is unknown whether a write was applied
	}{
		{&kv.Error{Kind: kv.ErrThrottled, Err: errors.New("g::a is busy")}, "throttled", false},
		{&kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: context.DeadlineExceeded}, "unavailable", true},
		{&kv.Error{Kind: kv.ErrPermission}, "permission_denied", false},
		{&kv.Error{Kind: kv.ErrNotProvisioned}, "not_provisioned", false},
		{&kv.Error{Kind: kv.ErrIncompatible}, "incompatible", false},
		{&kv.Error{Kind: kv.ErrInvalidVersion}, "invalid_version", false},
		{&kv.Error{Kind: kv.ErrUnsupported}, "unsupported", false},
		{&kv.Error{Kind: kv.ErrValueTooLarge}, "value_too_large", false},
		{&kv.Error{Kind: kv.ErrClosed}, "closed", false},
		{&kv.Error{Err: context.Canceled}, "canceled", false},
		{context.DeadlineExceeded, "deadline_exceeded", true},
		{errors.New("g::a is broken"), "_OTHER", true},
	} {
		for _, keys := range []bool{false, true} {
			s, options := newSDK(Options{Keys: keys})
			d := &service{err: c.err}
			store := d.wrap(memkv.New()).With(Observe(&options))
			_, _ = store.Get(t.Context(), "g::a")
			_, _ = store.Put(t.Context(), "g::a", nil)
			spans := s.spans.GetSpans()
			if len(spans) != 2 {
				t.Fatalf("there are %d spans; want 2", len(spans))
			}
			for i, span := range spans {
				got := text(span.Attributes)
				want := c.errorType
				if keys {
					want = c.err.Error()
				}
				if !strings.Contains(got, "error.type="+c.errorType+" ") || !strings.Contains(got, "skykv.outcome=error") || span.Status.Code != codes.Error || span.Status.Description != want {
					t.Errorf("%v: the span has %s and the status %+v; want error.type=%s and the status %q", c.err, got, span.Status, c.errorType, want)
				}
				if unknown := strings.Contains(got, "skykv.may_have_applied=true"); unknown != (c.unknown && i == 1) {
					t.Errorf("%v: the span of a %s says that it may have been applied: %v", c.err, span.Name, unknown)
				}
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, options := newSDK(Options{Collection: "users"})
		d := new(service)
		slow := kv.Wrap(kv.Level1, func(below kv.Driver) kv.Driver { return sleepy{below} })
		store := d.wrap(memkv.New()).With(slow, Observe(&options))
		for range 3 {
			if _, err := store.Put(ctx, "key", []byte("value")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Get(ctx, "key"); err != nil {
			t.Fatal(err)
		}
		d.err = &kv.Error{Kind: kv.ErrThrottled}
		_, _ = store.Get(ctx, "key")
		all := s.metrics(t)
		const common = "db.collection.name=users db.operation.name=%s db.system.name=mem"
		duration := all["db.client.operation.duration"]
		points := make(map[string]metricdata.HistogramDataPoint[float64])
		for _, p := range duration.Data.(metricdata.Histogram[float64]).DataPoints {
			points[text(p.Attributes.ToSlice())] = p
		}
		wantPoints := map[string]uint64{
			fmt.Sprintf(common, "put") + " skykv.outcome=done":                       3,
			fmt.Sprintf(common, "get") + " skykv.outcome=found":                      1,
			fmt.Sprintf(common, "get") + " error.type=throttled skykv.outcome=error": 1,
		}
		if duration.Unit != "s" || len(points) != len(wantPoints) {
			t.Errorf("the duration has the unit %q and the points %v; want s and %v", duration.Unit, slices.Collect(maps.Keys(points)), wantPoints)
		}
		for labels, want := range wantPoints {
			p := points[labels]
			if p.Count != want || p.Sum != float64(want)*pause.Seconds() || !slices.Equal(p.Bounds, []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}) {
				t.Errorf("the duration with %s: %d in %v s, with the buckets %v; want %d in %v s", labels, p.Count, p.Sum, p.Bounds, want, float64(want)*pause.Seconds())
			}
		}
		for name, want := range map[string]map[string]int64{
			"skykv.client.requests": {fmt.Sprintf(common, "put"): 6, fmt.Sprintf(common, "get"): 4},
			"skykv.client.attempts": {fmt.Sprintf(common, "put"): 9, fmt.Sprintf(common, "get"): 6},
			"skykv.client.io":       {fmt.Sprintf(common, "put") + " network.io.direction=transmit": 15, fmt.Sprintf(common, "get") + " network.io.direction=receive": 5},
		} {
			got := make(map[string]int64)
			for _, p := range all[name].Data.(metricdata.Sum[int64]).DataPoints {
				got[text(p.Attributes.ToSlice())] = p.Value
			}
			if !maps.Equal(got, want) {
				t.Errorf("%s is %v; want %v", name, got, want)
			}
		}
	})
}

const pause = 20 * time.Millisecond

// sleepy is a driver whose Get and Write take time.
type sleepy struct{ kv.Driver }

func (d sleepy) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	time.Sleep(pause)
	return d.Driver.Get(ctx, req)
}

func (d sleepy) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	time.Sleep(pause)
	return d.Driver.Write(ctx, req)
}

// No span, measurement or log contains a value. Spans and logs contain keys only if Keys is set, and
// measurements never do.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	const key, secret = "user:4711", "hunter2"
	for _, keys := range []bool{false, true} {
		s, options := newSDK(Options{Keys: keys})
		var logs bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		d := new(service)
		store := d.wrap(memkv.New()).With(Observe(&options), Log(logger, &options))
		use := func() {
			ctx := t.Context()
			_, _ = store.Put(ctx, key, []byte(secret))
			_, _ = store.PutMany(ctx, []kv.Item{{Key: key, Value: []byte(secret)}, {Key: key + "1", Value: []byte(secret)}})
			_, _ = store.AtomicWrite(ctx, kv.PutOp(key, []byte(secret)))
			_, _ = store.Get(ctx, key)
			_, _ = store.GetMany(ctx, []string{key, key + "1"})
			_, _ = store.ScanPage(ctx, key, 10, "")
			_ = store.Delete(ctx, key)
		}
		use()
		d.err = &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("no answer about " + key)}
		use()
		var spans strings.Builder
		for _, span := range s.spans.GetSpans() {
			fmt.Fprintln(&spans, span.Name, text(span.Attributes), span.Status, span.Events)
		}
		measured := fmt.Sprintf("%+v", s.metrics(t))
		for where, told := range map[string]string{"spans": spans.String(), "logs": logs.String(), "measurements": measured} {
			if len(told) < 1000 {
				t.Errorf("the %s are %q: the test tests nothing", where, told)
			}
			if strings.Contains(told, secret) {
				t.Errorf("rule: values are never told; the %s are %s", where, told)
			}
			if strings.Contains(told, key) != (keys && where != "measurements") {
				t.Errorf("rule: keys are told if Keys is set, and never in measurements; with %v the %s are %s", keys, where, told)
			}
		}
	}
}

func TestSpansOfLoops(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, options := newSDK(Options{})
	store := memkv.New().With(Observe(&options))
	for i := range 5 {
		if _, err := store.Put(ctx, fmt.Sprint("key:", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	d := driverOf(store)
	loops := map[string]func(each func() bool){
		"scan": func(each func() bool) {
			for range d.Scan(ctx, kv.ScanRequest{From: "key:", To: "key:~", Limit: 10}) {
				if !each() {
					break
				}
			}
		},
		"BATCH get": func(each func() bool) {
			for range d.GetMany(ctx, kv.GetManyRequest{Keys: []string{"key:0", "key:1", "key:2"}}) {
				if !each() {
					break
				}
			}
		},
	}
	for name, loop := range loops {
		for outcome, goesOn := range map[string]bool{"done": true, "stopped": false} {
			s.spans.Reset()
			during := 0
			loop(func() bool {
				during += len(s.spans.GetSpans())
				return goesOn
			})
			spans := s.spans.GetSpans()
			if during != 0 || len(spans) != 1 || spans[0].Name != name || !strings.Contains(text(spans[0].Attributes), "skykv.outcome="+outcome) {
				t.Errorf("rule: the span of a loop ends with the loop; %s: %d ended before, then %d of outcome %s; want none, and one", name, during, len(spans), outcome)
			}
		}
	}
	s.spans.Reset()
	func() {
		defer func() { _ = recover() }()
		loops["scan"](func() bool { panic("in the loop") })
	}()
	if n := len(s.spans.GetSpans()); n != 1 {
		t.Errorf("rule: the span of a loop ends with the loop, also by a panic; %d ended", n)
	}
}

// The rule: the outcome of an operation whose driver panicked is "stopped".
func TestPanickingDriver(t *testing.T) {
	t.Parallel()
	s, options := newSDK(Options{})
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return panicking{d} }), Observe(&options))
	for _, call := range []func(){
		func() { _, _ = store.Get(t.Context(), "key") },
		func() { _, _ = store.Put(t.Context(), "key", nil) },
		func() { _, _ = store.PutMany(t.Context(), []kv.Item{{Key: "key"}}) },
		func() { _, _ = store.AtomicWrite(t.Context(), kv.PutOp("key", nil)) },
	} {
		s.spans.Reset()
		func() {
			defer func() { _ = recover() }()
			call()
		}()
		spans := s.spans.GetSpans()
		if len(spans) != 1 || !strings.Contains(text(spans[0].Attributes), "skykv.outcome=stopped ") {
			t.Errorf("rule: the outcome of an operation whose driver panicked is stopped; there are the spans %+v", spans)
		}
	}
}

// panicking is a driver that panics.
type panicking struct{ kv.Driver }

func (panicking) Get(context.Context, kv.GetRequest) (kv.Found, error) { panic("driver") }

func (panicking) Write(context.Context, kv.WriteRequest) (kv.Outcome, error) { panic("driver") }

func (panicking) WriteMany(context.Context, kv.WriteManyRequest) []kv.WriteResult { panic("driver") }

func (panicking) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	panic("driver")
}

// driverOf returns the driver of a store.
func driverOf(store *kv.Store) (d kv.Driver) {
	store.With(kv.Wrap(kv.Level1, func(below kv.Driver) kv.Driver { d = below; return below }))
	return d
}

// contexts is a driver that keeps the context of the last Get.
type contexts struct {
	kv.Driver
	last context.Context
}

func (d *contexts) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.last = ctx
	return d.Driver.Get(ctx, req)
}

func TestSpansOfTheSDKAreChildren(t *testing.T) {
	t.Parallel()
	_, options := newSDK(Options{})
	d := new(contexts)
	store := memkv.New().With(kv.Wrap(kv.Level1, func(below kv.Driver) kv.Driver { d.Driver = below; return d }), Observe(&options))
	ctx, parent := options.TracerProvider.Tracer("test").Start(t.Context(), "request")
	defer parent.End()
	_, _ = store.Get(ctx, "key")
	below := trace.SpanContextFromContext(d.last)
	if of := parent.SpanContext(); below.TraceID() != of.TraceID() || below.SpanID() == of.SpanID() {
		t.Errorf("rule: the driver is called with the span's context; it got %v within %v", below, of)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level][]string{
		slog.LevelDebug: {
			`level=DEBUG msg=put db.system.name=mem db.operation.name=put skykv.outcome=done skykv.requests=2 skykv.attempts=3 skykv.sent=5`,
			`level=WARN msg="get: throttled" db.system.name=mem db.operation.name=get skykv.outcome=error skykv.requests=2 skykv.attempts=3 skykv.records=0 skykv.received=0 error.type=throttled`,
		},
		slog.LevelWarn: {
			`level=WARN msg="get: throttled" db.system.name=mem db.operation.name=get skykv.outcome=error skykv.requests=2 skykv.attempts=3 skykv.records=0 skykv.received=0 error.type=throttled`,
		},
		slog.LevelError: nil,
	} {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{}
			}
			return a
		}}))
		d := new(service)
		store := d.wrap(memkv.New()).With(Log(logger, nil))
		if _, err := store.Put(t.Context(), "key", []byte("value")); err != nil {
			t.Fatal(err)
		}
		d.err = &kv.Error{Kind: kv.ErrThrottled}
		_, _ = store.Get(t.Context(), "key")
		var got []string
		if out.Len() > 0 {
			got = strings.Split(strings.TrimSpace(out.String()), "\n")
		}
		if !slices.Equal(got, want) {
			t.Errorf("at the level %s the log is\n%s\nwant\n%s", level, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
