package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// Level is a version of the [Driver] interface and its types. Each release that adds a
// kind of write or condition, or a field of a request or of [Info], adds a Level.
// Middleware is written for one Level.
type Level int

// Level1 is Driver as of the first release.
const Level1 Level = 1

// Wrap puts middleware between a store and its driver. Middleware is a function that
// receives a Driver and returns another Driver around it. The first middleware is the
// outermost: with Wrap(level, a, b) calls pass a, then b, then the driver.
//
// Middleware usually embeds the Driver that it receives and overrides methods. Calls
// of the other methods go straight to the wrapped Driver. So middleware that changes
// records overrides Get, GetMany, Scan, Write, WriteMany and WriteAtomic; it may use
// [GetEach] and [WriteEach]. It returns ErrUnsupported for kinds of writes that it
// does not know.
//
// Extensions of later Levels would also go straight to the wrapped Driver. So the
// caller states the level for which the middleware was written. The store then uses no
// extension above that level, neither of the middleware nor of the drivers that it wraps.
//
// Middleware that changes keys returns an [Info] whose Shard, ShardOfPrefix and
// ReservedKey take keys as the middleware's callers see them. If it returns the wrapped
// Driver's Shard and ShardOfPrefix instead, a scan of one group that would read the wrong
// shard fails with ErrUnsupported.
//
// The driver that a middleware returns is closed once, with the store. Its Close may
// close the wrapped Driver or leave that to the store. Nothing is released before the
// store is closed, so derive a store with Wrap once per program, not once per request.
func Wrap(level Level, middleware ...func(Driver) Driver) StoreOption {
	if level < Level1 || level > Level1 {
		panic(fmt.Sprintf("kv: Wrap: the level is %d; want %d", level, Level1))
	}
	return func(s *Store) {
		for i := len(middleware) - 1; i >= 0; i-- {
			wrapped := middleware[i](&guard{Driver: s.driver, level: level, link: s.link})
			if wrapped == nil {
				panic("kv: Wrap: the middleware returned no driver")
			}
			s.driver = wrapped
			s.link = s.life.add(wrapped)
		}
		s.readInfo()
	}
}

// guard is the Driver that a middleware receives. It stands between the middleware and
// the wrapped driver, hides later levels from the middleware, and closes the wrapped
// driver once. It refuses a scan of one shard if the middleware moved the keys to another
// shard, and an atomic write if the middleware moved the keys to several groups.
type guard struct {
	Driver
	level Level
	link  *link
}

// The method knows reports whether the guard's level includes the kind of the write and of its
// condition.
func (g *guard) knows(w Write) bool {
	return w.Kind >= KindPut && w.Kind <= KindCheck && w.Condition.Kind <= CondLive
}

// Info leaves out Count and every field that came after the guard's level. It replaces
// limits of zero by the defaults, so that middleware can lower them.
func (g *guard) Info() Info {
	info := describe(g.Driver)
	return Info{
		Name:            info.Name,
		Namespace:       info.Namespace,
		Shards:          info.Shards,
		Shard:           info.Shard,
		ShardOfPrefix:   info.ShardOfPrefix,
		MaxKeyLen:       info.MaxKeyLen,
		MaxValueLen:     info.MaxValueLen,
		MaxAtomicWrites: info.MaxAtomicWrites,
		NoGrace:         info.NoGrace,
		ReservedKey:     info.ReservedKey,
		EndsCalls:       info.EndsCalls,
		Immediate:       info.Immediate,
	}
}

func (g *guard) Scan(ctx context.Context, req ScanRequest) iter.Seq2[Record, error] {
	if req.Alone {
		if shard, one := g.shardOfPrefix(commonPrefix(req.From, req.To)); !one || shard != req.Shard {
			return func(yield func(Record, error) bool) {
				yield(Record{}, &Error{Kind: ErrUnsupported, Err: errors.New("a middleware changes keys, and its Info.ShardOfPrefix does not return their shard")})
			}
		}
	}
	return g.Driver.Scan(ctx, req)
}

func (g *guard) shardOfPrefix(prefix string) (int, bool) {
	info := g.Driver.Info()
	if info.ShardOfPrefix == nil {
		return 0, info.Shards == 1
	}
	return info.ShardOfPrefix(prefix)
}

func (g *guard) Write(ctx context.Context, req WriteRequest) (Outcome, error) {
	if !g.knows(req.Write) {
		return Outcome{}, UnsupportedWrite(req.Write)
	}
	return g.Driver.Write(ctx, req)
}

func (g *guard) WriteMany(ctx context.Context, req WriteManyRequest) []WriteResult {
	for _, w := range req.Writes {
		if !g.knows(w) {
			results := make([]WriteResult, len(req.Writes))
			for i := range results {
				results[i].Err = UnsupportedWrite(w)
			}
			return results
		}
	}
	return g.Driver.WriteMany(ctx, req)
}

func (g *guard) WriteAtomic(ctx context.Context, req WriteManyRequest) (AtomicOutcome, error) {
	for _, w := range req.Writes {
		if !g.knows(w) {
			return AtomicOutcome{}, UnsupportedWrite(w)
		}
		if Group(w.Key) != Group(req.Writes[0].Key) {
			return AtomicOutcome{}, &Error{Kind: ErrUnsupported, Err: errors.New("a middleware changes keys of one group into keys of several")}
		}
	}
	return g.Driver.WriteAtomic(ctx, req)
}

func (g *guard) Close() error { return g.link.close() }

func commonPrefix(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}
