package conformance

import (
	"context"
	"fmt"
	"strconv"
)

// faultyUpdateCases make the requests of updates fail.
func faultyUpdateCases() []testCase {
	var cases []testCase
	for _, tr := range troubles {
		says := ", after a success the number was added once, and after an error that does not match ErrIndeterminate nothing was added."
		if !tr.always {
			says = ", it succeeds if the client retries the request or finds out, and the number is added once."
		}
		cases = append(cases, rule("faults/increment/"+tr.name, fmt.Sprintf(tr.words, "an Increment")+says, func(t *trial) {
			t.put("key", "41")
			requests, err := t.meet(tr.plan(true), func(ctx context.Context) error {
				n, err := t.Increment(ctx, "key", 1)
				if err == nil && n != 42 {
					t.Errorf("Increment = %d; want 42", n)
				}
				return err
			})
			value := string(t.get("key").Value)
			if value != "41" && value != "42" {
				t.Errorf("the number is %s, and the error %v", value, err)
			}
			t.wantFate("the Increment", tr, fate{requests: requests, err: err, holds: true, applied: value == "42", traced: true})
		}))
		cases = append(cases, rule("faults/get-and-delete/"+tr.name,
			fmt.Sprintf(tr.words, "a GetAndDelete")+", after a success the entry is gone, and after an error that does not match ErrIndeterminate it is still there.",
			func(t *trial) {
				t.put("key", "once")
				requests, err := t.meet(tr.plan(true), func(ctx context.Context) error {
					e, err := t.GetAndDelete(ctx, "key")
					if err == nil && string(e.Value) != "once" {
						t.Errorf("GetAndDelete = %s; want the entry's value", short(string(e.Value)))
					}
					return err
				})
				t.wantFate("the GetAndDelete", tr, fate{requests: requests, err: err, holds: true, applied: !t.situation().exists, traced: true})
			}))
	}
	cases = append(cases, rule("faults/increment/updated-before-retry",
		"When the response to an Increment is lost and others increment the number before the client looks, it succeeds, and every number is added once.",
		func(t *trial) {
			t.put("key", "0")
			p := responseLost.plan(true)
			others := t.with()
			added := 0
			p.again = func() {
				for ; added < 7; added++ {
					if _, err := others.Increment(t.ctx, "key", 1); err != nil {
						t.Errorf("Increment by another: %v", err)
					}
				}
			}
			_, err := t.meet(p, func(ctx context.Context) error { _, err := t.Increment(ctx, "key", 1); return err })
			if err != nil {
				t.Errorf("the error is %v; want none", err)
			}
			t.wantValue("key", strconv.Itoa(added+1))
		}))
	return cases
}
