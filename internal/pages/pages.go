// Package pages guards the loop over the pages of a scan against a service that never
// comes to an end.
package pages

import (
	"context"
	"errors"
	"time"
)

// ErrRepeated is the error of a service that leads a scan in a circle.
var ErrRepeated = errors.New("the service's answer continues where an earlier one did, so that the scan would never end")

// Pages without a record are no fault: all that they had was expired. A service that
// sends nothing else is asked more and more slowly.
const (
	emptyAtOnce = 2
	firstPause  = 5 * time.Millisecond
	longPause   = 100 * time.Millisecond
)

// Guard sees the pages of one scan. The zero Guard is ready.
type Guard struct {
	empty        int    // pages in a row
	seen         string // an earlier continuation
	steps, until int    // seen is replaced after until steps
}

// Next is called between two pages: the one before had so many records, and the one after
// begins at the continuation. It returns [ErrRepeated] when the scan has been there before,
// at the latest after three times around the circle. After some empty pages in a row it
// waits a little, or until ctx ends, whose error it returns.
func (g *Guard) Next(ctx context.Context, records int, continuation string) error {
	// Brent's way to find a circle with one text in memory.
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
