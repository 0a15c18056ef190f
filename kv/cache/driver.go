package cache

import (
	"context"
	"iter"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"

	"github.com/skykv/skykv/kv"
)

// driver answers reads from memory if they permit stale answers. All other requests go to
// the wrapped driver, with strong consistency. The driver keeps what these requests find or
// store, except what scans and reads without values find.
type driver struct {
	kv.Driver
	info    kv.Info
	maxAge  time.Duration
	absent  bool
	entries *otter.Cache[string, *kept]
	counts  *stats.Counter
	underWay

	// closing is cancelled at Close. That ends the calls under way, unless the wrapped driver
	// ends them by itself.
	closing   context.Context
	close     context.CancelFunc
	endsCalls bool
}

func newDriver(below kv.Driver, entries *otter.Cache[string, *kept], counts *stats.Counter, o Options) *driver {
	d := &driver{Driver: below, info: below.Info(), maxAge: o.MaxAge, absent: o.Absent, entries: entries, counts: counts}
	d.keys = make(map[string]*requests)
	d.closing, d.close = context.WithCancel(context.Background())
	// If a driver does not end the calls under way at Close, the store makes a context for
	// each call. That takes longer than a hit, which needs no such context. So this driver
	// says that it ends calls. For calls of the wrapped driver, its method during makes the
	// contexts.
	d.endsCalls, d.info.EndsCalls = d.info.EndsCalls, true
	return d
}

func (d *driver) Info() kv.Info { return d.info }

// The method during returns the context for a call of the wrapped driver. The caller must call
// end after the call of the driver.
func (d *driver) during(ctx context.Context) (_ context.Context, end func()) {
	if d.endsCalls {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.closing, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// lookup returns what is in memory about a key. It returns nil if there is nothing, or what is
// there is too old or has expired in memory.
func (d *driver) lookup(key string) *kept {
	k, ok := d.entries.GetIfPresent(key)
	at := now()
	if !ok || k.since.until(at) >= d.maxAge || k.expired(at) && !(d.absent && k.expired(k.since)) {
		// Do not answer with an entry that has expired in memory: another process may have
		// moved its expiry, so perhaps the key was never absent. But if the entry had already
		// expired when it was read, the key was absent. With Options.Absent, lookup returns that.
		d.counts.RecordMisses(1)
		return nil
	}
	d.counts.RecordHits(1)
	return k
}

func (d *driver) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	stale := req.Stale
	if req.Stale = false; stale {
		if k := d.lookup(req.Key); k != nil {
			return k.copy(req.WithValue), nil
		}
	}
	switch {
	case !req.WithValue: // the answer has no value, so it cannot be kept
		ctx, end := d.during(ctx)
		defer end()
		return d.Driver.Get(ctx, req)
	case stale:
		return d.share(ctx, req)
	}
	return d.load(ctx, req)
}

// load reads a key from the wrapped driver, and keeps what it finds.
func (d *driver) load(ctx context.Context, req kv.GetRequest) (found kv.Found, err error) {
	ctx, end := d.during(ctx)
	defer end()
	r := d.beginRead(req.Key)
	returned := false
	defer func() { d.endRead(r, found, returned && err == nil) }()
	found, err = d.Driver.Get(ctx, req)
	returned = true
	return found, err
}

func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		req := req
		if req.Stale {
			missing := make([]string, 0, len(req.Keys))
			for _, key := range req.Keys {
				k := d.lookup(key)
				if k == nil {
					missing = append(missing, key)
				} else if !yield(k.copy(req.WithValue), nil) {
					return
				}
			}
			if req.Keys, req.Stale = missing, false; len(missing) == 0 {
				return
			}
		}
		ctx, end := d.during(ctx)
		defer end()
		reads := make(map[string]*read, len(req.Keys))
		if req.WithValue {
			for _, key := range req.Keys {
				reads[key] = d.beginRead(key)
			}
		}
		defer func() {
			for _, r := range reads {
				d.endRead(r, kv.Found{}, false)
			}
		}()
		for found, err := range d.Driver.GetMany(ctx, req) {
			if r := reads[found.Key]; r != nil {
				delete(reads, found.Key)
				d.endRead(r, found, err == nil)
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	req.Stale = false
	return func(yield func(kv.Record, error) bool) {
		ctx, end := d.during(ctx)
		defer end()
		for rec, err := range d.Driver.Scan(ctx, req) {
			if !yield(rec, err) {
				return
			}
		}
	}
}

// Write and the methods below call endWrite even if the wrapped driver panics. Their results are
// zero then, so nothing is kept.
func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (out kv.Outcome, err error) {
	ctx, end := d.during(ctx)
	defer end()
	w := d.beginWrite(req.Key)
	defer func() { d.endWrite(w, req.Write, out.Version, err == nil && out.Done) }()
	return d.Driver.Write(ctx, req)
}

func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) (results []kv.WriteResult) {
	ctx, end := d.during(ctx)
	defer end()
	writes := d.beginWrites(req.Writes)
	defer func() {
		for i, w := range writes {
			done := i < len(results) && results[i].Err == nil && results[i].Done
			version := ""
			if done {
				version = results[i].Version
			}
			d.endWrite(w, req.Writes[i], version, done)
		}
	}()
	return d.Driver.WriteMany(ctx, req)
}

func (d *driver) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (out kv.AtomicOutcome, err error) {
	ctx, end := d.during(ctx)
	defer end()
	writes := d.beginWrites(req.Writes)
	defer func() {
		for i, w := range writes {
			done := err == nil && out.Done && i < len(out.Versions)
			version := ""
			if done {
				version = out.Versions[i]
			}
			d.endWrite(w, req.Writes[i], version, done)
		}
	}()
	return d.Driver.WriteAtomic(ctx, req)
}

func (d *driver) beginWrites(writes []kv.Write) []*write {
	begun := make([]*write, len(writes))
	for i, w := range writes {
		begun[i] = d.beginWrite(w.Key)
	}
	return begun
}

func (d *driver) Close() error {
	d.close()
	err := d.Driver.Close()
	d.entries.InvalidateAll()
	return err
}
