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

// fate says whether an AtomicWrite of unknown outcome, or one repeat of an AtomicWrite,
// took effect: on all of its keys, or on none.
type fate int

const (
	open    fate = iota // each key may choose
	applied             // on all keys
	never               // on no key
)

// fates looks for an explanation of the calls of all keys. The keys are checked one by
// one, since effects on several keys need not happen at one moment. What ties keys
// together is the fates, which must be the same for all keys of an AtomicWrite.
type fates struct {
	calls map[string][]Call   // by key
	names []string            // of the fates
	of    map[string]int      // the index of a fate, by its name
	keys  [][]string          // by fate
	known map[string]*verdict // results of earlier checks
}

// verdict is porcupine's answer for one key under some fates.
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

// fates returns the names of the fates that decide on the call's effects.
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

// unexplained is the error if no order of the calls explains their answers.
type unexplained struct {
	*verdict
	key, why, picture string
}

func (u *unexplained) Error() string {
	return fmt.Sprintf("key %s, %d operations: %s; see %s\n%s", u.key, len(u.operations), u.why, u.picture, list(u.operations))
}

// draw saves porcupine's picture.
func (u *unexplained) draw(folder, name string) error {
	u.picture = filepath.Join(folder, strings.Map(fileName, name+"-"+u.key)+".html")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	return porcupine.VisualizePath(model, u.info, u.picture)
}

// check returns nil when fates and an order of the calls of each key explain all answers.
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

// unsure reports whether the check ran out of time.
func (u *unexplained) unsure() bool { return u != nil && u.result == porcupine.Unknown }

// solve decides the open fates. It begins with those that one key alone decides.
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
	// As long as other fates are open, either value suits every key of this one.
	now[i] = never
	err := f.solve(now)
	if err != nil {
		now[i] = applied
		err = f.solve(now)
	}
	return err
}

// with tries a fate on all of its keys.
func (f *fates) with(now []fate, i int, as fate) *unexplained {
	old := now[i]
	defer func() { now[i] = old }()
	now[i] = as
	for _, key := range f.keys[i] {
		if v := f.try(key, now); v.result != porcupine.Ok {
			return failure(key, v, "")
		}
	}
	return nil
}

// try checks one key.
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

// operations is the history of one key for porcupine: a call is one operation, and each
// repeat that the contract allows is another one, which may have no effect.
func (f *fates) operations(key string, now []fate) []porcupine.Operation {
	var operations []porcupine.Operation
	calls, clients := f.calls[key], 0
	for _, c := range calls {
		clients = max(clients, c.Client+1)
	}
	// add adds an effect that may have happened, unless its fate is known.
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
			continue // the service saw no request
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
			op.ClientId = clients // a row of their own in the picture
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
