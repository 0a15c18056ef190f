package report

import (
	"fmt"
	"strings"
)

// Matrix returns the results of runs as Markdown: a table with one row for all cases, and a
// folded table with a row for each group. Both have a column for each run.
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
