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

// A fault is a way to break a store, and the cases that must notice.
type fault struct {
	name string
	wrap middleware        // breaks the driver
	with func(store) store // breaks the store

	// client breaks the client of an unreliable network, which makes attempts, four
	// unless set. Such a fault is for the cases that need Config.Faulty.
	client   middleware
	attempts int

	// must names the cases that have to fail; "scan/*" stands for all of a group, and
	// a star elsewhere for anything between two slashes.
	must []string

	// only: no other case may fail. Unless it is set, no other case is run.
	only bool

	// group, if set, restricts the run to the cases of a group: those faults wait
	// for other calls to come by, which takes too long where none come.
	group string
}

// manyAtOnce is how many cases run at once where many of them wait for a deadline.
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

// suite is what the fault is for.
func (f fault) suite() []testCase {
	if slices.ContainsFunc(faultSuite, func(c testCase) bool { return f.names(c.Name) }) {
		return faultSuite
	}
	return suite
}

// unreached lists the cases that no fault is named for, with the reason.
var unreached = map[string]string{
	"count/middleware": "the middleware of the case is over the store's driver, and kv does not tell it of Info.Count: a driver has no way around that. " +
		"The case failed when kv handed Info.Count on.",
	"versions/damaged-text": "kv.ParseVersion is a function: neither a driver nor what stands in front of a store is in its way. " +
		"The case failed when kv took a version's text with a line break at its end.",
}

// TestEveryFaultIsFound runs the suite against each broken store, and requires
// that the cases which are there to notice do, with their rule.
func TestEveryFaultIsFound(t *testing.T) {
	for _, f := range slices.Concat(brokenDrivers(), brokenStores(), brokenClients()) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.find(t)
		})
	}
}

// TestEveryCaseCanFail requires that some fault names each case.
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
			t.Errorf("rule: every case is either one that a fault is named for, or listed with a reason; %s is both or neither", c.Name)
		}
	}
}

// names reports whether the case must notice the fault.
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

// find runs the suite and looks who notices.
func (f fault) find(t *testing.T) {
	// What other cases make of the fault matters only where they must not fail.
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
			t.Errorf("%s does not notice", result.Name)
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

// noticed gives a case that has a deadline more chances: on a busy machine it may pass
// before the fault shows.
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
