package conformance

import "sync"

// Fault is what happens to one request that a store's client sends to its service.
type Fault string

const (
	Pass     Fault = "pass"     // the request reaches the service, and the response reaches the client
	Drop     Fault = "drop"     // the connection breaks before the request reaches the service
	Lose     Fault = "lose"     // the service carries out the request, but the connection breaks before the response arrives
	Throttle Fault = "throttle" // the service refuses the request because it gets too many
	Hang     Fault = "hang"     // the request does not reach the service, and the client gets no response, however long it waits
)

// network decides what happens to each request of a trial's store, as its plan says.
type network struct {
	mu   sync.Mutex
	plan *plan // if nil, all requests pass
}

// plan says what happens to the requests of one call.
type plan struct {
	concerns func(write bool) bool // selects the requests to which the plan applies; the others pass
	faults   []Fault               // the fault of each selected request, in order; requests after the last fault pass
	always   bool                  // the last fault applies to all later requests, too
	again    func()                // if set, it is called before the second selected request

	over bool // the call has returned, and always is not set

	requests int // number of selected requests so far
}

// decide is the function that Config.Faulty receives.
func (n *network) decide(write bool) Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.plan
	if p == nil || !p.concerns(write) {
		return Pass
	}
	i := p.requests
	p.requests++
	if i == 1 && p.again != nil {
		// All requests pass that the function p.again makes.
		n.plan = nil
		n.mu.Unlock()
		p.again()
		n.mu.Lock()
		if !p.over {
			n.plan = p
		}
	}
	switch {
	case i < len(p.faults):
		return p.faults[i]
	case p.always:
		return p.faults[len(p.faults)-1]
	}
	return Pass
}

// The method during makes a call while the network follows p. It returns the number of
// requests to which p applied. If p.always is set, the last fault also applies to writes
// after the call, because the client may still send a request of the call after the call has
// returned.
func (n *network) during(p plan, call func()) (requests int) {
	n.mu.Lock()
	n.plan = &p
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		p.concerns = func(write bool) bool { return write }
		if !p.always {
			n.plan, p.over = nil, true
		}
		requests = p.requests
	}()
	call()
	return 0
}
