package pages

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestCircles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, around int }{{0, 1}, {0, 2}, {1, 1}, {5, 1}, {0, 7}, {3, 100}, {100, 3}} {
		var g Guard
		calls := 0
		for ; calls < 1000; calls++ {
			at := calls
			if at >= c.before {
				at = c.before + (at-c.before)%c.around
			}
			if err := g.Next(t.Context(), 1, strconv.Itoa(at)); err != nil {
				if !errors.Is(err, ErrRepeated) {
					t.Fatal(err)
				}
				break
			}
		}
		if most := 3*(c.before+c.around) + 2; calls > most {
			t.Errorf("rule: a scan in a circle ends; after %d pages and around one of %d it took %d calls, want at most %d", c.before, c.around, calls, most)
		}
	}
	var g Guard
	for i := range 10_000 {
		if err := g.Next(t.Context(), 1, strconv.Itoa(i)); err != nil {
			t.Fatalf("rule: a scan that goes on is not a circle; page %d returns %v", i, err)
		}
	}
}

func TestEmptyPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Guard
		began := time.Now()
		for i := range 100 {
			_ = g.Next(t.Context(), i%2, strconv.Itoa(i))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("rule: a page without records among others costs no time; it took %s", took)
		}
		for i := range 100 {
			_ = g.Next(t.Context(), 0, strconv.Itoa(1000+i))
		}
		if took := time.Since(began); took < 9*time.Second || took > 10*time.Second {
			t.Errorf("rule: empty pages in a row are requested ten times a second; 100 took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := g.Next(ctx, 0, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rule: the pause ends with the context; it ends with %v", err)
		}
	})
}
