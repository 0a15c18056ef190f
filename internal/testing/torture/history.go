package torture

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/skykv/skykv/internal/testing/faults"
)

// Call is what one client did to one key, and what it was told. A call that reads
// several keys is several Calls with the same ID.
type Call struct {
	ID     string // as faults.WithOp was told
	Client int
	Key    string
	In     input
	Out    output
	Err    string // of Out.Result resMaybe and resError

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
	byKey := make(map[string][]porcupine.Operation)
	for key, calls := range h.byKey() {
		byKey[key] = operations(calls)
	}
	for key, operations := range byKey {
		verdict, info := porcupine.CheckOperationsVerbose(model, operations, checkTimeout)
		if verdict == porcupine.Ok {
			continue
		}
		why := "no order of the calls explains the answers"
		if verdict == porcupine.Unknown {
			why = fmt.Sprintf("no answer within %v", checkTimeout)
		}
		picture := filepath.Join(folder, strings.Map(fileName, name+"-"+key)+".html")
		if err := os.MkdirAll(folder, 0o777); err != nil {
			return err
		}
		if err := porcupine.VisualizePath(model, info, picture); err != nil {
			return err
		}
		return fmt.Errorf("key %s, %d operations: %s; see %s\n%s", key, len(operations), why, picture, list(operations))
	}
	return nil
}

func fileName(r rune) rune {
	if strings.ContainsRune(":/ ", r) {
		return '-'
	}
	return r
}

func list(operations []porcupine.Operation) string {
	slices.SortFunc(operations, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	for _, o := range operations {
		end := "∞"
		if o.Return != math.MaxInt64 {
			end = fmt.Sprintf("%8.3f", float64(o.Return)/1e6)
		}
		fmt.Fprintf(&b, "%8.3f–%s ms client %d: %s %v\n", float64(o.Call)/1e6, end, o.ClientId, describe(o.Input.(input), o.Output.(output)), o.Metadata)
	}
	return b.String()
}

// checkVersions makes sure that no version names the states of two writes.
func (h *History) checkVersions() error {
	owner := make(map[string]string)
	for _, c := range h.Calls {
		write := c.Out.Write
		if c.In.Act == actPut {
			write = c.In.Write
		}
		if c.Out.Version == "" {
			continue
		}
		if other, known := owner[c.Out.Version]; known && other != write {
			return fmt.Errorf("version %s names the states of two writes, %s and %s", c.Out.Version, other, write)
		}
		owner[c.Out.Version] = write
	}
	return nil
}

func (h *History) byKey() map[string][]Call {
	calls := make(map[string][]Call)
	for _, c := range h.Calls {
		calls[c.Key] = append(calls[c.Key], c)
	}
	return calls
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

// repeats is how often the call may have taken effect again.
func (c *Call) repeats() int {
	switch {
	case c.Out.Result == resError, c.Out.Result == resFailed, c.In.Act != actPut && c.In.Act != actDelete:
	case c.In.Cond == condNone:
		return max(c.Requests-1, 0)
	case c.In.Cond == condAbsent:
		return max(min(c.Requests-1, c.Lost), 0)
	}
	return 0
}

// operations is the history of one key for porcupine: a call is one operation, and
// one more that may be for each repeat that the contract allows.
func operations(calls []Call) []porcupine.Operation {
	var operations []porcupine.Operation
	clients := 0
	for _, c := range calls {
		clients = max(clients, c.Client+1)
	}
	for _, c := range calls {
		n, end := c.Requests, max(c.End, c.Through)
		if c.Out.Result == resMaybe && n == 0 {
			continue // the service saw none of it
		}
		if c.Out.Result == resError {
			continue
		}
		op := porcupine.Operation{ClientId: c.Client, Input: c.In, Output: c.Out, Call: c.Begin, Return: c.End, Metadata: strings.TrimSpace(c.ID + " " + c.Err)}
		if c.Out.Result == resMaybe {
			op.Return = end
		}
		operations = append(operations, op)
		for range c.repeats() {
			op.Output = output{Result: resMaybe}
			op.Return = end
			op.Metadata = c.ID + " (repeat)"
			op.ClientId = clients // a row of their own in the picture
			clients++
			operations = append(operations, op)
		}
	}
	return operations
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
