package conformance

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// Config says how the suite gets its stores.
type Config struct {
	// New opens a store for one case, which closes it at its end. The store must
	// be empty and share its data with no other: a table, collection or file of
	// its own, under a name that no other call uses. New is called concurrently,
	// sometimes more than once in a case; ctx ends with the case. What New
	// creates is its own to remove, in a T.Cleanup for example.
	New func(ctx context.Context) (*kv.Store, error)

	// Shared says that all stores that New opens have the same data, such as one
	// table in the cloud: it is opened anew for every case. It must be empty, and
	// nobody else may use it meanwhile. The cases then run one after the other,
	// and each removes all there is when it ends.
	Shared bool

	// Faulty, when set, adds the cases of [FaultCases]; without it there are none of
	// them, and nothing is said about faults. It opens a store as New does, empty
	// unless Shared, on a way to its service that breaks when it is told to: decide
	// says of every request that the store's client sends what is to become of it,
	// each time that the client repeats it too. Write tells it of a request that may
	// change something. It is called concurrently, as requests are, and lets the
	// requests by which the store is opened pass.
	//
	// An HTTP transport, a gRPC interceptor or a proxy can do this. The client should
	// repeat requests as it does in use, with pauses of milliseconds.
	Faulty func(ctx context.Context, decide func(write bool) Fault) (*kv.Store, error)

	// CaseTimeout is how long a case may take, with opening and closing its stores. Then
	// the context of its calls ends, and the case has failed. A case that does not end
	// within another fifth of that time is left behind: see the package's documentation.
	//
	// Zero stands for 30 seconds, with Shared for 2 minutes. The slowest case on the
	// slowest emulator takes 2 seconds, and took 9 on two cores with a load of 30.
	CaseTimeout time.Duration

	// Only, when set, says which cases to run, as "go test -run" does. The others are left
	// out of what [Run] and [Check] do, and nothing is said about what they check.
	Only func(Case) bool

	front    func(store) store // breaks the store, in the suite's own tests
	parallel int               // how many cases run at once; zero stands for GOMAXPROCS
}

// caseTimeout is CaseTimeout or what zero stands for.
func (config Config) caseTimeout() time.Duration {
	switch {
	case config.CaseTimeout != 0:
		return config.CaseTimeout
	case config.Shared: // it may be on the other side of the world
		return 2 * time.Minute
	}
	return 30 * time.Second
}

// patience is how long a case may go on after its context has ended, to close what it
// opened.
func (config Config) patience() time.Duration { return config.caseTimeout() / 5 }

// Case is one case of the suite.
type Case struct {
	Name string // such as "put/if-not-exists/expired"
	Rule string // what it checks, a sentence
}

// Result is what became of one case.
type Result struct {
	Case
	Failures []string      // each with the place in the suite's source; none when the case passed
	Duration time.Duration // with opening and closing the store

	// Lacks says what the case is for and the store lacks, by its Info. The case then
	// checked that the store lacks it as it says.
	Lacks string
}

// Err returns nil when the case passed, and else an error that lists the
// failures and quotes the rule.
func (r Result) Err() error {
	if len(r.Failures) == 0 {
		return nil
	}
	return fmt.Errorf("%s\nrule: %s", strings.Join(r.Failures, "\n"), r.Rule)
}
