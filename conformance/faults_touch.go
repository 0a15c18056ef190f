package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
)

// faultyTouchCases make the requests of a touch fail.
func faultyTouchCases() []testCase {
	var cases []testCase
	for _, c := range []struct {
		name, words string
		opts        func(v kv.Version) []kv.TouchOption
	}{
		{"touch", "a Touch", func(kv.Version) []kv.TouchOption { return nil }},
		{"touch-if-version", "a Touch with IfVersion", func(v kv.Version) []kv.TouchOption { return []kv.TouchOption{kv.IfVersion(v)} }},
	} {
		for _, tr := range troubles {
			cases = append(cases, rule("faults/"+c.name+"/"+tr.name,
				fmt.Sprintf(tr.words, c.words)+", the value stays. After a success the entry has the new expiry. After an error that does not match ErrIndeterminate it has the old one.",
				func(t *trial) {
					v := t.put("key", "old", kv.TTL(time.Minute))
					before, after := t.clock.now().Add(time.Minute), t.clock.now().Add(time.Hour)
					var touched kv.Version
					requests, err := t.meet(tr.plan(true), func(ctx context.Context) (err error) {
						touched, err = t.Touch(ctx, "key", append(c.opts(v), kv.TTL(time.Hour))...)
						return err
					})
					is := t.situation()
					t.wantFate("the Touch", tr, fate{requests: requests, err: err, holds: true, applied: is.entry.ExpiresAt.Equal(after)})
					switch {
					case !is.exists || string(is.entry.Value) != "old":
						t.Errorf("the entry is %s, %v; want its old value", short(string(is.entry.Value)), is.exists)
					case err == nil:
						t.wantEntry("Get", is.entry, "key", want{"old", touched, after})
					case known(err) || tr.fault != Lose:
						t.wantEntry("Get", is.entry, "key", want{"old", v, before})
					}
				}))
		}
	}
	return cases
}
