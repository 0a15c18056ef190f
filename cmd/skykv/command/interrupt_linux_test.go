package command

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The rule: Ctrl-C ends even commands that wait for input.
func TestInterruptedWhileWaiting(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, name := range []string{"put", "import"} {
			store := fileStore(t)
			args := []string{name, store}
			if name == "put" {
				args = append(args, "key")
			}
			cmd := command(t, args...)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			defer r.Close()
			cmd.Stdin = r
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if name == "put" {
				if _, err := w.Write(make([]byte, 100)); err != nil {
					t.Fatal(err)
				}
			} else if _, err := w.WriteString(read(t, lines(t, 5000))); err != nil {
				t.Fatal(err)
			}
			waitUntilRead(t, r)
			if code := interrupt(t, cmd, signal); code != exitSignal+int(signal) {
				t.Errorf("%v exits with %d after %s and\n%s", args[0], code, signal, &stderr)
			}
			if !strings.Contains(stderr.String(), map[syscall.Signal]string{syscall.SIGINT: "interrupted", syscall.SIGTERM: "terminated"}[signal]) {
				t.Errorf("%s prints %q after %s", name, &stderr, signal)
			}
			if _, err := os.Stat(strings.TrimPrefix(store, "file:")); name == "put" && err == nil {
				t.Error("rule: put stores no incomplete value, and opens no store for it")
			}
		}
	}
}

// waitUntilRead returns when another process has read everything that is in the pipe.
func waitUntilRead(t *testing.T, r *os.File) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
	t.Fatal("the process does not read its input")
}

// The rule: a second signal ends a command even while it waits for its output to be read.
func TestInterruptedWhileWriting(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	good(t, "import", store, "--input", lines(t, 20_000)) // more than a pipe holds
	cmd := command(t, "export", store)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, stdout, "key:000001")
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case <-ended:
			state, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			killed, stopped := ok && state.Signal() == syscall.SIGTERM, cmd.ProcessState.ExitCode() == exitSignal+int(syscall.SIGTERM)
			if !killed && !stopped { // stopped: the command was not waiting when the first signal came
				t.Errorf("rule: a signal after the first one ends a command at once; it ends with %v", cmd.ProcessState)
			}
			return
		case <-time.After(10 * time.Millisecond): // repeated until one signal comes after the first has been handled
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	}
}
