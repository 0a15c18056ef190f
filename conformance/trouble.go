package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

const (
	// patience is the deadline of calls whose requests all fail. briefly is the deadline
	// of calls that can only wait for it.
	patience = 500 * time.Millisecond
	briefly  = 150 * time.Millisecond

	// lateness is how long after its deadline a call may end, on a busy machine. Providers
	// that promise more test that themselves.
	lateness = 5 * time.Second

	// mostRequests is far more than the requests that a client with pauses makes within
	// patience, in a call for one key.
	mostRequests = 100
)

// A trouble is what happens to the requests of a call.
type trouble struct {
	name   string
	fault  Fault
	always bool   // it happens to every request of the call, not only the first
	words  string // with %s for the call
}

var (
	requestLost       = trouble{"request-lost", Drop, false, "When the connection breaks before the service gets the first request of %s"}
	responseLost      = trouble{"response-lost", Lose, false, "When the first response to %s is lost"}
	throttled         = trouble{"throttled", Throttle, false, "When the service throttles the first request of %s"}
	everyRequestLost  = trouble{"every-request-lost", Drop, true, "When no request of %s gets to the service"}
	everyResponseLost = trouble{"every-response-lost", Lose, true, "When every response to %s is lost"}
	alwaysThrottled   = trouble{"always-throttled", Throttle, true, "When the service throttles every request of %s"}
	unanswered        = trouble{"unanswered", Hang, true, "When no request of %s gets a response until its deadline"}
)

var troubles = []trouble{requestLost, responseLost, throttled, everyRequestLost, everyResponseLost, alwaysThrottled, unanswered}

// plan returns the plan of the trouble, for the requests of a call that write or for the
// others. With always it is for all requests, except for lost responses: then the client
// may find out.
func (tr trouble) plan(writes bool) plan {
	all := tr.always && tr.fault != Lose
	return plan{
		concerns: func(write bool) bool { return all || write == writes },
		faults:   []Fault{tr.fault}, always: tr.always,
	}
}

// meet makes call while its requests follow p. It returns the number of these requests,
// and the error of the call. If p never lets a request pass, the call has a deadline.
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
		p.again = func() { <-t.apart(again) } // in the goroutine of the client's request
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

// known reports whether err says that nothing was written.
func known(err error) bool { return err != nil && !errors.Is(err, kv.ErrIndeterminate) }

func isFailed(err error) bool  { return errors.Is(err, kv.ErrConditionFailed) }
func isUnknown(err error) bool { return errors.Is(err, kv.ErrIndeterminate) && !isFailed(err) }

// wantTrue checks the error of any write. holds says that its condition holds, or that it
// has none. applied says that it was applied, by the entries afterwards. wantTrue reports
// whether the error is right.
func (t *trial) wantTrue(what string, err error, holds, applied bool) bool {
	switch {
	case isFailed(err) && errors.Is(err, kv.ErrIndeterminate):
		t.Errorf("%s: the error %v matches ErrConditionFailed and ErrIndeterminate", what, err)
	case isFailed(err) && holds:
		t.Errorf("%s: the error is %v, although the condition held", what, err)
	case known(err) && applied:
		t.Errorf("%s: the error is %v, so nothing may be written, but it was", what, err)
	case err == nil && !holds:
		t.Errorf("%s succeeded, although the condition did not hold", what)
	case err == nil && !applied:
		t.Errorf("%s succeeded, and was not applied", what)
	default:
		return true
	}
	return false
}

// A fate is the result of a write whose requests failed.
type fate struct {
	requests       int   // number of requests that the client made
	err            error // error that the call returned
	holds, applied bool  // as for wantTrue

	// traced: after a lost response the store can find out that the write was applied.
	// traceless: it cannot, because no record is left that shows it.
	traced, traceless bool
}

// wantFate checks that the result of a write is true, and as definite as possible.
func (t *trial) wantFate(what string, tr trouble, f fate) {
	t.wantBounded(tr, f.requests)
	t.wantTrue(what, f.err, f.holds, f.applied)
	err, once := f.err, f.requests == 1
	switch {
	case tr.always && tr.fault == Lose:
		// On a busy machine the deadline may pass before there is a request.
		if known(err) && f.holds && f.requests > 0 {
			t.Errorf("%s: the error is %v; want ErrIndeterminate", what, err)
		}
	case tr.always:
		t.wantTrouble(what, tr, err)
	case err == nil:
	case f.traced && tr.fault == Lose:
		t.Errorf("%s: the error is %v; want none", what, err)
	case once && tr.fault == Throttle:
		t.wantError(what+", which the client did not retry", err, kv.ErrThrottled)
	case once && tr.fault == Drop && !errors.Is(err, kv.ErrUnavailable) && !isUnknown(err):
		t.Errorf("%s, which the client did not retry: the error is %v; want ErrUnavailable or ErrIndeterminate", what, err)
	// If a condition failed, the client may read that in the part of the response that
	// arrived.
	case once && tr.fault == Lose && f.holds && !isUnknown(err):
		t.Errorf("%s, which the client did not retry: the error is %v; want ErrIndeterminate", what, err)
	case once:
	case !f.holds && tr.fault == Throttle:
		t.wantError(what, err, kv.ErrConditionFailed)
	case !f.holds && !isFailed(err) && !isUnknown(err):
		t.Errorf("%s: the error is %v; want ErrConditionFailed or ErrIndeterminate", what, err)
	case f.holds && !(f.traceless && tr.fault == Lose && isUnknown(err)):
		t.Errorf("%s: the error is %v, although the client retried the request; want none", what, err)
	}
}

// wantTrouble checks the error of a call whose requests all failed.
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

// wantPassing checks the error of a call that changes nothing and had one failed request:
// a client that does not retry must return that failure.
func (t *trial) wantPassing(what string, tr trouble, err error) {
	target := kv.ErrUnavailable
	if tr.fault == Throttle {
		target = kv.ErrThrottled
	}
	t.wantError(what, err, target)
}
