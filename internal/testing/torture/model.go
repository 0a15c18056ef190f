// Package torture finds out whether a store keeps its promises while the network to its
// service fails. Clients call the store concurrently. Then [History.Check] looks for an
// order of their calls that explains every result.
package torture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The model has one key, which is always in one state: it is absent, or one write has
// written it, with one version and one expiry. The model does not forget an entry that
// expires. Whether an entry has expired depends on what each call read from its clock, and
// the clocks of the clients differ by seconds during a run, and for single calls by up to half
// an hour, in both directions.
//
// The model allows exactly what the contract promises:
//
//   - A call that succeeded took effect once, at one moment between its begin and
//     its end.
//   - A call with ErrConditionFailed had no effect. At one moment between its begin and its end
//     the condition did not hold.
//   - A call with any other error that is not ErrIndeterminate had no effect.
//   - A call with ErrIndeterminate took effect at one moment, or not at all. If it took effect, its
//     condition held at that moment.
//   - An unconditional Put or Delete may be repeated. If the service saw n requests for the call,
//     the call takes effect up to n times: once as above, and the other times at any moments
//     until the service has finished the last request. That may be after the end of the call.
//   - A put-if-absent may be repeated in the same way, but only at moments when the key was absent, or
//     had expired by the clock of the call. If n responses were lost, it takes effect at most
//     n+1 times.
//   - A call under IfVersion takes effect at most once, however many requests there were.
//   - A version names one state. It never names the states of two writes, nor the states that a write
//     and its repeat made.
//   - A read of several keys may read each of them at a different moment.
//   - A touch changes the expiry and the version of a live entry, never the value. A touch
//     without a version may be repeated like a put-if-absent, but only while the entry is live.
//   - An update sees the entry that it replaces: the key does not change between the moment when the
//     entry was read for the update's function and the moment when the result was stored. An update
//     takes effect once. Only an update that makes the entry may be repeated, like a put-if-absent.
//   - An AtomicWrite takes effect on all of its keys or on none. It may take effect on each key at a
//     different moment between its begin and its end, because reads on DynamoDB may see that. The
//     same holds for each of its repeats. There are no repeats if one of its writes is under
//     IfVersion, and otherwise at most one for each lost response. A check may change the
//     version of the entry. If a condition failed, it failed for each key that the error names.
//
// Without faults, each call that writes makes one writing request. (A put-if-absent that replaces
// an expired entry, and an update that competes with others, may need more. But none of their
// responses is lost.) So without faults the model is a linearizable register.

// action is what a call does to a key.
type action string

const (
	actGet    action = "get"
	actExists action = "exists"
	actPut    action = "put"
	actDelete action = "delete"

	actTouch     action = "touch"
	actCheck     action = "check"          // a part of an AtomicWrite
	actUpdate    action = "update"         // deletes the entry if Write is empty
	actIncrement action = "increment"      // the entry is a number: see numberOf
	actTake      action = "get and delete" // returns the entry that output describes
	actMake      action = "make again"     // a repeat of combined updates, which may store one of input.Made
)

// condition is the condition of a write.
type condition string

const (
	condNone    condition = ""
	condAbsent  condition = "if not exists"
	condVersion condition = "if version"
	condLive    condition = "if it exists" // the condition of a touch
)

// input is everything that is known about a call before it takes effect.
type input struct {
	Act     action
	Now     int64    // what the clock read, in milliseconds
	Write   string   // the name of the write, which stands for its value
	Expires int64    // the expiry, if the call stores an entry
	Keep    bool     // if there is a live entry, its expiry is kept instead
	Delta   int64    // the amount of an increment
	Made    []string // for actMake: if there was no live entry, the call may have stored one of these writes
	Cond    condition

	// With condVersion, or for an update, Of is the write whose entry the call requires,
	// and Version that entry's version. An update with an empty Of requires that there is
	// no entry.
	Of      string
	Version string
}

// result is how a call ended.
type result string

const (
	resOK     result = "ok"
	resAbsent result = "absent" // ErrNotFound, or missing from the result of a read
	resFailed result = "condition failed"
	resMaybe  result = "maybe"            // it may have taken effect
	resRepeat result = "a repeat or none" // for actMake: it took effect or not; the calls that it repeats are also in the history
	resEffect result = "effect"           // it took effect, whatever it returned: see fates
	resError  result = "error"            // it had no effect
)

// output is the result of a call.
type output struct {
	Result  result
	Write   string // for a get or a take, the write that stored the value; for an increment, the sum
	Version string // the version of the entry that was found or stored, if it is known
	Expires int64  // for a get, a take or an update, the expiry
}

// state is the state of a key. The zero state means that it is absent.
type state struct {
	Write   string // the write that stored the entry
	Version string // "" if unknown, because a repeat or a call with resMaybe wrote the entry
	Expires int64

	Past string // the known versions of earlier states, sorted, one on each line
}

func (s state) live(now int64) bool {
	return s.Write != "" && (s.Expires == 0 || now < s.Expires)
}

// The method named reports whether s may have this version.
func (s state) named(version string) bool {
	return s.Version == version || s.Version == "" && !s.had(version)
}

// The method had reports whether an earlier state had this version.
func (s state) had(version string) bool {
	return version != "" && strings.Contains("\n"+s.Past, "\n"+version+"\n")
}

// The method past returns the field Past of a state that follows s.
func (s state) past() string {
	if s.Version == "" {
		return s.Past
	}
	lines := append(slices.Collect(strings.Lines(s.Past)), s.Version+"\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// step returns the states in which the key may be after a call with this input and output.
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
		// If the version of s is unknown, s may be a different state of the same write.
		fails = !holds || s.Version == ""
	}
	var states []state
	if holds && out.Result != resFailed {
		states = append(states, next)
		if in.Act == actCheck && s.Write != "" { // the check may have written the entry again, with a new version
			states = append(states, state{Write: s.Write, Expires: s.Expires, Past: s.past()})
		}
	}
	if fails && out.Result == resFailed || out.Result == resMaybe {
		states = append(states, s)
	}
	return states
}

// The method after returns the state that follows s when a write takes effect. It returns false
// if the output shows that the write cannot have taken effect in s.
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

// numbered returns the Write of an entry with this number. Equal numbers have equal Writes.
func numbered(n int64) string { return "#" + strconv.FormatInt(n, 10) }

func numberOf(write string) (int64, bool) {
	text, ok := strings.CutPrefix(write, "#")
	n, err := strconv.ParseInt(text, 10, 64)
	return n, ok && err == nil
}

// model is the function step for porcupine, which applies it to all states in which the key
// may be.
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

// The function short returns the end of a version's text. Its beginning is the same for all
// versions of a key.
func short(version string) string {
	if version == "" {
		return "?"
	}
	return version[max(0, len(version)-8):]
}
