package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
)

// Workload is what the clients of a round do. In a round, all clients make their calls at the
// same time, to keys that no other round uses.
type Workload struct {
	Seed    uint64
	Clients int
	Keys    int
	Calls   int // number of calls of each client

	// Groups is the number of groups of keys. If it is not 0, the clients make the calls of
	// groupCall. Otherwise each write is a call for one key.
	Groups int

	// Impatient is the share of calls whose deadline is some milliseconds.
	Impatient float64

	// Injector is the injector between the stores and their service. It is nil if there is
	// none.
	Injector *faults.Injector

	// Remote says that there is a network without an Injector. Then nobody sees whether a
	// client repeats a request, or when the service has finished a request after its client
	// gave up.
	Remote bool
}

// Default returns the usual workload, without groups.
func Default(seed uint64, in *faults.Injector) Workload {
	return Workload{Seed: seed, Clients: 6, Keys: 16, Calls: 45, Impatient: 0.02, Injector: in}
}

// InGroups returns Default with groups of keys.
func InGroups(seed uint64, in *faults.Injector) Workload {
	w := Default(seed, in)
	w.Groups = 4
	return w
}

// Rates are the usual rates of faults.
var Rates = faults.Rates{
	faults.Drop: 0.02, faults.Refuse: 0.02, faults.Throttle: 0.02,
	faults.Lose: 0.06, faults.Truncate: 0.03, faults.Fail: 0.03, faults.Late: 0.03,
	faults.Delay: 0.06,
}

// Round makes all clients of a round call the stores, which must share their data. The
// round uses keys that no other round uses. The calls depend only on the seed, the round,
// and the versions that the clients have seen.
func (w Workload) Round(ctx context.Context, round int, stores ...*kv.Store) *History {
	return &History{Calls: w.Run(ctx, round, 0, w.Clients, monotonic(), stores...)}
}

// Run runs a part of a round: the clients with the numbers from first to last-1. start is
// the time of monotonic at which the round began, perhaps in another process.
func (w Workload) Run(ctx context.Context, round, first, last int, start int64, stores ...*kv.Store) []Call {
	reference := time.Now()
	begun := monotonic() - start // the time of reference, or a little later

	calls := make([][]Call, last-first)
	var running sync.WaitGroup
	for i := range calls {
		running.Go(func() {
			calls[i] = w.client(ctx, round, first+i, stores[i%len(stores)], func() int64 { return monotonic() - start })
		})
	}
	running.Wait()
	all := slices.Concat(calls...)
	if w.Injector != nil {
		// If the system paused this process between its two readings of the clock, the
		// requests seem to end later than they did, and the check finds less. They never
		// seem to end earlier.
		account(all, w.Injector.Take(), func(t time.Time) int64 { return begun + t.Sub(reference).Nanoseconds() })
		return all
	}
	assume(all, w.Remote)
	return all
}

// client makes all calls of one client in a round.
func (w Workload) client(ctx context.Context, round, number int, store *kv.Store, elapsed func() int64) []Call {
	prefix := fmt.Sprintf("r%d:", round)
	c := &client{
		Workload: w, number: number, elapsed: elapsed, prefix: prefix,
		rng:  faults.Rand(w.Seed, prefix, fmt.Sprint(number)),
		seen: make(map[string]seen),
	}
	for n := range w.Keys {
		c.keys = append(c.keys, w.key(prefix, n))
	}
	// The clock must be near the real time, because a service deletes entries by its own
	// clock, an hour after their expiry.
	c.base = time.Now().Truncate(time.Millisecond)
	c.store = store.With(kv.Clock(func() time.Time { return time.UnixMilli(c.clock.Load()) }))
	for i := range w.Calls {
		c.call(ctx, i)
	}
	return c.calls
}

type client struct {
	Workload
	number  int
	store   *kv.Store
	elapsed func() int64
	keys    []string // the keys of the round, in order
	prefix  string   // the prefix of these keys
	rng     *rand.Rand
	base    time.Time
	now     time.Time    // what the clock reads during the present call
	clock   atomic.Int64 // now, in milliseconds, for the store's goroutines: they may outlive a call
	seen    map[string]seen
	calls   []Call
}

// seen is what a client last saw of a key: the write that stored the entry, and the
// version.
type seen struct {
	write   string
	version kv.Version
}

// key returns the name of key n of a round. The keys of a group have successive numbers.
func (w Workload) key(prefix string, n int) string {
	if w.Groups == 0 {
		return fmt.Sprintf("%sk%02d", prefix, n)
	}
	return groupKey(prefix, n, (w.Keys+w.Groups-1)/w.Groups)
}

func (c *client) key() string {
	// Some keys are used more often than others.
	n := c.rng.IntN(c.Keys)
	if c.rng.IntN(3) == 0 {
		n = c.rng.IntN(1 + c.Keys/4)
	}
	return c.keys[n]
}

func (c *client) call(ctx context.Context, i int) {
	id := fmt.Sprintf("%sc%d.%d", c.prefix, c.number, i)
	// Time passes from call to call, and the clocks of the clients differ.
	c.now = c.base.Add(time.Duration(i)*100*time.Millisecond + time.Duration(c.rng.IntN(2000))*time.Millisecond)
	if c.rng.IntN(16) == 0 { // the clock jumps by less than ExpiryGrace, for this call only
		c.now = c.now.Add(time.Duration(c.rng.IntN(3600)-1800) * time.Second)
	}
	c.clock.Store(c.now.UnixMilli())
	impatient := c.rng.Float64() < c.Impatient
	patience := 30 * time.Second
	if wait := time.Duration(1+c.rng.IntN(30)) * time.Millisecond; impatient {
		patience = wait
	}
	ctx, cancel := context.WithTimeout(faults.WithOp(ctx, id), patience)
	defer cancel()
	if c.Groups > 0 {
		c.groupCall(ctx, id)
		return
	}
	key := c.key()
	switch draw := c.rng.IntN(100); {
	case draw < 22:
		c.get(ctx, id, key)
	case draw < 25:
		c.exists(ctx, id, key)
	case draw < 30:
		c.getMany(ctx, id)
	case draw < 34:
		c.scan(ctx, id, c.prefix)
	case draw < 50:
		c.put(ctx, id, key, condNone)
	case draw < 68:
		c.put(ctx, id, key, condAbsent)
	case draw < 84:
		c.put(ctx, id, key, condVersion)
	case draw < 92:
		c.delete(ctx, id, key, condNone)
	default:
		c.delete(ctx, id, key, condVersion)
	}
}

// The method begin starts the record of a call to key. The method end completes the record and
// keeps it.
func (c *client) begin(id, key string, act action) Call {
	return Call{ID: id, Client: c.number, Key: key, In: input{Act: act, Now: c.now.UnixMilli()}, Begin: c.elapsed()}
}

func (c *client) end(call Call) {
	call.End = c.elapsed()
	c.calls = append(c.calls, call)
}

// The method failed notes that a call returned err.
func failed(call *Call, err error) {
	call.Err = err.Error()
	switch {
	case errors.Is(err, kv.ErrIndeterminate):
		call.Out = output{Result: resMaybe}
	case errors.Is(err, kv.ErrConditionFailed):
		call.Out = output{Result: resFailed}
	default:
		call.Out = output{Result: resError}
	}
}

func (c *client) get(ctx context.Context, id, key string) {
	call := c.begin(id, key, actGet)
	entry, err := c.store.Get(ctx, key)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		call.Out = output{Result: resAbsent}
	case err != nil:
		failed(&call, err)
	default:
		call.Out = c.found(entry)
	}
	c.end(call)
}

func (c *client) exists(ctx context.Context, id, key string) {
	call := c.begin(id, key, actExists)
	ok, err := c.store.Exists(ctx, key)
	call.Out = output{Result: resAbsent}
	switch {
	case err != nil:
		failed(&call, err)
	case ok:
		call.Out = output{Result: resOK}
	}
	c.end(call)
}

// getMany reads several keys in one batch.
func (c *client) getMany(ctx context.Context, id string) {
	keys := make([]string, 5)
	for i := range keys {
		keys[i] = c.key()
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	call := c.begin(id, "", actGet)
	entries, err := c.store.GetMany(ctx, keys)
	batch, partial := errors.AsType[*kv.BatchError](err)
	for _, key := range keys {
		call.Key, call.Err = key, ""
		entry, ok := entries[key]
		switch {
		case ok:
			call.Out = c.found(entry)
		case err != nil && (!partial || batch.Failed[key] != nil):
			failed(&call, err)
		default:
			call.Out = output{Result: resAbsent}
		}
		c.end(call)
	}
}

// scan reads all keys of the round that have a prefix.
func (c *client) scan(ctx context.Context, id, prefix string) {
	call := c.begin(id, "", actGet)
	found := make(map[string]kv.Entry)
	var failure error
	for entry, err := range c.store.Scan(ctx, prefix) {
		if err != nil {
			failure = err
			break
		}
		found[entry.Key] = entry
	}
	for _, key := range c.keys {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		call.Key, call.Err = key, ""
		entry, ok := found[key]
		switch {
		case ok:
			call.Out = c.found(entry)
		case failure != nil:
			failed(&call, failure)
		default:
			call.Out = output{Result: resAbsent}
		}
		c.end(call)
	}
}

// The method found returns the output of a read that returned entry.
func (c *client) found(entry kv.Entry) output {
	write := writeOf(entry.Value)
	c.seen[entry.Key] = seen{write, entry.Version}
	out := output{Result: resOK, Write: write, Version: entry.Version.String()}
	if !entry.ExpiresAt.IsZero() {
		out.Expires = entry.ExpiresAt.UnixMilli()
	}
	return out
}

func (c *client) put(ctx context.Context, id, key string, cond condition) {
	call := c.begin(id, key, actPut)
	value := c.value(&call)
	opts := addExpiry[kv.PutOption](c, &call, nil)
	call.In.Cond, opts = c.condition(key, cond, opts, &call)
	version, err := c.store.Put(ctx, key, value, opts...)
	if err != nil {
		failed(&call, err)
	} else {
		call.Out = output{Result: resOK, Version: version.String()}
		c.seen[key] = seen{call.In.Write, version}
	}
	c.end(call)
}

// value chooses the value that a call stores, and records its name in the call.
func (c *client) value(call *Call) []byte {
	size := c.rng.IntN(8)
	if isNumber(call.Key) {
		n := c.rng.Int64N(1000) * 1000
		call.In.Write = numbered(n)
		return strconv.AppendInt(nil, n, 10)
	}
	call.In.Write = call.ID
	return valueOf(call.ID, size)
}

// addExpiry adds an expiry to opts in half of the calls, at random.
func addExpiry[O any](c *client, call *Call, opts []O) []O {
	if c.rng.IntN(2) != 0 {
		return opts
	}
	ttl, expires := c.expiry(call)
	opt := kv.ExpiresAt(expires)
	if c.rng.IntN(2) == 0 {
		opt = kv.TTL(ttl)
	}
	return append(opts, any(opt).(O))
}

// expiry chooses an expiry of at most four seconds at random.
func (c *client) expiry(call *Call) (time.Duration, time.Time) {
	ttl := time.Duration(1 + c.rng.Int64N(int64(4*time.Second)))
	expires := c.now.Add(ttl)
	call.In.Expires = expires.Add(time.Millisecond - 1).UnixMilli()
	return ttl, expires
}

// condition adds the option for cond. If cond is condVersion and the client has seen no
// version of the key, it requires instead that the key is absent.
func (c *client) condition(key string, cond condition, opts []kv.PutOption, call *Call) (condition, []kv.PutOption) {
	last, known := c.seen[key]
	switch {
	case cond == condNone:
		return cond, opts
	case cond == condVersion && known:
		call.In.Of, call.In.Version = last.write, last.version.String()
		return cond, append(opts, kv.IfVersion(last.version))
	}
	return condAbsent, append(opts, kv.IfNotExists())
}

func (c *client) delete(ctx context.Context, id, key string, cond condition) {
	call := c.begin(id, key, actDelete)
	var opts []kv.DeleteOption
	if last, known := c.seen[key]; known && cond == condVersion {
		call.In.Cond, call.In.Of, call.In.Version = cond, last.write, last.version.String()
		opts = append(opts, kv.IfVersion(last.version))
	}
	if err := c.store.Delete(ctx, key, opts...); err != nil {
		failed(&call, err)
	} else {
		call.Out = output{Result: resOK}
	}
	c.end(call)
}

// valueOf returns the value of a write. The value begins with the name of the write, and repeats
// the name, so that writeOf notices a value that is torn or mixed with another one. It has a few
// bytes to a few kilobytes.
func valueOf(write string, size int) []byte {
	filling := strings.Repeat(write+"/", 1+size*size*size)
	return []byte(write + "=" + filling)
}

// writeOf returns the name of the write that stored a value. If the value is torn, it
// returns a text that says so.
func writeOf(value []byte) string {
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		return numbered(n)
	}
	write, filling, ok := strings.Cut(string(value), "=")
	if !ok || strings.ReplaceAll(filling, write+"/", "") != "" || filling == "" {
		return fmt.Sprintf("torn value of %d bytes: %.40q", len(value), value)
	}
	return write
}
