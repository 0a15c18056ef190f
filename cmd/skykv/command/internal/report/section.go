package report

import (
	"bytes"
	"fmt"
)

// Section is the part of a page that a program writes, between two fixed lines.
type Section struct{ begin, end string }

// The sections of docs/contract.md.
var (
	MatrixSection = Section{"<!-- The matrix of providers, written by: make matrix -->\n", "<!-- The end of the matrix -->\n"}
	RulesSection  = Section{"<!-- The rules of the suite, written by: make rules -->\n", "<!-- The end of the rules -->\n"}
)

// Find returns the text of the section in a page.
func (s Section) Find(page []byte) (string, error) {
	_, rest, begins := bytes.Cut(page, []byte(s.begin))
	text, _, ends := bytes.Cut(rest, []byte(s.end))
	if !begins || !ends {
		return "", fmt.Errorf("the page does not have the lines\n%s%s", s.begin, s.end)
	}
	return string(text), nil
}

// Replace returns a page with text as its section.
func (s Section) Replace(page []byte, text string) ([]byte, error) {
	old, err := s.Find(page)
	if err != nil {
		return nil, err
	}
	return bytes.Replace(page, []byte(s.begin+old+s.end), []byte(s.begin+text+s.end), 1), nil
}
