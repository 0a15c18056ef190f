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

	// If a process found the lock held by another process less than the time contention ago, it
	// pauses when it has written for the time turn. The pause lasts for the time pause. The lock
	// has no queue: without the pause the other process would get the lock only by luck, between
	// two transactions. pause is longer than pollEvery, so that the other process tries to get
	// the lock during the pause.
	turn       = 10 * time.Millisecond
	pause      = 2 * time.Millisecond
	contention = time.Second

	// sweepEvery is the time between two searches for expired rows, unless the last search
	// found as many as it may remove.
	sweepEvery = time.Minute

	// A log of more than logSize bytes is started over. For that, the writer waits up to
	// logWait for the readers of the log's older parts. It checks the log's length after
	// about every logLook bytes that it writes.
	logSize = 8 << 20
	logWait = 100 * time.Millisecond
	logLook = 1 << 20
)

// writer is the one connection that writes, with its queue of jobs. Jobs that wait at the
// same time are committed together, with one sync of the disk.
type writer struct {
	lead    chan struct{} // a lock: its holder runs the jobs of all callers; close never releases it
	closed  chan struct{}
	wait    time.Duration // lockWait, except in tests
	logWait time.Duration // logWait, except in tests

	mu      sync.Mutex
	waiting []*job

	// The holder of the lock lead owns the following fields.
	conn                    *sqlite.Conn
	file                    *identity
	table                   *table
	begin, commit, rollback *sqlite.Stmt
	nextSweep               time.Time // time of the next search for expired rows
	rebuilt                 bool      // whether the index of expiries was rebuilt
	contended               time.Time // when another process was last seen with the lock
	stuck                   time.Time // since when another process has held the lock without a pause, or zero
	turnBegan, released     time.Time // when writing without a pause began; end of the last transaction
	log                     string    // the log's path

	// unlooked is the number of bytes written since the last call of boundLog. boundLog
	// starts the log over if the log has more than longLog bytes.
	unlooked, longLog int64
}

// job is a piece of work for one transaction.
type job struct {
	now           int64 // time by the store's clock
	writes, bytes int
	meter         *kv.Meter

	// do works on the table. It may be called again after the transaction was rolled back.
	// If it returns an error, the whole transaction is undone.
	do func(*table) error

	queued time.Time
	done   chan struct{} // closed when the transaction has ended and err is set
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
	// If the file is not writable, SQLite opens it read-only and returns no error. So write
	// here, by deleting a key that no entry can have. The write also creates the log, which
	// tells checkFile that the file is in use.
	if err := w.table.delete(""); err != nil && !isBusy(err) {
		return err
	}
	return nil
}

// write runs j in a transaction, and returns when the transaction is on the disk. Its errors
// are *kv.Error values. The write may have been applied only if the commit failed.
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

// withdraw removes j from the queue and returns err. If the transaction of j has already
// begun, withdraw waits for it and returns the transaction's error.
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

// leadUntil runs the waiting jobs, group by group, until j is done. The caller holds the lock
// lead.
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
		w.transact(group)
		w.released = time.Now()
		for _, member := range group {
			member.meter.Add(1, 1)
			close(member.done)
		}
		w.written(group)
	}
}

// release releases the lock lead, so that another caller can write. If much was written since
// the last call of boundLog, a goroutine calls boundLog and only then releases the lock. The
// caller does not wait for the goroutine, because the caller's write is done and the caller
// may have a deadline.
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

// written estimates the number of bytes that group wrote to the log, and adds it to w.unlooked.
func (w *writer) written(group []*job) {
	for _, j := range group {
		w.unlooked += int64(j.bytes + 8192*j.writes) // a few pages for each write
	}
}

// lock begins a transaction, and so takes the file's write lock. If another process holds that
// lock, the method waits. It gives up when w.wait has passed both since the time queued and
// since the lock was first found held.
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

// take removes the first jobs from the queue and returns them, as many as fit into one
// transaction.
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

// transact runs group in the transaction that lock began, and commits it or rolls it back. It sets
// the error of each job. If SQLite finds damage that may concern only one job, each job has a
// transaction of its own.
func (w *writer) transact(group []*job) {
	err := w.do(group)
	if isDamage(err) {
		err = w.doAgain(group)
	}
	switch {
	case isDamage(err) && len(group) > 1:
		for len(group) > 0 {
			if err = w.restart(); err != nil {
				break
			}
			w.transact(group[:1])
			group = group[1:]
		}
		err = classify(err)
	case err != nil:
		err = classify(err)
	default:
		err = classifyCommit(exec(w.commit))
	}
	if !w.conn.AutocommitEnabled() { // some errors roll back
		exec(w.rollback)
	}
	for _, j := range group {
		j.err = err
	}
}

// restart begins a transaction. If the transaction before it has not ended, restart rolls it back.
func (w *writer) restart() error {
	if !w.conn.AutocommitEnabled() {
		if err := exec(w.rollback); err != nil {
			return err
		}
	}
	return whenFree(context.Background(), w.wait, func() error { return exec(w.begin) })
}

// do runs the jobs of group, and removes expired rows if a search for them is due. It removes
// a row only if [kv.ExpiryGrace] has passed since the expiry by the clocks of the host and of
// all stores that write: a store whose clock is ahead must not remove other stores' rows.
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
	w.nextSweep = now.Add(sweepEvery) // set even if the removal fails, so that doAgain skips it
	limit := 2*writes + 2
	n, err := w.table.deleteExpired(earliest-kv.ExpiryGrace.Milliseconds(), limit)
	if n == limit {
		w.nextSweep = now
	}
	return err
}

// doAgain runs group once more, in a new transaction, after SQLite found damage in the file.
// If a bit of an expiry has flipped, in a row or in the index of expiries, the row and the
// index do not agree, and SQLite refuses to change the row. So the first call of doAgain
// rebuilds the index, which takes long in a large file. doAgain does not repeat a removal of
// expired rows that failed: a write must not fail because of a different key.
func (w *writer) doAgain(group []*job) error {
	if err := w.restart(); err != nil {
		return err
	}
	if !w.rebuilt {
		w.rebuilt = true
		if err := run(context.Background(), w.conn, rebuildIndex); err != nil {
			if err := w.restart(); err != nil {
				return err
			}
		}
	}
	return w.do(group)
}

// boundLog starts the log over if it is long. SQLite also does this by itself, but only at a
// moment when nobody reads the log's older parts. boundLog waits for such a moment, up to
// w.logWait. New readers use the newest part, and do not delay it.
func (w *writer) boundLog() {
	w.unlooked = 0
	info, err := os.Stat(w.log)
	if err != nil {
		return
	}
	if info.Size() < w.longLog*2/3 { // the log has started over since the attempt that failed
		w.longLog = logSize
	}
	if info.Size() <= w.longLog {
		return
	}
	w.longLog = logSize
	if !restartLog(w.conn, w.logWait) {
		w.longLog = info.Size() * 3 / 2 // a long read is running: wait for it again only after the log has grown by half
	}
}

// close refuses the waiting jobs, waits for the running transaction and closes the
// connection.
func (w *writer) close() error {
	close(w.closed)
	w.lead <- struct{}{}
	return w.conn.Close()
}
