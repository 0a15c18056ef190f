package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// The process's output streams. The command prints everything through them, except the
// progress that a meter shows.
var (
	stdout = newStream(os.Stdout)
	stderr = newStream(os.Stderr)
)

// stream prints to a file. On a terminal it prints [escaped] text: keys, values and
// messages of services may contain characters that move the cursor, type into the
// terminal or change the direction of text. Any other file gets every byte unchanged.
type stream struct {
	file     *os.File
	terminal bool

	mu   sync.Mutex
	rest []byte // the beginning of a character that is not complete yet
}

func newStream(file *os.File) *stream { return &stream{file: file, terminal: isTerminal(file)} }

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// errDeclined says that the user did not answer yes to a question.
var errDeclined = errors.New("nothing was changed: the answer was not yes")

// confirm asks a question on the terminal, and returns an error unless the answer is yes.
func confirm(ctx context.Context, question string) error {
	fmt.Fprintf(stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(interruptible(ctx, os.Stdin)).ReadString('\n')
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); err == nil && (answer == "y" || answer == "yes") {
		return nil
	}
	return errDeclined
}

// errReaderGone says that the program that read the output has ended early, as head does.
var errReaderGone = errors.New("the output's reader has gone")

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = fmt.Errorf("%w: %w", errReaderGone, err)
	}
	return n, err
}

func (s *stream) write(p []byte) (int, error) {
	if !s.terminal {
		return s.file.Write(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	shown, rest := escaped(append(s.rest, p...))
	s.rest = append([]byte(nil), rest...)
	if _, err := s.file.Write(shown); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escaped returns text with escapes such as \u001b and \xff. It escapes control characters,
// direction marks, line separators, and bytes that are not UTF-8, but not newlines and tabs.
// If the text ends in the middle of a character, escaped returns that part as rest.
func escaped(text []byte) (shown, rest []byte) {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1 && !utf8.FullRune(text):
			return shown, text
		case r == utf8.RuneError && size == 1:
			shown = fmt.Appendf(shown, `\x%02x`, text[0])
		case r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Bidi_Control, unicode.Zl, unicode.Zp):
			shown = fmt.Appendf(shown, `\u%04x`, r)
		default:
			shown = append(shown, text[:size]...)
		}
		text = text[size:]
	}
	return shown, nil
}
