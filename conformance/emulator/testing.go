package emulator

import (
	"testing"

	"github.com/skykv/skykv/internal/testing/emulator"
)

// DynamoDB returns the endpoint URL of a DynamoDB Local, such as "http://127.0.0.1:49153", for the AWS client's
// BaseEndpoint. Any region and credentials do; all of them see the same tables.
//
// It skips the test when no emulator is available and fails it when one should have been, as the package comment
// describes. The emulator is shared by the whole test binary: use table names of your own.
func DynamoDB(t testing.TB) string {
	t.Helper()
	return emulator.DynamoDB(t)
}

// Firestore returns the HOST:PORT of a Firestore emulator, which speaks gRPC without TLS and accepts any project
// and database. Skipping, failing and sharing are as for [DynamoDB]: use project or collection names of your own.
func Firestore(t testing.TB) string {
	t.Helper()
	return emulator.Firestore(t)
}

// AzureTables returns the service URL of an Azurite, such as "http://127.0.0.1:49153/devstoreaccount1"; its shared
// key credentials are [AzureAccount] and [AzureKey]. Skipping, failing and sharing are as for [DynamoDB]: use table
// names of your own.
func AzureTables(t testing.TB) string {
	t.Helper()
	return emulator.AzureTables(t)
}

// Main runs a package's tests, stops the emulators that they started, and exits with the tests' code:
//
//	func TestMain(m *testing.M) { emulator.Main(m) }
//
// A package with more to do around its tests passes a Run method of its own. Without Main the emulators still end
// with the test binary, as the package comment describes, but nobody waits for it.
func Main(m interface{ Run() int }) { emulator.Main(m) }
