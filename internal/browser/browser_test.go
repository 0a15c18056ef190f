package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// screenshots is the folder for screenshots. If it is empty, none are made.
var screenshots = os.Getenv("SKYKV_SCREENSHOTS")

// hostile is a value with code that the page must not run.
const hostile = `<script>document.title = "broken"</script><img src=x onerror="document.title = 'broken'">`

// binary is the path of the skykv command, which is built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "skykv-browser-")
	if err != nil {
		log.Fatal(err)
	}
	binary = filepath.Join(dir, "skykv.exe")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", binary, "./cmd/skykv").CombinedOutput(); err != nil {
		log.Fatalf("%v\n%s", err, out)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// serve runs "skykv ui" over a store with some entries, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	store := "file:" + filepath.Join(t.TempDir(), "store.db")
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	add := func(key, value string, left time.Duration) {
		entry := map[string]any{"key": key, "value": value}
		if left > 0 {
			entry["expiresAt"] = time.Now().Add(left).UTC().Format(time.RFC3339Nano)
		}
		if err := enc.Encode(entry); err != nil {
			t.Fatal(err)
		}
	}
	add("config.main", `{"theme":"dark","limits":{"requests":100,"window":"1m"},"tags":["a","b"]}`, 0)
	add("hostile", hostile, 0)
	add("note", "a text\nof two lines", 0)
	add("session:9c11", `{"user":43}`, 30*time.Minute)
	for i := range 250 {
		add(fmt.Sprintf("user.%03d", i), fmt.Sprintf("user %d", i), 0)
	}
	for _, shard := range []string{"user42::profile", "user42::device:1", "user42::device:2"} {
		add(shard, "x", 0)
	}
	add(strings.Repeat("long-", 60)+"key", strings.Repeat("and a long value ", 200), 50*time.Hour)
	run := exec.CommandContext(t.Context(), binary, "import", store)
	run.Stdin = &lines
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	ui := exec.CommandContext(t.Context(), binary, "ui", store, "--json")
	ui.Cancel = func() error { return ui.Process.Signal(os.Interrupt) }
	out, err := ui.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ui.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ui.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("rule: Ctrl-C ends the command; it ended with %v", err)
		}
	})
	var printed struct{ Address string }
	if err := json.NewDecoder(out).Decode(&printed); err != nil {
		t.Fatal(err)
	}
	return printed.Address
}

// open starts a browser. The test fails if the script of a page throws an error, or prints
// anything on the console.
func open(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("there is no Chromium; to get one: apt-get install chromium")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	if err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("rule: the script has no errors; %v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			t.Errorf("rule: the page prints nothing on the console; %s %v", e.Type, e.Args)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask runs an action and returns its result.
func ask[T any](t *testing.T, ctx context.Context, action chromedp.Action[T]) T {
	t.Helper()
	found, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	if screenshots == "" {
		return
	}
	png := ask(t, ctx, chromedp.CaptureScreenshot())
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, ctx context.Context, selector chromedp.CSS) string {
	t.Helper()
	return ask(t, ctx, chromedp.Text(selector))
}

// press sends a key press whose text the page can suppress when it handles keydown.
// chromedp.KeyEvent sends the text as a separate event, which the page cannot suppress
// that way.
func press(t *testing.T, ctx context.Context, key string) {
	t.Helper()
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
		params := input.DispatchKeyEventParams{Type: kind, Key: key}
		if kind == input.DispatchKeyEventTypeKeyDown {
			params.Text = key
		}
		if _, err := chromedp.Call(ctx, input.DispatchKeyEvent, params); err != nil {
			t.Fatal(err)
		}
	}
}

func click(selector chromedp.CSS) chromedp.Action[chromedp.Void] { return chromedp.Click(selector) }

func wait(selector chromedp.CSS) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(selector)
}

func TestConsole(t *testing.T) {
	address := serve(t)
	ctx := open(t)

	do(t, ctx, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(address), wait(".keys"))
	location := ask(t, ctx, chromedp.Location())
	if strings.Contains(location, "token") {
		t.Errorf("rule: the token does not stay in the address; it is %s", location)
	}
	keys := text(t, ctx, ".keys")
	for _, want := range []string{"config.main", "session:", "user.000"} {
		if !strings.Contains(keys, want) {
			t.Errorf("the keys do not contain %q: %s", want, keys)
		}
	}
	shot(t, ctx, "list")

	// With the keyboard alone: search, choose a key, and see its entry.
	press(t, ctx, "/")
	do(t, ctx, chromedp.KeyEvent("config"+kb.Enter), wait(`input[value="config"]`),
		chromedp.KeyEvent("j"), chromedp.KeyEvent(kb.Enter), wait(".value"))
	if got := text(t, ctx, ".value"); !strings.Contains(got, "{\n  \"theme\": \"dark\"") {
		t.Errorf("rule: JSON is pretty; it is %s", got)
	}
	if got := text(t, ctx, "footer"); !strings.Contains(got, "skykv put") {
		t.Errorf("rule: the page has the commands that change the entry; it ends with %s", got)
	}
	shot(t, ctx, "entry")

	// The code in a hostile value does not run.
	do(t, ctx, click(".name"), wait(".keys"),
		click(`a[href*="key=hostile"]`), wait(".value"))
	title := ask(t, ctx, chromedp.Title())
	if got := text(t, ctx, ".value"); title == "broken" || got != hostile {
		t.Errorf("rule: values are shown and never run; the title is %q, the value %s", title, got)
	}
	shot(t, ctx, "hostile")

	// The time that is left counts down until the entry has expired.
	do(t, ctx, click(".name"), wait(".keys"),
		click(`a.folder[href*="session"]`), wait("time"))
	shot(t, ctx, "folder")
	if got := text(t, ctx, "time"); !strings.Contains(got, "min") {
		t.Errorf("rule: the time left is shown; it is %q", got)
	}
	ask(t, ctx, chromedp.Evaluate[float64](`(() => { const now = Date.now; Date.now = () => now() + 3600000; return Date.now(); })()`))
	do(t, ctx, chromedp.Poll[chromedp.Void](`document.querySelector("time.gone")?.textContent === "expired"`))

	// The list has pages.
	do(t, ctx, click(".name"), wait(".keys"),
		click(`a[rel=next]`), wait(`a[href*="user.150"]`))

	// The page of skykv doctor works.
	do(t, ctx, click(`a[href="/doctor"]`), wait(".checks"))
	shot(t, ctx, "doctor")

	// The page fits on a telephone, in dark mode.
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile),
		click(".name"), wait(".keys"), click(`a[href*="key=long-"]`), wait(".value"))
	if ask(t, ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > document.documentElement.clientWidth`)) {
		t.Error("rule: a narrow screen needs no scrolling to the side")
	}
	shot(t, ctx, "narrow")
	do(t, ctx, click(`a[href="/doctor"]`), wait(".checks"))
	shot(t, ctx, "narrow-doctor")
}

// The rule: without the cookie, the first page shows nothing of the store.
func TestStranger(t *testing.T) {
	address := serve(t)
	ctx := open(t)
	do(t, ctx, chromedp.Navigate(strings.Split(address, "?")[0]), chromedp.WaitReady(chromedp.CSS("body")))
	if got := text(t, ctx, "body"); !strings.Contains(got, "with its token") {
		t.Errorf("rule: without the token there is nothing to see; the page is %s", got)
	}
}
