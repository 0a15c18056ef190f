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

// plainEvery is how often progress is printed where there is no terminal.
const plainEvery = 10 * time.Second

const (
	barEvery     = 100 * time.Millisecond
	clearLine    = "\r\x1b[K"
	unknownTotal = 1 << 60
)

// meter shows on standard error how far a command has come: with a bar on a terminal,
// else with a line now and then.
type meter struct {
	verb    string // such as "copied"
	unit    string // what is counted, "entries" but for the suite's "cases"
	begun   time.Time
	earlier int64 // done by runs before this one
	done    int64
	told    time.Time
	bar     *progressbar.ProgressBar
	most    atomic.Int64 // the expected total, 0 while it is not known
	screen  screen
}

// newMeter starts a meter of units at earlier, which other runs have done.
func newMeter(verb, unit string, earlier int64) *meter {
	m := &meter{verb: verb, unit: unit, begun: time.Now(), told: time.Now(), earlier: earlier, done: earlier}
	if stderr.terminal {
		width, _, err := term.GetSize(int(os.Stderr.Fd()))
		if err != nil || width <= 0 {
			width = 80
		}
		// It learns its rate unseen until the total is known.
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

// update tells that done entries are dealt with, those of earlier runs included.
func (m *meter) update(done int64) {
	m.done = done
	switch {
	case m.bar != nil:
		// The bar of a run that goes on shows what is left to it, whose rate it knows.
		if most := m.most.Load(); most != 0 && !m.screen.on {
			m.screen.on = true
			m.bar.ChangeMax64(most)
		}
		if n := done - m.earlier; n < m.bar.GetMax64() {
			_ = m.bar.Set64(n) // its errors are about the terminal
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

// total tells how many entries this run is going to have, once that is known. It
// may be called by another goroutine.
func (m *meter) total(n int64) { m.most.Store(n) }

func (m *meter) rate() int64 {
	return int64(float64(m.done-m.earlier) / max(time.Since(m.begun).Seconds(), 0.001))
}

// say prints a line that is no progress.
func (m *meter) say(format string, args ...any) {
	m.hide()
	fmt.Fprintf(stderr, format+"\n", args...)
}

// hide takes the bar away until the next update.
func (m *meter) hide() {
	if m.bar != nil {
		fmt.Fprint(os.Stderr, clearLine)
	}
}

// screen is where the bar is drawn, once it is on.
type screen struct{ on bool }

func (s *screen) Write(p []byte) (int, error) {
	if !s.on {
		return len(p), nil
	}
	return os.Stderr.Write(p)
}

// count finds out the total for the bar, beside the transfer. On anything but a
// terminal nobody needs it, and it costs reads.
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

// countLines is count for the lines of a file after an offset.
func (m *meter) countLines(ctx context.Context, path string, offset int64) {
	if m.bar == nil {
		return
	}
	go func() {
		file, err := os.Open(path)
		if err != nil {
			return // whoever reads it tells
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

// entries spells a number of entries.
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
