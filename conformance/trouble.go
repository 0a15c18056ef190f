package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

const (
	// patience is the deadline of calls of which no request gets through, and briefly
	// that of calls which can only wait for it.
	patience = 500 * time.Millisecond
	briefly  = 150 * time.Millisecond

	// lateness is how long after its deadline a call may end, on a machine with much else
	// to do. Providers that promise better measure it in tests of their own.
	lateness = 5 * time.Second

	// mostRequests is what a client that pauses between its attempts stays far below
	// in the time of patience, in a call for one key.
	mostRequests = 100
)

// A trouble is what the requests of a call meet.
type trouble struct {
	name   string
	fault  Fault
	always bool   // every request of the call meets it, not just the first
	words  string // with %s for the call
}

var (
	requestLost       = trouble{"request-lost", Drop, false, "When the connection breaks before the service gets the first request of %s"}
	responseLost      = trouble{"response-lost", Lose, false, "When the first response to %s is lost"}
	throttled         = trouble{"throttled", Throttle, false, "When the service turns the first request of %s away"}
	everyRequestLost  = trouble{"every-request-lost", Drop, true, "When no request of %s gets to the service"}
	everyResponseLost = trouble{"every-response-lost", Lose, true, "When every response to %s is lost"}
	alwaysThrottled   = trouble{"always-throttled", Throttle, true, "When the service turns every request of %s away"}
	unanswered        = trouble{"unanswered", Hang, true, "When no request of %s is answered until its deadline"}
)

var troubles = []trouble{requestLost, responseLost, throttled, everyRequestLost, everyResponseLost, alwaysThrottled, unanswered}

// plan is the trouble for the requests of a call that write, or the others. With
// always it is for all of them, but for lost responses: the client may find out.
func (tr trouble) plan(writes bool) plan {
	all := tr.always && tr.fault != Lose
	return plan{
		concerns: func(write bool) bool { return all || write == writes },
		faults:   []Fault{tr.fault}, always: tr.always,
	}
}

// meet makes call while its requests meet p, and returns how many those were, and
// its error. Without hope the call has a deadline.
func (t *trial) meet(p plan, call func(ctx context.Context) error) (requests int, err error) {
	ctx, timeout := t.ctx, patience
	if p.faults[0] == Hang {
		timeout = briefly
	}
	if p.always {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if again := p.again; again != nil {
		p.again = func() { <-t.apart(again) } // the request that it comes before is the client's
	}
	begin := time.Now()
	requests = t.network.during(p, func() { err = call(ctx) })
	took := time.Since(begin)
	if p.always && took > timeout+lateness {
		t.Errorf("the call took %v; its deadline was after %v", took.Round(time.Millisecond), timeout)
	}
	return requests, err
}

// wantBounded checks the number of requests of a call for one key.
func (t *trial) wantBounded(tr trouble, requests int) {
	if tr.always && requests > mostRequests {
		t.Errorf("the call made %d requests; want a pause between them, and an end", requests)
	}
}

// wantTrouble checks the error of a call of which every request met trouble.
func (t *trial) wantTrouble(what string, tr trouble, err error) {
	late := errors.Is(err, context.DeadlineExceeded)
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
	case tr.fault == Hang && !late:
		t.Errorf("%s: the error is %v; want one that matches context.DeadlineExceeded", what, err)
	case tr.fault == Drop && !late:
		if !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%s: the error is %v; want one that matches ErrUnavailable", what, err)
		}
	case tr.fault == Throttle && !late:
		t.wantError(what, err, kv.ErrThrottled)
	}
}

// wantPassing checks the error of a call that changes nothing, and one of whose
// requests met trouble: a client that does not repeat it must say what it was.
func (t *trial) wantPassing(what string, tr trouble, err error) {
	target := kv.ErrUnavailable
	if tr.fault == Throttle {
		target = kv.ErrThrottled
	}
	t.wantError(what, err, target)
}
