// Package pages protects the loop over the pages of a scan from a service whose pages never
// end.
package pages

import (
	"context"
	"errors"
	"time"
)

// ErrRepeated is the error of a service whose pages form a circle.
var ErrRepeated = errors.New("the response is not from the service: it continues at an earlier page, so the scan would never end")

// Pages without a record are legal: all their records had expired. After several empty
// pages the next ones are requested more slowly.
const (
	emptyAtOnce = 2
	firstPause  = 5 * time.Millisecond
	longPause   = 100 * time.Millisecond
)

// Guard sees the pages of one scan. The zero Guard is ready to use.
type Guard struct {
	empty        int    // empty pages in a row
	seen         string // an earlier continuation
	steps, until int    // seen is replaced after until steps
}

// Next is called between two pages. records is the number of records of the page before,
// and the next page begins at the continuation. Next returns [ErrRepeated] when the scan
// has been there before, at the latest after three times around the circle. After several
// empty pages it waits, or returns the error of ctx when ctx ends.
func (g *Guard) Next(ctx context.Context, records int, continuation string) error {
	// Brent's algorithm finds a circle with one text in memory.
	if g.until > 0 && continuation == g.seen {
		return ErrRepeated
	}
	if g.steps == g.until {
		g.seen, g.steps, g.until = continuation, 0, max(2*g.until, 1)
	}
	g.steps++
	if g.empty++; records > 0 {
		g.empty = 0
	}
	if g.empty <= emptyAtOnce {
		return nil
	}
	pause := time.NewTimer(min(firstPause<<min(g.empty-emptyAtOnce-1, 10), longPause))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
