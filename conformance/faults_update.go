package conformance

import (
	"context"
	"fmt"
	"strconv"

	"github.com/skykv/skykv/kv"
)

// faultyUpdateCases make the requests of updates fail.
func faultyUpdateCases() []testCase {
	var cases []testCase
	for _, tr := range troubles {
		says := ", after a success the number was added once, and after an error that does not match ErrIndeterminate nothing was added."
		if !tr.always {
			says = ", the Increment succeeds if the client retries the request or finds out the result, and the number is added once."
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
	cases = append(cases, rule("faults/increment/read-before-retry",
		"After a lost response to an Increment, the client reads the entry before it writes again.",
		func(t *trial) {
			t.put("key", "41")
			p, requests := lostIncrement()
			_, err := t.meet(p, func(ctx context.Context) error { _, err := t.Increment(ctx, "key", 1); return err })
			if err != nil {
				t.Errorf("the error is %v; want none", err)
			}
			if n := len(*requests); n < 2 || (*requests)[1] {
				t.Errorf("the client wrote again at once; want a read, because a pause between two writes may be too long")
			}
			t.wantValue("key", "42")
		}))
	cases = append(cases, rule("faults/increment/prompt-read",
		"If Prompt is set, the driver's Get does not repeat a request that got no response, and returns ErrUnavailable.",
		func(t *trial) {
			t.put("key", "41")
			d := t.underlying()
			requests, err := t.meet(everyRequestLost.plan(false), func(ctx context.Context) error {
				_, err := d.Get(ctx, kv.GetRequest{Key: "key", WithValue: true, Prompt: true})
				return err
			})
			t.wantError("the driver's Get", err, kv.ErrUnavailable)
			// An HTTP client repeats a read at once if its connection had been idle.
			if requests > 2 {
				t.Errorf("the driver made %d requests; want one, because the store itself repeats the read", requests)
			}
			if found := t.found(d, "key"); string(found.Value) != "41" {
				t.Errorf("the driver's next Get finds %s; want 41", short(string(found.Value)))
			}
		}))
	cases = append(cases, rule("faults/increment/updated-before-read",
		"When the response to an Increment is lost and others increment the number before the client looks, the Increment succeeds, and every number is added once.",
		func(t *trial) {
			t.put("key", "0")
			p, _ := lostIncrement()
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
			if added == 0 {
				t.Errorf("the client did not look after the lost response")
			}
		}))
	return cases
}

// lostIncrement returns the plan for an Increment whose first write loses its response. The
// plan applies to that write and to all later requests. The slice requests says for each of them
// whether it was a write.
func lostIncrement() (p plan, requests *[]bool) {
	requests = new([]bool)
	return plan{faults: []Fault{Lose}, concerns: func(write bool) bool {
		if !write && len(*requests) == 0 {
			return false
		}
		*requests = append(*requests, write)
		return true
	}}, requests
}
