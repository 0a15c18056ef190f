package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/skykv/skykv/kv"
)

// plainEvery is the time between two lines of progress if standard error is not a terminal.
const plainEvery = 10 * time.Second

const (
	barEvery     = 100 * time.Millisecond
	clearLine    = "\r\x1b[K"
	unknownTotal = 1 << 60
)

// meter shows the progress of a command on standard error: as a bar on a terminal, and
// otherwise as a line now and then.
type meter struct {
	verb    string // such as "copied"
	unit    string // what is counted: "entries", or "cases" for the suite
	begun   time.Time
	earlier int64 // done by earlier runs
	done    int64
	told    time.Time
	bar     *progressbar.ProgressBar
	most    atomic.Int64 // the expected total, 0 while unknown
	screen  screen
}

// newMeter starts a meter. The parameter earlier is the number of units that earlier runs
// have done.
func newMeter(verb, unit string, earlier int64) *meter {
	m := &meter{verb: verb, unit: unit, begun: time.Now(), told: time.Now(), earlier: earlier, done: earlier}
	if stderr.terminal {
		width, _, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil || width <= 0 {
			width = 80
		}
		// The bar is invisible until the total is known, but measures the rate from the start.
		m.bar = progressbar.NewOptions64(unknownTotal,
			progressbar.OptionSetWriter(&m.screen),
			progressbar.OptionSetDescription(verb),
			progressbar.OptionSetWidth(min(30, max(10, width-60))),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString(unit),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetSpinnerChangeInterval(0),
			progressbar.OptionThrottle(barEvery),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionClearOnFinish(),
		)
	}
	return m
}

// update sets the number of units done, including earlier runs.
func (m *meter) update(done int64) {
	m.done = done
	switch {
	case m.bar != nil:
		// The bar counts only the units of this run, because it computes the rate from its
		// count.
		if most := m.most.Load(); most != 0 && !m.screen.on {
			m.screen.on = true
			m.bar.ChangeMax64(most)
		}
		if n := done - m.earlier; n < m.bar.GetMax64() {
			_ = m.bar.Set64(n) // an error here is about the terminal, and does not stop the command
		}
		if !m.screen.on && time.Since(m.told) >= barEvery {
			m.told = time.Now()
			fmt.Fprintf(os.Stderr, clearLine+"%s %s %s, %s/s", m.verb, thousands(done), m.unit, thousands(m.rate()))
		}
	case time.Since(m.told) >= plainEvery:
		m.told = time.Now()
		fmt.Fprintf(os.Stderr, "%s %s %s, %s/s\n", m.verb, thousands(done), m.unit, thousands(m.rate()))
	}
}

// total sets the expected number of units of this run. It may be called from another
// goroutine.
func (m *meter) total(n int64) { m.most.Store(n) }

func (m *meter) rate() int64 {
	return int64(float64(m.done-m.earlier) / max(time.Since(m.begun).Seconds(), 0.001))
}

// say prints a line that is not about progress.
func (m *meter) say(format string, args ...any) {
	m.hide()
	fmt.Fprintf(stderr, format+"\n", args...)
}

// hide removes the bar until the next update.
func (m *meter) hide() {
	if m.bar != nil {
		fmt.Fprint(os.Stderr, clearLine)
	}
}

// screen is the output of the bar. It discards everything until on is set.
type screen struct{ on bool }

func (s *screen) Write(p []byte) (int, error) {
	if !s.on {
		return len(p), nil
	}
	return os.Stderr.Write(p)
}

// count counts entries in the background, to learn the total for the bar. Without a bar, count
// does nothing, because counting costs reads.
func (m *meter) count(ctx context.Context, store *kv.Store, prefix, after string) {
	if m.bar == nil {
		return
	}
	go func() {
		if n, err := store.Count(ctx, prefix, kv.After(after)); err == nil {
			m.total(int64(n))
		}
	}()
}

// countLines is like count, but counts the lines of a file after an offset.
func (m *meter) countLines(ctx context.Context, path string, offset int64) {
	if m.bar == nil {
		return
	}
	go func() {
		file, err := os.Open(path)
		if err != nil {
			return // the reader of the file reports the error
		}
		defer file.Close()
		if _, err := file.Seek(offset, io.SeekStart); err != nil {
			return
		}
		var n int64
		for buf := make([]byte, 1<<20); ctx.Err() == nil; {
			read, err := file.Read(buf)
			n += int64(bytes.Count(buf[:read], []byte{'\n'}))
			if err == io.EOF {
				m.total(n)
			}
			if err != nil {
				return
			}
		}
	}()
}

// entries returns a number of entries as text.
func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return thousands(n) + " entries"
}

// thousands writes n with a comma between every three digits.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
