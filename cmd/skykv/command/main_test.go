package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/testing/emulator"
)

// binary is the command under test, built once.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(runUnusual())
	}
	emulator.Main(built{m})
}

type built struct{ *testing.M }

func (b built) Run() int {
	dir, err := os.MkdirTemp("", "skykv-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "skykv.exe") // Windows needs the suffix
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/skykv/skykv/cmd/skykv").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return b.M.Run()
}

// outcome is the result of a process.
type outcome struct {
	stdout, stderr string
	code           int
}

// command prepares a run of the binary, in a new folder, and without KV_URL and the environment
// variables of AWS and Azure. The run is killed after a few minutes.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = t.TempDir()
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); name != "KV_URL" && !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "AZURE_") {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	cmd.Env = append(cmd.Env, "AWS_EC2_METADATA_DISABLED=true")
	return cmd
}

// process runs a prepared command. It fails the test if the command prints a stack trace, or a
// log line of an SDK.
func process(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatalf("%v: %v", cmd.Args[1:], err)
	}
	o := outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if strings.Contains(o.stderr, "goroutine ") || strings.Contains(o.stderr, "panic:") {
		t.Errorf("%v: rule: no stack trace; got\n%s", cmd.Args[1:], o.stderr)
	}
	if strings.Contains(o.stderr, "SDK 2") {
		t.Errorf("%v: rule: the logs of SDKs are not printed; got\n%s", cmd.Args[1:], o.stderr)
	}
	return o
}

// skykv runs the binary with args, and with stdin as standard input.
func skykv(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	cmd := command(t, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return process(t, cmd)
}

// The function good runs the binary, which must succeed, and returns its output.
func good(t *testing.T, args ...string) string {
	t.Helper()
	return goodWith(t, "", args...)
}

func goodWith(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	o := skykv(t, stdin, args...)
	if o.code != 0 {
		t.Fatalf("skykv %s exits with %d:\n%s%s", strings.Join(args, " "), o.code, o.stdout, o.stderr)
	}
	return o.stdout
}

// The function bad runs the binary, which must exit with code and print a message that
// contains the text says.
func bad(t *testing.T, code int, says string, args ...string) outcome {
	t.Helper()
	return badWith(t, "", code, says, args...)
}

func badWith(t *testing.T, stdin string, code int, says string, args ...string) outcome {
	t.Helper()
	o := skykv(t, stdin, args...)
	if o.code != code || !strings.Contains(o.stderr, says) {
		t.Errorf("skykv %s exits with %d and\n%swant %d and %q", strings.Join(args, " "), o.code, o.stderr, code, says)
	}
	return o
}

// backend is a kind of store. Its method open returns the URL of a store that exists.
type backend struct {
	name  string
	fresh func(t *testing.T) string // returns the URL of a store that is not provisioned yet
}

var (
	began  = time.Now().UnixNano() % 1e12
	stores atomic.Int64
)

var backends = []backend{
	{"file", func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "store.db") }},
	{"dynamodb", func(t *testing.T) string {
		return fmt.Sprintf("dynamodb://cli-%d-%d?endpoint=%s", began, stores.Add(1), url.QueryEscape(emulator.DynamoDB(t)))
	}},
	{"firestore", func(t *testing.T) string {
		return fmt.Sprintf("firestore://cli-%d/c%d?endpoint=%s", began, stores.Add(1), url.QueryEscape("http://"+emulator.Firestore(t)))
	}},
	{"aztables", func(t *testing.T) string {
		return fmt.Sprintf("aztables://%s/cli%dx%d?endpoint=%s", emulator.AzureAccount, began, stores.Add(1), url.QueryEscape(emulator.AzureTables(t)))
	}},
}

// open returns the URL of an empty store.
func (b backend) open(t *testing.T) string {
	t.Helper()
	url := b.fresh(t)
	good(t, "provision", url)
	return url
}

func fileStore(t *testing.T) string { return backends[0].fresh(t) }

// onEach runs test with each available backend.
func onEach(t *testing.T, test func(t *testing.T, b backend)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

// await reads the output of a process until the output contains text.
func await(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(all, []byte(text)) {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			t.Fatalf("the process printed %q and no %q: %v", all, text, err)
		}
	}
}

// interrupt sends a signal to a process, waits until the process ends, and returns its exit
// code.
func interrupt(t *testing.T, cmd *exec.Cmd, signal syscall.Signal) int {
	t.Helper()
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error says no more than the exit code
	return cmd.ProcessState.ExitCode()
}
