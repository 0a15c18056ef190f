package localkv

import (
	"context"
	"sync"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

// reader is a connection that reads.
type reader struct {
	conn       *sqlite.Conn
	table      *table
	begin, end *sqlite.Stmt
}

func openReader(ctx context.Context, file *identity) (*reader, error) {
	c, err := connect(ctx, file.path, sqlite.OpenReadWrite, append([]string{queryOnly}, pragmas...)...)
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c}
	err = r.prepare(ctx)
	if err == nil {
		err = file.check() // c must have the same file open as the writer
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return r, nil
}

func (r *reader) prepare(ctx context.Context) (err error) {
	if r.table, err = tableToRead(ctx, r.conn); err != nil {
		return err
	}
	return prepare(ctx, r.conn, map[string]**sqlite.Stmt{beginRead: &r.begin, rollback: &r.end})
}

// get reads the record under a key. If another connection holds the lock, get waits for it.
func (r *reader) get(ctx context.Context, key string, withValue bool) (found kv.Found, err error) {
	err = whenFree(ctx, lockWait, func() error {
		found, err = r.table.get(key, withValue)
		return err
	})
	return found, classify(err)
}

// inTransaction calls f within a transaction.
func (r *reader) inTransaction(f func() error) error {
	if err := exec(r.begin); err != nil {
		return err
	}
	err := f()
	if !r.conn.AutocommitEnabled() { // some errors end the transaction
		if ending := exec(r.end); err == nil {
			err = ending
		}
	}
	return err
}

// readers lends connections. It prefers the connection that was used last, because its cache
// is warm.
type readers struct {
	file   *identity
	places chan struct{} // has one element for each lent connection; close fills it, so that no more are lent
	closed chan struct{}

	mu   sync.Mutex
	idle []*reader
}

// openReaders opens the first of n connections. The others are opened when they are needed.
func openReaders(ctx context.Context, file *identity, n int) (*readers, error) {
	first, err := openReader(ctx, file)
	if err != nil {
		return nil, err
	}
	return &readers{file: file, places: make(chan struct{}, n), closed: make(chan struct{}), idle: []*reader{first}}, nil
}

// borrow returns a connection. The caller must return it by giveBack.
func (rs *readers) borrow(ctx context.Context) (*reader, error) {
	if ctx.Err() != nil {
		return nil, errDone(ctx)
	}
	select {
	case rs.places <- struct{}{}:
	default:
		select {
		case rs.places <- struct{}{}:
		case <-rs.closed:
			return nil, errClosed
		case <-ctx.Done():
			return nil, errDone(ctx)
		}
	}
	err := rs.file.look()
	if err == nil {
		if r := rs.takeIdle(); r != nil {
			return r, nil
		}
		var r *reader
		if r, err = rs.open(ctx); err == nil {
			return r, nil
		}
	}
	<-rs.places
	return nil, classify(err)
}

// open opens a connection. If that fails, for example because there are no file descriptors
// left, open tries again, or returns a connection that was given back in the meantime.
func (rs *readers) open(ctx context.Context) (r *reader, err error) {
	final := false
	err = poll(ctx, lockWait, func(error) bool { return !final }, func() error {
		select {
		case <-rs.closed:
			final = true
			return errClosed
		default:
		}
		if err := rs.file.look(); err != nil {
			final = true
			return err
		}
		if r = rs.takeIdle(); r != nil {
			return nil
		}
		r, err = openReader(ctx, rs.file)
		return err
	})
	return r, err
}

// takeIdle returns the idle connection that was used last, or nil.
func (rs *readers) takeIdle() *reader {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	last := len(rs.idle) - 1
	if last < 0 {
		return nil
	}
	r := rs.idle[last]
	rs.idle = rs.idle[:last]
	return r
}

func (rs *readers) giveBack(r *reader) {
	rs.mu.Lock()
	rs.idle = append(rs.idle, r)
	rs.mu.Unlock()
	<-rs.places
}

// close waits for the running reads and closes the connections.
func (rs *readers) close() {
	close(rs.closed)
	for range cap(rs.places) {
		rs.places <- struct{}{}
	}
	for _, r := range rs.idle {
		r.conn.Close()
	}
	rs.idle = nil
}
