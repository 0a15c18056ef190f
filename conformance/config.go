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
	// New opens a store for one case, and the case closes it. The store must be empty and
	// must share its data with no other store: it needs its own table, collection or file,
	// under a name that no other call uses. The suite calls New concurrently, and more than
	// once in some cases. ctx ends with the case. New must arrange that whatever it creates
	// is removed later, for example by T.Cleanup.
	New func(ctx context.Context) (*kv.Store, error)

	// Shared says that all stores that New opens have the same data, such as one table in
	// the cloud. That table must be empty, and nobody else may use it meanwhile. The cases
	// then run one after another. Each case opens the store again, and after each case the
	// suite removes everything.
	Shared bool

	// Faulty, if set, adds the cases of [FaultCases]. Without it these cases do not run,
	// and passing says nothing about faults.
	//
	// Faulty opens a store as New does, but over a connection that can fail, such as an
	// HTTP transport, a gRPC interceptor or a proxy. For every request that the store's
	// client sends, including retries, the connection must call decide and do what it
	// returns. The argument write says whether the request may change something. If a client
	// writes by a transaction of several requests, only the request that commits it may. decide
	// may be called concurrently. It returns [Pass] while the store opens. The store must be
	// empty unless Shared is set.
	//
	// The client should retry as it does in production, but with pauses of milliseconds.
	Faulty func(ctx context.Context, decide func(write bool) Fault) (*kv.Store, error)

	// CaseTimeout is the time limit of a case, including the opening and closing of its
	// stores. A case that exceeds it fails, and the context of its calls ends. The suite
	// abandons a case that does not end within a further fifth of that time, as the package
	// documentation describes.
	//
	// Zero means 30 seconds, or 2 minutes with Shared. The slowest case on the slowest
	// emulator takes 2 seconds. With a load average of 30 on two cores, it took 9 seconds.
	CaseTimeout time.Duration

	// Only, if set, selects the cases to run, like "go test -run". [Run] and [Check] do not
	// run the others, and passing says nothing about them.
	Only func(Case) bool

	front    func(store) store // if set, wraps each store; the suite's own tests use it to add a bug to the store
	parallel int               // number of cases that run at once; zero means GOMAXPROCS
}

// caseTimeout returns CaseTimeout or its default.
func (config Config) caseTimeout() time.Duration {
	switch {
	case config.CaseTimeout != 0:
		return config.CaseTimeout
	case config.Shared: // the store may be on the other side of the world
		return 2 * time.Minute
	}
	return 30 * time.Second
}

// patience is how long the suite waits for a case after the case's context has ended.
func (config Config) patience() time.Duration { return config.caseTimeout() / 5 }

// Case is one case of the suite.
type Case struct {
	Name string // such as "put/if-not-exists/expired"
	Rule string // what the case checks, in one or more sentences
}

// Result is the result of one case.
type Result struct {
	Case
	Failures []string      // each with its place in the suite's source; none if the case passed
	Duration time.Duration // including the opening and closing of the stores

	// Lacks names a feature that the case needs and that the store lacks, according to its
	// Info. The case then checked only what is documented for such a store, mostly that the
	// store refuses to use the feature.
	Lacks string
}

// Err returns nil if the case passed. Otherwise it returns an error that lists the failures
// and quotes the rule.
func (r Result) Err() error {
	if len(r.Failures) == 0 {
		return nil
	}
	return fmt.Errorf("%s\nrule: %s", strings.Join(r.Failures, "\n"), r.Rule)
}
