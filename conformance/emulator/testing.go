package emulator

import (
	"testing"

	"github.com/skykv/skykv/internal/testing/emulator"
)

// DynamoDB returns the endpoint URL of a DynamoDB Local, such as "http://127.0.0.1:49153", for the AWS client's
// BaseEndpoint. It accepts any region and credentials, and all of them see the same tables.
//
// It skips the test if no emulator is available, and fails it if one should be available, as the package comment
// describes. The whole test binary shares the emulator: use your own table names.
func DynamoDB(t testing.TB) string {
	t.Helper()
	return emulator.DynamoDB(t)
}

// Firestore returns the HOST:PORT of a Firestore emulator, which speaks gRPC without TLS and accepts any project
// and database. It skips, fails and shares like [DynamoDB]: use your own project or collection names.
func Firestore(t testing.TB) string {
	t.Helper()
	return emulator.Firestore(t)
}

// AzureTables returns the service URL of an Azurite, such as "http://127.0.0.1:49153/devstoreaccount1". Its shared
// key credentials are [AzureAccount] and [AzureKey]. It skips, fails and shares like [DynamoDB]: use your own table
// names.
func AzureTables(t testing.TB) string {
	t.Helper()
	return emulator.AzureTables(t)
}

// Main runs a package's tests, stops the emulators that they started, and exits with the tests' code:
//
//	func TestMain(m *testing.M) { emulator.Main(m) }
//
// A package that does more around its tests passes its own Run method. Without Main the emulators still end with
// the test binary, as the package comment describes, but nothing waits for their end.
func Main(m interface{ Run() int }) { emulator.Main(m) }
