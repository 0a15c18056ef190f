package conformance

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// Features that a store's Info can say are missing. A case for such a feature checks
// instead that the store refuses it as documented.
const (
	lacksAtomic = "it has no MaxAtomicWrites"
	lacksGrace  = "it has NoGrace: the service removes entries as soon as they expire"
)

// graceless are the names of this module's drivers for layouts of other programs that
// have no hour of grace. No other driver may lack it.
var graceless = []string{"dynamodb-alien"}

// checkLacks returns an error if this driver must not lack a feature.
func checkLacks(info kv.Info) error {
	name, _, _ := strings.Cut(info.Name, "/") // without the prefix of a namespace
	if info.NoGrace && !slices.Contains(graceless, name) {
		return fmt.Errorf("Info().NoGrace of %q is true; only drivers of skykv's own module for layouts of other programs may set it: %s", info.Name, strings.Join(graceless, ", "))
	}
	return nil
}

// graceRule returns a case for stores that keep entries for an hour after their expiry.
// On other stores the case checks that entries which the service has removed are simply
// absent.
func graceRule(name, words string, run func(t *trial)) testCase {
	c := rule(name, words+" With NoGrace an entry that has expired by the service's clock may be absent, and nothing else may differ.", nil)
	_, c.file, _, _ = runtime.Caller(1)
	c.run = func(t *trial) {
		if !t.Info().NoGrace {
			run(t)
			return
		}
		t.lacks = lacksGrace
		t.wantEntryOrNone()
	}
	return c
}

// wantEntryOrNone stores an entry that is live by the trial's clock and has been expired
// for an hour by all other clocks. It must be unchanged or absent.
func (t *trial) wantEntryOrNone() {
	right := t.clock.now()
	t.clock.set(time.Now().Truncate(time.Millisecond).Add(-58 * time.Minute))
	at := t.clock.now().Add(time.Minute)
	v := t.put("key", "value", kv.TTL(time.Minute))
	if is := t.situation(); is.exists {
		t.wantEntry("Get", is.entry, "key", want{"value", v, at})
	}
	for _, e := range t.scan("") {
		t.wantEntry("Scan", e, "key", want{"value", v, at})
	}
	if _, err := t.Put(t.ctx, "key", []byte("new"), kv.IfNotExists(), kv.TTL(time.Minute)); err != nil {
		t.wantError("Put with IfNotExists", err, kv.ErrConditionFailed)
	}
	t.clock.set(right)
	t.wantGone("key")
	v = t.put("key", "new", kv.IfNotExists(), kv.TTL(time.Hour))
	t.wantLive("key", want{"new", v, t.clock.now().Add(time.Hour)})
}
