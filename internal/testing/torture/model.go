// Package torture finds out whether a store keeps its promises while the network to its
// service fails. Clients call it concurrently, and [Check] looks for an order of their calls
// that explains every answer.
package torture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The model is one key, which is always in one state: absent, or written by one write with
// one version and one expiry. It does not forget an entry that expires: whether an entry is
// expired depends on the reading of the clock in each call, and the readings of clients
// differ by seconds during a run, in both directions.
//
// The model allows exactly what the contract promises:
//
//   - A call that succeeded took effect once, at one moment between its begin and
//     its end.
//   - ErrConditionFailed: at one moment between begin and end the condition did not
//     hold, and the call had no effect at all.
//   - Any other error that is not ErrIndeterminate: the call had no effect at all.
//   - ErrIndeterminate: the call took effect at one moment, or not at all. A
//     condition held at that moment.
//   - An unconditional Put or Delete of which the service saw n requests takes effect up
//     to n times: once as above, and otherwise at moments up to the end of the service's
//     work on the last request, which may be after the call. It takes effect at most once
//     if there was one request.
//   - The same holds for a put-if-absent, if at each of those moments the key was absent,
//     or expired by the clock's reading of the call; and at most once more than responses
//     were lost.
//   - A call under IfVersion takes effect at most once, however many requests there were.
//   - A version names one state: never the states of two writes, nor those that a write and
//     its repeat made.
//   - A read of several keys may read each of them at a different moment.
//   - A touch changes the expiry and the version of a live entry, never the value. A touch
//     without a version may be repeated like a put-if-absent, where the entry is live.
//   - An update sees the entry that it replaces: there is no other effect between what its
//     function saw and what it stored. It takes effect once. An update that makes the entry
//     may be repeated like a put-if-absent.
//   - An AtomicWrite takes effect on all of its keys or on none, on each of them at some
//     moment between its begin and its end, since reads may see it so on DynamoDB. The same
//     holds for each of its repeats. There is none when one of its writes is under
//     IfVersion, and otherwise at most one for each lost response. A check may give the
//     entry another version. When a condition fails, it failed for each key that is named.
//
// Without faults, a call makes one request for a change (a put-if-absent may need more
// to take over an expired entry, but none of their responses is lost). The model is then
// that of a linearizable register.

// action is what a call does to a key.
type action string

const (
	actGet    action = "get"
	actExists action = "exists"
	actPut    action = "put"
	actDelete action = "delete"

	actTouch     action = "touch"
	actCheck     action = "check"          // part of an AtomicWrite
	actUpdate    action = "update"         // deletes when Write is empty
	actIncrement action = "increment"      // the entry is a number: see numberOf
	actTake      action = "get and delete" // of the entry in Out
	actMake      action = "make again"     // a repeat of combined updates: see Made
)

// condition is what a write requires.
type condition string

const (
	condNone    condition = ""
	condAbsent  condition = "if not exists"
	condVersion condition = "if version"
	condLive    condition = "if it exists" // for a touch
)

// input is what the model knows about a call before it takes effect.
type input struct {
	Act     action
	Now     int64    // the clock's reading, in milliseconds
	Write   string   // names a put or update, and stands for its value
	Expires int64    // for calls that store an entry
	Keep    bool     // a live entry keeps its expiry instead
	Delta   int64    // for an increment
	Made    []string // for actMake: where there was no entry, they made one of these
	Cond    condition

	// Of is the write whose entry a condVersion or an update wants, and Version is the
	// version of that entry. If Of is empty, an update wants no entry.
	Of      string
	Version string
}

// result is how a call ended.
type result string

const (
	resOK     result = "ok"
	resAbsent result = "absent" // ErrNotFound, or not in the result of a read
	resFailed result = "condition failed"
	resMaybe  result = "maybe"            // it took effect or not
	resRepeat result = "a repeat or none" // for actMake, whose calls are listed by themselves
	resEffect result = "effect"           // it took effect, whatever it returned: see fates
	resError  result = "error"            // it had no effect
)

// output is the result of a call.
type output struct {
	Result  result
	Write   string // for a get: whose value was found; for an increment: the sum
	Version string // of the entry that was found or stored, if known
	Expires int64  // for a get or update
}

// state is the state of a key; the zero state is absence.
type state struct {
	Write   string // who wrote it
	Version string // "" if unknown: a repeat or a maybe wrote it
	Expires int64

	Past string // Past has the known versions of states before this one, sorted, one per line.
}

func (s state) live(now int64) bool {
	return s.Write != "" && (s.Expires == 0 || now < s.Expires)
}

// named reports whether s can have the version.
func (s state) named(version string) bool {
	return s.Version == version || s.Version == "" && !s.had(version)
}

// had reports whether a state before s had the version.
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

// step returns the states that may follow s.
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
	live := s.live(in.Now)
	if in.Act == actMake {
		states := []state{s}
		for _, write := range in.Made {
			if !live {
				states = append(states, state{Past: s.past(), Write: write})
			}
		}
		return states
	}
	next, changes := s.after(in, out)
	if !changes {
		if out.Result == resMaybe {
			return []state{s}
		}
		return nil
	}
	holds, fails := true, false
	switch {
	case in.Act == actUpdate:
		holds = !live && in.Of == "" || live && s.Write == in.Of && s.named(in.Version)
	case in.Act == actTake:
		holds, fails = live, !live
	}
	switch in.Cond {
	case condAbsent:
		holds = !live
		fails = !holds
	case condLive:
		holds = live
		fails = !holds
	case condVersion:
		holds = s.Write == in.Of && live && s.named(in.Version)
		// A state whose version is unknown may be another state of that write.
		fails = !holds || s.Version == ""
	}
	var states []state
	if holds && out.Result != resFailed {
		states = append(states, next)
		if in.Act == actCheck && s.Write != "" { // the check may have written the entry again
			states = append(states, state{Write: s.Write, Expires: s.Expires, Past: s.past()})
		}
	}
	if fails && out.Result == resFailed || out.Result == resMaybe {
		states = append(states, s)
	}
	return states
}

// after returns the state that a write makes of s where its condition holds, and false
// if the result of the write contradicts s.
func (s state) after(in input, out output) (next state, possible bool) {
	live := s.live(in.Now)
	next = state{Past: s.past(), Write: in.Write, Version: out.Version, Expires: in.Expires}
	if in.Keep && live {
		next.Expires = s.Expires
	}
	told := out.Result == resOK
	switch in.Act {
	case actCheck:
		return s, true
	case actDelete:
		return state{Past: next.Past}, true
	case actTake:
		seen := s.Write == out.Write && s.Expires == out.Expires && s.named(out.Version)
		return state{Past: next.Past}, !told || seen
	case actTouch:
		next.Write = s.Write
	case actUpdate:
		if in.Write == "" {
			return state{Past: next.Past}, true
		}
		if told && out.Expires != next.Expires {
			return next, false
		}
	case actIncrement:
		number, ok := int64(0), true
		if live {
			number, ok = numberOf(s.Write)
		}
		if next.Write = numbered(number + in.Delta); !ok || told && next.Write != out.Write {
			return next, false
		}
	}
	return next, !next.had(out.Version)
}

// numbered is the Write of an entry that is a number. Equal numbers have equal Writes.
func numbered(n int64) string { return "#" + strconv.FormatInt(n, 10) }

func numberOf(write string) (int64, bool) {
	text, ok := strings.CutPrefix(write, "#")
	n, err := strconv.ParseInt(text, 10, 64)
	return n, ok && err == nil
}

// model makes step usable for porcupine: it works on the set of all states that the
// key may have.
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
	if in.Write != "" {
		fmt.Fprintf(&b, " %s", in.Write)
	}
	if in.Delta != 0 {
		fmt.Fprintf(&b, " by %d", in.Delta)
	}
	if in.Expires != 0 {
		fmt.Fprintf(&b, " expires %d", in.Expires)
	}
	if in.Keep {
		b.WriteString(" unless it expires already")
	}
	if in.Cond != condNone {
		fmt.Fprintf(&b, " %s", in.Cond)
	}
	if in.Of != "" {
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
