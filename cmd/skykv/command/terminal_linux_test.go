package command

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skykv/skykv/conformance"
)

// openTerminal returns both ends of a pseudoterminal of 100 columns: one for the person who
// types and reads, and one for the streams of a process.
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

// The rule: on a terminal, a transfer shows a bar with a rate and an estimate, and removes it
// at the end. After Ctrl-C, the next run continues the transfer.
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
		_ = cmd.Wait() // its error says no more than the exit code
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

// onTerminal runs a command with a terminal as its output, and returns the output. A terminal
// ends lines with \r\n.
func onTerminal(t *testing.T, cmd *exec.Cmd) (shown string, code int) {
	t.Helper()
	person, process := openTerminal(t)
	cmd.Stdout, cmd.Stderr = process, process
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	process.Close()
	text, _ := io.ReadAll(person) // the error is EIO, because the process has ended
	_ = cmd.Wait()                // its error says no more than the exit code
	return string(text), cmd.ProcessState.ExitCode()
}

// The rule: on a terminal, characters that would move its cursor or change the
// direction of text are escaped. A pipe gets them unchanged.
func TestTerminalIsNotControlled(t *testing.T) {
	t.Parallel()
	const shown = `\u001b[2J\u001b]0;mine\u0007\u007f\u009b31m\u202eno\u2066\xff\x9b\u000d`
	if got, code := onTerminal(t, unusually(t, "get", "hostile:", "value")); got != shown+"\r\n" || code != 0 {
		t.Errorf("get shows %q on a terminal and exits with %d; want %q", got, code, shown)
	}
	if o := process(t, unusually(t, "get", "hostile:", "value")); o.stdout != hostileText {
		t.Errorf("get prints %q into a pipe; want %q", o.stdout, hostileText)
	}
	inMessage := strings.TrimSuffix(shown, `\u000d`) // a message is one line, so its line breaks are left out
	if got, _ := onTerminal(t, unusually(t, "get", "hostile:", "message")); !strings.Contains(got, inMessage) {
		t.Errorf("the message of a service is shown as %q; want %q in it", got, inMessage)
	}
	if got, _ := onTerminal(t, unusually(t, "get", "hostile:", "message", "\x1b[2J\u202e")); !strings.Contains(got, "wrong number") || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("wrong use is shown as %q", got)
	}
	if got, _ := onTerminal(t, unusually(t, "put", "mem:", "a", "--file", "\x1b[2J\u202e")); !strings.Contains(got, `open \u001b[2J\u202e: no such file`) {
		t.Errorf("the name of a file is shown as %q", got)
	}
	store, text := fileStore(t), "\u202e\u009b\x7f\n"
	good(t, "put", store, "a", text)
	want := `"value":"\u202e\u009b\u007f\n"`
	for _, args := range [][]string{{"get", store, "a", "--json"}, {"scan", store, "--json"}, {"export", store}, {"export", store, "-o", "/dev/stdout"}} {
		if got, _ := onTerminal(t, command(t, args...)); !strings.Contains(got, want) {
			t.Errorf("%v shows %q; want %s", args, got, want)
		}
		if got := good(t, args...); !strings.Contains(got, strings.TrimSuffix(text, "\n")) {
			t.Errorf("%v prints %q into a pipe; want the text unchanged", args, got)
		}
	}
	if got, _ := onTerminal(t, unusually(t, "scan", "foreign:", "--keys-only")); got != "a\r\nc\r\ne\r\n" {
		t.Errorf("scan --keys-only shows %q", got)
	}
}

// The rule: the bar of conformance counts all cases of the suite.
func TestConformanceBar(t *testing.T) {
	t.Parallel()
	shown, code := onTerminal(t, unusually(t, "conformance", "counted:"))
	totals := regexp.MustCompile(`\(\d+/(\d+),`).FindAllStringSubmatch(shown, -1)
	if code != 0 || len(totals) == 0 {
		t.Fatalf("conformance exits with %d and shows no bar: %q", code, shown)
	}
	want := strconv.Itoa(len(conformance.Cases()))
	for _, total := range totals {
		if total[1] != want {
			t.Fatalf("the bar counts %s of %s cases", total[0], want)
		}
	}
}

// The rule: a value is printed with a newline on a terminal. A typed value ends with Ctrl-D.
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
		t.Errorf("the typed value is stored as %q", got)
	}
	good(t, "put", store, "a", "shown")
	if shown, _ := onTerminal(t, command(t, "get", store, "a")); shown != "shown\r\n" {
		t.Errorf("a terminal shows %q", shown)
	}
	// If nothing is typed, the user probably forgot the value.
	person, process = openTerminal(t)
	put = command(t, "put", store, "a")
	put.Stdin = process
	if stderr, err = put.StderrPipe(); err != nil {
		t.Fatal(err)
	}
	if err := put.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, stderr, "type the value, then Ctrl-D")
	if _, err := person.WriteString("\x04"); err != nil {
		t.Fatal(err)
	}
	await(t, stderr, "standard input is empty")
	_ = put.Wait() // its error says no more than the exit code
	if code := put.ProcessState.ExitCode(); code != exitUsage || good(t, "get", store, "a") != "shown" {
		t.Errorf("rule: an empty value is stored only on request; put exits with %d", code)
	}
}

// The rule: scan shows a person a table, and a program lines of JSON.
func TestTable(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	good(t, "put", store, "a", "{\"n\": 1,\n \"b\": [2]}", "--ttl", "59m30s")
	good(t, "put", store, "binary", "--file", binaryFile(t))
	good(t, "put", store, "hostile", "\x1b[2J\nb\u202e")
	good(t, "put", store, "long:"+strings.Repeat("k", 60), strings.Repeat("v", 200))
	good(t, "put", store, "z", "text, as it is")
	shown, code := onTerminal(t, command(t, "scan", store))
	lines := strings.Split(strings.TrimSuffix(shown, "\r\n"), "\r\n")
	if code != 0 || len(lines) != 6 {
		t.Fatalf("scan exits with %d and shows\n%s", code, shown)
	}
	for i, want := range []string{
		`^KEY {49}TIME LEFT {8}VALUE$`,
		`^a {51}59 min \d+ s left  {"n":1,"b":\[2\]}$`,
		`^binary {63}\(3 bytes\)$`,
		`^hostile {62}"\\x1b\[2J\\nb\\u202e"$`,
		`^long:k{60} {19}v{19}…$`,
		`^z {68}text, as it is$`,
	} {
		if !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Errorf("line %d is %q, want %s", i, lines[i], want)
		}
	}
	if got, _ := onTerminal(t, command(t, "scan", store, "--prefix", "none")); got != "" {
		t.Errorf("a scan without entries shows %q", got)
	}
}

func binaryFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "binary")
	if err := os.WriteFile(path, []byte{0xff, 0, 1}, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The rule: a person is asked before all entries with a prefix are removed.
func TestDeletePrefixAsks(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	for _, c := range []struct {
		typed string
		args  []string
		code  int
		left  string
	}{
		{"\n", nil, exitFailure, "a\n"},
		{"n\n", nil, exitFailure, "a\n"},
		{"yesterday\n", nil, exitFailure, "a\n"},
		{"\x04", nil, exitFailure, "a\n"},
		{"\x03", nil, 130, "a\n"},
		{"y\n", nil, 0, ""},
		{"YES\n", nil, 0, ""},
		{"", []string{"--yes"}, 0, ""},
		{"", []string{"--dry-run"}, 0, "a\n"},
	} {
		good(t, "put", store, "a", "value")
		person, process := openTerminal(t)
		cmd := command(t, append([]string{"delete", store, "--prefix", "a"}, c.args...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = process, process, process
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		process.Close()
		if c.typed != "" {
			await(t, person, `Remove every entry whose key begins with "a"? [y/N] `)
			if _, err := person.WriteString(c.typed); err != nil {
				t.Fatal(err)
			}
		}
		rest, _ := io.ReadAll(person) // the error is EIO, because the process has ended
		_ = cmd.Wait()                // its error says no more than the exit code
		if code := cmd.ProcessState.ExitCode(); code != c.code || good(t, "keys", store) != c.left {
			t.Errorf("after %q, delete --prefix %q exits with %d and shows %q; want %d, and the keys left %q", c.typed, c.args, code, rest, c.code, c.left)
		}
	}
}
