package localkv

import (
	"context"
	"sync"

	"zombiezen.com/go/sqlite"
)

// reader is a connection that reads.
type reader struct {
	conn                         *sqlite.Conn
	record, meta, page, pageMeta *sqlite.Stmt
	begin, end                   *sqlite.Stmt
}

func openReader(ctx context.Context, path string) (*reader, error) {
	c, err := connect(ctx, path, sqlite.OpenReadWrite, append([]string{"PRAGMA query_only = ON"}, pragmas...)...)
	if err != nil {
		return nil, err
	}
	r := &reader{conn: c}
	if err := prepare(ctx, c, map[string]**sqlite.Stmt{
		selectRecord: &r.record, selectMeta: &r.meta, scanRecords: &r.page, scanMeta: &r.pageMeta,
		"BEGIN": &r.begin, "ROLLBACK": &r.end,
	}); err != nil {
		c.Close()
		return nil, err
	}
	return r, nil
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

// borrow gives a connection, which give takes back.
func (rs *readers) borrow(ctx context.Context) (*reader, error) {
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

func (rs *readers) give(r *reader) {
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
