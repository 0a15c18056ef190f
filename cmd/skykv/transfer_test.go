package main

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
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// lines writes n entries in export's format: of all kinds of values, every third
// with an expiry of its own millisecond.
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

// There and back again: file, store, store, file.
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

		// What differs is found, each kind of it, and mended by another copy.
		good(t, "put", back, "key:000001", "other")
		good(t, "delete", back, "key:000002")
		goodWith(t, string([]byte{0xff, 0}), "put", back, "key:000030")
		good(t, "put", back, "zzz", "")
		o := skykv(t, "", "copy", url, back, "--verify-only")
		if want := "value      key:000001\nmissing    key:000002\nexpiry     key:000030\nextra      zzz\n"; o.code != exitFindings || o.stdout != want {
			t.Errorf("rule: --verify reports every difference; got %d and\n%s", o.code, o.stdout)
		}
		if got := good(t, "copy", url, back, "--if-absent", "--json"); !strings.Contains(got, `"written":1,"skipped":1199,`) {
			t.Errorf("copy --if-absent prints %s; want the one that is missing written", got)
		}
		if got := good(t, "get", back, "key:000001"); got != "other" {
			t.Errorf("rule: --if-absent leaves alone what is there; it holds %q", got)
		}
		good(t, "delete", back, "zzz")
		good(t, "copy", url, back, "--verify", "--prefix", "key:")

		// From a file store back to the service, with everything already there.
		if got := good(t, "copy", back, url, "--verify", "--json"); !strings.Contains(got, `"differences":0`) {
			t.Errorf("copy --verify --json prints %s", got)
		}
	})
}

// missing reports that there is no file at path.
func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// killing runs args again and again, ends it with signal, and returns when it
// ended by itself: the first run is hit when it has saved its checkpoint, the
// others at random, three of them unless many entries are moved. It reports how
// many runs went on from a checkpoint.
func killing(t *testing.T, dir string, signal syscall.Signal, args ...string) (resumed int) {
	t.Helper()
	checkpoint := filepath.Join(dir, args[slices.Index(args, "--checkpoint")+1])
	for runs := 1; ; runs++ {
		if runs > 300 {
			t.Fatal("after 300 runs it is still not done")
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
			// At random within what was seen to take a run, longer and longer so that it
			// ends on a busy machine too.
			when := time.After(time.Duration(50+rand.IntN(400+100*runs)) * time.Millisecond)
			switch {
			case runs == 1:
				when = appears(checkpoint, ended)
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
		if strings.Contains(stderr.String(), "going on behind") {
			resumed++
		}
		if err == nil {
			t.Logf("%s: %d runs, of which %d went on from a checkpoint", args[0], runs, resumed)
			return resumed
		}
		state := cmd.ProcessState.Sys().(syscall.WaitStatus)
		killed := state.Signaled() && state.Signal() == signal
		stopped := state.ExitStatus() == exitSignal+int(signal)
		if at := slices.Index(args, "--output"); at >= 0 && killed && missing(checkpoint) && !missing(filepath.Join(dir, args[at+1])) {
			return // killed when all was done
		}
		if !killed && !stopped {
			t.Fatalf("run %d ends with %v:\n%s", runs, err, &stderr)
		}
		if strings.Contains(stderr.String(), "goroutine ") {
			t.Fatalf("rule: no stack trace; got\n%s", &stderr)
		}
	}
}

// appears gives a channel that tells when there is a file, or when nobody waits any more.
func appears(path string, ended <-chan struct{}) <-chan time.Time {
	there := make(chan time.Time)
	go func() {
		defer close(there)
		for range time.Tick(time.Millisecond) {
			select {
			case <-ended:
				return
			default:
			}
			if _, err := os.Stat(path); err == nil {
				return
			}
		}
	}()
	return there
}

// entriesToMove is how many entries the tests of interruptions move: few, but for
// those who set SKYKV_ENTRIES=100000 and have a while.
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

// Everything that can go on from a checkpoint, one behind the other.
func TestInterruptedAtRandom(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			input, dir := lines(t, entriesToMove(t, 15_000)), t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name) }
			resumed := killing(t, dir, signal, "import", "file:a.db", "--input", input, "--checkpoint", "import.state")
			resumed += killing(t, dir, signal, "copy", "file:a.db", "file:b.db", "--checkpoint", "copy.state", "--parallel", "3")
			resumed += killing(t, dir, signal, "copy", "file:b.db", "file:c.db", "--checkpoint", "copy.state", "--if-absent")
			resumed += killing(t, dir, signal, "export", "file:c.db", "--output", "out.jsonl", "--checkpoint", "export.state")
			if resumed == 0 {
				t.Error("all was done before it could be interrupted: nothing was tested")
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

// There and back again, killed on both ways.
func TestCopyKilledAtRandom(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, b backend) {
		few := 2000
		if b.name == "file" {
			few = 15_000 // it is that much faster
		}
		input, url, dir := lines(t, entriesToMove(t, few)), b.open(t), t.TempDir()
		from := fileStore(t)
		good(t, "import", from, "--input", input)
		resumed := killing(t, dir, syscall.SIGKILL, "copy", from, url, "--checkpoint", "there.state", "--parallel", "1")
		resumed += killing(t, dir, syscall.SIGKILL, "copy", url, "file:back.db", "--checkpoint", "back.state", "--parallel", "1")
		if resumed == 0 {
			t.Error("all was done before it could be interrupted: nothing was tested")
		}
		wantSame(t, "what was copied there and back, killed at random,", good(t, "export", "file:"+filepath.Join(dir, "back.db")), read(t, input))
		good(t, "copy", from, url, "--verify-only")
	})
}

// A service that fails midway: what was written is known, and the next run goes on.
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
		t.Errorf("rule: the message says how far it came and what to do; got\n%s", o.stderr)
	}
	bad(t, exitFailure, "is of another run: its destination", "import", "mem:", "--input", input, "--checkpoint", checkpoint)
	left.Store(1 << 40)
	if o := skykv(t, "", "import", store, "--input", input, "--checkpoint", checkpoint, "--json"); o.code != 0 ||
		!strings.Contains(o.stdout, `"resumed":true,"written":3000,`) || !strings.Contains(o.stderr, "going on behind 500 entries") {
		t.Errorf("rule: the next run goes on behind the last complete batch; got %+v", o)
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
	bad(t, exitUsage, "exists already", "export", store, "--output", out)
	good(t, "put", store, "zzz", "more")
	good(t, "export", store, "--output", out, "--force")
	if got := read(t, out); len(got) <= len(whole) || !strings.HasPrefix(got, whole) {
		t.Errorf("export --force leaves %d bytes; want more than %d", len(got), len(whole))
	}
	bad(t, exitFailure, "no such file", "export", store, "--output", filepath.Join(dir, "absent", "out"))
	bad(t, exitFailure, "no space left", "export", store, "--output", "/dev/full")
	bad(t, exitUsage, "--output", "export", store, "--checkpoint", filepath.Join(dir, "state"))
	bad(t, exitFailure, "the checkpoint cannot be written", "export", store, "--output", filepath.Join(dir, "new"), "--checkpoint", filepath.Join(dir, "absent", "state"))
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); fmt.Sprint(names) != fmt.Sprint([]string{filepath.Join(dir, "new.partial"), out}) {
		t.Errorf("a failed export with a checkpoint leaves its partial file, and nothing else; there are %q", names)
	}

	// The last step of all: the file has its name, the checkpoint is still there.
	checkpoint := filepath.Join(dir, "state")
	crash(t, store, out, checkpoint, dir)
	if o := skykv(t, "", "export", store, "--output", filepath.Join(dir, "x.jsonl"), "--checkpoint", checkpoint); o.code != 0 {
		t.Fatalf("an export of which only the checkpoint is left: %+v", o)
	}
	if _, err := os.Stat(checkpoint); err == nil {
		t.Error("the checkpoint is still there")
	}
}

// crash makes what a crash between the last two steps of an export leaves.
func crash(t *testing.T, store, complete, checkpoint, dir string) {
	t.Helper()
	output := filepath.Join(dir, "x.jsonl")
	// Stopped at its very end: SIGINT while the output is a pipe nobody reads is
	// hard to time, so the state is written as the command writes it.
	info, err := os.Stat(complete)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(complete, output); err != nil {
		t.Fatal(err)
	}
	state := fmt.Sprintf(`{"job":{"command":"export","from":%q,"to":%q,"prefix":"","ifAbsent":false},"state":{"position":{"key":"zzz"},"counts":{"written":2001,"skipped":0,"expired":0,"failed":0},"mark":%d}}`, store, output, info.Size())
	text := fmt.Sprintf(`{"format":1,"sum":%d,"body":%s}`, crc32.ChecksumIEEE([]byte(state)), state)
	if err := os.WriteFile(checkpoint, []byte(text), 0o600); err != nil {
		t.Fatal(err)
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
		{"unknown field", `{"key":"a","value":"","ttl":5}`, `field "ttl"`},
	} {
		path := filepath.Join(dir, "in")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, o := range []outcome{skykv(t, "", "import", store, "--input", path), skykv(t, c.text, "import", store)} {
			if o.code == 0 || !strings.Contains(o.stderr, c.says) || strings.Contains(o.stderr, secret) {
				t.Errorf("%s: import gives %d and %q; want %q and no value", c.name, o.code, o.stderr, c.says)
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
	bad(t, exitFailure, "is damaged or is none; delete it to start over", "copy", store, fileStore(t), "--checkpoint", half)
	expired := `{"key":"old","value":"","expiresAt":"2020-01-01T00:00:00Z"}`
	if got := goodWith(t, expired, "import", store, "--json"); !strings.Contains(got, `"written":0,"skipped":0,"expired":1`) {
		t.Errorf("import of an expired entry prints %s", got)
	}
}

// A reader that ends early, as head does, is no failure of anything but the output.
func TestOutputEndsEarly(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	good(t, "import", store, "--input", lines(t, 20_000))
	for _, args := range [][]string{{"scan", store}, {"scan", store, "--keys-only"}, {"export", store}, {"copy", store, "mem:", "--verify-only"}} {
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
		if code := cmd.ProcessState.ExitCode(); code != exitOutputEnded || !strings.Contains(stderr.String(), "what reads the output has ended") {
			t.Errorf("%v exits with %d and\n%s; want %d and a message", args, code, &stderr, exitOutputEnded)
		}
	}
}

// What cannot be printed is no success.
func TestOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	good(t, "put", store, "a", "1")
	for _, args := range [][]string{
		{"get", store, "a"}, {"get", store, "a", "--json"}, {"put", store, "a", "1", "--json"}, {"exists", store, "a"}, {"scan", store}, {"count", store},
		{"export", store}, {"copy", store, "mem:", "--json"}, {"provision", store}, {"doctor", store}, {"delete", store, "--prefix", "b"}, {"conformance", "mem:"},
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
		if o := process(t, cmd); o.code != exitFailure || !strings.Contains(o.stderr, "no space left") {
			t.Errorf("%v exits with %d and %q; want %d and the reason", args, o.code, o.stderr, exitFailure)
		}
	}
}

// The format is a promise: other programs read and write it.
func TestExportFormat(t *testing.T) {
	t.Parallel()
	store := fileStore(t)
	s, err := providers.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutMany(t.Context(), []kv.Item{
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
