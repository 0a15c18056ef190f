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

func openReader(ctx context.Context, path string) (*reader, error) {
	c, err := connect(ctx, path, sqlite.OpenReadWrite, append([]string{queryOnly}, pragmas...)...)
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c}
	if err := r.prepare(ctx); err != nil {
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

// get reads the record under a key, as soon as no other process is in the way.
func (r *reader) get(ctx context.Context, key string, withValue bool) (found kv.Found, err error) {
	err = whenFree(ctx, lockWait, func() error {
		found, err = r.table.get(key, withValue)
		return err
	})
	return found, classify(err)
}

// readers lends connections. The one used last is lent first: its cache is warm.
type readers struct {
	path   string
	places chan struct{} // one for each connection lent; filled by close
	closed chan struct{}

	mu   sync.Mutex
	idle []*reader
}

func newReaders(path string, n int) *readers {
	return &readers{path: path, places: make(chan struct{}, n), closed: make(chan struct{})}
}

// borrow returns a connection, which giveBack takes again.
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
	rs.mu.Lock()
	if last := len(rs.idle) - 1; last >= 0 {
		r := rs.idle[last]
		rs.idle = rs.idle[:last]
		rs.mu.Unlock()
		return r, nil
	}
	rs.mu.Unlock()
	select {
	case <-rs.closed:
		<-rs.places
		return nil, errClosed
	default:
	}
	r, err := openReader(ctx, rs.path)
	if err != nil {
		<-rs.places
		return nil, classify(err)
	}
	return r, nil
}

func (rs *readers) giveBack(r *reader) {
	rs.mu.Lock()
	rs.idle = append(rs.idle, r)
	rs.mu.Unlock()
	<-rs.places
}

// close waits for the reads under way.
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
