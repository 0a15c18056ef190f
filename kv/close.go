package kv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// life is what a store shares with the stores derived from it: they close together.
type life struct {
	closed atomic.Bool

	// ctx ends at Close, and with it every call under way.
	ctx context.Context
	end context.CancelCauseFunc

	mu    sync.Mutex
	links []*link // what Close closes, the innermost first
}

func newLife() *life {
	l := new(life)
	l.ctx, l.end = context.WithCancelCause(context.Background())
	return l
}

// link is a driver, or a middleware, that is closed once: by the store, or by the
// middleware over it.
type link struct {
	driver Driver
	once   sync.Once
}

func (l *link) close() (err error) {
	l.once.Do(func() { err = l.driver.Close() })
	return err
}

// add makes d a part of what Close closes.
func (l *life) add(d Driver) *link {
	added := &link{driver: d}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		_ = added.close() // the store that it is for refuses every call
		return added
	}
	l.links = append(l.links, added)
	return added
}

// Close ends every call under way and releases what skykv opened for the store, and
// nothing that the program handed in. A store and the stores derived from it close
// together, their middleware included. A later Close returns nil. Every call
// afterwards, with valid arguments, returns ErrClosed, and so do calls that Close
// ended; a write that was sent by then matches ErrIndeterminate as well.
func (s *Store) Close() error {
	s.life.mu.Lock()
	if s.life.closed.Swap(true) {
		s.life.mu.Unlock()
		return nil
	}
	links := s.life.links
	s.life.links = nil
	s.life.mu.Unlock()
	s.life.end(ErrClosed)
	var errs []error
	for i := len(links) - 1; i >= 0; i-- {
		if err := links[i].close(); err != nil {
			errs = append(errs, s.fail("close", "", err))
		}
	}
	return errors.Join(errs...)
}

// call is one call under way.
type call struct {
	ctx    context.Context // ends with the caller's, and at Close
	caller context.Context
	life   *life
	stop   func() bool // with cancel, takes the call off the store's list
	cancel context.CancelFunc
}

// begin refuses calls of a closed store, of one with an option that is wrong, and with a
// finished context. Every other
// call ends with call.end.
func (s *Store) begin(ctx context.Context) (call, *Error) {
	if s.life.closed.Load() {
		return call{}, &Error{Kind: ErrClosed}
	}
	if s.refused != nil {
		return call{}, &Error{Kind: ErrInvalidOption, Err: s.refused}
	}
	if err := ctx.Err(); err != nil {
		return call{}, &Error{Err: err}
	}
	c := call{ctx: ctx, caller: ctx, life: s.life}
	switch {
	case s.info.EndsCalls:
	case ctx.Done() == nil:
		c.ctx = storeContext{s.life.ctx, ctx}
	default:
		c.ctx, c.cancel = context.WithCancel(ctx)
		c.stop = context.AfterFunc(s.life.ctx, c.cancel)
	}
	return c, nil
}

func (c *call) end() {
	if c.cancel != nil {
		c.stop()
		c.cancel()
	}
}

// storeContext ends at Close, and has the values of a caller's context that never
// ends.
type storeContext struct {
	context.Context
	values context.Context
}

func (c storeContext) Value(key any) any {
	if value := c.values.Value(key); value != nil {
		return value
	}
	return c.Context.Value(key)
}

// explain returns the error of a driver as the caller must see it: where Close ended
// the call, the store is closed, and nobody cancelled anything.
func (c *call) explain(err error) error {
	if err == nil || !c.life.closed.Load() || c.caller.Err() != nil {
		return err
	}
	own, ok := err.(*Error)
	if !ok {
		own = &Error{Err: err}
	}
	if own.Kind != ErrUnavailable && !errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Kind: ErrClosed, Key: own.Key, MayHaveApplied: own.MayHaveApplied, Err: fmt.Errorf("Close ended the call: %v", own.Err)}
}
