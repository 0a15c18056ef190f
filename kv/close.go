package kv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// life is shared by a store and the stores derived from it, which close together.
type life struct {
	closed atomic.Bool

	// ctx ends at Close. This ends the running calls of stores without Info.EndsCalls.
	ctx context.Context
	end context.CancelCauseFunc

	mu    sync.Mutex
	links []*link // the drivers that Close closes, the last added first
}

func newLife() *life {
	l := new(life)
	l.ctx, l.end = context.WithCancelCause(context.Background())
	return l
}

// link closes a driver or a middleware, but only once: the store closes every link, and the
// middleware around a driver may already have closed the driver's link.
type link struct {
	driver Driver
	once   sync.Once
}

func (l *link) close() (err error) {
	l.once.Do(func() { err = l.driver.Close() })
	return err
}

// add adds d to the drivers that Close closes. If the store is already closed, add closes d.
func (l *life) add(d Driver) *link {
	added := &link{driver: d}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		_ = added.close() // the error is dropped, because every call of a store over d returns ErrClosed
		return added
	}
	l.links = append(l.links, added)
	return added
}

// Close ends every running call. It releases the resources that skykv opened for the
// store, but nothing that the program passed in. A store, the stores derived from it and
// their middleware close together. A later Close returns nil. Every call that Close ended,
// and every later call with valid arguments, returns ErrClosed. The error of a write that
// was already sent also matches ErrIndeterminate.
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

// call is one running call.
type call struct {
	ctx    context.Context // ends with the caller's context, and at Close unless Info.EndsCalls is set
	caller context.Context
	life   *life
	stop   func() bool // unregisters cancel, which runs at Close; nil if cancel is nil
	cancel context.CancelFunc
}

// begin starts a call, which the caller must end with call.end. It returns an error if the
// store is closed, if one of the store's options is invalid, or if ctx has ended.
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

// storeContext replaces a caller's context that never ends. It has that context's values,
// and ends at Close.
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

// explain returns the error of a driver as the caller must see it. The error matches
// ErrClosed if Close ended the call, and the caller's context did not end it.
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
