package kvotel

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// log logs operations.
type log struct {
	logger *slog.Logger
	keys   bool
}

func newLog(logger *slog.Logger, attributes []attribute.KeyValue, keys bool) *log {
	return &log{slog.New(logger.Handler().WithAttrs(logged(attributes))), keys}
}

func (l *log) begin(ctx context.Context, name string) (context.Context, *operation) {
	if !l.logger.Enabled(ctx, slog.LevelWarn) {
		return ctx, nil
	}
	return ctx, &operation{name: name, began: time.Now()}
}

func (l *log) end(ctx context.Context, op *operation) {
	level, text := slog.LevelDebug, op.name
	if op.err != nil {
		level, text = slog.LevelWarn, op.name+": "+op.description(l.keys)
	}
	if !l.logger.Enabled(ctx, level) {
		return
	}
	all := append(logged([]attribute.KeyValue{semconv.DBOperationName(op.name)}), slog.Duration("duration", time.Since(op.began)))
	l.logger.LogAttrs(ctx, level, text, append(all, logged(op.attributes(l.keys))...)...)
}

// logged converts attributes to those of slog.
func logged(attributes []attribute.KeyValue) []slog.Attr {
	all := make([]slog.Attr, len(attributes))
	for i, a := range attributes {
		all[i] = slog.Any(string(a.Key), a.Value.AsInterface())
	}
	return all
}
