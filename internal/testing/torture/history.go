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

// Call is what one client did to one key, and the result. A call to several keys is several
// Calls with the same ID.
type Call struct {
	ID     string // the operation that the call passes to faults.WithOp
	Client int
	Key    string
	In     input
	Out    output
	Err    string // the error, if the function failed recorded one

	// Atomic says that either all Calls with this ID took effect, or none of them. Once says
	// that the model allows no repeats of this Call.
	Atomic, Once bool

	// The call began and ended at these times of the clock that all clients share, in
	// nanoseconds.
	Begin, End int64

	// Requests is how many writing requests the service saw for this call. Lost is how many of
	// their responses were lost; if Out.Result is resMaybe, all of them count as lost. Through
	// is when the service had finished the requests, by the clock of Begin and End. Without an
	// Injector nobody sees the requests, so the function assume sets these fields.
	Requests, Lost int
	Through        int64
}

// History is what happened in one round.
type History struct{ Calls []Call }

// checkTimeout limits the check of one key. The check of a round without a violation takes about
// ten milliseconds.
const checkTimeout = 20 * time.Second

// Check returns nil if there is an order of the calls that explains every result by the
// rules of the model. Otherwise it returns an error that says why not. It also fails if it does not
// finish in time. If a search for an order fails, it saves a picture, an HTML page, in the folder.
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

// checkVersions returns an error if one version names the states of two writes.
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

// Count returns the number of calls of the store's methods.
func (h *History) Count() int {
	ids := make(map[string]struct{})
	for _, c := range h.Calls {
		ids[c.ID] = struct{}{}
	}
	return len(ids)
}

// Maybes returns how many calls had an indeterminate result.
func (h *History) Maybes() int {
	n := 0
	for _, c := range h.Calls {
		if c.Out.Result == resMaybe {
			n++
		}
	}
	return n
}

// The method repeats returns how many more times the call may have taken effect: at most once
// for each lost response.
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

// The method makes reports whether the call is an update that may have made the entry. An update
// of an existing entry has the entry's version as its condition, so it is not repeated.
func (c *Call) makes() bool {
	switch c.In.Act {
	case actUpdate:
		return c.In.Of == "" && c.In.Write != ""
	case actIncrement:
		return c.Out.Result == resMaybe || c.Out.Write == numbered(c.In.Delta)
	}
	return false
}

// The method repeat returns the input that the call has if it takes effect again.
func (c *Call) repeat() input {
	in := c.In
	if in.Act == actIncrement { // an increment is repeated only if it made the entry
		in.Cond = condAbsent
	}
	return in
}

// assume completes calls whose requests nobody saw. It assumes that each call made one request.
// If remote is set, it assumes two requests, and that the response to the first one was lost.
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

// account fills in Requests, Lost and Through of the calls from the attempts that the
// injector saw. The function at converts a time to the clock of the calls.
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
