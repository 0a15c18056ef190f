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

// Call is what one client did to one key, and the result. A call to several keys is
// several Calls with the same ID.
type Call struct {
	ID     string // as passed to faults.WithOp
	Client int
	Key    string
	In     input
	Out    output
	Err    string // for Out.Result resMaybe and resError

	// Atomic: the Calls with the same ID took effect together or not at all. Once: they
	// are not repeated.
	Atomic, Once bool

	// The begin and the end, in nanoseconds of the clock that all clients share.
	Begin, End int64

	// How many requests for a change the service saw, how many of their responses were
	// lost, and when the service had finished them, if later than End. Without a network
	// that loses responses every call counts as one request.
	Requests, Lost int
	Through        int64
}

// History is what happened in one round.
type History struct{ Calls []Call }

// checkTimeout is for one round; a valid round takes some ten milliseconds.
const checkTimeout = 20 * time.Second

// Check returns nil if, by the rules of the model, an order of the calls explains every
// answer. Otherwise it saves a picture, a page of HTML, in the folder and says why. It
// also fails when it finds no answer in time.
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

// repeats is how many more times the call may have taken effect: at most once for each
// lost response.
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

// makes reports whether the call is an update that may have made the entry. An update of
// an existing entry is under the entry's version.
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
	if in.Act == actIncrement { // only an increment that made the entry is repeated
		in.Cond = condAbsent
	}
	return in
}

// assume completes calls whose requests nobody has seen: each made one request or, over
// a network, one that was lost and a second one.
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

// account completes calls by what the injector has seen. The function at turns a time
// into the calls' clock.
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
