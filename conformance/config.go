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
	// New opens a store for one case, which closes it at its end. The store must be
	// empty and must share its data with no other store: it needs its own table,
	// collection or file, under a name that no other call uses. The suite calls New
	// concurrently, sometimes more than once in a case. ctx ends with the case. New must
	// remove what it creates, in a T.Cleanup for example.
	New func(ctx context.Context) (*kv.Store, error)

	// Shared says that all stores of New have the same data, such as one table in the
	// cloud. Each case opens it again. It must be empty, and nobody else may use it
	// meanwhile. The cases then run one after another, and each removes everything at
	// its end.
	Shared bool

	// Faulty, when set, adds the cases of [FaultCases]. Without it they do not run, and
	// passing says nothing about faults. It opens a store as New does, over a connection
	// that can fail. It must call decide for every request that the store's client
	// sends, retries included, and treat the request as decide returns. write says that
	// the request may change something. decide may be called concurrently. It passes all
	// requests while the store opens. The store must be empty unless Shared is set.
	//
	// An HTTP transport, a gRPC interceptor or a proxy can do this. The client should
	// retry as it does in production, with pauses of milliseconds.
	Faulty func(ctx context.Context, decide func(write bool) Fault) (*kv.Store, error)

	// CaseTimeout is the time limit of a case, including the opening and closing of its
	// stores. When it is over, the context of the case's calls ends, and the case fails.
	// The suite abandons a case that does not end within another fifth of that time: see
	// the package's documentation.
	//
	// Zero means 30 seconds, with Shared 2 minutes. The slowest case on the slowest
	// emulator takes 2 seconds, and took 9 on two cores with a load of 30.
	CaseTimeout time.Duration

	// Only, when set, selects the cases to run, as "go test -run" does. [Run] and
	// [Check] leave out the others, and passing says nothing about them.
	Only func(Case) bool

	front    func(store) store // breaks the store, in the suite's own tests
	parallel int               // number of cases that run at once; zero means GOMAXPROCS
}

// caseTimeout returns CaseTimeout or its default.
func (config Config) caseTimeout() time.Duration {
	switch {
	case config.CaseTimeout != 0:
		return config.CaseTimeout
	case config.Shared: // it may be on the other side of the world
		return 2 * time.Minute
	}
	return 30 * time.Second
}

// patience is the time that a case has after its context has ended, to close its stores.
func (config Config) patience() time.Duration { return config.caseTimeout() / 5 }

// Case is one case of the suite.
type Case struct {
	Name string // such as "put/if-not-exists/expired"
	Rule string // what it checks, a sentence
}

// Result is the result of one case.
type Result struct {
	Case
	Failures []string      // each with the place in the suite's source; none when the case passed
	Duration time.Duration // including the opening and closing of the store

	// Lacks names what the case needs and the store, by its Info, does not have. The
	// case then checked that the store refuses it as documented.
	Lacks string
}

// Err returns nil if the case passed. Otherwise it returns an error that lists the
// failures and quotes the rule.
func (r Result) Err() error {
	if len(r.Failures) == 0 {
		return nil
	}
	return fmt.Errorf("%s\nrule: %s", strings.Join(r.Failures, "\n"), r.Rule)
}
