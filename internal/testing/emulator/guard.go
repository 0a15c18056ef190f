package emulator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// guardScript runs its arguments as a command until the command ends or the script's input ends. Then it kills its
// process group, including itself. Only this program holds the other end of the input, so the kernel (or Docker)
// closes it however this program ends. The same script runs local processes, as leader of a process group, and
// containers, where the end of process 1 ends everything.
//
// If there is a folder, the script creates it, works in it and removes it: this program may be killed at any moment,
// but the script is not. A process that still writes into the folder can make a removal fail, but not many times.
const guardScript = `if [ -n "$SKYKV_EMULATOR_FOLDER" ]; then
	mkdir -m 700 "$SKYKV_EMULATOR_FOLDER" && cd "$SKYKV_EMULATOR_FOLDER" || exit
fi
exec 3<&0
cat <&3 >/dev/null &
guard=$!
{ "$@" </dev/null; kill "$guard"; } 3<&- &
exec 2>/dev/null
wait "$guard"
tries=0
while [ -n "$SKYKV_EMULATOR_FOLDER" ] && [ -e "$SKYKV_EMULATOR_FOLDER" ] && [ "$tries" -lt 50 ]; do
	rm -rf "$SKYKV_EMULATOR_FOLDER"
	tries=$((tries + 1))
done
kill -9 0`

// guarded returns the command line that runs args under the script.
func guarded(args ...string) []string {
	return append([]string{"/bin/sh", "-c", guardScript, "skykv-emulator"}, args...)
}

// A process is a local program that ends with this one.
type process struct {
	cmd   *exec.Cmd
	input io.Closer     // the end of the pipe that keeps it alive
	ended chan struct{} // closed when it is gone and its output read
}

const killWithin = 10 * time.Second

// startGuarded starts a program that prints into output and works in an empty folder, which is removed when the
// program ends.
func startGuarded(output io.Writer, args ...string) (*process, error) {
	cmd, folder, err := guardedCommand(args...)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = killWithin
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	p := &process{cmd, input, make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait()           // it is killed, so its status means nothing
		_ = os.RemoveAll(folder) // needed only if the guard failed, or there is none
	}()
	return p, nil
}

// stop ends the program and waits until it is gone.
func (p *process) stop() error {
	_ = p.input.Close() // fails if the program has ended
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopPatience):
		kill(p.cmd)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(killWithin):
		return fmt.Errorf("process %d does not end", p.cmd.Process.Pid)
	}
}

// A tail keeps the end of an emulator's output, for error messages.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if n := len(t.text) - tailSize; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(p), nil
}

// Printf makes a tail a logger for testcontainers.
func (t *tail) Printf(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// explain adds the output to err.
func (t *tail) explain(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return fmt.Errorf("%w; it printed nothing", err)
	}
	return fmt.Errorf("%w; it printed:\n%s", err, t.text)
}
