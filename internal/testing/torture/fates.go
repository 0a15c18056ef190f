package torture

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// fate says whether an AtomicWrite with an unknown outcome took effect, or whether an
// AtomicWrite took effect once more, because its request was sent again after a lost response
// (a repeat). An AtomicWrite and each of its repeats take effect on all keys or on none.
type fate int

const (
	open    fate = iota // not decided: the check of each key may assume either of the other two
	applied             // it took effect on all keys
	never               // it took effect on no key
)

// fates looks for an order of the calls that explains all their results. It checks the keys one
// by one, because an AtomicWrite need not take effect on all of its keys at the same moment.
// Only the fates connect the keys: a fate must be the same for all keys of its AtomicWrite.
type fates struct {
	calls map[string][]Call   // the calls to each key
	names []string            // the names of the fates
	of    map[string]int      // the index of each fate
	keys  [][]string          // the keys of each fate
	known map[string]*verdict // the verdicts so far, by a key and the values of its fates
}

// verdict is what porcupine, a checker of linearizability, found for one key with given values of
// the key's fates.
type verdict struct {
	result     porcupine.CheckResult
	info       porcupine.LinearizationInfo
	operations []porcupine.Operation
}

func newFates(calls []Call) *fates {
	f := &fates{calls: make(map[string][]Call), of: make(map[string]int), known: make(map[string]*verdict)}
	for _, c := range calls {
		f.calls[c.Key] = append(f.calls[c.Key], c)
		for _, name := range c.fates() {
			i, ok := f.of[name]
			if !ok {
				i = len(f.names)
				f.of[name] = i
				f.names, f.keys = append(f.names, name), append(f.keys, nil)
			}
			f.keys[i] = append(f.keys[i], c.Key)
		}
	}
	return f
}

// fates returns the names of the fates on which the call's effects depend.
func (c *Call) fates() (names []string) {
	if !c.Atomic {
		return nil
	}
	if c.Out.Result == resMaybe && c.Requests > 0 {
		names = append(names, c.ID)
	}
	for n := range c.repeats() {
		names = append(names, c.ID+repeatName(n))
	}
	return names
}

func repeatName(n int) string { return fmt.Sprintf(" (repeat %d)", n+1) }

// unexplained is the error when no order of the calls explains their results, or when the check
// ran out of time.
type unexplained struct {
	*verdict
	key, why, picture string
}

func (u *unexplained) Error() string {
	return fmt.Sprintf("key %s, %d operations: %s; see %s\n%s", u.key, len(u.operations), u.why, u.picture, list(u.operations))
}

// draw saves porcupine's picture of the calls.
func (u *unexplained) draw(folder, name string) error {
	u.picture = filepath.Join(folder, strings.Map(fileName, name+"-"+u.key)+".html")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	return porcupine.VisualizePath(model, u.info, u.picture)
}

// check returns nil if all results can be explained by some choice of the fates, together
// with some order of the calls to each key.
func (f *fates) check() error {
	none := make([]fate, len(f.names))
	for key := range f.calls {
		if v := f.try(key, none); v.result != porcupine.Ok {
			return failure(key, v, "no order of the calls explains the answers")
		}
	}
	return f.solve(none)
}

func failure(key string, v *verdict, why string) *unexplained {
	if v.result == porcupine.Unknown {
		why = fmt.Sprintf("no answer within %v", checkTimeout)
	}
	return &unexplained{verdict: v, key: key, why: why}
}

// unsure reports whether u is the result of a check that ran out of time.
func (u *unexplained) unsure() bool { return u != nil && u.result == porcupine.Unknown }

// solve looks for values of the open fates with which the calls to every key can be explained. It
// begins with the fates for which some key allows only one value.
func (f *fates) solve(now []fate) error {
	now = slices.Clone(now)
	for changed := true; changed; {
		changed = false
		for i := range now {
			if now[i] != open {
				continue
			}
			yes, no := f.with(now, i, applied), f.with(now, i, never)
			switch {
			case yes.unsure():
				return yes
			case no.unsure():
				return no
			case yes != nil && no != nil:
				no.why = fmt.Sprintf("the AtomicWrite %s took effect on some of the keys %s, and not on all: here it did, and on %s it did not", f.names[i], f.keys[i], yes.key)
				return no
			case yes != nil:
				now[i], changed = never, true
			case no != nil:
				now[i], changed = applied, true
			}
		}
	}
	i := slices.Index(now, open)
	if i < 0 {
		return nil
	}
	// Each key allows both values of this fate as long as other fates are open, so try
	// both.
	now[i] = never
	err := f.solve(now)
	if err != nil {
		now[i] = applied
		err = f.solve(now)
	}
	return err
}

// The method with checks all keys of the fate with index i, as if this fate had the given value.
// It does not change the slice now.
func (f *fates) with(now []fate, i int, value fate) *unexplained {
	old := now[i]
	defer func() { now[i] = old }()
	now[i] = value
	for _, key := range f.keys[i] {
		if v := f.try(key, now); v.result != porcupine.Ok {
			return failure(key, v, "")
		}
	}
	return nil
}

// The method try checks the calls to one key, with the values of the fates in now. It remembers
// the result.
func (f *fates) try(key string, now []fate) *verdict {
	var name strings.Builder
	name.WriteString(key)
	for i, keys := range f.keys {
		if slices.Contains(keys, key) {
			fmt.Fprintf(&name, " %d", now[i])
		}
	}
	v := f.known[name.String()]
	if v == nil {
		v = &verdict{operations: f.operations(key, now)}
		v.result, v.info = porcupine.CheckOperationsVerbose(model, v.operations, checkTimeout)
		f.known[name.String()] = v
	}
	return v
}

// operations returns the history of one key for porcupine. Each call is one operation. It leaves
// out the calls without an effect whose result porcupine need not explain, for example because it
// is an error. Each repeat that the contract allows is another operation, which may have no effect.
func (f *fates) operations(key string, now []fate) []porcupine.Operation {
	var operations []porcupine.Operation
	calls, clients := f.calls[key], 0
	for _, c := range calls {
		clients = max(clients, c.Client+1)
	}
	// add adds an operation that may have had an effect. If its fate is decided, the
	// operation either did have an effect, or is left out.
	add := func(op porcupine.Operation, name string) {
		op.Output = output{Result: resMaybe}
		if i, tied := f.of[name]; tied {
			switch now[i] {
			case never:
				return
			case applied:
				op.Output = output{Result: resEffect}
			}
		}
		operations = append(operations, op)
	}
	for _, c := range calls {
		n, end := c.Requests, max(c.End, c.Through)
		if c.Out.Result == resMaybe && n == 0 {
			continue // the service saw no request, so there was no effect
		}
		if c.Out.Result == resError {
			continue
		}
		op := porcupine.Operation{ClientId: c.Client, Input: c.In, Output: c.Out, Call: c.Begin, Return: c.End, Metadata: strings.TrimSpace(c.ID + " " + c.Err)}
		if c.Out.Result == resMaybe {
			op.Return = end
			add(op, c.ID)
		} else if c.Out.Result != resRepeat {
			operations = append(operations, op)
		}
		op.Input, op.Return = c.repeat(), end
		for i := range c.repeats() {
			op.Metadata = c.ID + repeatName(i)
			op.ClientId = clients // gives each repeat its own row in the picture
			clients++
			add(op, c.ID+repeatName(i))
		}
	}
	return operations
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
