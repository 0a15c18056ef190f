package emulator

import (
	"testing"

	"github.com/skykv/skykv/internal/testing/emulator"
)

// DynamoDB returns the URL of a DynamoDB Local, such as "http://127.0.0.1:49153", for the BaseEndpoint of the
// AWS client. The emulator accepts any region and credentials, and shows the same tables to all clients.
//
// If no emulator is available, DynamoDB skips the test. If the environment asks for an emulator that does not work,
// DynamoDB fails the test, as the package comment describes. The whole test binary shares the emulator, so use
// table names of your own.
func DynamoDB(t testing.TB) string {
	t.Helper()
	return emulator.DynamoDB(t)
}

// Firestore returns the HOST:PORT of a Firestore emulator, which speaks gRPC without TLS and accepts any project
// and database. Like [DynamoDB] it may skip or fail the test, and the emulator is shared: use project or
// collection names of your own.
func Firestore(t testing.TB) string {
	t.Helper()
	return emulator.Firestore(t)
}

// AzureTables returns the service URL of an Azurite, such as "http://127.0.0.1:49153/devstoreaccount1". Its
// credentials are the shared key [AzureAccount] and [AzureKey]. Like [DynamoDB] it may skip or fail the test, and
// the emulator is shared: use table names of your own.
func AzureTables(t testing.TB) string {
	t.Helper()
	return emulator.AzureTables(t)
}

// Main runs a package's tests, stops the emulators that they started, and exits with the exit code of the tests:
//
//	func TestMain(m *testing.M) { emulator.Main(m) }
//
// A package that does more before or after its tests passes a value with a Run method of its own. Without Main
// the emulators also end with the test binary, as the package comment describes, but nothing waits until they
// have ended.
func Main(m interface{ Run() int }) { emulator.Main(m) }
