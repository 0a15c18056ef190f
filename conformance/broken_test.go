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

// A fault is a store with a bug, and the cases that must find the bug.
type fault struct {
	name string
	wrap middleware        // breaks the driver
	with func(store) store // breaks the store

	// client breaks the client of an unreliable network. Such a fault is for cases that
	// need Config.Faulty. attempts is the greatest number of times that the client sends
	// a request; zero means 4.
	client   middleware
	attempts int

	// must has the names of the cases that must fail. "scan/*" means all cases whose names begin
	// with "scan/". But in a name that has another star before its end, or begins with "faults/",
	// each star matches anything but a slash.
	must []string

	// only is set if all other cases must pass. If only is not set, the other cases do not
	// run.
	only bool

	// group, if set, limits the run to one group of cases. It is for faults that make a
	// call wait a moment for another call. In the other groups, too many calls would wait
	// for a call that never comes.
	group string
}

// manyAtOnce is the number of cases that run at once. It is high because some cases only
// wait for a deadline.
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

// suite returns the cases that run for this fault: the cases of FaultCases if any of them must
// find the fault, and otherwise the cases of Cases.
func (f fault) suite() []testCase {
	if slices.ContainsFunc(faultSuite, func(c testCase) bool { return f.names(c.Name) }) {
		return faultSuite
	}
	return suite
}

// unreached has the cases that no fault can make fail, each with the reason.
var unreached = map[string]string{
	"count/middleware": "the middleware of the case is over the store's driver, and kv hides Info.Count from it: no driver can change that. " +
		"The case failed when kv passed Info.Count on.",
	"versions/damaged-text": "kv.ParseVersion is a function: neither a driver nor a broken store can change it. " +
		"The case failed when kv accepted a version's text with a line break at its end.",
}

// TestEveryFaultIsFound runs the suite against each broken store. The cases that must find
// the fault must fail, and quote their rules.
func TestEveryFaultIsFound(t *testing.T) {
	for _, f := range slices.Concat(brokenDrivers(), brokenStores(), brokenClients()) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.find(t)
		})
	}
}

// TestEveryCaseCanFail checks that every case must find a fault, or is in unreached.
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

// The method names reports whether the case with this name must find the fault.
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

// find runs the suite on the broken store and checks which cases fail.
func (f fault) find(t *testing.T) {
	// Cases that need not find the fault run only if f.only says that they must pass.
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

// noticed runs a case of faultSuite again, up to three times, and reports whether it failed. It
// is for busy machines, where the deadline of a case may pass before the bug shows.
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
