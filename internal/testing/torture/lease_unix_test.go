//go:build unix

package torture

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/localkv"
)

// The programs of the processes, which contend for a lease. The second has a bug: it never
// calls Held.
const (
	asksHeld    = "lease"
	neverAsking = "lease, never asked"
)

func init() {
	childPrograms[asksHeld] = func(path string) error { return contend(path, (*lease.Lease).Held) }
	childPrograms[neverAsking] = func(path string) error { return contend(path, func(*lease.Lease) bool { return true }) }
}

// contend acquires the lease again and again, until it is killed. Whenever it is told that it has
// the lease, it prints a [Claim].
func contend(path string, held func(*lease.Lease) bool) error {
	store, err := localkv.New(path, nil)
	if err != nil {
		return err
	}
	leases, err := lease.New(store, &lease.Options{TTL: lease.MinTTL, Poll: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	for ctx := context.Background(); ; {
		l, err := leases.Acquire(ctx, "one")
		if err != nil {
			return err
		}
		for range rand.IntN(400) { // a number of claims, not a time, because the process may be stopped in between
			time.Sleep(5 * time.Millisecond)
			if before := monotonic(); held(l) {
				fmt.Println(l.Token(), before, monotonic())
			}
		}
		_ = l.Release(ctx)
	}
}

// contenders runs processes that contend for a lease, and pauses and kills some of them,
// until the function enough returns true. It returns their claims.
func contenders(t *testing.T, program string, enough func(h *Holders, lasted time.Duration) bool) *Holders {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	holders := new(Holders)
	var listening sync.WaitGroup
	start := func() *os.Process {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childPath+"="+path, childProgram+"="+program)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		listening.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				c := Claim{Holder: fmt.Sprint("process ", cmd.Process.Pid)}
				if _, err := fmt.Sscan(lines.Text(), &c.Token, &c.Begin, &c.End); err != nil {
					continue // the last line of a process that was killed may be incomplete
				}
				holders.Claim(c)
			}
			_ = cmd.Wait() // fails, because the process was killed
		})
		return cmd.Process
	}
	processes := []*os.Process{start(), start(), start()}
	for n, begun := 0, time.Now(); !enough(holders, time.Since(begun)); n++ {
		if time.Since(begun) > 10*time.Minute {
			t.Errorf("the processes hang: %d acquisitions", holders.Tokens())
			break
		}
		i := rand.IntN(len(processes))
		pause(processes[i], rand.N(200*time.Millisecond), rand.N(3*lease.MinTTL))
		if n%3 == 2 {
			_ = processes[i].Kill()
			processes[i] = start()
		}
	}
	for _, p := range processes {
		_ = p.Kill()
	}
	listening.Wait()
	t.Logf("%d acquisitions", holders.Tokens())
	return holders
}

// TestLeaseBetweenProcesses checks that a lease has one holder at a time while processes
// are paused and killed.
func TestLeaseBetweenProcesses(t *testing.T) {
	t.Parallel()
	lasts := 10 * time.Second
	if long() {
		lasts = 3 * time.Minute
	}
	holders := contenders(t, asksHeld, func(h *Holders, lasted time.Duration) bool { return lasted >= lasts && h.Tokens() >= 5 })
	if bad := holders.Violations(); len(bad) > 0 {
		t.Errorf("%s", strings.Join(bad, "\n"))
	}
}

// TestLeaseBetweenProcessesFindsBugs checks that the check of TestLeaseBetweenProcesses can fail.
func TestLeaseBetweenProcessesFindsBugs(t *testing.T) {
	t.Parallel()
	bad := contenders(t, neverAsking, func(h *Holders, lasted time.Duration) bool { return len(h.Violations()) > 0 || lasted > 3*time.Minute }).Violations()
	if len(bad) == 0 {
		t.Fatal("rule: the check finds processes that hold a lease together because they never call Held; it found none")
	}
	t.Log(bad[0])
}
