package torture

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// Claim says that a holder was told at some moment from Begin to End that it holds a lease.
// The times are nanoseconds of the clock that all holders share.
type Claim struct {
	Holder     string // a different text for each acquisition
	Token      int64
	Begin, End int64
}

// Holders checks that a lease has one holder at a time. It is safe for concurrent use.
type Holders struct {
	mu   sync.Mutex
	held map[int64]*tenure
	bad  []string
}

// tenure sums up the claims with one token: the first was true at End or before, the last
// at Begin or later.
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

// Tokens is the number of different tokens.
func (h *Holders) Tokens() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

// Violations returns what broke the rules: tokens are different, they grow, and at most one
// holder at a time believes that it holds the lease.
func (h *Holders) Violations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*tenure, 0, len(h.held))
	for _, of := range h.held {
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b *tenure) int { return cmp.Compare(a.token, b.token) })
	bad := slices.Clone(h.bad)
	var latest *tenure // of the tenures with smaller tokens
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
