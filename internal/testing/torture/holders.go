package torture

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// Claim says that at some moment between Begin and End a holder was told that it has the
// lease. The times are in nanoseconds, by a clock that all holders share.
type Claim struct {
	Holder     string // names the acquisition, or the process that made it
	Token      int64
	Begin, End int64
}

// Holders checks that a lease has only one holder at a time. It may be used concurrently.
type Holders struct {
	mu   sync.Mutex
	held map[int64]*tenure
	bad  []string
}

// tenure combines the claims with one token. The holder had the lease at least from
// the time first until the time last.
type tenure struct {
	holder      string
	token       int64
	first, last int64
}

// Claim records a claim.
func (h *Holders) Claim(c Claim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = make(map[int64]*tenure)
	}
	of := h.held[c.Token]
	if of == nil {
		of = &tenure{c.Holder, c.Token, c.End, c.Begin}
		h.held[c.Token] = of
	}
	if of.holder != c.Holder {
		h.bad = append(h.bad, fmt.Sprintf("rule: no two tokens are equal; %s and %s have token %d", of.holder, c.Holder, c.Token))
		return
	}
	of.first, of.last = min(of.first, c.End), max(of.last, c.Begin)
}

// Tokens returns the number of different tokens.
func (h *Holders) Tokens() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

// Violations describes breaches of these rules: tokens are different and grow, and at most one
// holder at a time is told that it has the lease. It returns nothing only if there is no breach.
func (h *Holders) Violations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*tenure, 0, len(h.held))
	for _, of := range h.held {
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b *tenure) int { return cmp.Compare(a.token, b.token) })
	bad := slices.Clone(h.bad)
	var latest *tenure // the tenure that ended last, of those with smaller tokens
	for _, of := range all {
		if latest != nil && latest.last > of.first {
			bad = append(bad, fmt.Sprintf("rule: a lease has one holder at a time, and tokens grow; %s held it with token %d until %d ns, and %s with token %d from %d ns on",
				latest.holder, latest.token, latest.last, of.holder, of.token, of.first))
		}
		if latest == nil || of.last > latest.last {
			latest = of
		}
	}
	return bad
}
