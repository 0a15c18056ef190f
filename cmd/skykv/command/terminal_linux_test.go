package command

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal gives both ends of a terminal of 100 columns: what a person sees
// and types, and what a process has as its files.
func openTerminal(t *testing.T) (person, process *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no terminal: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err == nil {
		process, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if errors.Is(err, fs.ErrNotExist) { // /dev/pts is not mounted
		t.Skip("there is no terminal: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return person, process
}

// On a terminal, transfers show a bar with a rate and an estimate, until Ctrl-C is
// typed; the next run goes on from there and cleans the bar away.
func TestTerminal(t *testing.T) {
	t.Parallel()
	const n = 30_000
	dir, input := t.TempDir(), lines(t, n)
	good(t, "import", "file:"+filepath.Join(dir, "from.db"), "--input", input)
	bar := regexp.MustCompile(`copied +\d+% \|[█ ]+\| \(\d+/\d+, \d+ entries/s\) \[[0-9sm]+:[0-9sm]+\]`)
	for _, end := range []string{"interrupted", "done"} {
		cmd := command(t, "copy", "file:from.db", "file:to.db", "--checkpoint", "state", "--parallel", "1")
		cmd.Dir = dir
		person, process := openTerminal(t)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = process, process, process
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		process.Close()
		var seen []byte
		buf := make([]byte, 4096)
		for typed := end != "interrupted"; ; {
			got, err := person.Read(buf)
			seen = append(seen, buf[:got]...)
			if !typed && bar.Match(seen) {
				typed = true
				if _, err := person.Write([]byte{3}); err != nil { // Ctrl-C
					t.Fatal(err)
				}
			}
			if err != nil { // EIO, when the process has ended
				break
			}
		}
		_ = cmd.Wait() // the code says it
		code, last := cmd.ProcessState.ExitCode(), string(seen[bytes.LastIndex(seen, []byte("\x1b[K"))+1:])
		switch end {
		case "interrupted":
			if code != 130 || !strings.Contains(last, "interrupted\r\ncopied ") || !strings.Contains(last, "run the same command again") {
				t.Errorf("after Ctrl-C copy exits with %d and shows %q", code, seen)
			}
		case "done":
			if code != 0 || !bytes.Contains(seen, []byte("resuming after ")) || !strings.HasPrefix(last, "[Kcopied 30,000 entries in ") {
				t.Errorf("the next copy exits with %d and shows %q", code, seen)
			}
		}
	}
	wantSame(t, "the copy", good(t, "export", "file:"+filepath.Join(dir, "to.db")), read(t, input))
}

// A value shown on a terminal ends its line, one that is typed ends with Ctrl-D.
func TestValuesOnTerminal(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	person, process := openTerminal(t)
	put := command(t, "put", store, "a")
	put.Stdin = process
	stderr, err := put.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := put.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, stderr, "type the value, then Ctrl-D")
	if _, err := person.WriteString("typed\n\x04"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := put.Wait(); err != nil {
		t.Fatalf("put: %v\n%s", err, rest)
	}
	if got := good(t, "get", store, "a"); got != "typed\n" {
		t.Errorf("what was typed is stored as %q", got)
	}
	good(t, "put", store, "a", "shown")
	person, process = openTerminal(t)
	get := command(t, "get", store, "a")
	get.Stdout = process
	if err := get.Run(); err != nil {
		t.Fatal(err)
	}
	process.Close()
	if shown, _ := io.ReadAll(person); string(shown) != "shown\r\n" { // it ends with EIO
		t.Errorf("a terminal shows %q", shown)
	}
}
