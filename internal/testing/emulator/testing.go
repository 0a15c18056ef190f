package emulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"
)

// DynamoDB returns the endpoint of the test binary's DynamoDB Local, or skips or fails the test.
func DynamoDB(t testing.TB) string {
	t.Helper()
	return endpoint(t, KindDynamoDB)
}

// Firestore returns the endpoint of the test binary's Firestore emulator, or skips or fails the test.
func Firestore(t testing.TB) string {
	t.Helper()
	return endpoint(t, KindFirestore)
}

// AzureTables returns the endpoint of the test binary's Azurite, or skips or fails the test.
func AzureTables(t testing.TB) string {
	t.Helper()
	return endpoint(t, KindAzureTables)
}

func endpoint(t testing.TB, kind Kind) string {
	t.Helper()
	e, err := shared.get(kind)
	switch {
	case errors.Is(err, ErrUnavailable):
		t.Skip(shared.why(kind, err))
	case err != nil:
		t.Fatal(err)
	}
	return e.Endpoint
}

// Main runs a package's tests, stops the emulators that they started, and exits with the exit code of the tests, or
// with at least 1 if an emulator does not stop.
func Main(m interface{ Run() int }) {
	os.Exit(runTests(m, shared))
}

func runTests(m interface{ Run() int }, f *fleet) (code int) {
	defer func() { // deferred, so that it also runs after a panic
		if err := f.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}()
	return m.Run()
}

// startTimeout is long enough to pull an image or install a package, and ends within the ten
// minutes of "go test".
const startTimeout = 8 * time.Minute

// shared are the emulators of this test binary.
var shared = newFleet(Start)

// A fleet has at most one emulator of each kind.
type fleet struct {
	start  func(context.Context, Kind) (*Emulator, error)
	starts context.Context // for all starts: it ends when the tests end or a signal interrupts a start
	end    context.CancelCauseFunc

	mu        sync.Mutex
	emulators map[Kind]func() (*Emulator, error)
	told      map[Kind]bool // the kinds for which a test has said why there is no emulator
}

func newFleet(start func(context.Context, Kind) (*Emulator, error)) *fleet {
	starts, end := context.WithCancelCause(context.Background())
	return &fleet{start: start, starts: starts, end: end, emulators: make(map[Kind]func() (*Emulator, error)), told: make(map[Kind]bool)}
}

// The method why returns the message for a skipped test. Only the first message for a kind is long, because a test
// binary may have hundreds of such tests.
func (f *fleet) why(kind Kind, err error) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told[kind] {
		return fmt.Sprintf("no %s; the first test of this package that was skipped says why, and how to get one", services[kind].name)
	}
	f.told[kind] = true
	return err.Error()
}

// get returns the emulator of this kind. The first call starts it. If a signal interrupts the program during a
// start, get stops all emulators and ends the program.
func (f *fleet) get(kind Kind) (*Emulator, error) {
	f.mu.Lock()
	started := f.emulators[kind]
	if started == nil {
		started = sync.OnceValues(func() (*Emulator, error) { return f.startInterruptibly(kind) })
		f.emulators[kind] = started
	}
	f.mu.Unlock()
	e, err := started()
	if by, ok := errors.AsType[interrupted](context.Cause(f.starts)); ok {
		fmt.Fprintf(os.Stderr, "emulator: %v while an emulator started\n", by)
		if err := f.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(128 + int(by.signal)) // as shells do
	}
	return e, err
}

// startInterruptibly starts an emulator. During the start, SIGINT and SIGTERM do not end the program at once,
// because that could leave a container that Docker is creating. Instead the first signal cancels all starts, and
// the next one ends the program. Once the emulator has started, signals have their usual effect again: the emulator
// then ends with the program, and the tests may use signals themselves.
func (f *fleet) startInterruptibly(kind Kind) (*Emulator, error) {
	ctx, cancel := context.WithTimeout(f.starts, startTimeout)
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	over := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() {
		select {
		case by := <-signals:
			signal.Stop(signals)
			f.end(interrupted{by.(syscall.Signal)})
		case <-over:
		}
	})
	e, err := f.start(ctx, kind)
	signal.Stop(signals)
	close(over)
	listening.Wait()
	select {
	case by := <-signals: // a signal that came at the very end
		f.end(interrupted{by.(syscall.Signal)})
	default:
	}
	return e, err
}

// interrupted is the cause of a context that ended because of a signal.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return i.signal.String() }

// stop cancels all starts, waits for those that are running, and stops the emulators.
func (f *fleet) stop() error {
	f.end(errors.New("the tests are over"))
	f.mu.Lock()
	emulators := maps.Clone(f.emulators)
	f.mu.Unlock()
	var failures []error
	for _, started := range emulators {
		e, err := started()
		if err != nil {
			continue
		}
		if err := e.Stop(); err != nil {
			failures = append(failures, fmt.Errorf("emulator: stopping %s (%s): %w", e.Kind, e.Way, err))
		}
	}
	return errors.Join(failures...)
}
