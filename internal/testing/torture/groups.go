package torture

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
)

// groupKey returns the name of key n of a round. size is the number of keys in a group. The
// last key of each group has numbers as values, for increments.
func groupKey(prefix string, n, size int) string {
	kind := "k"
	if n%size == size-1 {
		kind = "n"
	}
	return fmt.Sprintf("%sg%d::%s%02d", prefix, n/size, kind, n%size)
}

// isNumber reports whether the values of a key are numbers.
func isNumber(key string) bool { return strings.Contains(key, "::n") }

// groupCall makes one call to keys in groups: an AtomicWrite, a touch, an update, an
// increment, a batch, a scan, or one of the other calls to single keys.
func (c *client) groupCall(ctx context.Context, id string) {
	key := c.key()
	switch draw := c.rng.IntN(100); {
	case draw < 12:
		c.get(ctx, id, key)
	case draw < 14:
		c.exists(ctx, id, key)
	case draw < 18:
		c.getMany(ctx, id)
	case draw < 21:
		c.scan(ctx, id, kv.Group(key)+"::")
	case draw < 26:
		c.put(ctx, id, key, condNone)
	case draw < 30:
		c.put(ctx, id, key, condAbsent)
	case draw < 35:
		c.put(ctx, id, key, condVersion)
	case draw < 38:
		c.delete(ctx, id, key, condNone)
	case draw < 40:
		c.delete(ctx, id, key, condVersion)
	case draw < 45:
		c.putMany(ctx, id)
	case draw < 53:
		c.touch(ctx, id, key)
	case draw < 71:
		c.updates(ctx, id, key)
	case draw < 75:
		c.take(ctx, id, key)
	default:
		c.atomicWrite(ctx, id, kv.Group(key))
	}
}

// drawKeys returns up to n of the keys, chosen at random.
func (c *client) drawKeys(some []string, n int) []string {
	keys := slices.Clone(some)
	c.rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys[:min(n, len(keys))]
}

// The method stored notes that a call stored an entry with this version.
func (c *client) stored(call *Call, version kv.Version) {
	call.Out.Result, call.Out.Version = resOK, known(version)
	write := call.In.Write
	if call.In.Act == actTouch {
		write = c.seen[call.Key].write
		if call.In.Cond == condLive {
			return // the client may never have read the entry, so it cannot name the write
		}
	}
	c.seen[call.Key] = seen{write, version}
}

// putMany stores three items, each with a condition of its own or none.
func (c *client) putMany(ctx context.Context, id string) {
	var items []kv.Item
	var calls []Call
	for _, key := range c.drawKeys(c.keys, 3) {
		call := c.begin(id, key, actPut)
		item := kv.Item{Key: key, Value: c.value(&call)}
		if c.rng.IntN(2) == 0 {
			item.TTL, item.ExpiresAt = c.expiry(&call)
			if c.rng.IntN(2) == 0 {
				item.ExpiresAt = time.Time{}
			} else {
				item.TTL = 0
			}
		}
		switch last, known := c.seen[key]; {
		case c.rng.IntN(3) == 0:
		case known && c.rng.IntN(2) == 0:
			call.In.Cond, call.In.Of, call.In.Version = condVersion, last.write, last.version.String()
			item.IfVersion = last.version
		default:
			call.In.Cond, item.IfNotExists = condAbsent, true
		}
		items, calls = append(items, item), append(calls, call)
	}
	versions, err := c.store.PutMany(ctx, items)
	batch, partial := errors.AsType[*kv.BatchError](err)
	for _, call := range calls {
		switch {
		case err == nil || partial && batch.Failed[call.Key] == nil:
			c.stored(&call, versions[call.Key])
		case partial:
			failed(&call, batch.Failed[call.Key])
		default:
			failed(&call, err)
		}
		c.end(call)
	}
}

// touchOptions chooses the options of a touch at random: an expiry or none, and sometimes
// a condition.
func (c *client) touchOptions(call *Call) []kv.TouchOption {
	opts := addExpiry[kv.TouchOption](c, call, nil)
	if opts == nil {
		opts = []kv.TouchOption{kv.ExpiresAt(time.Time{})}
	}
	call.In.Cond = condLive
	if last, known := c.seen[call.Key]; known && c.rng.IntN(2) == 0 {
		call.In.Cond, call.In.Of, call.In.Version = condVersion, last.write, last.version.String()
		opts = append(opts, kv.IfVersion(last.version))
	}
	return opts
}

func (c *client) touch(ctx context.Context, id, key string) {
	call := c.begin(id, key, actTouch)
	version, err := c.store.Touch(ctx, key, c.touchOptions(&call)...)
	switch {
	case err == nil:
		c.stored(&call, version)
	case errors.Is(err, kv.ErrNotFound) && call.In.Cond == condLive:
		call.Out = output{Result: resFailed}
	default:
		failed(&call, err)
	}
	c.end(call)
}

// updates makes one update of a key, or three at the same time, which the store may combine. If
// there are three, all of them keep the expiry. Otherwise a repeat could store the expiry of any.
func (c *client) updates(ctx context.Context, id, key string) {
	many := 1
	if c.rng.IntN(4) == 0 {
		many = 3
	}
	calls, run := make([]Call, many), make([]func(), many)
	versions := make([]kv.Version, many)
	for i := range calls {
		if isNumber(key) {
			run[i] = c.increment(ctx, id, key, many > 1, &calls[i])
		} else {
			run[i] = c.update(ctx, id, key, i, many > 1, &calls[i], &versions[i])
		}
	}
	var running sync.WaitGroup
	for _, f := range run {
		running.Go(f)
	}
	running.Wait()
	for i, call := range calls {
		if call.Out.Result == resOK && call.Out.Version != "" {
			c.seen[key] = seen{cmp.Or(call.In.Write, call.Out.Write), versions[i]}
		}
	}
	if many > 1 {
		calls = append(calls, c.remake(calls)...)
	}
	c.calls = append(c.calls, calls...)
}

// remake returns the Call that stands for the repeats of three updates that were made at the
// same time. The store may have combined some of the updates into one write. If that write made
// the entry, a repeat of the write may make the entry again.
func (c *client) remake(calls []Call) []Call {
	again := Call{ID: calls[0].ID, Client: c.number, Key: calls[0].Key, Begin: calls[0].Begin, Out: output{Result: resRepeat}}
	again.In = input{Act: actMake, Now: calls[0].In.Now}
	sums, made := []int64{0}, false
	for i := range calls {
		call := &calls[i]
		call.Once = true
		again.End = max(again.End, call.End)
		if call.In.Act == actIncrement {
			for _, sum := range sums {
				sums = append(sums, sum+call.In.Delta)
			}
		} else if call.In.Write != "" {
			again.In.Made = append(again.In.Made, call.In.Write)
		}
	}
	for _, sum := range sums[1:] {
		again.In.Made = append(again.In.Made, numbered(sum))
	}
	for i := range calls {
		made = made || calls[i].makes() || slices.Contains(again.In.Made, calls[i].Out.Write)
	}
	if !made {
		return nil
	}
	return []Call{again}
}

// update chooses an update of a value at random, and returns a function that makes the update.
func (c *client) update(ctx context.Context, id, key string, i int, keep bool, call *Call, version *kv.Version) func() {
	*call = c.begin(id, key, actUpdate)
	write := fmt.Sprintf("%s.%d", id, i)
	change := kv.Change{Value: valueOf(write, c.rng.IntN(8))}
	call.In.Write = write
	switch draw := c.rng.IntN(8); {
	case draw == 0:
		change, call.In.Write = kv.Change{Leave: true}, ""
	case draw == 1:
		change, call.In.Write = kv.Change{Delete: true}, ""
	case keep || draw > 4:
		call.In.Keep = true
	case draw == 2:
		change.Persist = true
	default:
		change.TTL, _ = c.expiry(call)
	}
	return func() {
		entry, err := c.store.Update(ctx, key, func(old kv.Entry, exists bool) (kv.Change, error) {
			call.In.Of, call.In.Version = "", "" // Update may call this function again, so forget what an earlier call recorded
			if exists {
				call.In.Of, call.In.Version = writeOf(old.Value), known(old.Version)
			}
			return change, nil
		})
		*version = entry.Version
		switch {
		case err == nil && change.Leave && call.In.Of == "":
			call.In, call.Out = input{Act: actGet, Now: call.In.Now}, output{Result: resAbsent}
		case err == nil && change.Leave:
			call.In = input{Act: actGet, Now: call.In.Now}
			call.Out = output{Result: resOK, Write: writeOf(entry.Value), Version: known(entry.Version), Expires: milliseconds(entry.ExpiresAt)}
		case change.Leave && errors.Is(err, kv.ErrIndeterminate):
			call.In.Act, call.Out = actGet, output{Result: resOK, Write: "the result of an update that changes nothing"}
		case err == nil:
			call.Out = output{Result: resOK, Version: known(entry.Version), Expires: milliseconds(entry.ExpiresAt)}
		default:
			failed(call, err)
		}
		call.End = c.elapsed()
	}
}

// increment chooses an increment at random, and returns a function that makes it.
func (c *client) increment(ctx context.Context, id, key string, keep bool, call *Call) func() {
	*call = c.begin(id, key, actIncrement)
	call.In.Delta = 1 + c.rng.Int64N(9)
	var opts []kv.IncrementOption
	switch draw := c.rng.IntN(4); {
	case keep || draw > 1:
		call.In.Keep = true
	case draw == 1:
		ttl, _ := c.expiry(call)
		opts = append(opts, kv.TTLIfNew(ttl))
		call.In.Keep = true
	default:
		ttl, _ := c.expiry(call)
		opts = append(opts, kv.TTL(ttl))
	}
	return func() {
		sum, err := c.store.Increment(ctx, key, call.In.Delta, opts...)
		if err != nil {
			failed(call, err)
		} else {
			call.Out = output{Result: resOK, Write: numbered(sum)}
		}
		call.End = c.elapsed()
	}
}

// take makes a GetAndDelete.
func (c *client) take(ctx context.Context, id, key string) {
	call := c.begin(id, key, actTake)
	entry, err := c.store.GetAndDelete(ctx, key)
	switch {
	case err == nil:
		call.Out = output{Result: resOK, Write: writeOf(entry.Value), Version: known(entry.Version), Expires: milliseconds(entry.ExpiresAt)}
	case errors.Is(err, kv.ErrNotFound):
		call.Out = output{Result: resFailed}
	default:
		failed(&call, err)
	}
	c.end(call)
}

// atomicWrite writes up to four keys of a group together.
func (c *client) atomicWrite(ctx context.Context, id, group string) {
	keys := slices.DeleteFunc(slices.Clone(c.keys), func(key string) bool { return kv.Group(key) != group })
	var ops []kv.Op
	var calls []Call
	once := false
	for _, key := range c.drawKeys(keys, 1+c.rng.IntN(4)) {
		call, op := c.drawOp(id, key)
		call.Atomic = true
		once = once || call.In.Cond == condVersion && call.In.Act != actCheck
		ops, calls = append(ops, op), append(calls, call)
	}
	versions, err := c.store.AtomicWrite(ctx, ops...)
	refused, _ := errors.AsType[*kv.Error](err)
	for i, call := range calls {
		call.Once = once
		switch {
		case err == nil && (call.In.Act == actPut || call.In.Act == actTouch):
			c.stored(&call, versions[i])
		case err == nil:
			call.Out = output{Result: resOK}
		default:
			failed(&call, err)
			if call.Out.Result == resFailed && !slices.Contains(refused.Keys, call.Key) {
				call.Out.Result = resError // no effect, but this key's condition may have held
			}
		}
		c.end(call)
	}
	if errors.Is(err, kv.ErrConditionFailed) && (len(refused.Keys) == 0 || slices.ContainsFunc(refused.Keys, func(key string) bool { return !slices.Contains(keys, key) })) {
		call := c.begin(id, calls[0].Key, actGet)
		call.Out = output{Result: resOK, Write: fmt.Sprintf("conditions that failed on the keys %q", refused.Keys)}
		c.end(call)
	}
}

// drawOp chooses one operation of an AtomicWrite at random.
func (c *client) drawOp(id, key string) (Call, kv.Op) {
	last, seen := c.seen[key]
	byVersion := seen && c.rng.IntN(2) == 0
	conditional := func(call *Call) kv.VersionOption {
		call.In.Cond, call.In.Of, call.In.Version = condVersion, last.write, last.version.String()
		return kv.IfVersion(last.version)
	}
	switch draw := c.rng.IntN(20); {
	case draw < 10:
		call := c.begin(id, key, actPut)
		value := c.value(&call)
		opts := addExpiry[kv.PutOption](c, &call, nil)
		switch {
		case byVersion:
			opts = append(opts, conditional(&call))
		case c.rng.IntN(3) == 0:
			call.In.Cond = condAbsent
			opts = append(opts, kv.IfNotExists())
		}
		return call, kv.PutOp(key, value, opts...)
	case draw < 13:
		call := c.begin(id, key, actTouch)
		return call, kv.TouchOp(key, c.touchOptions(&call)...)
	case draw < 17:
		call := c.begin(id, key, actDelete)
		if byVersion {
			opt := conditional(&call)
			return call, kv.DeleteOp(key, opt)
		}
		return call, kv.DeleteOp(key)
	}
	call := c.begin(id, key, actCheck)
	if byVersion {
		opt := conditional(&call)
		return call, kv.CheckOp(key, opt)
	}
	call.In.Cond = condAbsent
	return call, kv.CheckOp(key, kv.IfNotExists())
}

func milliseconds(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMilli()
}

// The function known returns the text of a version. If the version was replaced before the call
// that made it returned, known returns "", because no read returns such a version.
func known(v kv.Version) string {
	text := v.String()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	const header = 26 // see versionHeader in package kv
	if err != nil || len(raw) < header || len(raw) <= header+int(raw[header-1]) || raw[header+int(raw[header-1])] == 0 {
		return ""
	}
	return text
}
