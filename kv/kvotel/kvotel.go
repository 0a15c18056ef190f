package kvotel

import (
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/skykv/skykv/kv"
)

// Options of [Observe] and [Log]. What is not set is not told.
type Options struct {
	// TracerProvider and MeterProvider are those of package otel where they are nil. Log
	// uses neither.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	Collection    string // db.collection.name: the table or collection
	Namespace     string // db.namespace: the database, or the project and the database
	ServerAddress string // server.address: the host name of the service
	ServerPort    int    // server.port

	// Keys tells the keys of each operation, and the text of errors, which may name keys.
	Keys bool
}

// Observe returns middleware for [kv.Store.With] that makes spans and measurements of what the
// store asks its driver. options may be nil.
func Observe(options *Options) kv.StoreOption {
	o := orNone(options)
	return wrap(func(info kv.Info) observer { return newTelemetry(o, o.attributes(info)) })
}

// Log returns middleware for [kv.Store.With] that logs what the store asks its driver, under
// the names that the spans of [Observe] have. Operations that fail are logged as warnings, all
// others for debugging. options may be nil.
func Log(logger *slog.Logger, options *Options) kv.StoreOption {
	o := orNone(options)
	return wrap(func(info kv.Info) observer { return newLog(logger, o.attributes(info), o.Keys) })
}

func wrap(observe func(kv.Info) observer) kv.StoreOption {
	return kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return &driver{d, observe(d.Info())} })
}

func orNone(o *Options) Options {
	if o == nil {
		return Options{}
	}
	return *o
}

// systems are the db.system.name of drivers, by their names. Of these services the conventions
// name DynamoDB and SQLite.
var systems = map[string]attribute.KeyValue{
	"dynamodb":  semconv.DBSystemNameAWSDynamoDB,
	"firestore": semconv.DBSystemNameKey.String("gcp.firestore"),
	"aztables":  semconv.DBSystemNameKey.String("azure.tables"),
	"file":      semconv.DBSystemNameSQLite,
}

// attributes returns those that all operations have.
func (o Options) attributes(info kv.Info) []attribute.KeyValue {
	name, _, _ := strings.Cut(info.Name, "/")                    // before that of a namespace
	system, known := systems[strings.TrimSuffix(name, "-alien")] // in the layout of other programs
	if !known {
		system = semconv.DBSystemNameKey.String(name)
	}
	all := []attribute.KeyValue{system}
	if o.Collection != "" {
		all = append(all, semconv.DBCollectionName(o.Collection))
	}
	if o.Namespace != "" {
		all = append(all, semconv.DBNamespace(o.Namespace))
	}
	if o.ServerAddress != "" {
		all = append(all, semconv.ServerAddress(o.ServerAddress))
	}
	if o.ServerPort != 0 {
		all = append(all, semconv.ServerPort(o.ServerPort))
	}
	return all
}
