package conformance

import "sync"

// Fault is what happens to one request that a store's client sends to its service.
type Fault string

const (
	Pass     Fault = "pass"     // the service gets the request, and the client the response
	Drop     Fault = "drop"     // the connection breaks before the service gets the request
	Lose     Fault = "lose"     // the service carries out the request, and the connection breaks before the response
	Throttle Fault = "throttle" // the service refuses the request because it gets too many
	Hang     Fault = "hang"     // the service does not get the request, and the client gets no response until it gives up
)

// network decides what happens to the requests of a trial's store, by its plan.
type network struct {
	mu   sync.Mutex
	plan *plan // nil: all requests pass
}

// plan says what happens to the requests of one call.
type plan struct {
	concerns func(write bool) bool // other requests pass
	faults   []Fault               // of the first requests, in order
	always   bool                  // the last of faults repeats
	again    func()                // runs before the second request

	requests int // number so far
}

// decide is the second argument of Config.Faulty.
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
		// Requests made by again pass.
		n.plan = nil
		n.mu.Unlock()
		p.again()
		n.mu.Lock()
		n.plan = p
	}
	switch {
	case i < len(p.faults):
		return p.faults[i]
	case p.always:
		return p.faults[len(p.faults)-1]
	}
	return Pass
}

// during makes call while the network follows p. It returns the number of requests
// that p concerns. A plan with always stays in force for later writes: the service
// may still get a write that the call gave up.
func (n *network) during(p plan, call func()) (requests int) {
	n.mu.Lock()
	n.plan = &p
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		p.concerns = func(write bool) bool { return write }
		if !p.always {
			n.plan = nil
		}
		requests = p.requests
	}()
	call()
	return 0
}
