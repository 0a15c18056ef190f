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

// guardScript runs its arguments as a command until the command ends or the script's standard input is closed. Then
// it kills its process group, including itself. Only the Go process that started the script holds the other end
// of the input, so the kernel (or Docker) closes the input however that process ends. Outside a container, the script is
// the leader of a process group of its own. In a container it is process 1, and everything in the container ends with
// process 1.
//
// If SKYKV_EMULATOR_FOLDER is set, the script creates this folder, works in it and finally removes it. The script
// does this because the Go process may be killed before it could remove the folder. A process that still writes into
// the folder may make the removal fail, so the script repeats the removal.
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

// guarded returns the command line that runs args in the guard script.
func guarded(args ...string) []string {
	return append([]string{"/bin/sh", "-c", guardScript, "skykv-emulator"}, args...)
}

// A process is a local program. On Unix, it ends when this program ends.
type process struct {
	cmd   *exec.Cmd
	input io.Closer     // the other end of the program's standard input
	ended chan struct{} // closed when the program has ended and its output was read
}

const killWithin = 10 * time.Second

// startGuarded starts a program whose output goes to output, in an empty folder that is removed when the
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
		_ = cmd.Wait()           // its status says nothing, because the program is killed
		_ = os.RemoveAll(folder) // needed if the guard failed, or where there is no guard
	}()
	return p, nil
}

// stop ends the program, and returns when it has ended.
func (p *process) stop() error {
	_ = p.input.Close() // fails if the program has already ended
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

// A tail keeps the last part of an emulator's output, for error messages.
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

// Printf makes a tail usable as a logger of testcontainers.
func (t *tail) Printf(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// explain returns err together with the output.
func (t *tail) explain(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return fmt.Errorf("%w; it printed nothing", err)
	}
	return fmt.Errorf("%w; it printed:\n%s", err, t.text)
}
