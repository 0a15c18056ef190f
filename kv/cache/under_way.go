package cache

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// underWay are the requests under way, by key. What they find or store is kept only if no
// other write of the key can have come after it.
type underWay struct {
	mu     sync.Mutex
	keys   map[string]*requests // with at least one
	shared atomic.Uint64
}

// requests are those of one key.
type requests struct {
	key     string
	n       int // reads and writes
	writes  int // of n
	changes int // writes begun since the first of the requests

	// overlapped: several writes were under way at once, and which of them came last is
	// unknown.
	overlapped bool

	// sharing: share has a read under way, or is about to send next.
	sharing bool
	next    *sharedRead // not sent yet; nil when nobody waits
}

// add counts a request of a key. The caller holds the lock.
func (u *underWay) add(key string) *requests {
	r := u.keys[key]
	if r == nil {
		r = &requests{key: key}
		u.keys[key] = r
	}
	r.n++
	return r
}

// remove is called when a request has ended. The caller holds the lock.
func (u *underWay) remove(r *requests) {
	if r.n--; r.n == 0 {
		delete(u.keys, r.key)
	}
}

// read is a read of a key under way.
type read struct {
	of      *requests
	changes int
	alone   bool // no write was under way when it began
	since   instant
}

func (d *driver) beginRead(key string) *read {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.add(key)
	return &read{of: of, changes: of.changes, alone: of.writes == 0, since: now()}
}

// endRead keeps what a read found, unless a write was under way meanwhile.
func (d *driver) endRead(r *read, found kv.Found, err error) {
	k := &kept{found, r.since}
	k.found = k.copy(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && r.alone && r.changes == r.of.changes {
		d.keep(r.of.key, k)
	}
	d.remove(r.of)
}

// keep replaces what is in memory, unless that was found later. The caller holds the lock.
func (d *driver) keep(key string, k *kept) {
	if known, ok := d.entries.GetEntryQuietly(key); ok && known.Value.since.monotonic > k.since.monotonic {
		return
	}
	if k.found.Key = key; k.found.Exists || d.absent {
		d.entries.Set(key, k)
	} else {
		d.entries.Invalidate(key)
	}
}

// write is a write of a key under way.
type write struct {
	of    *requests
	since instant
}

// beginWrite removes a key from memory before it is written: the reads after the write see
// it, and those that come while it is under way ask the store.
func (d *driver) beginWrite(key string) *write {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.add(key)
	of.changes++
	if of.writes++; of.writes > 1 {
		of.overlapped = true
	}
	d.entries.Invalidate(key)
	return &write{of, now()}
}

// endWrite keeps what a write has stored.
func (d *driver) endWrite(w *write, stored kv.Write, version string, done bool) {
	k := &kept{since: w.since}
	switch {
	case stored.Kind == kv.KindPut && version != "":
		k.found = kv.Found{Record: stored.Record, Exists: true}
		k.found.Version = version
		k.found = k.copy(true)
	case stored.Kind == kv.KindDelete:
	default: // the value is unknown
		done = false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if done && !w.of.overlapped {
		d.keep(w.of.key, k)
	}
	if w.of.writes--; w.of.writes == 0 {
		w.of.overlapped = false
	}
	d.remove(w.of)
}

// sharedRead is a read that answers several callers. It is sent when the one before it has
// ended. Nobody joins it afterwards.
type sharedRead struct {
	ctx    context.Context // ends when nobody waits any more
	cancel context.CancelFunc
	req    kv.GetRequest
	n      int           // callers that wait
	done   chan struct{} // closed when the rest is set
	found  kv.Found
	err    error
}

// share reads a key as load does. While one such read of the key is under way, those that
// come wait for its end, and then share the next one.
func (d *driver) share(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	d.mu.Lock()
	of := d.keys[req.Key]
	if of == nil || !of.sharing {
		of = d.add(req.Key)
		of.sharing = true
		d.mu.Unlock()
		defer d.sendNext(of)
		return d.load(ctx, req)
	}
	s := of.next
	if s == nil {
		s = &sharedRead{req: req, done: make(chan struct{})}
		s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
		of.next = s
	}
	s.n++
	d.mu.Unlock()
	d.shared.Add(1)
	select {
	case <-s.done:
		k := kept{found: s.found}
		return k.copy(true), s.err
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		if s.n--; s.n == 0 {
			s.cancel()
			if of.next == s {
				of.next = nil
			}
		}
		return kv.Found{}, &kv.Error{Err: ctx.Err()}
	}
}

// sendNext sends the read that callers wait for, if they do.
func (d *driver) sendNext(of *requests) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := of.next
	if s == nil {
		of.sharing = false
		d.remove(of)
		return
	}
	of.next = nil
	go func() {
		defer s.cancel()
		defer d.sendNext(of)
		s.found, s.err = d.load(s.ctx, s.req)
		close(s.done)
	}()
}
