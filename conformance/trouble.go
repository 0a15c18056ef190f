package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

const (
	// patience is the timeout of a call whose requests all fail. briefly is the timeout of a call
	// whose requests get no response. It is shorter, because such a call can only wait.
	patience = 500 * time.Millisecond
	briefly  = 150 * time.Millisecond

	// lateness is how long after its deadline a call may return, on a busy machine.
	// Providers that promise to be faster have their own tests of that.
	lateness = 5 * time.Second

	// mostRequests is how many requests a call for a few keys may make if all of them fail. A
	// client that pauses between its attempts makes far fewer before patience is over.
	mostRequests = 100
)

// A trouble is a fault that happens to the requests of a call.
type trouble struct {
	name   string
	fault  Fault
	always bool   // the fault happens to every request of the call, not only to the first
	words  string // a clause with %s for the call
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

// plan returns the plan for a call that meets tr. If writes is set, the plan applies to the
// writes of the call, and otherwise to its reads. If tr.always is set, the plan applies to
// both, unless tr loses responses. With lost responses of writes, the reads must work, because
// the client may read to find out whether a write was applied.
func (tr trouble) plan(writes bool) plan {
	all := tr.always && tr.fault != Lose
	return plan{
		concerns: func(write bool) bool { return all || write == writes },
		faults:   []Fault{tr.fault}, always: tr.always,
	}
}

// meet makes a call whose requests follow p. It returns the number of requests to which p
// applied, and the error of the call. If p.always is set, the call has a deadline.
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
		p.again = func() { <-t.apart(again) } // apart, because Fatalf must not end the goroutine of the client's request
	}
	begin := time.Now()
	requests = t.network.during(p, func() { err = call(ctx) })
	took := time.Since(begin)
	if p.always && took > timeout+lateness {
		t.Errorf("the call took %v; its deadline was after %v", took.Round(time.Millisecond), timeout)
	}
	return requests, err
}

// wantBounded checks that a call for one key did not make too many requests, if all of them
// failed.
func (t *trial) wantBounded(tr trouble, requests int) {
	if tr.always && requests > mostRequests {
		t.Errorf("the call made %d requests; want a pause between them, and an end", requests)
	}
}

// known reports whether err is an error that says that nothing was written.
func known(err error) bool { return err != nil && !errors.Is(err, kv.ErrIndeterminate) }

func isFailed(err error) bool  { return errors.Is(err, kv.ErrConditionFailed) }
func isUnknown(err error) bool { return errors.Is(err, kv.ErrIndeterminate) && !isFailed(err) }

// wantTrue checks the error of a write, and reports whether the error is right. The argument holds
// says whether the write's condition holds. Without a condition, it is true. The argument applied
// says whether the write was applied. The caller has found that out by reading the entries.
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

// A fate is the result of a write some of whose requests failed.
type fate struct {
	requests       int   // number of requests that the client made
	err            error // error that the call returned
	holds, applied bool  // see wantTrue

	// traced says that the store itself finds out whether the write was applied, even if
	// the client does not retry the write. traceless says that no record shows that the
	// write was applied, so the store cannot find that out.
	traced, traceless bool
}

// wantFate checks that the error of a write is right, and that it is as definite as possible:
// ErrIndeterminate is right only if the store cannot find out whether the write was applied.
func (t *trial) wantFate(what string, tr trouble, f fate) {
	t.wantBounded(tr, f.requests)
	t.wantTrue(what, f.err, f.holds, f.applied)
	err, once := f.err, f.requests == 1
	switch {
	case tr.always && tr.fault == Lose:
		// On a busy machine the deadline may pass before the client sends a request.
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
	// A part of the response may arrive before the connection breaks, and tell the client
	// that its condition failed. So the next case is only for writes whose conditions hold.
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

// wantPassing checks the error of a call after one of its reads failed: the error must describe
// that failure.
func (t *trial) wantPassing(what string, tr trouble, err error) {
	target := kv.ErrUnavailable
	if tr.fault == Throttle {
		target = kv.ErrThrottled
	}
	t.wantError(what, err, target)
}
