package cache

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/skykv/skykv/kv"
)

// underWay has the requests under way, by key. What a request finds or stores is kept only if
// it is certain that no other write of the key came later.
type underWay struct {
	mu     sync.Mutex
	keys   map[string]*requests // only keys with a request under way
	shared atomic.Uint64
}

// requests are the requests under way for one key.
type requests struct {
	key     string
	n       int // number of reads and writes
	writes  int // number of writes
	changes int // number of writes begun since the first of these requests

	// overlapped: several writes were under way at the same time, and it is unknown which of
	// them came last.
	overlapped bool

	// sharing is true while a read by the method share is under way, or the read next is about
	// to be sent.
	sharing bool
	next    *sharedRead // not sent yet; nil if nobody waits
}

// add counts a new request for a key. The caller holds the lock.
func (u *underWay) add(key string) *requests {
	r := u.keys[key]
	if r == nil {
		r = &requests{key: key}
		u.keys[key] = r
	}
	r.n++
	return r
}

// remove counts the end of a request. The caller holds the lock.
func (u *underWay) remove(r *requests) {
	if r.n--; r.n == 0 {
		delete(u.keys, r.key)
	}
}

// read is a read of a key under way.
type read struct {
	of      *requests
	changes int  // the value of of.changes when the read began
	alone   bool // no write was under way when the read began
	since   instant
}

func (d *driver) beginRead(key string) *read {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.add(key)
	return &read{of: of, changes: of.changes, alone: of.writes == 0, since: now()}
}

// endRead keeps what a read found, unless the read failed, or a write of the key was under way
// during the read.
func (d *driver) endRead(r *read, found kv.Found, ok bool) {
	k := &kept{found, r.since}
	k.found = k.copy(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	if ok && r.alone && r.changes == r.of.changes {
		d.keep(r.of.key, k)
	}
	d.remove(r.of)
}

// keep puts k into memory, unless memory has the result of a later request. The caller holds
// the lock.
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

// beginWrite removes a key from memory before it is written. Reads that begin during or after
// the write then ask the store.
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

// endWrite keeps the entry that a write has stored, or the absence after a deletion. It keeps nothing
// if the write was not done, the entry is not known, or another write of the key was under way.
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

// sharedRead is a read that answers several callers. It is sent when the read before it has
// ended. Once it is sent, no further caller can share it.
type sharedRead struct {
	ctx    context.Context // ends when no caller waits any more
	cancel context.CancelFunc
	req    kv.GetRequest
	n      int           // number of callers that wait
	done   chan struct{} // closed when the fields below are set
	found  kv.Found
	err    error
}

// share reads a key as load does. While a read by share is under way for the same key, further
// callers wait for its end, and then share the next read.
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

// sendNext sends the next read, if callers wait for one.
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
