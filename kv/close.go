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

	// ctx ends at Close, and ends every running call.
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

// link is a driver or a middleware, which is closed once: by the store, or by the
// middleware over it.
type link struct {
	driver Driver
	once   sync.Once
}

func (l *link) close() (err error) {
	l.once.Do(func() { err = l.driver.Close() })
	return err
}

// add adds d to the drivers that Close closes.
func (l *life) add(d Driver) *link {
	added := &link{driver: d}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() {
		_ = added.close() // every call of its store fails
		return added
	}
	l.links = append(l.links, added)
	return added
}

// Close ends every running call, and releases what skykv opened for the store but
// nothing that the program passed in. A store, the stores derived from it and their
// middleware close together. A later Close returns nil. After Close every call with
// valid arguments returns ErrClosed, and so does every call that Close ended. The error
// of a write that was already sent matches ErrIndeterminate as well.
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
	ctx    context.Context // ends with the caller's, and at Close
	caller context.Context
	life   *life
	stop   func() bool // with cancel, takes the call off the store's list
	cancel context.CancelFunc
}

// begin refuses calls of a closed store, calls of a store with an invalid option, and
// calls with a finished context. Every other call ends with call.end.
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

// storeContext ends at Close. It has the values of a caller's context that never ends.
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

// explain returns the error of a driver as the caller must see it: ErrClosed if Close,
// and not the caller, ended the call.
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
