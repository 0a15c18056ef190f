package localkv

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/skykv/skykv/kv"
	"zombiezen.com/go/sqlite"
)

const (
	// A transaction includes the waiting writes, up to about these numbers of writes
	// and bytes. It lasts a few milliseconds, so that other processes can write too.
	groupWrites = 128
	groupBytes  = 256 * 1024

	// A process that writes continuously, and recently had to wait for another one,
	// pauses after each turn for longer than pollEvery. There is no queue for the lock,
	// so the other process would otherwise find the moments between two transactions
	// only by luck.
	turn       = 10 * time.Millisecond
	pause      = 2 * time.Millisecond
	contention = time.Second

	// sweepEvery is the time between two searches for expired rows, if the last one
	// found few.
	sweepEvery = time.Minute

	// logSize is the length of the log, in bytes, at which it is started over. logWait
	// is the time that the readers of its older parts then have. logLook is how much is
	// written between two checks of its length.
	logSize = 8 << 20
	logWait = 100 * time.Millisecond
	logLook = 1 << 20
)

// writer is the one connection that writes, and its queue. Jobs that wait together are
// committed together, with one sync of the disk.
type writer struct {
	lead    chan struct{} // held by the caller who writes for all, and by Close for ever
	closed  chan struct{}
	wait    time.Duration // lockWait, except in tests
	logWait time.Duration // logWait, except in tests

	mu      sync.Mutex
	waiting []*job

	// The holder of lead owns the following fields.
	conn                    *sqlite.Conn
	file                    *identity
	table                   *table
	begin, commit, rollback *sqlite.Stmt
	nextSweep               time.Time // time of the next search for expired rows
	rebuilt                 bool      // the index of expiries was rebuilt
	contended               time.Time // when another process last held the lock
	stuck                   time.Time // since when it has held the lock without a pause, or zero
	turnBegan, released     time.Time
	log                     string // the log's path
	unlooked, longLog       int64  // bytes written since its last check; length at which it is started over
}

// job is a piece of work for one transaction.
type job struct {
	now           int64 // reading of its store's clock
	writes, bytes int
	meter         *kv.Meter

	// do works on the table. It may be called again after the transaction was rolled
	// back. Its errors undo the whole transaction.
	do func(*table) error

	queued time.Time
	done   chan struct{} // closed when the transaction ended, with err
	err    error
}

func openWriter(ctx context.Context, path string) (*writer, error) {
	c, err := connect(ctx, path, sqlite.OpenReadWrite, pragmas...)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: c, wait: lockWait, logWait: logWait, log: path + logSuffix, longLog: logSize, lead: make(chan struct{}, 1), closed: make(chan struct{})}
	if err := w.open(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return w, nil
}

func (w *writer) open(ctx context.Context) error {
	if err := initialize(ctx, w.conn); err != nil {
		return err
	}
	var err error
	if w.table, err = tableToWrite(ctx, w.conn); err != nil {
		return err
	}
	if err := prepare(ctx, w.conn, map[string]**sqlite.Stmt{beginWrite: &w.begin, commit: &w.commit, rollback: &w.rollback}); err != nil {
		return err
	}
	if err := useLog(ctx, w.conn); err != nil {
		return err
	}
	// SQLite opens a file without write permission read-only, without an error. So
	// write something. This also creates the log, by which checkFile sees that the file
	// is in use.
	if err := w.table.delete(""); err != nil && !isBusy(err) {
		return err
	}
	return nil
}

// write lets j run in a transaction, and returns when it is on the disk. Errors are
// *kv.Error values. Only after errors of a commit may the write have been applied.
func (w *writer) write(ctx context.Context, j *job) error {
	j.queued, j.done = time.Now(), make(chan struct{})
	w.mu.Lock()
	w.waiting = append(w.waiting, j)
	w.mu.Unlock()
	select {
	case w.lead <- struct{}{}:
		err := w.leadUntil(ctx, j)
		w.release()
		return err
	case <-j.done:
		return j.err
	case <-w.closed:
		return w.withdraw(j, errClosed)
	case <-ctx.Done():
		return w.withdraw(j, errDone(ctx))
	}
}

// withdraw removes j from the queue with err, unless its transaction has begun.
func (w *writer) withdraw(j *job, err error) error {
	w.mu.Lock()
	at := slices.Index(w.waiting, j)
	if at >= 0 {
		w.waiting = slices.Delete(w.waiting, at, at+1)
	}
	w.mu.Unlock()
	if at >= 0 {
		return err
	}
	<-j.done
	return j.err
}

// leadUntil runs the waiting jobs, group by group, until j was among them.
func (w *writer) leadUntil(ctx context.Context, j *job) error {
	for {
		select {
		case <-j.done:
			return j.err
		default:
		}
		if err := w.file.look(); err != nil {
			return w.withdraw(j, err)
		}
		if err := w.lock(ctx, j.queued); err != nil {
			return w.withdraw(j, classify(err))
		}
		group := w.take()
		err := w.transact(group)
		w.released = time.Now()
		for _, member := range group {
			member.err = err
			member.meter.Add(1, 1)
			close(member.done)
		}
		w.written(group)
	}
}

// release ends the lead. If the log is long, release first starts it over, in a
// goroutine: the caller's write is done, and may have a deadline.
func (w *writer) release() {
	if w.unlooked < logLook {
		<-w.lead
		return
	}
	go func() {
		w.boundLog()
		<-w.lead
	}()
}

// written counts the bytes written to the log since its last check.
func (w *writer) written(group []*job) {
	for _, j := range group {
		w.unlooked += int64(j.bytes + 8192*j.writes) // a few pages for each write
	}
}

// lock begins a transaction, unless another process has held the lock for as long as a
// write waits since queued.
func (w *writer) lock(ctx context.Context, queued time.Time) error {
	now := time.Now()
	switch {
	case now.Sub(w.released) > pause:
		w.turnBegan = now
	case now.Sub(w.contended) < contention && now.Sub(w.turnBegan) > turn:
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errDone(ctx)
		}
		w.turnBegan = now.Add(pause)
	}
	left := w.wait
	if !w.stuck.IsZero() {
		left -= min(now.Sub(queued), now.Sub(w.stuck))
	}
	return whenFree(ctx, left, func() error {
		select {
		case <-w.closed:
			return errClosed
		default:
		}
		err := exec(w.begin)
		if isBusy(err) {
			w.contended = time.Now()
			w.turnBegan = w.contended
			if w.stuck.IsZero() {
				w.stuck = w.contended
			}
		} else {
			w.stuck = time.Time{}
		}
		return err
	})
}

// take removes the first waiting jobs, as many as one transaction includes.
func (w *writer) take() []*job {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, writes, bytes := 0, 0, 0
	for n < len(w.waiting) && (n == 0 || writes < groupWrites && bytes < groupBytes) {
		writes += w.waiting[n].writes
		bytes += w.waiting[n].bytes
		n++
	}
	group := slices.Clone(w.waiting[:n])
	w.waiting = slices.Delete(w.waiting, 0, n)
	return group
}

// transact runs group in the transaction that lock began, and ends it.
func (w *writer) transact(group []*job) error {
	err := w.do(group)
	if isDamage(err) {
		err = w.doAgain(group)
	}
	if err == nil {
		if err = exec(w.commit); err == nil {
			return nil
		}
		err = classifyCommit(err)
	} else {
		err = classify(err)
	}
	if !w.conn.AutocommitEnabled() { // some errors roll back
		exec(w.rollback)
	}
	return err
}

// do runs group and removes expired rows. A row must have expired by all clocks, the
// host's and those of the stores that write: a clock that is ahead must not remove
// other stores' rows.
func (w *writer) do(group []*job) error {
	if err := w.table.checkSchema(); err != nil {
		return err
	}
	writes, now := 0, time.Now()
	earliest := now.UnixMilli()
	for _, j := range group {
		if err := j.do(w.table); err != nil {
			return err
		}
		writes += j.writes
		earliest = min(earliest, j.now)
	}
	if now.Before(w.nextSweep) {
		return nil
	}
	w.nextSweep = now.Add(sweepEvery) // also if it fails, so that doAgain skips it
	limit := 2*writes + 2
	n, err := w.table.deleteExpired(earliest-kv.ExpiryGrace.Milliseconds(), limit)
	if n == limit {
		w.nextSweep = now
	}
	return err
}

// doAgain runs group once more, in a new transaction, after damage was found in the
// file. If a bit of an expiry has flipped, in a row or in the index of expiries, the
// two do not agree, and SQLite refuses to change that row. doAgain then rebuilds the
// index, once, which takes long in a large file. If the removal of expired rows failed,
// group is run without it: a write must not fail because of another key.
func (w *writer) doAgain(group []*job) error {
	restart := func() error {
		if !w.conn.AutocommitEnabled() {
			if err := exec(w.rollback); err != nil {
				return err
			}
		}
		return whenFree(context.Background(), w.wait, func() error { return exec(w.begin) })
	}
	if err := restart(); err != nil {
		return err
	}
	if !w.rebuilt {
		w.rebuilt = true
		if err := run(context.Background(), w.conn, rebuildIndex); err != nil {
			if err := restart(); err != nil {
				return err
			}
		}
	}
	return w.do(group)
}

// boundLog starts the log over when it is long. SQLite does so itself at a moment
// without a reader of the log's older parts. boundLog waits for these readers. New
// readers use the newest part, and do not wait.
func (w *writer) boundLog() {
	w.unlooked = 0
	info, err := os.Stat(w.log)
	if err != nil || info.Size() <= w.longLog {
		return
	}
	w.longLog = logSize
	if !restartLog(w.conn, w.logWait) {
		w.longLog = info.Size() * 3 / 2 // a long read: writers must not wait for it often
	}
}

// close waits for the running transaction. Jobs that wait are refused.
func (w *writer) close() error {
	close(w.closed)
	w.lead <- struct{}{}
	return w.conn.Close()
}
