package report

import (
	"bytes"
	"fmt"
	"strings"
)

// The lines of a page between which its matrix stands.
const (
	matrixBegin = "<!-- The matrix of providers, written by: make matrix -->\n"
	matrixEnd   = "<!-- The end of the matrix -->\n"
)

// Matrix gives the results of runs as Markdown, with a column for each run: a
// table of all cases, and one with a row for each group of them that is folded up.
func Matrix(runs []*Run) string {
	var b strings.Builder
	row := func(name string, cell func(*Run) string) {
		fmt.Fprintf(&b, "| %s |", name)
		for _, r := range runs {
			fmt.Fprintf(&b, " %s |", cell(r))
		}
		b.WriteByte('\n')
	}
	header := func() {
		row("Cases of the suite passed", func(r *Run) string { return r.Provider })
		b.WriteString("|---" + strings.Repeat("|---", len(runs)) + "|\n")
	}
	header()
	row("all", func(r *Run) string { return "**" + count(r.Passed, r.Asked(), r.LeftOut) + "**" })
	b.WriteString("\n<details><summary>By group</summary>\n\n")
	header()
	for i, g := range runs[0].Groups() {
		row(g.Name, func(r *Run) string {
			return r.Groups()[i].Count()
		})
	}
	b.WriteString("\n</details>\n")
	return b.String()
}

// FindMatrix gives the matrix that a page holds.
func FindMatrix(page []byte) (string, error) {
	_, rest, begins := bytes.Cut(page, []byte(matrixBegin))
	matrix, _, ends := bytes.Cut(rest, []byte(matrixEnd))
	if !begins || !ends {
		return "", fmt.Errorf("the page does not hold the lines\n%s%s", matrixBegin, matrixEnd)
	}
	return string(matrix), nil
}

// ReplaceMatrix gives a page that holds matrix in place of the one it holds.
func ReplaceMatrix(page []byte, matrix string) ([]byte, error) {
	old, err := FindMatrix(page)
	if err != nil {
		return nil, err
	}
	return bytes.Replace(page, []byte(matrixBegin+old+matrixEnd), []byte(matrixBegin+matrix+matrixEnd), 1), nil
}
