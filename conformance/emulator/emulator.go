// Package emulator starts the services' real emulators for tests and local work: DynamoDB Local, Google's Firestore
// emulator and Azurite's tables.
//
// A test gets the endpoint of an emulator:
package emulator

import (
	"context"

	"github.com/skykv/skykv/internal/testing/emulator"
)

// A Kind names one of the emulators. Its text is the scheme of skykv's URLs for that service.
type Kind string

// The kinds of emulators.
const (
	KindDynamoDB    = Kind(emulator.KindDynamoDB)
	KindFirestore   = Kind(emulator.KindFirestore)
	KindAzureTables = Kind(emulator.KindAzureTables)
)

// The account of every Azurite. The key is public and protects nothing:
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
const (
	AzureAccount = emulator.AzureAccount
	AzureKey     = emulator.AzureKey
)

// ErrUnavailable is matched by the error of [Start] if no emulator can run here, or if SKYKV_EMULATOR=off: then a
// test skips. Every other error is a failure.
var ErrUnavailable = emulator.ErrUnavailable

// An Emulator is a running emulator. Its fields must not be changed.
type Emulator struct {
	Kind Kind
	// Endpoint is its address, in the form that the service's client takes: "http://HOST:PORT" for DynamoDB,
	// "HOST:PORT" (gRPC without TLS) for Firestore, "http://HOST:PORT/devstoreaccount1" for Azure Tables. It
	// accepts any credentials, except Azure Tables, which wants AzureAccount and AzureKey.
	Endpoint string
	// Way is the source of the emulator: "environment", "docker" or "process".
	Way string

	stop func() error
}

// Stop ends the emulator, deletes its data, and returns when it is gone. It leaves an emulator from the environment
// running. Stop may be called more than once and by several goroutines.
func (e *Emulator) Stop() error { return e.stop() }

// Start starts an emulator, or finds the one in the environment, and returns when it responds to requests. The
// package comment says where it comes from. The context limits only the start, which may have to pull an image or
// install a package. The emulator then runs until Stop, or until the program ends, however it ends.
//
// If the context ends first, Start removes what it started before it returns. That may take half a minute if Docker
// is slow to create the container.
//
// The error matches [ErrUnavailable] if nothing on this machine can run the emulator.
func Start(ctx context.Context, kind Kind) (*Emulator, error) { return StartAt(ctx, kind, 0) }

// StartAt is Start for a port of 127.0.0.1, or for any free one if port is 0. A port that is in use is an error. An
// emulator that the environment names stays where it is.
func StartAt(ctx context.Context, kind Kind, port uint16) (*Emulator, error) {
	e, err := emulator.StartAt(ctx, emulator.Kind(kind), port)
	if err != nil {
		return nil, err
	}
	return &Emulator{Kind: Kind(e.Kind), Endpoint: e.Endpoint, Way: e.Way, stop: e.Stop}, nil
}
