package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/skykv/skykv/cmd/skykv/command/internal/timeleft"
	"github.com/skykv/skykv/kv"
)

// table prints entries for a person at a terminal, each as one line with the key, the time
// left and the value. Values are shortened to the width of the terminal.
type table struct {
	out   *output
	width int // of the terminal
	key   int // width of the column of keys
	rows  []row
	began bool
}

type row struct{ key, left, value string }

const (
	tableAhead    = 100 // number of first rows that decide the width of the column of keys
	timeLeftWidth = len("364 d 23 h left")
)

func newTable(out *output, terminal *os.File) *table {
	width, _, _ := term.GetSize(int(terminal.Fd()))
	return &table{out: out, width: cmp.Or(width, 80)}
}

// entry prints an entry. It holds back the first rows, until there are enough to choose the
// width of the column of keys.
func (t *table) entry(entry kv.Entry) error {
	r := row{key: entry.Key, value: oneLine(entry.Value)}
	if !entry.ExpiresAt.IsZero() {
		r.left = timeleft.String(time.Now(), entry.ExpiresAt)
	}
	return t.row(r)
}

func (t *table) row(r row) error {
	if t.began {
		return t.print(r)
	}
	if t.rows = append(t.rows, r); len(t.rows) < tableAhead {
		return nil
	}
	return t.flush()
}

// flush chooses the width of the column of keys, and prints the rows that were held back.
func (t *table) flush() error {
	if t.began || len(t.rows) == 0 {
		return nil
	}
	t.began = true
	for _, r := range t.rows {
		t.key = max(t.key, min(len(r.key), t.width/2))
	}
	if err := t.print(row{"KEY", "TIME LEFT", "VALUE"}); err != nil {
		return err
	}
	for _, r := range t.rows {
		if err := t.print(r); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

func (t *table) print(r row) error {
	before := fmt.Sprintf("%-*s  %-*s  ", t.key, r.key, timeLeftWidth, r.left)
	line := strings.TrimRight(before+shortened(r.value, max(t.width-utf8.RuneCountInString(before), 20)), " ")
	if _, err := t.out.WriteString(line + "\n"); err != nil {
		return err
	}
	return t.out.line()
}

// oneLine returns a value as one line. It removes white space from JSON, and quotes other text
// with line ends or control characters. If a value is not text, it returns the length instead.
func oneLine(value []byte) string {
	var compact bytes.Buffer
	if json.Compact(&compact, value) == nil {
		return compact.String()
	}
	text := string(value)
	switch {
	case !utf8.ValidString(text):
		return fmt.Sprintf("(%d bytes)", len(value))
	case strings.ContainsFunc(text, unicode.IsControl):
		return strconv.Quote(text)
	}
	return text
}

// shortened cuts off a text that is too wide, and adds … at the end.
func shortened(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}
