package command

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The rule: everything but the progress of a meter is printed through the streams, because they
// escape control characters on a terminal. A meter prints only the command's own text.
func TestPrintedThroughStreams(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	past := regexp.MustCompile(`fmt\.Print(f|ln)?\(|os\.Std(out|err)\b`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || slices.Contains([]string{"terminal.go", "progress.go"}, file) {
			continue
		}
		if found := past.FindAllString(read(t, file), -1); len(found) > 0 {
			t.Errorf("%s prints by %q; want stdout and stderr of terminal.go", file, found)
		}
	}
}

func TestEscaped(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "",
		"plain ü 日本 👩\u200d🚀\t\n":  "plain ü 日本 👩\u200d🚀\t\n",
		"\x00\x07\b\r\x1b[31m\x7f": `\u0000\u0007\u0008\u000d\u001b[31m\u007f`,
		"\u0080\u0085\u009b\u009f": `\u0080\u0085\u009b\u009f`,
		"\u00a0":                   "\u00a0",
		"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069": `\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069`,
		"\u2028\u2029":     `\u2028\u2029`,
		"\x9b31m\xff\xc3(": `\x9b31m\xff\xc3(`,
		"\ufffd":           "\ufffd",
		"a\xe2\x80":        "a",
	} {
		shown, rest := escaped([]byte(text))
		if string(shown) != want {
			t.Errorf("rule: control characters, direction marks and bytes that are not text are escaped on a terminal; %q is shown as %q, want %q", text, shown, want)
		}
		if text == "a\xe2\x80" && string(rest) != "\xe2\x80" || text != "a\xe2\x80" && rest != nil {
			t.Errorf("the rest of %q is %q; want the incomplete character at the end", text, rest)
		}
		// The result is the same if the text is written in two parts, cut anywhere.
		for i := range len(text) {
			first, rest := escaped([]byte(text[:i]))
			second, _ := escaped(append(rest, text[i:]...))
			if got := string(first) + string(second); got != want {
				t.Errorf("in two parts %q and %q is shown as %q; want %q", text[:i], text[i:], got, want)
			}
		}
	}
}
