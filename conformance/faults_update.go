package conformance

import (
	"context"
	"fmt"
	"strconv"
)

// faultyUpdateCases have the requests of updates meet trouble.
func faultyUpdateCases() []testCase {
	var cases []testCase
	for _, tr := range troubles {
		says := ", an error that does not match ErrIndeterminate says that nothing was added, and a success that it was added once."
		if !tr.always {
			says = ", it succeeds if the client repeats the request or finds out, and what it adds is added once."
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
			t.wantBounded(tr, requests)
			value := string(t.get("key").Value)
			switch {
			case err == nil && value != "42", known(err) && value != "41", value != "41" && value != "42":
				t.Errorf("the number is %s, and the error %v", value, err)
			case !tr.always && err != nil && (requests > 1 || tr.fault == Lose):
				t.Errorf("the error is %v; want none", err)
			}
			if tr.always && tr.fault != Lose {
				t.wantTrouble("Increment", tr, err)
			}
		}))
		cases = append(cases, rule("faults/get-and-delete/"+tr.name,
			fmt.Sprintf(tr.words, "a GetAndDelete")+", an error that does not match ErrIndeterminate says that the entry is there, and a success that it is gone.",
			func(t *trial) {
				t.put("key", "once")
				requests, err := t.meet(tr.plan(true), func(ctx context.Context) error {
					e, err := t.GetAndDelete(ctx, "key")
					if err == nil && string(e.Value) != "once" {
						t.Errorf("GetAndDelete = %s; want the entry's value", short(string(e.Value)))
					}
					return err
				})
				t.wantBounded(tr, requests)
				if tr.always && tr.fault != Lose {
					t.wantTrouble("GetAndDelete", tr, err)
				}
				exists := t.situation().exists
				if err == nil && exists || known(err) && !exists {
					t.Errorf("the error is %v, and there is an entry: %v", err, exists)
				}
				if !tr.always && err != nil && (requests > 1 || tr.fault == Lose) {
					t.Errorf("the error is %v; want none", err)
				}
			}))
	}
	cases = append(cases, rule("faults/increment/updated-before-retry",
		"When the response to an Increment is lost and others increment the number before the client looks, it succeeds, and everything is added once.",
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
