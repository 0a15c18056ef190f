package conformance

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A fault is a bug of a store, and the cases that must find it.
type fault struct {
	name string
	wrap middleware        // breaks the driver
	with func(store) store // breaks the store

	// client breaks the client of an unreliable network, which makes attempts, by
	// default four. Such a fault is for the cases that need Config.Faulty.
	client   middleware
	attempts int

	// must names the cases that must fail. "scan/*" means all cases of a group. A
	// star elsewhere matches anything between two slashes.
	must []string

	// only says that no other case may fail. Otherwise no other case is run.
	only bool

	// group, if set, limits the run to the cases of a group, for faults that wait for
	// other calls: without other calls that takes too long.
	group string
}

// manyAtOnce is the number of cases that run at once if many of them wait for a
// deadline.
const manyAtOnce = 16

func (f fault) config() Config {
	return Config{
		New: func(context.Context) (*kv.Store, error) {
			if f.wrap == nil {
				return memkv.New(), nil
			}
			return memkv.New().With(kv.Wrap(kv.Level1, f.wrap)), nil
		},
		Faulty:   unreliable(cmp.Or(f.attempts, 4), f.client, f.wrap),
		front:    f.with,
		parallel: manyAtOnce,
	}
}

// suite returns the cases that the fault is for.
func (f fault) suite() []testCase {
	if slices.ContainsFunc(faultSuite, func(c testCase) bool { return f.names(c.Name) }) {
		return faultSuite
	}
	return suite
}

// unreached lists the cases for which there is no fault, with the reason.
var unreached = map[string]string{
	"count/middleware": "the middleware of the case is over the store's driver, and kv hides Info.Count from it: no driver can change that. " +
		"The case failed when kv passed Info.Count on.",
	"versions/damaged-text": "kv.ParseVersion is a function: neither a driver nor a broken store can change it. " +
		"The case failed when kv accepted a version's text with a line break at its end.",
}

// TestEveryFaultIsFound runs the suite against each broken store. The cases in must
// must fail and quote their rule.
func TestEveryFaultIsFound(t *testing.T) {
	for _, f := range slices.Concat(brokenDrivers(), brokenStores(), brokenClients()) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.find(t)
		})
	}
}

// TestEveryCaseCanFail checks that each case is in the must list of some fault.
func TestEveryCaseCanFail(t *testing.T) {
	named := make(map[string]bool)
	for _, f := range slices.Concat(brokenDrivers(), brokenStores(), brokenClients()) {
		for _, c := range f.suite() {
			if f.names(c.Name) {
				named[c.Name] = true
			}
		}
	}
	for _, c := range slices.Concat(suite, faultSuite) {
		if _, listed := unreached[c.Name]; named[c.Name] == listed {
			t.Errorf("rule: every case either has a fault or is listed with a reason; %s is both or neither", c.Name)
		}
	}
}

// names reports whether the case must find the fault.
func (f fault) names(name string) bool {
	return strings.HasPrefix(name, f.group) && slices.ContainsFunc(f.must, func(must string) bool {
		group, all := strings.CutSuffix(must, "*")
		if strings.Contains(group, "*") || strings.HasPrefix(must, "faults/") {
			matches, err := path.Match(must, name)
			return matches && err == nil
		}
		return name == must || all && strings.HasPrefix(name, group)
	})
}

// find runs the suite and checks which cases fail.
func (f fault) find(t *testing.T) {
	// Other cases are run only if they must not fail.
	cases := slices.DeleteFunc(slices.Clone(f.suite()), func(c testCase) bool {
		return !strings.HasPrefix(c.Name, f.group) || !f.only && !f.names(c.Name)
	})
	for _, must := range f.must {
		if !slices.ContainsFunc(cases, func(c testCase) bool { return fault{must: []string{must}}.names(c.Name) }) {
			t.Errorf("there is no case %s", must)
		}
	}
	for result, err := range check(t.Context(), f.config(), cases) {
		if err != nil {
			t.Fatal(err)
		}
		failure := result.Err()
		switch {
		case failure == nil && f.names(result.Name) && !f.noticed(t, result.Name):
			t.Errorf("%s does not find the fault", result.Name)
		case failure != nil && f.only && !f.names(result.Name):
			t.Errorf("%s should not fail:\n%v", result.Name, failure)
		case failure != nil && !strings.Contains(failure.Error(), "\nrule: "+result.Rule):
			t.Errorf("the failure of %s does not quote its rule:\n%v", result.Name, failure)
		}
	}
	if len(f.must) == 0 {
		t.Error("the fault names no case")
	}
}

// noticed gives a case with a deadline more attempts: on a busy machine the deadline
// may pass before the fault shows.
func (f fault) noticed(t *testing.T, name string) bool {
	for _, c := range faultSuite {
		for range 3 {
			if c.Name != name {
				break
			}
			if result, _ := c.try(t.Context(), f.config(), nil); result.Err() != nil {
				return true
			}
		}
	}
	return false
}
