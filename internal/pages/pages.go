// Package pages protects a scan from a service whose pages never end.
package pages

import (
	"context"
	"errors"
	"time"
)

// ErrRepeated is the error when a service returns to a page that the scan has already read.
var ErrRepeated = errors.New("the response is not from the service: it continues at an earlier page, so the scan would never end")

// A page may be empty, because all its records have expired. After several empty pages in a
// row the next ones are requested more slowly.
const (
	emptyAtOnce = 2
	firstPause  = 5 * time.Millisecond
	longPause   = 100 * time.Millisecond
)

// Guard watches the pages of one scan. The zero Guard is ready to use.
type Guard struct {
	empty        int    // how many pages in a row were empty
	seen         string // a continuation that an earlier call received
	steps, until int    // seen is replaced when steps becomes equal to until
}

// Next must be called between two pages. The argument records is the number of records on the page
// that was read. The argument continuation is where the next page begins. If the pages lead in a
// circle, Next returns [ErrRepeated] after at most three times as many pages as there are
// different ones. After several empty pages it waits before it returns. If ctx ends during the
// wait, Next returns the error of ctx.
func (g *Guard) Next(ctx context.Context, records int, continuation string) error {
	// Brent's algorithm finds a circle and keeps only one continuation in memory.
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
