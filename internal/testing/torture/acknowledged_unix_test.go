//go:build unix

package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

func init() {
	childPrograms[byStore] = func(path string) error {
		opened, err := localkv.New(path, nil)
		if err != nil {
			return err
		}
		defer opened.Close()
		// The clock jumps back and forth. Entries that do not expire must not be affected.
		store := opened.With(kv.Clock(func() time.Time { return time.Now().Add(time.Duration(rand.IntN(49)-24) * time.Hour) }))
		return acknowledge(path, store)
	}
	childPrograms[byLink] = func(path string) error { return acknowledge(path, nil) }
}

// board is memory that several processes share. It shows without a clock that a read is too
// old: the read returns a smaller number than the board had before the read began.
type board struct {
	acknowledged [ackKeys]atomic.Int64 // for each key, the last number whose Put has returned
	reads        atomic.Int64          // how many reads all processes made of keys that another process had written
	stop         atomic.Int32          // if not 0, the processes stop
}

// writes returns how many writes were acknowledged.
func (b *board) writes() (n int64) {
	for i := range b.acknowledged {
		n += b.acknowledged[i].Load()
	}
	return n
}

// The programs of the processes. The first writes and reads. The second only reads, by a
// hard link of the file.
const (
	byStore = "acknowledged"
	byLink  = "acknowledged, by a link"
)

const (
	ackProcesses = 3
	ackKeys      = 2 * ackProcesses // each is written by one process
)

func ackKey(i int) string { return "number:" + strconv.Itoa(i) }

// openBoard maps the file at path, which has the board, into the memory.
func openBoard(path string) (*board, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(unsafe.Sizeof(board{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	memory, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*board)(unsafe.Pointer(unsafe.SliceData(memory))), nil
}

// acknowledge writes numbers to the keys of this process, and reads all keys, until board.stop
// is set. It prints the reads that are too old, up to three of each kind. If store is nil, it only
// reads, by a hard link of the file.
func acknowledge(path string, store *kv.Store) error {
	number, err := strconv.Atoi(os.Getenv(ackNumber))
	if err != nil {
		return err
	}
	shared, err := openBoard(path + ".board")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	bufio.NewScanner(os.Stdin).Scan() // returns when the parent has made the link, and then closed this input
	var read map[string]readNumber
	if store != nil {
		read = readStore(store)
	} else if read, err = readLink(path); err != nil {
		return err
	}
	ctx := context.Background()
	var working sync.WaitGroup
	failed := make(chan error, ackKeys+len(read))
	fail := func(err error) {
		shared.stop.Store(1)
		failed <- err
	}
	for i := number; i < ackKeys && store != nil; i += ackProcesses {
		working.Go(func() {
			for n := int64(1); shared.stop.Load() == 0; n++ {
				if _, err := store.Put(ctx, ackKey(i), []byte(strconv.FormatInt(n, 10))); err != nil {
					fail(err)
					return
				}
				shared.acknowledged[i].Store(n)
			}
		})
	}
	for name, read := range read {
		working.Go(func() {
			for told := 0; shared.stop.Load() == 0 && told < 3; {
				i := rand.IntN(ackKeys)
				before := shared.acknowledged[i].Load()
				n, err := read(ctx, ackKey(i))
				if err != nil {
					fail(fmt.Errorf("%s: %w", name, err))
					return
				}
				if i%ackProcesses != number && before > 0 {
					shared.reads.Add(1)
				}
				if n < before {
					fmt.Printf("process %d: %s of %s returned %d after %d was acknowledged\n", number, name, ackKey(i), n, before)
					told++
				}
			}
		})
	}
	working.Wait()
	close(failed)
	return <-failed
}

// readNumber returns the number under a key, or 0 if there is none.
type readNumber func(ctx context.Context, key string) (int64, error)

// readStore returns a readNumber for each kind of read.
func readStore(store *kv.Store) map[string]readNumber {
	parse := func(value []byte) (int64, error) { return strconv.ParseInt(string(value), 10, 64) }
	return map[string]readNumber{
		"Get": func(ctx context.Context, key string) (int64, error) {
			entry, err := store.Get(ctx, key)
			if errors.Is(err, kv.ErrNotFound) {
				return 0, nil
			} else if err != nil {
				return 0, err
			}
			return parse(entry.Value)
		},
		"GetMany": func(ctx context.Context, key string) (int64, error) {
			found, err := store.GetMany(ctx, []string{key})
			if entry, ok := found[key]; ok && err == nil {
				return parse(entry.Value)
			}
			return 0, err
		},
		"Scan": func(ctx context.Context, key string) (int64, error) {
			for entry, err := range store.Scan(ctx, key) {
				if err != nil {
					return 0, err
				}
				return parse(entry.Value)
			}
			return 0, nil
		},
	}
}

// readLink returns a readNumber that reads the file by a hard link. SQLite looks for the log
// next to the link, but the log is next to the file. The function uses SQLite directly,
// because localkv refuses the link.
func readLink(path string) (map[string]readNumber, error) {
	c, err := sqlite.OpenConn(path+".link", sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	return map[string]readNumber{"SQLite": func(_ context.Context, key string) (n int64, err error) {
		err = sqlitex.Execute(c, "SELECT CAST(v AS TEXT) FROM kv WHERE k = ?", &sqlitex.ExecOptions{
			Args: []any{key},
			ResultFunc: func(stmt *sqlite.Stmt) error {
				n, err = strconv.ParseInt(stmt.ColumnText(0), 10, 64)
				return err
			},
		})
		return n, err
	}}, nil
}

const ackNumber = "SKYKV_TORTURE_NUMBER"

// olderReads runs processes, and pauses some of them now and then, until they have made enough
// reads and writes, or one of the reads is too old. It returns the reads that were too old.
func olderReads(t *testing.T, programs [ackProcesses]string, reads int64) (older []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	shared, err := openBoard(path + ".board")
	if err != nil {
		t.Fatal(err)
	}
	type process struct {
		*exec.Cmd
		lines *bufio.Scanner
	}
	var processes []process
	start := make([]func() error, ackProcesses)
	for i := range ackProcesses {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childPath+"="+path, childProgram+"="+programs[i], ackNumber+"="+strconv.Itoa(i))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p := process{cmd, bufio.NewScanner(out)}
		if p.lines.Scan(); p.lines.Text() != "ready" {
			t.Fatalf("a process printed %q", p.lines.Text())
		}
		processes, start[i] = append(processes, p), in.Close
	}
	if err := os.Link(path, path+".link"); err != nil { // every process has already opened the file by its own name
		t.Fatal(err)
	}
	for i := range start {
		if err := start[i](); err != nil {
			t.Fatal(err)
		}
	}
	var listening sync.WaitGroup
	var mu sync.Mutex
	ended := make(chan struct{}, ackProcesses)
	for _, p := range processes {
		listening.Go(func() {
			for p.lines.Scan() {
				mu.Lock()
				older = append(older, p.lines.Text())
				mu.Unlock()
			}
			if err := p.Wait(); err != nil {
				t.Errorf("a process: %v", err)
			}
			ended <- struct{}{}
		})
	}
	pauses := 0
	for begun := time.Now(); (shared.reads.Load() < reads || shared.writes() < reads/500) && len(ended) == 0; {
		if time.Since(begun) > 10*time.Minute {
			t.Errorf("the processes hang: %d of %d reads", shared.reads.Load(), reads)
			break
		}
		pause(processes[pauses%ackProcesses].Process, time.Duration(rand.IntN(20))*time.Millisecond, time.Duration(rand.IntN(20))*time.Millisecond)
		pauses++
		mu.Lock()
		found := len(older) > 0
		mu.Unlock()
		if found {
			break
		}
	}
	shared.stop.Store(1)
	listening.Wait()
	t.Logf("%d reads of what other processes wrote, %d acknowledged writes, %d pauses; %d reads were too old", shared.reads.Load(), shared.writes(), pauses, len(older))
	return older
}

// TestReadsAreNotOlderThanAcknowledged checks that a read returns nothing older than what any
// process acknowledged before the read began, even if processes are paused and their clocks
// differ.
func TestReadsAreNotOlderThanAcknowledged(t *testing.T) {
	t.Parallel()
	reads := int64(20_000)
	if long() {
		reads = 200 * int64(tortureOperations(t))
	}
	if older := olderReads(t, [...]string{byStore, byStore, byStore}, reads); len(older) > 0 {
		t.Errorf("rule: a read is never older than what was acknowledged before it began\n%s", strings.Join(older, "\n"))
	}
}

// TestReadsByALinkAreOlder shows that the check of TestReadsAreNotOlderThanAcknowledged can fail.
func TestReadsByALinkAreOlder(t *testing.T) {
	t.Parallel()
	if older := olderReads(t, [...]string{byLink, byStore, byStore}, 1_000_000); len(older) == 0 {
		t.Error("rule: the check finds reads that are too old when they go through another name of the file, which has another log; it found none")
	} else {
		t.Log(older[0])
	}
}
