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

// Options are the options of [Observe] and [Log]. Attributes that are not set are not reported.
type Options struct {
	// TracerProvider and MeterProvider default to the global providers of package otel. Log
	// uses neither.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	Collection    string // db.collection.name: the table or collection
	Namespace     string // db.namespace: the database, or the project and the database
	ServerAddress string // server.address: the host name of the service
	ServerPort    int    // server.port

	// Keys reports the keys of each operation, and the texts of errors, which may name keys.
	Keys bool
}

// Observe returns an option for [kv.Store.With] that makes a span and measurements for each
// request of the store to its driver. options may be nil.
func Observe(options *Options) kv.StoreOption {
	o := orNone(options)
	return wrap(func(info kv.Info) observer { return newTelemetry(o, o.attributes(info)) })
}

// Log returns an option for [kv.Store.With] that logs each request of the store to its driver,
// with the attributes of the spans of [Observe]. Operations that fail are logged at level Warn,
// and all others at level Debug. options may be nil.
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

// systems maps the names of drivers to their db.system.name. For these services, the conventions
// define the names of DynamoDB and SQLite only.
var systems = map[string]attribute.KeyValue{
	"dynamodb":  semconv.DBSystemNameAWSDynamoDB,
	"firestore": semconv.DBSystemNameKey.String("gcp.firestore"),
	"aztables":  semconv.DBSystemNameKey.String("azure.tables"),
	"file":      semconv.DBSystemNameSQLite,
}

// attributes returns the attributes that all operations have.
func (o Options) attributes(info kv.Info) []attribute.KeyValue {
	name, _, _ := strings.Cut(info.Name, "/")                    // the driver's name, without a namespace
	system, known := systems[strings.TrimSuffix(name, "-alien")] // "-alien" is another layout
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
