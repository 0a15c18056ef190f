package emulator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// DynamoDB returns the endpoint URL of a DynamoDB Local, such as "http://127.0.0.1:49153", for the AWS client's
// BaseEndpoint. Any region and credentials do; all of them see the same tables.
//
// It skips the test when no emulator is available and fails it when one should have been, as the package comment
// describes. The emulator is shared by the whole test binary: use table names of your own.
func DynamoDB(t testing.TB) string {
	t.Helper()
	return endpoint(t, KindDynamoDB)
}

// Firestore returns the HOST:PORT of a Firestore emulator, which speaks gRPC without TLS and accepts any project
// and database. Skipping, failing and sharing are as for [DynamoDB]: use project or collection names of your own.
func Firestore(t testing.TB) string {
	t.Helper()
	return endpoint(t, KindFirestore)
}

// AzureTables returns the service URL of an Azurite, such as "http://127.0.0.1:49153/devstoreaccount1"; its shared
// key credentials are [AzureAccount] and [AzureKey]. Skipping, failing and sharing are as for [DynamoDB]: use table
// names of your own.
func AzureTables(t testing.TB) string {
	t.Helper()
	return endpoint(t, KindAzureTables)
}

// Main runs a package's tests, stops the emulators that they started, and exits with the tests' code:
//
//	func TestMain(m *testing.M) { emulator.Main(m) }
//
// A package with more to do around its tests passes a Run method of its own. Without Main the emulators still end
// with the test binary, as the package comment describes, but nobody waits for it.
func Main(m interface{ Run() int }) {
	os.Exit(runTests(m))
}

func runTests(m interface{ Run() int }) (code int) {
	defer func() { // also when a test's panic comes through
		if err := stopShared(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}()
	return m.Run()
}

// startTimeout leaves time to pull an image or install a package, within go test's ten minutes.
const startTimeout = 8 * time.Minute

// shared starts the test binary's emulator of each kind when it is first called.
var shared = map[Kind]func() (*Emulator, error){
	KindDynamoDB:    sync.OnceValues(startShared(KindDynamoDB)),
	KindFirestore:   sync.OnceValues(startShared(KindFirestore)),
	KindAzureTables: sync.OnceValues(startShared(KindAzureTables)),
}

// started are the shared emulators to stop.
var started struct {
	sync.Mutex
	emulators []*Emulator
}

func startShared(kind Kind) func() (*Emulator, error) {
	return func() (*Emulator, error) {
		// Not a test's context: the emulator outlives the test that happened to be first.
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		e, err := Start(ctx, kind)
		if err == nil {
			started.Lock()
			defer started.Unlock()
			started.emulators = append(started.emulators, e)
		}
		return e, err
	}
}

func stopShared() error {
	started.Lock()
	defer started.Unlock()
	var failures []error
	for _, e := range started.emulators {
		if err := e.Stop(); err != nil {
			failures = append(failures, fmt.Errorf("emulator: stopping %s (%s): %w", e.Kind, e.Way, err))
		}
	}
	started.emulators = nil
	return errors.Join(failures...)
}

func endpoint(t testing.TB, kind Kind) string {
	t.Helper()
	e, err := shared[kind]()
	switch {
	case errors.Is(err, ErrUnavailable):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	return e.Endpoint
}
