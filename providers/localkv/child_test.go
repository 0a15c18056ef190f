package localkv_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// children are the programs that tests run as separate processes. A process runs this test
// binary, with the program's name in the environment. Processes communicate with the test in
// lines, and exit with code 1 after an error.
var children = map[string]func(c *child, args []string) error{
	"holdLock": holdLock,
	"create":   createInRace,
	"count":    count,
	"relay":    relay,
	"write":    writeUntilStopped,
	"work":     workUntilKilled,
}

const childVariable = "SKYKV_LOCALKV_TEST_CHILD"

func TestMain(m *testing.M) {
	program := os.Getenv(childVariable)
	if program == "" {
		os.Exit(m.Run())
	}
	c := &child{lines: bufio.NewScanner(os.Stdin), out: os.Stdout}
	if err := children[program](c, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child is one end of the connection between a test and a separate process. The test and the
// process have one each.
type child struct {
	lines *bufio.Scanner
	out   io.WriteCloser
	cmd   *exec.Cmd
}

func (c *child) say(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// hear waits for a line from the other side and returns it, or "" if no more lines come.
func (c *child) hear() string {
	c.lines.Scan()
	return c.lines.Text()
}

// start runs a program in a separate process, which ends when the test ends, if not earlier.
func start(t *testing.T, program string, args ...string) *child {
	t.Helper()
	c := prepared(t, program, args...)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// prepared returns a child whose process is not started yet.
func prepared(t *testing.T, program string, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), childVariable+"="+program)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &child{lines: bufio.NewScanner(out), out: in, cmd: cmd}
}

// expect waits for a line, and ends the test unless the line is want.
func (c *child) expect(t *testing.T, want string) {
	t.Helper()
	if got := c.hear(); got != want {
		t.Fatalf("the other process said %q; want %q", got, want)
	}
}

// finish asks the child to end, waits for that, and returns its remaining lines.
func (c *child) finish(t *testing.T) []string {
	t.Helper()
	c.out.Close()
	var lines []string
	for c.lines.Scan() {
		lines = append(lines, c.lines.Text())
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("the other process: %v", err)
	}
	return lines
}

// openSQL opens a file with SQLite alone, as a user's own tool would.
func openSQL(t *testing.T, path string) *sqlite.Conn {
	t.Helper()
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ask returns the rows of a query, with columns joined by "|" and rows by a newline.
func ask(t *testing.T, c *sqlite.Conn, query string) string {
	t.Helper()
	var rows []string
	if err := sqlitex.ExecuteTransient(c, query, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		var row []string
		for i := range stmt.ColumnCount() {
			row = append(row, stmt.ColumnText(i))
		}
		rows = append(rows, strings.Join(row, "|"))
		return nil
	}}); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(rows, "\n")
}

// checkIntegrity asks SQLite to check the file for damage.
func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	c := openSQL(t, path)
	if got := ask(t, c, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("PRAGMA integrity_check: %s", got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
