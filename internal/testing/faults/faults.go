// Package faults breaks the connection between a store and its service, on purpose and
// repeatably. [NewHTTP] and [NewGRPC] start a proxy between a real SDK client and a real
// emulator. [Driver] simulates a network between a store and a driver that has none.
//
// An [Injector] decides what happens to each request, as a [Plan] says, and keeps a record.
// If the request reached the service, the record says when the service may have acted. So a
// test knows what may have been applied, how often and when, even if the client does not.
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
	Pass Kind = "pass" // the request is forwarded, and the response returned

	// With the next four kinds, the service does not see the request.
	Drop     Kind = "drop"     // the connection is reset
	Refuse   Kind = "refuse"   // the response is 503 or UNAVAILABLE
	Throttle Kind = "throttle" // the response is the service's throttling error
	Hang     Kind = "hang"     // no response until the client gives up

	// With the next five kinds, the service acts on the request, but the client does not get the
	// complete response.
	Lose     Kind = "lose"     // the connection is reset instead of the response
	Truncate Kind = "truncate" // the connection ends within the response
	Fail     Kind = "fail"     // the response is a 500, 502, 503 or 504, or INTERNAL, UNKNOWN or DEADLINE_EXCEEDED
	Garbage  Kind = "garbage"  // meaningless bytes replace the response; over HTTP, the response to a failed request is lost
	Late     Kind = "late"     // the connection is reset at once, and the request is forwarded later

	// Both the request and the response are delayed by some milliseconds.
	Delay Kind = "delay"
)

// Forwarded reports whether the service receives the request.
func (k Kind) Forwarded() bool {
	switch k {
	case Drop, Refuse, Throttle, Hang:
		return false
	}
	return true
}

// Delivered reports whether the client gets the service's own response.
func (k Kind) Delivered() bool { return k == Pass || k == Delay }

// Request describes a request, so that a plan can decide what happens to it.
type Request struct {
	// Op is the operation that [WithOp] named, or "" if it is not known.
	Op string

	// Attempt is the number of earlier requests with the same Op, since the last call of
	// [Injector.Use] or [Injector.Take].
	Attempt int

	// Method is the service's name for the request, such as PutItem, Commit or POST. For a
	// driver it is the name of the method, such as Write.
	Method string

	// Write says that the request may change something.
	Write bool
}

// Plan decides what happens to a request. It may be called concurrently.
type Plan func(Request) Kind

// Rates has the probability of each kind. The other requests pass.
type Rates map[Kind]float64

// Seeded returns a plan that chooses kinds at random, with these rates. The choice depends
// only on the seed and the request, so a run with the same operations, in any order, gets
// the same faults. Attempts from number maxFaulty on pass, because otherwise too many
// operations would use up all their attempts.
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
	const prime = 1099511628211 // the prime of the hash function FNV-1a
	h := uint64(14695981039346656037)
	for _, name := range names {
		for i := range len(name) {
			h = (h ^ uint64(name[i])) * prime
		}
		h = (h ^ 0xff) * prime
	}
	return rand.New(rand.NewPCG(seed, h))
}

// Writes returns a plan for the requests that may change something. It applies kinds to
// them, one after another in the order in which the requests come. All other requests pass.
func Writes(kinds ...Kind) Plan { return script(func(r Request) bool { return r.Write }, kinds) }

// Reads is like [Writes], for the requests that change nothing.
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

// DecidedBy returns a plan that calls decide, such as the function that the conformance
// suite passes to Config.Faulty. The suite's faults have the same names as the kinds.
func DecidedBy[F ~string](decide func(write bool) F) Plan {
	return func(r Request) Kind { return Kind(decide(r.Write)) }
}

// Attempt is the record of one request.
type Attempt struct {
	Request
	Kind Kind

	// The service acted between Sent and Answered, if the request was forwarded. Sent is zero
	// if it was not. Answered is zero if the service did not respond.
	Sent, Answered time.Time

	// Err says why the service did not respond.
	Err error
}

// Injector decides what happens to requests, and records them. The zero Injector lets all
// requests pass.
type Injector struct {
	mu       sync.Mutex
	plan     Plan
	seen     map[string]int // number of requests with each Op
	attempts []*Attempt
	counts   map[Kind]int

	between func(Attempt)

	// This is not a WaitGroup, because a request of a client that has given up may still begin
	// while somebody waits.
	underWay int
	idle     chan struct{} // if somebody waits, closed when underWay becomes 0
}

// Between sets a function that is called when the service has acted on a request whose
// response the client does not get. The function is called before the client notices, except
// with [Late]. Use removes the function.
func (in *Injector) Between(f func(Attempt)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.between = f
}

// Use replaces the plan, removes the function of Between, and clears the record but not the
// counts. It first waits until no request is running.
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

// Faults returns the number of requests whose kind is not Pass. That includes delayed requests.
func (in *Injector) Faults() int {
	n := 0
	for kind, count := range in.Counts() {
		if kind != Pass {
			n += count
		}
	}
	return n
}

// Take waits until no request is running, and returns the record since the last call of
// Take or Use. Clients must not send requests while Take runs.
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

// begin decides what happens to a request. The request counts as running until end is
// called.
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
		in.mu.Unlock() // the plan may wait for other requests
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

// lockIdle locks in.mu when no request is running.
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

// forward calls the function act, which makes the service act on a request, and records when.
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

// pause delays a request by up to 20 ms. The time is real, because SDKs and emulators use
// real time.
func pause(a *Attempt) {
	time.Sleep(time.Duration(1+a.rand().IntN(20)) * time.Millisecond)
}

// rand returns the source of everything that a kind leaves to chance. It is different for
// each attempt.
func (a *Attempt) rand() *rand.Rand { return Rand(0, a.Op, a.Method, fmt.Sprint(a.Attempt)) }

type opKey struct{}

// WithOp returns a context whose requests belong to the operation op, a short text of
// printable ASCII. With [Transport] and [DialOptions], requests carry op to the proxy. [Driver]
// reads op from the context.
func WithOp(ctx context.Context, op string) context.Context {
	return context.WithValue(ctx, opKey{}, op)
}

func opOf(ctx context.Context) string {
	op, _ := ctx.Value(opKey{}).(string)
	return op
}

// opHeader carries the operation from the client to the proxy.
const opHeader = "skykv-op"
