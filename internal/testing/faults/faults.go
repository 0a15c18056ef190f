// Package faults breaks the connection between a store and its service, on purpose
// and repeatably. [NewHTTP] and [NewGRPC] stand between a real SDK client and a
// real emulator, [Driver] between a store and a driver that has no network.
//
// An [Injector] decides what happens to every request, by a [Plan], and records it.
// The record of a request that reached the service has the time in which the
// service can have acted. So a test knows what may have been applied, how often and
// when, which the client does not know.
package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Kind is what happens to one request.
type Kind string

const (
	Pass Kind = "pass" // forwarded, and the response returned

	// The service does not see these.
	Drop     Kind = "drop"     // the connection is reset
	Refuse   Kind = "refuse"   // the response is 503 or UNAVAILABLE
	Throttle Kind = "throttle" // the response is the service's throttling error
	Hang     Kind = "hang"     // no response until the client gives up

	// The service acts on these, and the client does not get the response.
	Lose     Kind = "lose"     // the connection is reset instead of the response
	Truncate Kind = "truncate" // the connection ends within the response
	Fail     Kind = "fail"     // the response is a 500, 502, 503 or 504, or INTERNAL and the like
	Garbage  Kind = "garbage"  // the response is a success that is not from the service
	Late     Kind = "late"     // the connection is reset at once, and the request is forwarded after that

	// Delayed by some milliseconds, on the way there and back.
	Delay Kind = "delay"
)

// Forwarded reports whether the service sees the request.
func (k Kind) Forwarded() bool {
	switch k {
	case Drop, Refuse, Throttle, Hang:
		return false
	}
	return true
}

// Delivered reports whether the client gets the service's own response.
func (k Kind) Delivered() bool { return k == Pass || k == Delay }

// Request is the input of a plan.
type Request struct {
	// Op is the operation of [WithOp], "" if it is not known.
	Op string

	// Attempt counts the requests with the same Op, from 0.
	Attempt int

	// Method is the service's name for the request: PutItem, Commit, POST; for a
	// driver, Put.
	Method string

	// Write is set when the request may change something.
	Write bool
}

// Plan decides what happens to a request. It is called concurrently.
type Plan func(Request) Kind

// Rates has the probability of each kind. The rest up to 1 passes.
type Rates map[Kind]float64

// Seeded draws from rates. The result depends only on the seed and the request, so
// a run with the same operations gets the same faults, in any order. From attempt
// number maxFaulty on the result is Pass, so that operations do not use up all
// their attempts too often.
func Seeded(seed uint64, rates Rates, maxFaulty int) Plan {
	kinds := make([]Kind, 0, len(rates))
	for kind := range rates {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	return func(r Request) Kind {
		if r.Attempt >= maxFaulty {
			return Pass
		}
		draw := Rand(seed, r.Op, r.Method, fmt.Sprint(r.Attempt)).Float64()
		for _, kind := range kinds {
			if draw -= rates[kind]; draw < 0 {
				return kind
			}
		}
		return Pass
	}
}

// Rand returns a source of random numbers that depends only on seed and names.
func Rand(seed uint64, names ...string) *rand.Rand {
	const prime = 1099511628211 // FNV-1a
	h := uint64(14695981039346656037)
	for _, name := range names {
		for i := range len(name) {
			h = (h ^ uint64(name[i])) * prime
		}
		h = (h ^ 0xff) * prime
	}
	return rand.New(rand.NewPCG(seed, h))
}

// Writes applies kinds to the requests that may change something, in the order in
// which they come, and lets all others pass.
func Writes(kinds ...Kind) Plan { return script(func(r Request) bool { return r.Write }, kinds) }

// Reads is [Writes] for the requests that change nothing.
func Reads(kinds ...Kind) Plan { return script(func(r Request) bool { return !r.Write }, kinds) }

func script(concerns func(Request) bool, kinds []Kind) Plan {
	var mu sync.Mutex
	return func(r Request) Kind {
		mu.Lock()
		defer mu.Unlock()
		if !concerns(r) || len(kinds) == 0 {
			return Pass
		}
		kind := kinds[0]
		kinds = kinds[1:]
		return kind
	}
}

// Always applies one kind to every request.
func Always(kind Kind) Plan { return func(Request) Kind { return kind } }

// DecidedBy leaves the decision to a function, such as the one that the conformance
// suite passes to Config.Faulty: its faults have the names of kinds.
func DecidedBy[F ~string](decide func(write bool) F) Plan {
	return func(r Request) Kind { return Kind(decide(r.Write)) }
}

// Attempt is the record of one request.
type Attempt struct {
	Request
	Kind Kind

	// Sent and Answered enclose the time in which the service acted, if the request
	// was forwarded. Answered is zero if the service did not respond.
	Sent, Answered time.Time

	// Err says why the service did not respond.
	Err error
}

// Injector decides on requests and records them. The zero Injector lets all
// requests pass.
type Injector struct {
	mu       sync.Mutex
	plan     Plan
	seen     map[string]int // requests by Op
	attempts []*Attempt
	counts   map[Kind]int

	between func(Attempt)

	// Not a WaitGroup: a request of a client that has given up may come at any
	// time.
	underWay int
	idle     chan struct{} // closed when underWay reaches 0, if somebody waits
}

// Between sets f, which is called after the service has acted on a request whose
// response the client does not get, and before the client notices (with [Late],
// after that). Use ends it.
func (in *Injector) Between(f func(Attempt)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.between = f
}

// Use replaces the plan, and forgets the record except for the counts. It waits
// until no request is running.
func (in *Injector) Use(plan Plan) {
	in.lockIdle()
	defer in.mu.Unlock()
	in.plan, in.between, in.seen, in.attempts = plan, nil, nil, nil
}

// Counts returns the number of requests by kind.
func (in *Injector) Counts() map[Kind]int {
	in.mu.Lock()
	defer in.mu.Unlock()
	counts := make(map[Kind]int, len(in.counts))
	for kind, n := range in.counts {
		counts[kind] = n
	}
	return counts
}

// Faults is the number of requests that did not pass.
func (in *Injector) Faults() int {
	n := 0
	for kind, count := range in.Counts() {
		if kind != Pass {
			n += count
		}
	}
	return n
}

// Take waits until no request is running, and returns the record since the last
// Take or Use. No client may send meanwhile.
func (in *Injector) Take() []Attempt {
	in.lockIdle()
	defer in.mu.Unlock()
	taken := make([]Attempt, len(in.attempts))
	for i, a := range in.attempts {
		taken[i] = *a
	}
	in.attempts, in.seen = nil, nil
	return taken
}

// begin decides on a request. The request runs until end is called.
func (in *Injector) begin(r Request) *Attempt {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.seen == nil {
		in.seen = make(map[string]int)
	}
	if in.counts == nil {
		in.counts = make(map[Kind]int)
	}
	r.Attempt = in.seen[r.Op]
	in.seen[r.Op]++
	a := &Attempt{Request: r, Kind: Pass}
	in.attempts = append(in.attempts, a)
	in.underWay++
	if plan := in.plan; plan != nil {
		in.mu.Unlock() // a plan may wait for other requests
		kind := plan(r)
		in.mu.Lock()
		a.Kind = kind
	}
	in.counts[a.Kind]++
	return a
}

func (in *Injector) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.underWay--; in.underWay == 0 && in.idle != nil {
		close(in.idle)
		in.idle = nil
	}
}

// lockIdle locks in.mu at a moment when no request is running.
func (in *Injector) lockIdle() {
	for {
		in.mu.Lock()
		if in.underWay == 0 {
			return
		}
		if in.idle == nil {
			in.idle = make(chan struct{})
		}
		idle := in.idle
		in.mu.Unlock()
		<-idle
	}
}

// wait returns when no request is running.
func (in *Injector) wait() {
	in.lockIdle()
	in.mu.Unlock()
}

// forward lets the service act on a request, and notes the time.
func (in *Injector) forward(a *Attempt, act func() error) error {
	if a.Kind == Delay || a.Kind == Late {
		pause(a)
	}
	in.mu.Lock()
	a.Sent = time.Now()
	in.mu.Unlock()
	err := act()
	in.mu.Lock()
	if a.Err = err; err == nil {
		a.Answered = time.Now()
	}
	done, between := *a, in.between
	in.mu.Unlock()
	if between != nil && !a.Kind.Delivered() {
		between(done)
	}
	if a.Kind == Delay {
		pause(a)
	}
	return err
}

// pause is the delay of a request, in real time, because SDKs and emulators use
// real time.
func pause(a *Attempt) {
	time.Sleep(time.Duration(1+a.rand().IntN(20)) * time.Millisecond)
}

// rand draws what a kind leaves open, separately for each attempt.
func (a *Attempt) rand() *rand.Rand { return Rand(0, a.Op, a.Method, fmt.Sprint(a.Attempt)) }

type opKey struct{}

// WithOp names the operation of the requests made with ctx: a short text of
// printable ASCII. [Transport], [DialOptions] and [Driver] pass it on.
func WithOp(ctx context.Context, op string) context.Context {
	return context.WithValue(ctx, opKey{}, op)
}

func opOf(ctx context.Context) string {
	op, _ := ctx.Value(opKey{}).(string)
	return op
}

// opHeader carries the operation from client to proxy.
const opHeader = "skykv-op"
