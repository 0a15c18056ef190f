package torture

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
)

// Call is what one client did to one key, and what it was told. A call to several keys
// is several Calls with the same ID.
type Call struct {
	ID     string // as faults.WithOp was told
	Client int
	Key    string
	In     input
	Out    output
	Err    string // of Out.Result resMaybe and resError

	// Atomic: the Calls with the same ID took effect together or not at all. Once: they
	// are not repeated.
	Atomic, Once bool

	// The begin and the end, in nanoseconds of one clock for all clients.
	Begin, End int64

	// How many requests that change something the service saw, how many of their
	// answers were lost, and when the service was through with them, if later than End.
	// Without a network that loses answers every call counts as one request.
	Requests, Lost int
	Through        int64
}

// History is what happened in one round.
type History struct{ Calls []Call }

// checkTimeout is for one round; a valid one takes some ten milliseconds.
const checkTimeout = 20 * time.Second

// Check returns nil when there is an order of the calls that explains every answer,
// by the rules of the model. Otherwise it saves a picture, a page of HTML, in the
// folder and says why. Not to find out in time is a failure as well.
func (h *History) Check(folder, name string) error {
	if err := h.checkVersions(); err != nil {
		return err
	}
	f := newFates(h.Calls)
	err := f.check()
	if failed, ok := errors.AsType[*unexplained](err); ok {
		if err := failed.draw(folder, name); err != nil {
			return err
		}
	}
	return err
}

func fileName(r rune) rune {
	if strings.ContainsRune(":/ ", r) {
		return '-'
	}
	return r
}

// checkVersions makes sure that no version names the states of two writes.
func (h *History) checkVersions() error {
	owner := make(map[string]string)
	for _, c := range h.Calls {
		write := cmp.Or(c.In.Write, c.Out.Write)
		if c.Out.Version == "" || c.In.Act == actTouch {
			continue
		}
		if other, known := owner[c.Out.Version]; known && other != write {
			return fmt.Errorf("version %s names the states of two writes, %s and %s", c.Out.Version, other, write)
		}
		owner[c.Out.Version] = write
	}
	return nil
}

// Count is the number of calls of the store's methods.
func (h *History) Count() int {
	ids := make(map[string]struct{})
	for _, c := range h.Calls {
		ids[c.ID] = struct{}{}
	}
	return len(ids)
}

// Maybes counts the calls that ended as indeterminate.
func (h *History) Maybes() int {
	n := 0
	for _, c := range h.Calls {
		if c.Out.Result == resMaybe {
			n++
		}
	}
	return n
}

// repeats is how often the call may have taken effect again: no more often than answers
// were lost.
func (c *Call) repeats() int {
	lost := max(min(c.Requests-1, c.Lost), 0)
	if c.Once || c.Out.Result == resError || c.Out.Result == resFailed {
		return 0
	}
	switch {
	case c.Atomic, c.In.Act == actMake:
		return lost
	case c.In.Act == actPut || c.In.Act == actDelete:
		if c.In.Cond != condVersion {
			return lost
		}
	case c.In.Act == actTouch && c.In.Cond == condLive:
		return lost
	case c.makes():
		return lost
	}
	return 0
}

// makes reports whether the call is an update that may have made the entry. Those of an
// entry that there is are under its version.
func (c *Call) makes() bool {
	switch c.In.Act {
	case actUpdate:
		return c.In.Of == "" && c.In.Write != ""
	case actIncrement:
		return c.Out.Result == resMaybe || c.Out.Write == numbered(c.In.Delta)
	}
	return false
}

// repeat is the input of the call when it takes effect again.
func (c *Call) repeat() input {
	in := c.In
	if in.Act == actIncrement { // only one that made the entry
		in.Cond = condAbsent
	}
	return in
}

// assume completes calls of which nobody has seen the requests: each made one or, over a
// network, one that was lost and another one.
func assume(calls []Call, remote bool) {
	for i := range calls {
		c := &calls[i]
		if c.Requests = 1; !remote {
			continue
		}
		c.Requests, c.Lost = 2, 1
		if c.Out.Result == resMaybe {
			c.Through = math.MaxInt64
		}
	}
}

// account completes calls by what the injector has seen. The function at is what the calls'
// clock read at a time.
func account(calls []Call, attempts []faults.Attempt, at func(time.Time) int64) {
	byOp := make(map[string][]faults.Attempt)
	for _, a := range attempts {
		if a.Write && !a.Sent.IsZero() {
			byOp[a.Op] = append(byOp[a.Op], a)
		}
	}
	for i := range calls {
		c := &calls[i]
		for _, a := range byOp[c.ID] {
			c.Requests++
			if !a.Kind.Delivered() || c.Out.Result == resMaybe {
				c.Lost++
			}
			if a.Answered.IsZero() {
				c.Through = math.MaxInt64
			} else {
				c.Through = max(c.Through, at(a.Answered))
			}
		}
	}
}
