package command

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skykv/skykv/cmd/skykv/command/internal/transfer"
	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// lines writes a file of n entries in the format of export, and returns its path. Every fifth
// value is not text. Every third entry expires, each in a different millisecond.
func lines(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "entries.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	at := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Millisecond)
	for i := range n {
		fmt.Fprintf(w, `{"key":"key:%06d"`, i)
		if i%5 == 0 {
			fmt.Fprint(w, `,"base64":"/wA="`)
		} else {
			fmt.Fprintf(w, `,"value":"value %d ü %s"`, i, strings.Repeat("x", i%100))
		}
		if i%3 == 0 {
			fmt.Fprintf(w, `,"expiresAt":"%s"`, at.Add(time.Duration(i)*time.Millisecond).Format(time.RFC3339Nano))
		}
		fmt.Fprintln(w, "}")
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantSame(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("rule: %s has every entry, with its expiry; it has %d lines of %d bytes, want %d of %d",
			what, strings.Count(got, "\n"), len(got), strings.Count(want, "\n"), len(want))
	}
}

// TestCopyExportImport moves entries around: from a file to a store, to another store, and back
// to a file.
func TestCopyExportImport(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		const n = 1200
		input, url, back := lines(t, n), b.open(t), fileStore(t)
		want := read(t, input)
		if o := skykv(t, "", "import", url, "--input", input, "--json"); o.code != 0 || !strings.Contains(o.stdout, fmt.Sprintf(`"written":%d,`, n)) {
			t.Fatalf("import: %+v", o)
		}
		wantSame(t, "the export of an import", good(t, "export", url), want)
		good(t, "copy", url, back, "--verify")
		wantSame(t, "a copy", good(t, "export", back), want)
		if got := good(t, "export", back, "--prefix", "key:00001"); strings.Count(got, "\n") != 10 {
			t.Errorf("export --prefix prints %d lines; want 10", strings.Count(got, "\n"))
		}

		// --verify-only finds four kinds of differences. After another copy it finds no
		// difference.
		good(t, "put", back, "key:000001", "other")
		good(t, "delete", back, "key:000002")
		goodWith(t, string([]byte{0xff, 0}), "put", back, "key:000030")
		good(t, "put", back, "zzz", "")
		o := skykv(t, "", "copy", url, back, "--verify-only")
		if want := "value      key:000001\nmissing    key:000002\nexpiry     key:000030\nextra      zzz\n"; o.code != exitFindings || o.stdout != want {
			t.Errorf("rule: --verify reports every difference; got %d and\n%s", o.code, o.stdout)
		}
		if got := good(t, "copy", url, back, "--if-not-exists", "--json"); !strings.Contains(got, `"written":1,"skipped":1199,`) {
			t.Errorf("copy --if-not-exists prints %s; want the missing entry written", got)
		}
		if got := good(t, "get", back, "key:000001"); got != "other" {
			t.Errorf("rule: --if-not-exists does not change existing entries; the value is %q", got)
		}
		good(t, "delete", back, "zzz")
		good(t, "copy", url, back, "--verify", "--prefix", "key:")

		// A copy from the file store back to the service changes nothing.
		if got := good(t, "copy", back, url, "--verify", "--json"); !strings.Contains(got, `"differences":0`) {
			t.Errorf("copy --verify --json prints %s", got)
		}
	})
}

// missing reports whether there is no file at path.
func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// The function killing runs the command args again and again, until a run ends by itself. It sends
// signal to the first run when that run has saved some progress, and to each later run after a
// random time. Unless SKYKV_ENTRIES is set, only the first four runs get the signal. It returns
// how many runs continued from a checkpoint.
func killing(t *testing.T, dir string, signal syscall.Signal, args ...string) (resumed int) {
	t.Helper()
	checkpoint := filepath.Join(dir, args[slices.Index(args, "--checkpoint")+1])
	for runs := 1; ; runs++ {
		if runs > 300 {
			t.Fatal("it is not done after 300 runs")
		}
		spared := runs > 4 && os.Getenv("SKYKV_ENTRIES") == ""
		cmd := command(t, args...)
		cmd.Dir = dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		var killer sync.WaitGroup
		killer.Go(func() {
			// The random time is about as long as a run takes. It grows with the number of
			// runs, so that even on a busy machine a run eventually ends by itself.
			when := time.After(time.Duration(50+rand.IntN(400+100*runs)) * time.Millisecond)
			switch {
			case runs == 1:
				when = progress(checkpoint, ended)
			case spared:
				when = nil
			}
			select {
			case <-when:
				_ = cmd.Process.Signal(signal)
			case <-ended:
			}
		})
		err := cmd.Wait()
		close(ended)
		killer.Wait()
		if strings.Contains(stderr.String(), "resuming after") {
			resumed++
		}
		if err == nil {
			t.Logf("%s: %d runs, %d of them continued from a checkpoint", args[0], runs, resumed)
			return resumed
		}
		state := cmd.ProcessState.Sys().(syscall.WaitStatus)
		killed := state.Signaled() && state.Signal() == signal
		stopped := state.ExitStatus() == exitSignal+int(signal)
		if at := slices.Index(args, "--output"); at >= 0 && killed && missing(checkpoint) && !missing(filepath.Join(dir, args[at+1])) {
			return // the signal came after the export was complete
		}
		if !killed && !stopped {
			t.Fatalf("run %d ends with %v:\n%s", runs, err, &stderr)
		}
		if strings.Contains(stderr.String(), "goroutine ") {
			t.Fatalf("rule: no stack trace; got\n%s", &stderr)
		}
	}
}

// progress returns a channel that is closed when the checkpoint counts written entries, or when
// ended is closed.
func progress(checkpoint string, ended <-chan struct{}) <-chan time.Time {
	there := make(chan time.Time)
	go func() {
		defer close(there)
		for range time.Tick(time.Millisecond) {
			select {
			case <-ended:
				return
			default:
			}
			if text, err := os.ReadFile(checkpoint); err == nil && !bytes.Contains(text, []byte(`"written":0,`)) {
				return
			}
		}
	}()
	return there
}

// entriesToMove returns the number of entries that the tests of interruptions move. It is the
// value of SKYKV_ENTRIES, for example 100000, or few if this variable is not set.
func entriesToMove(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("SKYKV_ENTRIES")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("SKYKV_ENTRIES is %q; it must be a number of entries", text)
	}
	return n
}

// TestInterruptedAtRandom interrupts each command that can continue from a checkpoint.
func TestInterruptedAtRandom(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			input, dir := lines(t, entriesToMove(t, 15_000)), t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name) }
			resumed := killing(t, dir, signal, "import", "file:a.db", "--input", input, "--checkpoint", "import.state")
			resumed += killing(t, dir, signal, "copy", "file:a.db", "file:b.db", "--checkpoint", "copy.state", "--parallel", "3")
			resumed += killing(t, dir, signal, "copy", "file:b.db", "file:c.db", "--checkpoint", "copy.state", "--if-not-exists")
			resumed += killing(t, dir, signal, "export", "file:c.db", "--output", "out.jsonl", "--checkpoint", "export.state")
			if resumed == 0 {
				t.Error("everything was done before it could be interrupted: the test proves nothing")
			}
			wantSame(t, "the end of import, two copies and an export, killed at random,", read(t, path("out.jsonl")), read(t, input))
			if names, _ := filepath.Glob(path("*.state*")); len(names) > 0 {
				t.Errorf("rule: the checkpoint is removed at the end; there are %q", names)
			}
			if names, _ := filepath.Glob(path("*.partial")); len(names) > 0 {
				t.Errorf("rule: the export has its own name at the end; there are %q", names)
			}
		})
	}
}

// TestCopyKilledAtRandom copies entries to another store and back, and kills the copies in both
// directions.
func TestCopyKilledAtRandom(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		few := 2000
		if b.name == "file" {
			few = 15_000 // a file is faster than a service
		}
		input, url, dir := lines(t, entriesToMove(t, few)), b.open(t), t.TempDir()
		from := fileStore(t)
		good(t, "import", from, "--input", input)
		resumed := killing(t, dir, syscall.SIGKILL, "copy", from, url, "--checkpoint", "there.state", "--parallel", "1")
		resumed += killing(t, dir, syscall.SIGKILL, "copy", url, "file:back.db", "--checkpoint", "back.state", "--parallel", "1")
		if resumed == 0 {
			t.Error("everything was done before it could be interrupted: the test proves nothing")
		}
		wantSame(t, "what was copied there and back, killed at random,", good(t, "export", "file:"+filepath.Join(dir, "back.db")), read(t, input))
		good(t, "copy", from, url, "--verify-only")
	})
}

// The rule: if the service fails in the middle of a transfer, the message has the number of
// written entries, and the next run continues.
func TestDestinationFailsMidway(t *testing.T) {
	t.Parallel()
	target, err := url.Parse(emulator.DynamoDB(t))
	if err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left.Add(-1) < 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.Host = target.Host
		proxy.ServeHTTP(w, r)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })

	input, dir := lines(t, 3000), t.TempDir()
	store := fmt.Sprintf("dynamodb://cli-%d-%d?endpoint=%s", began, stores.Add(1), url.QueryEscape("http://"+listener.Addr().String()))
	left.Store(1000)
	good(t, "provision", store)
	checkpoint := filepath.Join(dir, "state")
	left.Store(40)
	o := bad(t, exitFailure, "run the same command again", "import", store, "--input", input, "--checkpoint", checkpoint, "--parallel", "1")
	if !strings.Contains(o.stderr, "imported ") || !strings.Contains(o.stderr, "skykv doctor URL") {
		t.Errorf("rule: the message has the progress and says what to do; got\n%s", o.stderr)
	}
	bad(t, exitFailure, "is of another run: its destination", "import", "mem:", "--input", input, "--checkpoint", checkpoint)
	left.Store(1 << 40)
	if o := skykv(t, "", "import", store, "--input", input, "--checkpoint", checkpoint, "--json"); o.code != 0 ||
		!strings.Contains(o.stdout, `"resumed":true,"written":3000,`) || !strings.Contains(o.stderr, "resuming after 500 entries") {
		t.Errorf("rule: the next run resumes after the last complete batch; got %+v", o)
	}
	wantSame(t, "the store", good(t, "export", store), read(t, input))
}

func TestExportToFile(t *testing.T) {
	t.Parallel()
	store, dir := fileStore(t), t.TempDir()
	good(t, "import", store, "--input", lines(t, 2000))
	out := filepath.Join(dir, "out.jsonl")
	good(t, "export", store, "--output", out)
	whole := read(t, out)
	bad(t, exitUsage, "exists", "export", store, "--output", out)
	good(t, "put", store, "zzz", "more")
	good(t, "export", store, "--output", out, "--force")
	if got := read(t, out); len(got) <= len(whole) || !strings.HasPrefix(got, whole) {
		t.Errorf("export --force leaves %d bytes; want more than %d", len(got), len(whole))
	}
	bad(t, exitFailure, "no such file", "export", store, "--output", filepath.Join(dir, "absent", "out"))
	bad(t, exitFailure, "no space left", "export", store, "--output", "/dev/full")
	bad(t, exitUsage, "--output", "export", store, "--checkpoint", filepath.Join(dir, "state"))
	bad(t, exitFailure, "the checkpoint cannot be written", "export", store, "--output", filepath.Join(dir, "new"), "--checkpoint", filepath.Join(dir, "absent", "state"))
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); fmt.Sprint(names) != fmt.Sprint([]string{out}) {
		t.Errorf("rule: an export that could not begin leaves no file; there are %q", names)
	}
}

// saveExport writes the checkpoint of an export of store. According to the checkpoint, the export
// has written text, and key is the last key in the text.
func saveExport(t *testing.T, checkpoint, store, output, text, key string) {
	t.Helper()
	err := transfer.WriteCheckpoint(checkpoint, transfer.Job{Command: "export", From: (&cli{providers.All()}).identity(store, nil), To: output}, transfer.State{
		Position: transfer.Position{Key: key},
		Counts:   transfer.Counts{Written: int64(strings.Count(text, "\n"))},
		Mark:     transfer.Mark{Length: int64(len(text)), Sum: crc32.ChecksumIEEE([]byte(text))},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The rule: the next export continues a killed export, or does not touch the files of that export.
func TestExportGoesOn(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	good(t, "import", store, "--input", lines(t, 30))
	whole := good(t, "export", store)
	at := strings.Index(whole, `{"key":"key:000010"`)
	half, other := whole[:at], strings.Replace(whole[:at], "value 1 ", "value 9 ", 1)
	const none, link = "none", "link"
	for name, c := range map[string]struct {
		partial, output string // content of the files, or none; the partial file may be a link to the output
		from            string // what the killed run had written, by its checkpoint; empty without a checkpoint
		force           bool
		code            int
		says            string
	}{
		"cut off":                          {half, none, half, false, 0, "resuming after 10 entries"},
		"cut off after the checkpoint":     {half + `{"key":"ha`, none, half, false, 0, "resuming after 10 entries"},
		"cut off before anything":          {none, none, "", false, 0, "resuming after 0 entries"},
		"cut off, over an output":          {half, "old", half, true, 0, "resuming after 10 entries"},
		"all but the checkpoint's removal": {none, whole, whole, false, 0, ""},
		"all but the partial name's":       {link, whole, whole, false, 0, ""},
		"a whole partial file and another": {whole, "old", whole, false, exitUsage, "exists"},
		"another export's partial file":    {other, none, half, false, exitFailure, "its first"},
		"too short":                        {half[:at-1], none, half, false, exitFailure, "bytes; want at least"},
		"no partial file":                  {none, none, half, false, exitFailure, "does not exist any more; delete the checkpoint"},
		"another output of that length":    {none, strings.ToUpper(whole), whole, false, exitUsage, "exists"},
		"an output before anything":        {none, "", "", false, exitUsage, "exists"},
		"no checkpoint":                    {half, none, none, false, exitUsage, ".partial exists"},
		"no checkpoint, by force":          {half, none, none, true, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			output, checkpoint := filepath.Join(dir, "out.jsonl"), filepath.Join(dir, "state")
			for path, text := range map[string]string{output: c.output, partial(output): c.partial} {
				if text == none || text == link {
					continue
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.partial == link {
				if err := os.Link(output, partial(output)); err != nil {
					t.Fatal(err)
				}
			}
			if c.from != none {
				key := ""
				if c.from != "" {
					key = "key:000009"
				}
				if c.from == whole {
					key = "key:000029"
				}
				saveExport(t, checkpoint, store, output, c.from, key)
			}
			args := []string{"export", store, "--output", output, "--checkpoint", checkpoint}
			if c.force {
				args = append(args, "--force")
			}
			o := bad(t, c.code, c.says, args...)
			if o.code != 0 {
				for path, want := range map[string]string{output: c.output, partial(output): c.partial} {
					if want != none && read(t, path) != want || want == none && !missing(path) {
						t.Errorf("rule: an export that is refused changes no file; %s has changed", path)
					}
				}
				return
			}
			wantSame(t, "the export", read(t, output), whole)
			if !missing(checkpoint) || !missing(partial(output)) {
				t.Error("rule: a complete export leaves neither a checkpoint nor a partial file")
			}
		})
	}
}

// TestExportFailsMidway limits the size of files, which acts like a full disk.
func TestExportFailsMidway(t *testing.T) {
	t.Parallel()
	store, dir := fileStore(t), t.TempDir()
	good(t, "import", store, "--input", lines(t, 8000))
	for _, c := range []struct {
		args []string
		says string
		left []string
	}{
		{nil, "\nThe unfinished out.partial was removed\n", nil},
		{[]string{"--checkpoint", "state"}, "To continue, run the same command again.\n", []string{"out.partial", "state"}},
	} {
		cmd := command(t, append([]string{"export", store, "--output", "out"}, c.args...)...)
		cmd.Dir, cmd.Path = dir, "/bin/sh"
		cmd.Args = append([]string{"sh", "-c", `ulimit -f 256; trap '' XFSZ; exec "$0" "$@"`, binary}, cmd.Args[1:]...)
		if o := process(t, cmd); o.code != exitFailure || !strings.HasSuffix(o.stderr, c.says) || strings.Contains(o.stderr, "written entries stay") {
			t.Errorf("rule: the message says what happened to the output; export %v exits with %d and\n%s", c.args, o.code, o.stderr)
		}
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		if !slices.Equal(names, c.left) {
			t.Errorf("export %v leaves %q; want %q", c.args, names, c.left)
		}
	}
}

// The rule: scan, count, copy and export skip names in the store that are not keys. What export
// wrote can be imported.
func TestNamesThatAreNoKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(args ...string) outcome {
		cmd := unusually(t, args...)
		cmd.Dir = dir
		o := process(t, cmd)
		if o.code != 0 {
			t.Errorf("%v exits with %d and\n%s", args, o.code, o.stderr)
		}
		return o
	}
	if o := run("scan", "foreign:", "--keys-only"); o.stdout != "a\nc\ne\n" || o.stderr != "" {
		t.Errorf("scan --keys-only prints %q and %q; want the keys", o.stdout, o.stderr)
	}
	if o := run("count", "foreign:"); o.stdout != "3\n" {
		t.Errorf("count prints %q; want 3", o.stdout)
	}
	run("copy", "foreign:", "file:copy.db", "--verify")
	run("export", "foreign:", "-o", "out.jsonl")
	run("import", "file:import.db", "-i", "out.jsonl")
	want := `{"key":"a","value":"1"}
{"key":"c","value":"2"}
{"key":"e","value":"3"}
`
	for _, name := range []string{"copy.db", "import.db"} {
		if got := run("export", "file:"+name).stdout; got != want {
			t.Errorf("%s has\n%s; want\n%s", name, got, want)
		}
	}
}

// The rule: a store is not copied onto itself, even if its URL is spelled in two ways.
func TestCopyOntoItself(t *testing.T) {
	t.Parallel()
	if o := process(t, unusually(t, "copy", "counted:one", "counted:other")); o.code != exitUsage || !strings.Contains(o.stderr, "are the same store") || strings.Contains(o.stderr, "opened 1") {
		t.Errorf("a copy onto itself exits with %d and\n%s; want %d before anything is opened", o.code, o.stderr, exitUsage)
	}
	cmd := command(t, "copy", "dynamodb://cache?endpoint=http://127.0.0.1:1/", "dynamodb://cache?region=eu-west-1&shards=16&endpoint=http%3A%2F%2Flocalhost%3A1")
	cmd.Env = append(cmd.Env, "AWS_REGION=eu-west-1")
	if o := process(t, cmd); o.code != exitUsage || !strings.Contains(o.stderr, "are the same store") {
		t.Errorf("a copy of a table onto itself exits with %d and\n%s; want %d", o.code, o.stderr, exitUsage)
	}
}

// The rule: a checkpoint that cannot be written is reported before the first entry is
// written. A checkpoint without progress is removed.
func TestUnwritableCheckpoint(t *testing.T) {
	t.Parallel()
	dir, input := t.TempDir(), lines(t, 3)
	from := "file:" + filepath.Join(dir, "from.db")
	good(t, "import", from, "--input", input)
	for _, args := range [][]string{{"copy", from, "file:to.db"}, {"import", "file:to.db", "--input", input}, {"export", from, "--output", "out.jsonl"}} {
		for name, prepare := range map[string]func(dir string) error{
			"absent/state": func(string) error { return nil },
			"state":        func(dir string) error { return os.Mkdir(filepath.Join(dir, "state.new"), 0o700) },
		} {
			dir := t.TempDir()
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			cmd := command(t, append(args, "--checkpoint", name)...)
			cmd.Dir = dir
			if o := process(t, cmd); o.code != exitFailure || !strings.Contains(o.stderr, "the checkpoint cannot be written") {
				t.Errorf("%v with the checkpoint %s exits with %d and\n%s", args, name, o.code, o.stderr)
			}
			if !missing(filepath.Join(dir, "to.db")) && good(t, "count", "file:"+filepath.Join(dir, "to.db")) != "0\n" || !missing(filepath.Join(dir, "out.jsonl")) || !missing(filepath.Join(dir, "out.jsonl.partial")) {
				t.Errorf("rule: nothing is written before the checkpoint; %v with %s wrote", args, name)
			}
		}
	}
	state := filepath.Join(dir, "state")
	badWith(t, "", exitFailure, "line 1 ", "import", "file:"+filepath.Join(dir, "to.db"), "--input", "/proc/self/cmdline")
	path := filepath.Join(dir, "bad.jsonl")
	if err := os.WriteFile(path, []byte("no entry"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := bad(t, exitFailure, "line 1 ", "import", "file:"+filepath.Join(dir, "to.db"), "--input", path, "--checkpoint", state)
	if strings.Contains(o.stderr, "run the same command again") || !missing(state) {
		t.Errorf("rule: an import that stored nothing leaves no checkpoint; it prints\n%s", o.stderr)
	}
}

// The rule: a command writes an output, a report or a checkpoint only into a file that it creates.
// It follows no link to a file. It replaces an output or a report only on request, and keeps the
// mode of a file that it replaces.
func TestFilesThatAreInTheWay(t *testing.T) {
	t.Parallel()
	const precious = "precious"
	store, page := fileStore(t), filepath.Join(t.TempDir(), "in")
	good(t, "import", store, "--input", lines(t, 3))
	if err := os.WriteFile(page, []byte(precious), 0o640); err != nil {
		t.Fatal(err)
	}
	whole := good(t, "export", store)
	export := []string{"export", store, "--output", "out"}
	copying := []string{"copy", store, "file:to.db", "--checkpoint", "out"}
	report := []string{"conformance", "mem:", "--report", "out"}
	force := func(args []string) []string { return append(slices.Clone(args), "--force") }
	file := func(path string) error {
		return errors.Join(os.WriteFile(path, []byte(precious), 0o600), os.Chmod(path, 0o640))
	}
	link := func(path string) error { return os.Symlink("precious", path) }
	dangling := func(path string) error { return os.Symlink("absent", path) }
	for _, c := range []struct {
		name string
		make func(path string) error
		args []string
		code int
		says string
	}{
		{"out", file, export, exitUsage, "out exists"},
		{"out", link, export, exitUsage, "out is a symbolic link"},
		{"out", dangling, export, exitUsage, "out is a symbolic link"},
		{"out", link, force(export), exitUsage, "out is a symbolic link"},
		{"out", dangling, force(export), exitUsage, "out is a symbolic link"},
		{"out.partial", file, export, exitUsage, "out.partial exists"},
		{"out.partial", dangling, export, exitUsage, "out.partial exists"},
		{"out", file, force(export), 0, ""},
		{"out.partial", link, force(export), 0, ""},
		{"out.partial", dangling, force(export), 0, ""},
		{"out", file, report, exitUsage, "out exists"},
		{"out", link, report, exitUsage, "out is a symbolic link"},
		{"out", dangling, report, exitUsage, "out is a symbolic link"},
		{"out", link, force(report), exitUsage, "out is a symbolic link"},
		{"out.partial", dangling, report, exitUsage, "out.partial exists"},
		{"out", file, force(report), 0, ""},
		{"out", file, copying, exitFailure, "not a checkpoint"},
		{"out", link, copying, exitFailure, "is not a regular file"},
		{"out", dangling, copying, exitFailure, "is not a regular file"},
		{"out.new", file, copying, exitFailure, "out.new exists"},
		{"out.new", link, copying, exitFailure, "out.new exists"},
		{"out.new", dangling, copying, exitFailure, "out.new exists"},
	} {
		t.Run(fmt.Sprintf("%s as %s, %s", c.args[0], c.name, c.says), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name) }
			if err := errors.Join(os.WriteFile(path("precious"), []byte(precious), 0o600), c.make(path(c.name))); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path(c.name))
			if err != nil {
				t.Fatal(err)
			}
			cmd := command(t, c.args...)
			cmd.Dir = dir
			if o := process(t, cmd); o.code != c.code || !strings.Contains(o.stderr, c.says) {
				t.Errorf("it exits with %d and\n%s; want %d and %q", o.code, o.stderr, c.code, c.says)
			}
			if read(t, path("precious")) != precious || !missing(path("absent")) {
				t.Error("rule: no link is followed")
			}
			if c.code != 0 {
				if after, err := os.Lstat(path(c.name)); err != nil || after.Mode() != before.Mode() || !os.SameFile(before, after) || after.Mode().IsRegular() && read(t, path(c.name)) != precious {
					t.Errorf("rule: a refused command changes nothing; %s exists: %v", c.name, err)
				}
				return
			}
			info, err := os.Lstat(path("out"))
			if err != nil {
				t.Fatal(err)
			}
			if !info.Mode().IsRegular() || c.name == "out" && info.Mode() != before.Mode() {
				t.Errorf("rule: a replaced file keeps its mode; it was %v and is %v", before.Mode(), info.Mode())
			}
			if got := read(t, path("out")); c.args[0] == "export" && got != whole || got == precious {
				t.Errorf("the new file has %.80q", got)
			}
			if !missing(path("out.partial")) {
				t.Error("rule: a complete file has its own name")
			}
		})
	}
}

// The rule: the file name - means standard input or output, or is refused.
func TestStandardInputAndOutput(t *testing.T) {
	t.Parallel()
	store, dir := fileStore(t), t.TempDir()
	in := func(stdin string, args ...string) outcome {
		cmd := command(t, args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
		return process(t, cmd)
	}
	line := `{"key":"a","value":"1"}` + "\n"
	if o := in(line, "import", store, "-i", "-"); o.code != 0 {
		t.Errorf("import -i -: %+v", o)
	}
	if o := in("", "export", store, "-o", "-"); o.code != 0 || o.stdout != line {
		t.Errorf("export -o -: %+v", o)
	}
	if o := in("piped", "put", store, "b", "-f", "-"); o.code != 0 || good(t, "get", store, "b") != "piped" {
		t.Errorf("put -f -: %+v", o)
	}
	if o := in("", "put", store, "b"); o.code != exitUsage || !strings.Contains(o.stderr, "standard input is empty") || good(t, "get", store, "b") != "piped" {
		t.Errorf("rule: put refuses an empty standard input, unless --file - asks for it; it ends with %+v", o)
	}
	if o := in("", "put", store, "b", "-f", "-"); o.code != 0 || good(t, "get", store, "b") != "" {
		t.Errorf("put -f - of nothing: %+v", o)
	}
	for _, args := range [][]string{{"copy", store, "mem:", "--checkpoint", "-"}, {"conformance", "mem:", "--report", "-"}, {"backup", store, "-"}, {"export", store, "-o", "-", "--json"}} {
		if o := in("", args...); o.code != exitUsage || !strings.Contains(o.stderr, "file") {
			t.Errorf("%v: %+v; want %d", args, o, exitUsage)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 {
		t.Errorf("rule: - is never the name of a file; there are %q", names)
	}
}

// The rule: if the checkpoint is a file that the command reads or writes, the command does
// nothing.
func TestCheckpointIsNoOtherFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	good(t, "import", "file:"+path("m.db"), "--input", lines(t, 3))
	good(t, "copy", "file:"+path("m.db"), "file:"+path("d.db"))
	good(t, "export", "file:"+path("m.db"), "--output", path("in.jsonl"))
	if err := errors.Join(os.Symlink(path("m.db"), path("link.db")), os.Symlink(path("in.jsonl"), path("link.new"))); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		var all strings.Builder
		for _, name := range []string{"m.db", "d.db", "in.jsonl"} {
			all.WriteString(read(t, path(name)))
		}
		names, _ := filepath.Glob(path("*"))
		fmt.Fprintf(&all, "%q", names)
		return all.String()
	}
	before := state()
	for _, args := range [][]string{
		{"export", "file:m.db", "--output", "x.jsonl", "--checkpoint", "x.jsonl"},
		{"export", "file:m.db", "--output", "x.jsonl", "--checkpoint", "x.jsonl.partial"},
		{"export", "file:m.db", "--output", "x.jsonl", "--checkpoint", path("x.jsonl")},
		{"export", "file:m.db", "--output", "x.jsonl.new", "--checkpoint", "x.jsonl"},
		{"export", "file:m.db", "--output", "x.jsonl", "--checkpoint", "m.db"},
		{"export", "file:m.db", "--output", "x.jsonl", "--checkpoint", "link.db"},
		{"copy", "file:m.db", "file:d.db", "--checkpoint", "d.db"},
		{"copy", "file:m.db", "file:d.db", "--checkpoint", "./m.db"},
		{"copy", "file:m.db", "file:new.db", "--checkpoint", "new.db"},
		{"copy", "file:m.db", "file:new.db", "--checkpoint", "new.db-wal"},
		{"import", "file:d.db", "--input", "in.jsonl", "--checkpoint", "in.jsonl"},
		{"import", "file:d.db", "--input", "in.jsonl", "--checkpoint", "link"},
		{"import", "file:d.db", "--input", "in.jsonl", "--checkpoint", "d.db-shm"},
	} {
		cmd := command(t, args...)
		cmd.Dir = dir
		if o := process(t, cmd); o.code != exitUsage || !strings.Contains(o.stderr, "--checkpoint would overwrite "+dir) {
			t.Errorf("%v exits with %d and\n%s; want %d and the file", args, o.code, o.stderr, exitUsage)
		}
		if state() != before {
			t.Fatalf("rule: a checkpoint in the place of another file is refused before anything is done; %v changed a file", args)
		}
	}
}

// The rule: a checkpoint belongs to its two stores. If the destination was removed or is empty,
// the next run refuses to continue. In a different folder, a relative path is a different store.
func TestCheckpointBelongsToItsStores(t *testing.T) {
	t.Parallel()
	dir, elsewhere := t.TempDir(), t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	input := lines(t, 1000)
	good(t, "import", "file:"+path("a.db"), "--input", input)
	good(t, "import", "file:"+filepath.Join(elsewhere, "a.db"), "--input", input)
	whole := good(t, "export", "file:"+path("a.db"))
	at := strings.Index(whole, `{"key":"key:000500"`)
	info, err := os.Stat(input)
	if err != nil {
		t.Fatal(err)
	}
	state := transfer.State{Position: transfer.Position{Key: "key:000499"}, Counts: transfer.Counts{Written: 500}}
	save := func(t *testing.T, command string) {
		t.Helper()
		job, state := transfer.Job{Command: command, From: (&cli{providers.All()}).identity("file:"+path("a.db"), nil), To: (&cli{providers.All()}).identity("file:"+path("b.db"), nil)}, state
		if command == "import" {
			job.From, job.Size, job.Modified = input, info.Size(), info.ModTime().UnixNano()
			state.Position = transfer.Position{Offset: int64(at), Line: 500}
		}
		if err := transfer.WriteCheckpoint(path("state"), job, state); err != nil {
			t.Fatal(err)
		}
	}
	in := func(folder string, args ...string) outcome {
		cmd := command(t, append(args, "--checkpoint", path("state"))...)
		cmd.Dir = folder
		return process(t, cmd)
	}
	for _, args := range [][]string{{"copy", "file:a.db", "file:b.db"}, {"import", "file:b.db", "--input", input}} {
		save(t, args[0])
		if o := in(dir, args...); o.code != exitFailure || !strings.Contains(o.stderr, "delete the checkpoint to start over") || !missing(path("b.db")) {
			t.Errorf("rule: a destination that is gone is not created again and filled from the middle on; %v ends with %+v", args, o)
		}
		if err := os.WriteFile(path("b.db"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if o := in(dir, args...); o.code != exitFailure || !strings.Contains(o.stderr, "b.db is empty; delete the checkpoint") {
			t.Errorf("rule: nor is an empty file filled from the middle on; %v ends with %+v", args, o)
		}
		if err := os.Remove(path("b.db")); err != nil {
			t.Fatal(err)
		}
		if o := in(elsewhere, args...); o.code != exitFailure || !strings.Contains(o.stderr, "is of another run") {
			t.Errorf("rule: a relative path is another store in another folder; %v ends with %+v", args, o)
		}
	}
	save(t, "copy")
	goodWith(t, whole[:at], "import", "file:"+path("b.db"))
	if o := in(elsewhere, "copy", "file:"+path("a.db")+"?readers=1", "file:"+dir+"/./b.db"); o.code != 0 || !strings.Contains(o.stderr, "resuming after 500 entries") {
		t.Errorf("rule: other URLs of the same stores are the same; copy ends with %+v", o)
	}
	wantSame(t, "the copy", good(t, "export", "file:"+path("b.db")), whole)
}

// The rule: if the comparison is interrupted, the next run does not copy anything again.
func TestInterruptedWhileComparing(t *testing.T) {
	t.Parallel()
	dir, input := t.TempDir(), lines(t, 20_000)
	good(t, "import", "file:"+filepath.Join(dir, "to.db"), "--input", input) // more extra keys than a pipe can hold
	goodWith(t, `{"key":"a","value":""}`, "import", "file:"+filepath.Join(dir, "from.db"))
	run := func() *exec.Cmd {
		cmd := command(t, "copy", "file:from.db", "file:to.db", "--checkpoint", "state", "--verify")
		cmd.Dir = dir
		return cmd
	}
	cmd := run()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, stdout, "extra")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error says no more than the exit code
	if code := cmd.ProcessState.ExitCode(); code != exitSignal+int(syscall.SIGINT) || missing(filepath.Join(dir, "state")) {
		t.Fatalf("copy --verify exits with %d after SIGINT, and\n%s; want %d and the checkpoint", code, &stderr, exitSignal+int(syscall.SIGINT))
	}
	o := process(t, run())
	if o.code != exitFindings || !strings.Contains(o.stderr, "resuming after 1 entry") || strings.Count(o.stdout, "extra") != 20_000 {
		t.Errorf("rule: the next run only compares; it exits with %d and\n%s", o.code, o.stderr)
	}
	if !missing(filepath.Join(dir, "state")) {
		t.Error("rule: the checkpoint is removed at the end")
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	store, dir := fileStore(t), t.TempDir()
	const secret = "s3cret"
	for _, c := range []struct{ name, text, says string }{
		{"cut off", `{"key":"a","value":"1"}` + "\n" + `{"key":"b","value":"` + secret, "line 2"},
		{"no JSON", secret + "\n", "line 1"},
		{"too large", `{"key":"a","value":"` + strings.Repeat("x", kv.MaxValueLen+1) + `"}`, "value too large"},
		{"bad key", `{"key":"a b","value":""}`, "invalid key"},
		{"bad key under way", `{"key":"a","value":"1"}` + "\n" + `{"key":"a b","value":""}`, "line 2: "},
		{"unknown field", `{"key":"a","value":"","ttl":5}`, `field "ttl"`},
	} {
		path := filepath.Join(dir, "in")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, o := range []outcome{skykv(t, "", "import", store, "--input", path), skykv(t, c.text, "import", store)} {
			if o.code != exitFailure || !strings.Contains(o.stderr, c.says) || strings.Contains(o.stderr, secret) {
				t.Errorf("%s: import exits with %d and %q; want %d, %q and no value", c.name, o.code, o.stderr, exitFailure, c.says)
			}
		}
	}
	if got := good(t, "get", store, "a"); got != "1" {
		t.Errorf("rule: the lines before a bad one are stored; a is %q", got)
	}
	bad(t, exitFailure, "no such file", "import", store, "--input", filepath.Join(dir, "absent"))
	bad(t, exitUsage, "standard input cannot be read again", "import", store, "--checkpoint", filepath.Join(dir, "state"))
	half := filepath.Join(dir, "half")
	if err := os.WriteFile(half, []byte(`{"format":1,"sum":12`), 0o600); err != nil {
		t.Fatal(err)
	}
	bad(t, exitFailure, "is damaged or not a checkpoint; if it is one, delete it to start over", "copy", store, fileStore(t), "--checkpoint", half)
	expired := `{"key":"old","value":"","expiresAt":"2020-01-01T00:00:00Z"}`
	if got := goodWith(t, expired, "import", store, "--json"); !strings.Contains(got, `"written":0,"skipped":0,"expired":1`) {
		t.Errorf("import of an expired entry prints %s", got)
	}
}

// The rule: if the program that reads the output ends early, as head does, the command prints
// no message.
func TestOutputEndsEarly(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	good(t, "import", store, "--input", lines(t, 20_000))
	for _, args := range [][]string{{"scan", store}, {"scan", store, "--keys-only"}, {"export", store}, {"export", store, "-o", "/dev/stdout"}, {"copy", store, "mem:", "--verify-only"}} {
		cmd := command(t, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		r.Close()
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitOutputEnded || stderr.Len() > 0 {
			t.Errorf("%v exits with %d and\n%s; want %d and no message", args, code, &stderr, exitOutputEnded)
		}
	}
}

// The rule: a broken connection to a service is an error. The command does not treat it as the
// end of the program that reads its output.
func TestBrokenConnectionIsNoEndOfOutput(t *testing.T) {
	t.Parallel()
	if o := process(t, unusually(t, "put", "hostile:", "a", "1")); o.code != exitFailure || !strings.Contains(o.stderr, "unavailable: write tcp") {
		t.Errorf("put over a broken connection exits with %d and\n%s; want %d and the reason", o.code, o.stderr, exitFailure)
	}
}

// The rule: it is an error if the output cannot be written.
func TestOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	good(t, "put", store, "a", "1")
	for _, args := range [][]string{
		{"get", store, "a"}, {"get", store, "a", "--json"}, {"put", store, "a", "1", "--json"}, {"exists", store, "a"}, {"scan", store}, {"count", store},
		{"export", store}, {"copy", store, "mem:", "--json"}, {"provision", store}, {"doctor", store}, {"delete", store, "--prefix", "b"}, {"conformance", "mem:"}, {"help"}, {"get", "--help"}, {"--version"}, {"completion", "zsh"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			t.Skip("there is no /dev/full: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer full.Close()
		cmd := command(t, args...)
		cmd.Stdout = full
		if o := process(t, cmd); o.code != exitFailure || strings.Count(o.stderr, "no space left") != 1 {
			t.Errorf("%v exits with %d and %q; want %d and the reason, once", args, o.code, o.stderr, exitFailure)
		}
	}
}

// The format of export must not change, because other programs read and write it.
func TestExportFormat(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	s, err := providers.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutMany(t.Context(), []kv.Item{
		{Key: "a", Value: []byte("text \"<&>\" ü")}, {Key: "b", Value: []byte{0xff}}, {Key: "c"},
		{Key: "d", ExpiresAt: time.Date(2099, 12, 31, 23, 59, 59, 1e6, time.UTC)},
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"key":"a","value":"text \"<&>\" ü"}
{"key":"b","base64":"/w=="}
{"key":"c","value":""}
{"key":"d","value":"","expiresAt":"2099-12-31T23:59:59.001Z"}
`
	if got := good(t, "export", store); got != want {
		t.Errorf("export prints\n%s; want\n%s", got, want)
	}
	for line := range strings.Lines(good(t, "scan", store)) {
		if !json.Valid([]byte(line)) || !strings.Contains(line, `"version":`) {
			t.Errorf("scan prints %q", line)
		}
	}
	goodWith(t, good(t, "scan", store), "import", fileStore(t))
}

// The rule: a transfer prints and skips entries that are too large for the destination, writes the
// others, and exits with 1. With max-value in the destination's URL, it writes all entries.
func TestTransfersOfLargeValues(t *testing.T) {
	t.Parallel()
	const param = "?max-value=393216"
	from, dir := fileStore(t), t.TempDir()
	values := map[string]string{"a": "small", "b": strings.Repeat("x", kv.MaxValueLen+1), "c": strings.Repeat("\x01", kv.MaxLargeValueLen), "d": "small"}
	for key, value := range values {
		goodWith(t, value, "put", from+param, key)
	}
	lines := filepath.Join(dir, "lines")
	good(t, "export", from, "--output", lines)
	for name, run := range map[string]func(to string) []string{
		"copy":                         func(to string) []string { return []string{"copy", from, to} },
		"copy from one with max-value": func(to string) []string { return []string{"copy", from + param, to} },
		"copy with --if-not-exists":    func(to string) []string { return []string{"copy", from, to, "--if-not-exists"} },
		"import":                       func(to string) []string { return []string{"import", to, "--input", lines} },
	} {
		to := fileStore(t)
		o := skykv(t, "", append(run(to), "--json")...)
		if o.code != exitFailure || !strings.Contains(o.stdout, `"written":2`) || !strings.Contains(o.stdout, `"refused":2`) {
			t.Errorf("%s: exits with %d and prints %s; want %d, 2 written, 2 refused", name, o.code, o.stdout, exitFailure)
		}
		for _, says := range []string{`entry "b": kv: value too large: the value has 24577 bytes; the store takes at most 24576`, `entry "c"`, "skipped 2 entries that", "add max-value=393216"} {
			if !strings.Contains(o.stderr, says) {
				t.Errorf("%s: says %q; want %q", name, o.stderr, says)
			}
		}
		if says := strings.Contains(o.stderr, "FROM takes values of up to 393216 bytes, TO of up to 24576"); says != (name == "copy from one with max-value") {
			t.Errorf("%s: different limits are reported first; it prints %q", name, o.stderr)
		}
		if got := good(t, "scan", to, "--keys-only"); got != "a\nd\n" {
			t.Errorf("%s: the store has %q; want a and d", name, got)
		}
		good(t, run(to+param)...)
		for key, value := range values {
			if got := good(t, "get", to, key); got != value {
				t.Errorf("%s: %s has %d bytes; want %d", name, key, len(got), len(value))
			}
		}
	}
}
