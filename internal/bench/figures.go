package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// part is a part of docs/figures.md that this program writes.
type part struct {
	name  string
	write func(measurements, io.Writer)
}

var parts = []part{
	{"summary", printSummary},
	{"goals", tabulateGoals},
}

// begin and end return the lines before and after the part.
func (p part) begin() []byte {
	return fmt.Appendf(nil, "<!-- The %s, written by: make bench -->\n", p.name)
}
func (p part) end() []byte { return fmt.Appendf(nil, "<!-- The end of the %s -->\n", p.name) }

// find returns the page before the part, the part's content, and the page after it.
func (p part) find(page []byte) (before, within, after []byte, err error) {
	before, rest, begins := bytes.Cut(page, p.begin())
	within, after, ends := bytes.Cut(rest, p.end())
	if !begins || !ends {
		return nil, nil, nil, fmt.Errorf("the page does not hold the lines\n%s%s", p.begin(), p.end())
	}
	return before, within, after, nil
}

// checkFigures returns an error if the file cannot be read, or does not have every part.
func checkFigures(file string) error {
	page, err := os.ReadFile(file)
	for _, p := range parts {
		if err == nil {
			_, _, _, err = p.find(page)
		}
	}
	return err
}

// writeFigures writes every part of the page again, from m.
func writeFigures(m measurements, file string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, p := range parts {
		before, _, after, err := p.find(page)
		if err != nil {
			return err
		}
		var text strings.Builder
		p.write(m, &text)
		within := strings.TrimRight(text.String(), "\n") + "\n"
		page = bytes.Join([][]byte{before, p.begin(), []byte(within), p.end(), after}, nil)
	}
	return os.WriteFile(file, page, 0o644)
}
