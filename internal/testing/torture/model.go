// Package torture finds out whether a store keeps its promises while the way to
// its service misbehaves. Clients call it concurrently, [Check] looks for an order
// of their calls that explains every answer they got.
package torture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The model is one key, at any moment in one state: absent, or written by one
// write with one version and one expiry. It does not forget an entry that expires:
// whether an entry is expired is a matter of the clock's reading of each call,
// and the readings of clients differ by seconds in a run, in both directions.
//
// What the model allows is what the contract promises, and this alone:
//
//   - A call that succeeded took effect once, at one moment between its begin and
//     its end.
//   - ErrConditionFailed: at one moment between begin and end the condition did not
//     hold, and the call had no effect at all.
//   - Any other error that is not ErrIndeterminate: the call had no effect at all.
//   - ErrIndeterminate: the call took effect at one moment, or not at all. A
//     condition held at that moment.
//   - An unconditional Put or Delete of which the service saw n requests takes
//     effect up to n times, one of them as above, the others at moments up to the
//     end of the service's work on the last request, which may be after the call.
//     Never more than once when there was one request.
//   - So does a put-if-absent, if at each of those moments the key was absent, or
//     expired by the clock's reading of the call; and no more often than answers
//     were lost, plus one.
//   - IfVersion takes effect once at most, however many requests there were.
//   - A version names one state: never those of two writes, nor those that a write
//     and its repeat made.
//   - A read of several keys reads each of them at a moment of its own.
//
// Without faults, a call makes one request that changes something (a put-if-absent
// may need more to take an expired entry over, but none of their answers is lost),
// so that the model then is that of a linearizable register.

// action is what a call does to a key.
type action string

const (
	actGet    action = "get"
	actExists action = "exists"
	actPut    action = "put"
	actDelete action = "delete"
)

// condition is what a write asks for.
type condition string

const (
	condNone    condition = ""
	condAbsent  condition = "if not exists"
	condVersion condition = "if version"
)

// input is what the model is told about a call.
type input struct {
	Act     action
	Now     int64  // the clock's reading, in milliseconds
	Write   string // of a put: names it, and stands for the value
	Expires int64  // of a put
	Cond    condition
	Of      string // of condVersion: the write whose version it is
	Version string // of condVersion
}

// result is how a call ended.
type result string

const (
	resOK     result = "ok"
	resAbsent result = "absent" // ErrNotFound, or not among what was read
	resFailed result = "condition failed"
	resMaybe  result = "maybe" // it took effect or not
	resError  result = "error" // it had no effect
)

// output is what came of a call.
type output struct {
	Result  result
	Write   string // of a get: whose value was found
	Version string // of a get or put
	Expires int64  // of a get
}

// state of a key; the zero state is absence.
type state struct {
	Write   string // who wrote it
	Version string // "": not known, a repeat or a maybe wrote it
	Expires int64

	Past string // the known versions of states before this one, sorted, with a line each
}

func (s state) live(now int64) bool {
	return s.Write != "" && (s.Expires == 0 || now < s.Expires)
}

// named reports whether the version can be that of s.
func (s state) named(version string) bool {
	return s.Version == version || s.Version == "" && !s.had(version)
}

// had reports whether the version was that of a state before s.
func (s state) had(version string) bool {
	return version != "" && strings.Contains("\n"+s.Past, "\n"+version+"\n")
}

// past is Past of the states that follow s.
func (s state) past() string {
	if s.Version == "" {
		return s.Past
	}
	lines := append(slices.Collect(strings.Lines(s.Past)), s.Version+"\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// step gives the states that may follow s.
func step(s state, in input, out output) []state {
	switch in.Act {
	case actGet, actExists:
		switch {
		case out.Result == resAbsent:
			if !s.live(in.Now) {
				return []state{s}
			}
		case !s.live(in.Now):
		case in.Act == actExists:
			return []state{s}
		case s.Write == out.Write && s.Expires == out.Expires && s.named(out.Version):
			s.Version = out.Version
			return []state{s}
		}
		return nil
	}
	next := state{Past: s.past()}
	if in.Act == actPut {
		if next.had(out.Version) {
			return nil
		}
		next.Write, next.Version, next.Expires = in.Write, out.Version, in.Expires
	}
	holds, fails := true, false
	switch in.Cond {
	case condAbsent:
		holds = !s.live(in.Now)
		fails = !holds
	case condVersion:
		holds = s.Write == in.Of && s.live(in.Now) && s.named(in.Version)
		// A state whose version is not known may be another one of that write.
		fails = !holds || s.Version == ""
	}
	var states []state
	if holds && out.Result != resFailed {
		states = append(states, next)
	}
	if fails && out.Result == resFailed || out.Result == resMaybe {
		states = append(states, s)
	}
	return states
}

// model is step for porcupine: over the set of all states that the key may be in.
var model = func() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{}} },
		Step: func(s, in, out any) []any {
			next := step(s.(state), in.(input), out.(output))
			states := make([]any, len(next))
			for i := range next {
				states[i] = next[i]
			}
			return states
		},
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
		DescribeState:     func(s any) string { return s.(state).String() },
	}
	return m.ToModel()
}()

func (s state) String() string {
	if s.Write == "" {
		return "absent"
	}
	return fmt.Sprintf("%s v%s expires %d", s.Write, short(s.Version), s.Expires)
}

func describe(in input, out output) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", in.Act)
	if in.Act == actPut {
		fmt.Fprintf(&b, " %s", in.Write)
		if in.Expires != 0 {
			fmt.Fprintf(&b, " expires %d", in.Expires)
		}
	}
	if in.Cond != condNone {
		fmt.Fprintf(&b, " %s", in.Cond)
	}
	if in.Cond == condVersion {
		fmt.Fprintf(&b, " %s of %s", short(in.Version), in.Of)
	}
	fmt.Fprintf(&b, " @%d: %s", in.Now, out.Result)
	if out.Write != "" {
		fmt.Fprintf(&b, " %s", out.Write)
	}
	if out.Version != "" {
		fmt.Fprintf(&b, " v%s", short(out.Version))
	}
	if out.Expires != 0 {
		fmt.Fprintf(&b, " expires %d", out.Expires)
	}
	return b.String()
}

// short shows the end of a version's text: its beginning is the same for all
// versions of a key.
func short(version string) string {
	if version == "" {
		return "?"
	}
	return version[max(0, len(version)-8):]
}
